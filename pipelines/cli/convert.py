"""`kerasseg convert`."""

from pathlib import Path

import click

from .. import datasets
from . import options


@click.command("convert")
@click.option(
    "--dataset", type=click.Choice(datasets.names()), required=True, help="What to convert."
)
@click.option("--source", type=options.existing_folder, help="Folder of the raw dataset.")
@click.option(
    "--output", type=options.folder, default=Path("data"), show_default=True, help="Where to write."
)
@click.option("--workers", type=click.IntRange(1), help="Threads; one a core unless given.")
@click.option("--allow-partial", is_flag=True, help="Accept splits of unofficial size.")
@click.option("--overwrite", is_flag=True, help="Replace a finished conversion.")
def command(dataset, source, output, workers, allow_partial, overwrite) -> None:
    """Convert a raw dataset to TFRecords in OUTPUT/DATASET/1.0.0/.

    Every label is checked value by value; bad pairs are listed, and nothing is published. An
    interrupted conversion goes on where it stopped when the command is given again.
    """
    from .. import convert

    console = options.console()
    try:
        with options.progress_bar(f"converting {dataset}") as on_progress:
            converted = convert.run(
                dataset,
                source,
                output,
                workers=workers,
                allow_partial=allow_partial,
                overwrite=overwrite,
                on_progress=on_progress,
            )
    except convert.ConversionError as error:
        options.print_problems(error.problems)
        raise
    except KeyboardInterrupt as error:
        raise click.ClickException(
            f"interrupted; the same command goes on with {output / dataset}."
        ) from error
    for split in converted.splits.values():
        size = sum(shard["bytes"] for shard in split.shards) / 2**20
        console.print(
            f"{split.name}: {split.examples} images, {len(split.shards)} shards, {size:.1f} MiB"
        )
    console.print(f"{len(converted.classes.names)} classes in {converted.root}", soft_wrap=True)
