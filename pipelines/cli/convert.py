"""`kerasseg convert`."""

from pathlib import Path

import click

from .. import datasets
from . import options


@click.command("convert")
@click.option(
    "--dataset",
    type=options.DatasetName(),
    required=True,
    help=f"What to convert: {', '.join(datasets.choices())}.",
)
@click.option("--source", type=options.existing_folder, help="Folder of the raw dataset.")
@click.option(
    "--output", type=options.folder, default=Path("data"), show_default=True, help="Where to write."
)
@click.option("--workers", type=click.IntRange(1), help="Processes; one a core unless given.")
@click.option("--allow-partial", is_flag=True, help="Accept splits of unofficial size.")
@click.option("--overwrite", is_flag=True, help="Replace a finished conversion.")
@click.option(
    "--map",
    "class_map",
    metavar="FILE|RAW:CLASS,...",
    help="Other classes than the dataset's own: a TOML or JSON file, pairs such as 255:1, or "
    "mapillary-to-cityscapes.",
)
@click.option(
    "--verify",
    type=click.Choice(["checksums", "labels", "full"]),
    default="labels",
    show_default=True,
    help="checksums: copy labels undecoded; labels: check every label; full: decode images too.",
)
@click.option("--max-side", type=click.IntRange(1), help="Make larger images smaller.")
@click.option(
    "--image-format", type=click.Choice(["jpeg", "png"]), help="Encode other images in this format."
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="JPEG.")
@click.option(
    "--runner",
    type=click.Choice(["local", "beam"]),
    default="local",
    show_default=True,
    help="beam: on a cluster, with Beam's own options after --.",
)
@options.dataset_options
@click.argument("beam_options", metavar="[-- BEAM_OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def command(
    dataset, source, output, verify, max_side, image_format, quality, beam_options, **more
) -> None:
    """Convert a raw dataset to TFRecords in OUTPUT/DATASET/1.0.0/.

    Every label is checked value by value; bad pairs are listed, and nothing is published. An
    interrupted conversion goes on where it stopped when the command is given again.
    """
    from .. import convert

    console, notes = options.console(), []
    encoding = convert.Encoding(verify, max_side, image_format, quality)
    try:
        with options.progress_bar(f"converting {dataset}") as on_progress:
            converted = convert.run(
                dataset,
                source,
                output,
                encoding=encoding,
                beam_options=beam_options,
                on_progress=on_progress,
                on_note=notes.append,
                **options.given_dataset_options(more),
            )
    except convert.ConversionError as error:
        options.print_problems(error.problems)
        raise
    except KeyboardInterrupt as error:
        raise click.ClickException(
            f"interrupted; the same command goes on with {output / dataset}."
        ) from error
    for note in notes:
        console.print(note, soft_wrap=True)
    for split in converted.splits.values():
        size = sum(shard["bytes"] for shard in split.shards) / 2**20
        console.print(
            f"{split.name}: {split.examples} images, {len(split.shards)} shards, {size:.1f} MiB"
        )
    console.print(f"{len(converted.classes.names)} classes in {converted.root}", soft_wrap=True)
