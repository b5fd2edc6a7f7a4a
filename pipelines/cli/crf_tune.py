"""`kerasseg crf-tune`."""

import click

from . import options, startup


@click.command("crf-tune")
@click.argument("run", type=options.run_or_model_file)
@click.option(
    "--data",
    type=options.folder,
    help="Converted dataset to tune on, with the same classes; the dataset of the run's training "
    "unless given. Required for a .keras file.",
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Number of validation images that the search uses.",
)
@click.option(
    "--iterations",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Number of mean-field iterations of the CRF.",
)
@options.view_options
@options.code_option
def command(run, data, images, iterations, code, **arguments) -> None:
    """Choose the CRF parameters that give the network of RUN its best score.

    RUN is a run folder or a .keras file. The score is the mean IoU on images of the validation
    split. The parameters are written into RUN/crf.json, where predict, evaluate and export find
    them if --crf is given. In the end, the whole split is scored without and with the CRF;
    boundary_mean_iou is the mean IoU of the pixels within 5 pixels of a boundary of the label.
    """
    startup.load_tensorflow()
    from .. import crf_tune

    console = options.console()
    options.tell_checkpoint(run, None)
    report = crf_tune.run(
        run,
        data=data,
        images=images,
        num_iterations=iterations,
        view=options.take_view(arguments),
        code=code,
        on_progress=lambda tried, score: console.print(f"{score:.4f}  {tried}", soft_wrap=True),
    )
    rows = [
        (
            name,
            f"{report['network'][name]:.4f}",
            f"{report['crf'][name]:.4f}",
            f"{report['gain'][name]['gain']:+.4f}",
            "{:+.4f} to {:+.4f}".format(*report["gain"][name]["interval"]),
        )
        for name in ("mean_iou", "boundary_mean_iou")
    ]
    options.print_table(
        ("score", "network", "with CRF", "gain", "95 % interval"),
        rows,
        title=f"{report['dataset']} validation, {report['images']} images",
    )
    console.print(f"{report['crf_milliseconds']:.0f} ms per image for the CRF")
    chosen = ", ".join(f"{name} {value:g}" for name, value in report["parameters"].items())
    written = crf_tune.output_file(run)
    console.print(f"{chosen}; written to {written}", soft_wrap=True)
