"""`kerasseg check`."""

from collections.abc import Iterator

import click

from . import options, startup, stopping

MOST_FINDINGS = 20  # of a kind
_MOST_VALUES = 20
_SAMPLES = 6


@click.command("check", cls=options.DatasetCommand)
@click.argument("path", type=options.existing_folder)
@click.option(
    "--dataset",
    type=options.DatasetName(),
    help="Dataset that a raw PATH holds, named as for 'kerasseg convert'; recognised by its "
    "layout unless given.",
)
@click.option(
    "--map",
    "class_map",
    metavar="FILE|RAW:CLASS,...",
    help="Change of the classes, the same as --map of 'kerasseg convert': a TOML or JSON file, "
    "pairs such as 255:1, or the built-in map mapillary-to-cityscapes.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Also decode every image; without this option only the checksums in its file are checked.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of threads; one per CPU core unless given."
)
@click.option(
    "--json",
    "json_file",
    type=options.file,
    help="File to write all findings and counts into, as JSON.",
)
@click.option(
    "--html",
    "html_file",
    type=options.file,
    help="File to write a web page into, with the findings and pictures of images and labels.",
)
@click.option(
    "--samples",
    type=click.IntRange(0),
    help="Number of images per split that the page of --html shows; 6 unless given.",
)
@click.option(
    "--with",
    "network",
    type=options.run_or_model_file,
    metavar="RUN",
    help="Trained run, or .keras file, with the classes of the dataset: regions where its network "
    "is sure and contradicts the label are listed as suspected label errors, with pictures in "
    "--html.",
)
@click.option(
    "--suspects",
    type=click.IntRange(1),
    help="Number of suspected label errors that --with lists, the most suspicious first; 50 unless "
    "given.",
)
@options.checkpoint_option
@options.code_option
@options.image_options
def command(path, dataset, json_file, html_file, samples, **more) -> None:
    """Find everything that is wrong with PATH, a raw or a converted dataset.

    Looks for missing and damaged files, labels with a wrong size or wrong values, images that are
    in two splits, and classes that cannot be learned. The exit code is 1 if there are errors, and 0
    if there are only warnings or suspected label errors.
    """
    if samples is not None and html_file is None:
        raise click.UsageError("--samples must be given with --html.")
    if more["network"] is not None:
        startup.load_tensorflow()
    from .. import check
    from ..checks import page
    from ..checks.report import JSON_START, write_json
    from ..runtime.report_files import check_writable

    for file, beginning in ((json_file, JSON_START), (html_file, page.START)):
        if file:
            check_writable(file, beginning)
    with (
        stopping.telling("nothing was written."),
        options.progress_bar(f"checking {path}") as on_progress,
    ):
        report = check.run(
            path,
            dataset,
            samples=_samples(html_file, samples),
            on_progress=on_progress,
            **options.given_dataset_options(more),
        )
    print_report(report)
    console = options.console()
    for file, write in ((json_file, write_json), (html_file, page.write)):
        if file:
            write(report, file)
            console.print(f"written to {file}", soft_wrap=True)
    console.print(report.verdict)
    if report.errors:
        raise click.exceptions.Exit(1)


def _samples(html_file, samples: int | None) -> int:
    """Returns the number of images per split to draw: none without a page to show them."""
    if html_file is None:
        return 0
    return _SAMPLES if samples is None else samples


def print_report(report) -> None:
    """Prints the splits, the classes, the findings and the values that mean no class."""
    from ..checks.page import kinds_text, splits_table

    options.print_table(
        *splits_table(report.splits),
        title=f"{report.dataset}, {'converted' if report.is_converted else 'raw'}",
    )
    options.print_table(
        ("split", "image files", "label files"),
        [(s.name, kinds_text(s.image_kinds), kinds_text(s.label_kinds)) for s in report.splits],
    )
    _print_classes(report)
    for line in report.passed_over:
        options.console().print(line, soft_wrap=True)
    if report.findings:
        options.print_table(
            ("", "file", "what is wrong", "likely cause"), list(_finding_rows(report))
        )
    if report.unlisted:
        _print_values(report.unlisted, report.unlisted_cause)
    _print_palettes(report)
    _print_suspects(report)


def _print_suspects(report) -> None:
    """Prints the most suspicious regions, if labels were compared with a network."""
    from ..checks.suspects import suspects_table, suspects_text

    if report.suspects is None:
        return
    if report.suspects.regions:
        options.print_table(
            *suspects_table(report.suspects.regions), title="suspected label errors"
        )
    options.console().print(suspects_text(report.suspects), soft_wrap=True)


def _print_classes(report) -> None:
    from ..checks.page import ignored_text, share_text

    columns = ["class"]
    for split in report.splits:
        columns += [f"{split.name} %", "images"]
    rows = []
    for label, name in enumerate(report.classes.names):
        row = [name]
        for split in report.splits:
            row += [share_text(split.share(label)), str(split.images_with_class[label])]
        rows.append(row)
    options.print_table(columns, rows, title="percent of the labelled pixels, and images")
    options.console().print(ignored_text(report), soft_wrap=True)


def _print_values(values, cause: str) -> None:
    from ..checks.page import value_text

    options.print_table(
        ("value", "pixels", "labels"),
        [(value_text(v), str(v.pixels), str(v.labels)) for v in values[:_MOST_VALUES]],
        title="raw values outside the table, over all labels",
    )
    if len(values) > _MOST_VALUES:
        options.console().print(f"and {len(values) - _MOST_VALUES} more values")
    options.console().print(f"likely cause: {cause}", soft_wrap=True)


def _print_palettes(report) -> None:
    """Prints the palettes if they differ, and how the labels were understood."""
    from ..checks.page import PALETTE_COLUMNS, palette_rows

    if len(report.palettes) > 1:
        rows = palette_rows(report.palettes)
        options.print_table(PALETTE_COLUMNS, rows, title="palettes of the labels")
        if len(report.palettes) > len(rows):
            options.console().print(f"and {len(report.palettes) - len(rows)} more palettes")
    for remark in report.remarks:
        options.console().print(remark, soft_wrap=True)


def _finding_rows(report) -> Iterator[tuple[str, str, str, str]]:
    """Yields the first findings of each kind, and how many more there are."""
    for (severity, kind), findings in report.by_kind().items():
        for finding in findings[:MOST_FINDINGS]:
            yield severity, finding.file, finding.what, finding.cause
        if len(findings) > MOST_FINDINGS:
            yield severity, f"and {len(findings) - MOST_FINDINGS} more", kind, ""
