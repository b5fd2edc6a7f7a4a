"""`kerasseg predict`."""

from pathlib import Path

import click

from . import options, startup


@click.command("predict")
@click.argument("run", type=options.folder)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", type=options.folder, help="Where to write; RUN/predictions.")
@click.option(
    "--opacity",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Of the colours in the overlay.",
)
@click.option(
    "--draw-background",
    is_flag=True,
    help="Draw class 0 over the images too where it is called background, void or the like.",
)
@options.crf_options
@click.option(
    "--crf-strip",
    metavar="N,N,...",
    callback=options.parse_steps,
    help="Also write a strip of pictures after so many CRF iterations, such as 0,1,2,10.",
)
def command(run, images, output, opacity, draw_background, crf, crf_iterations, crf_strip) -> None:
    """Predict IMAGES (files, or folders with all below) with a run's best network.

    Writes NAME.png, the class numbers with their colours as palette, and NAME_overlay.png, both at
    the image's own size; with --crf-strip, NAME_crf_strip.png as well.
    """
    startup.load_tensorflow()
    from .. import predict

    console = options.console()
    try:
        with options.progress_bar("predicting") as on_progress:
            written = predict.run(
                run,
                images,
                output=output,
                opacity=opacity,
                crf=options.crf_parameters(run, crf, crf_iterations),
                crf_strip=crf_strip,
                draw_background=draw_background,
                on_progress=on_progress,
            )
    except predict.PredictionError as error:
        options.print_problems(error.problems)
        raise
    except KeyboardInterrupt as error:
        raise click.ClickException("interrupted; the images so far are written.") from error
    noun = "image" if len(written) == 1 else "images"
    folder = output or run / "predictions"
    console.print(f"{len(written)} {noun} predicted into {folder}", soft_wrap=True)
