"""`kerasseg convert`."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from .. import datasets
from . import options, stopping

_JSON_START = b'{\n "dataset": '  # of every outcome


@click.command("convert", cls=options.DatasetCommand)
@click.option(
    "--dataset",
    type=options.DatasetName(),
    required=True,
    help=f"Dataset to convert: {', '.join(datasets.choices())}.",
)
@click.option("--source", type=options.existing_folder, help="Folder of the raw dataset.")
@click.option(
    "--output",
    type=options.folder,
    default=Path("data"),
    show_default=True,
    help="Folder to write the converted dataset into, in a folder with its name.",
)
@click.option(
    "--name", help="Name of the converted dataset; the name of the raw dataset unless given."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of worker processes; one per CPU core unless given.",
)
@click.option(
    "--allow-partial",
    is_flag=True,
    help="Convert a copy of an official dataset that lacks images or splits.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Convert again and replace an earlier conversion of the same name.",
)
@click.option(
    "--map",
    "class_map",
    metavar="FILE|RAW:CLASS,...",
    help="Change of the classes of the labels: a TOML or JSON file, pairs such as 255:1, or the "
    "built-in map mapillary-to-cityscapes.",
)
@click.option(
    "--verify",
    type=click.Choice(["checksums", "labels", "full"]),
    default="labels",
    show_default=True,
    help="Checks of each pair of image and label. checksums: only the checksums inside the "
    "files, and labels are copied without decoding; labels: also every value of the label; full: "
    "also whether the image can be decoded.",
)
@click.option(
    "--max-side",
    type=click.IntRange(1),
    help="Number of pixels that the longer side of an image may have; larger images are scaled "
    "down together with their labels.",
)
@click.option(
    "--image-format",
    type=click.Choice(["jpeg", "png"]),
    help="Format that all images are stored in; images in other formats are encoded again. "
    "Unless given, PNG and JPEG files are copied byte for byte, and all others become PNG.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="JPEG quality of images that are encoded again as JPEG.",
)
@options.image_options
@click.option(
    "--runner",
    type=click.Choice(["local", "beam"]),
    default="local",
    show_default=True,
    help="Where the conversion runs. local: in processes on this machine; beam: as an Apache "
    "Beam pipeline, for example on a cluster, with Beam's own options after --.",
)
@click.option(
    "--json",
    "json_file",
    type=options.file,
    help="File to write the result into, as JSON: the splits or the bad pairs, and the files "
    "that were not used.",
)
@click.argument("beam_options", metavar="[-- BEAM_OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def command(
    dataset,
    source,
    output,
    name,
    verify,
    max_side,
    image_format,
    quality,
    upright,
    stretch,
    channels,
    bits,
    json_file,
    beam_options,
    **more,
) -> None:
    """Convert a raw dataset to TFRecords in OUTPUT/NAME/1.0.0/.

    Every value of every label is checked. If some pairs are bad, they are listed and no dataset is
    written. An interrupted conversion continues where it stopped when the command is given again.
    If nothing has changed since a finished conversion, nothing is done.
    """
    from .. import convert
    from ..conversion.plan import folder_name
    from ..runtime.report_files import check_writable, write_text

    encoding = convert.Encoding(
        verify, max_side, image_format, quality, upright, stretch, channels, bits
    )
    notes: list[str] = []
    if json_file:
        check_writable(json_file, _JSON_START)
    goes_on = f"the same command continues with {output / folder_name(name or dataset)}."
    try:
        with (
            stopping.telling(goes_on),
            options.progress_bar(f"converting {dataset}") as on_progress,
        ):
            converted = convert.run(
                dataset,
                source,
                output,
                name=name,
                encoding=encoding,
                beam_options=beam_options,
                on_progress=on_progress,
                on_remark=notes.append,
                **options.given_dataset_options(more),
            )
    except convert.ConversionError as error:
        _print_notes(notes)
        options.print_problems(error.problems)
        if json_file:
            write_text(json_file, _to_json(dataset, notes, error.problems, {}))
        raise
    if json_file:
        write_text(json_file, _to_json(dataset, notes, [], converted.splits))
    _print_notes(notes)
    console = options.console()
    for split in converted.splits.values():
        size = sum(shard["bytes"] for shard in split.shards) / 2**20
        shards = "1 shard" if len(split.shards) == 1 else f"{len(split.shards)} shards"
        console.print(f"{split.name}: {split.examples} images, {shards}, {size:.1f} MiB")
    console.print(f"{len(converted.classes.names)} classes in {converted.root}", soft_wrap=True)


def _to_json(dataset: str, notes, problems, splits) -> str:
    """Returns the result of a conversion; bad pairs have the keys of `check`'s findings."""
    content = {
        "dataset": dataset,
        "errors": len(problems),
        "notes": notes,
        "findings": [asdict(problem) for problem in problems],
        "splits": {name: asdict(split) for name, split in splits.items()},
    }
    return json.dumps(content, indent=1) + "\n"


def _print_notes(notes) -> None:
    for note in notes:
        options.console().print(note, soft_wrap=True)
