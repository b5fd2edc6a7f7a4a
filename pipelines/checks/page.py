"""A check's report as one HTML page: tables, legend and pictures, nothing outside of the file."""

from collections.abc import Sequence
from pathlib import Path

from ..pages import document
from ..pages.document import text
from ..runtime.report_files import write_text
from . import suspects_page
from .pictures import UNLISTED_COLOR
from .report import Finding, PaletteReport, Picture, Report, SplitReport, UnlistedValue

MOST_FINDINGS = 200  # of a kind; JSON has all
PALETTE_COLUMNS = ("palette", "labels", "files")
_MOST_VALUES = 50
_MOST_PALETTES, _MOST_ENTRIES, _MOST_FILES = 20, 8, 3
_COMMAND = "check"
START = document.start(_COMMAND)


def write(report: Report, path: Path) -> None:
    """Writes a report as a page.

    Args:
        report: The report, with the pictures of the page.
        path: File to write.

    Raises:
        InputError: If it cannot be written.
    """
    write_text(path, render(report))


def render(report: Report) -> str:
    """Returns the page; text from files is escaped, and there are no scripts."""
    kind = "converted" if report.is_converted else "raw"
    title = f"{report.dataset}, {kind}: {report.verdict}"
    parts = [
        f"<p>{text(str(report.path))}</p>",
        "<h2>Splits</h2>",
        _splits_html(report.splits),
        "<h2>Classes</h2>",
        _classes_table(report),
        *_findings(report),
        *_values(report),
        *_palettes(report),
        *(suspects_page.render(report.suspects, _legend(report)) if report.suspects else ()),
        *_pictures(report),
    ]
    return document.render(_COMMAND, title, parts, style=suspects_page.STYLE)


def splits_table(splits: Sequence[SplitReport]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns columns and rows of the table of splits, as text."""
    columns = ("split", "pairs", "official", "images", "labels", "image size")
    rows = [
        (
            split.name,
            str(split.pairs),
            "-" if split.official is None else str(split.official),
            str(split.images),
            str(split.labels),
            sizes_text(split),
        )
        for split in splits
    ]
    return columns, rows


def _splits_html(splits: Sequence[SplitReport]) -> str:
    columns, rows = splits_table(splits)
    escaped = [
        [text(cell) for cell in (*row, kinds_text(s.image_kinds), kinds_text(s.label_kinds))]
        for row, s in zip(rows, splits, strict=True)
    ]
    note = "<p>Sizes are height x width.</p>"
    return document.table((*columns, "image files", "label files"), escaped, range(1, 5)) + note


def sizes_text(split: SplitReport) -> str:
    """Formats the sizes of a split's images, height x width."""
    sizes = [size for size in (split.smallest, split.median, split.largest) if size]
    texts = [f"{height}x{width}" for height, width in sizes]
    if len(set(texts)) < 2:
        return texts[0] if texts else "-"
    return f"{texts[0]} to {texts[2]}, median {texts[1]}"


def kinds_text(kinds: dict[str, int]) -> str:
    """Formats numbers of files of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "-"


def share_text(share: float | None) -> str:
    """Formats a class's share in percent; a class that occurs is never shown as 0."""
    if share is None:
        return "-"
    return "<0.01" if 0 < share < 0.0001 else f"{100 * share:.2f}"


def ignored_text(report: Report) -> str:
    """Formats the share of the pixels of each split that are ignored."""
    shares = []
    for split in report.splits:
        total = sum(split.class_pixels) + split.ignored_pixels
        share = split.ignored_pixels / total if total else None
        shares.append(f"{share_text(share)} % of {split.name}")
    return f"ignored pixels: {', '.join(shares)}"


def _classes_table(report: Report) -> str:
    columns = ["class"]
    for split in report.splits:
        columns += [f"{split.name} %", f"{split.name} images"]
    rows = []
    for label, name in enumerate(report.classes.names):
        row = [document.swatch(report.classes.colors[label]) + text(f"{label} {name}")]
        for split in report.splits:
            images = str(split.images_with_class[label])
            row += [text(share_text(split.share(label))), images]
        rows.append(row)
    note = f"<p>Percent of the labelled pixels; {text(ignored_text(report))}.</p>"
    return document.table(columns, rows, range(1, len(columns))) + note


def _findings(report: Report) -> list[str]:
    parts = ["<h2>What is wrong</h2>"]
    if not report.findings:
        return [*parts, "<p>Nothing.</p>"]
    for (severity, kind), findings in report.by_kind().items():
        parts.append(f'<h3 class="{severity}">{severity}: {text(kind)} ({len(findings)})</h3>')
        rows = [_finding_row(finding) for finding in findings[:MOST_FINDINGS]]
        parts.append(document.table(("split", "file", "what is wrong", "likely cause"), rows, ()))
        if len(findings) > MOST_FINDINGS:
            parts.append(f"<p>and {len(findings) - MOST_FINDINGS} more</p>")
    return parts


def _finding_row(finding: Finding) -> list[str]:
    return [text(t) for t in (finding.split, finding.file, finding.what, finding.cause)]


def _values(report: Report) -> list[str]:
    if not report.unlisted:
        return []
    rows = [
        (text(value_text(value)), str(value.pixels), str(value.labels))
        for value in report.unlisted[:_MOST_VALUES]
    ]
    more = len(report.unlisted) - len(rows)
    return [
        "<h2>Raw values outside the table, over all labels</h2>",
        f"<p>Likely cause: {text(report.unlisted_cause)}</p>",
        document.table(("value", "pixels", "labels"), rows, range(3)),
        *([f"<p>and {more} more</p>"] if more else []),
    ]


def _palettes(report: Report) -> list[str]:
    parts = ["<h2>How labels were understood</h2>"] if report.remarks else []
    parts += [f"<p>{text(remark)}</p>" for remark in report.remarks]
    if len(report.palettes) < 2:
        return parts
    rows = [[text(cell) for cell in row] for row in palette_rows(report.palettes)]
    more = len(report.palettes) - len(rows)
    return [
        *parts,
        "<h2>Palettes of the labels</h2>",
        document.table(PALETTE_COLUMNS, rows, (1,)),
        *([f"<p>and {more} more</p>"] if more else []),
    ]


def palette_rows(palettes: Sequence[PaletteReport]) -> list[tuple[str, str, str]]:
    """Returns the rows of the table of palettes, as text: colours, number of labels, files."""
    rows = []
    for palette in palettes[:_MOST_PALETTES]:
        colors = [f"{i} {color}" for i, color in enumerate(palette.colors[:_MOST_ENTRIES])]
        more = len(palette.colors) - len(colors)
        files = palette.files[:_MOST_FILES]
        rows.append(
            (
                ", ".join(colors) + (f" and {more} more" if more else ""),
                str(palette.labels),
                ", ".join(files) + (" ..." if palette.labels > len(files) else ""),
            )
        )
    return rows


def value_text(value: UnlistedValue) -> str:
    """Formats a raw value or colour."""
    return "others" if value.value is None else str(value.value)


def _pictures(report: Report) -> list[str]:
    if not report.pictures:
        return []
    parts = ["<h2>Pictures</h2>", _legend(report), "<p>Image, label, and both.</p>"]
    for is_problem, title in ((True, "labels that are wrong"), (False, "samples")):
        for split in report.splits:
            chosen = [
                picture
                for picture in report.pictures
                if (picture.is_problem, picture.split) == (is_problem, split.name)
            ]
            if chosen:
                parts += [f"<h3>{split.name}: {title}</h3>", *map(_figure, chosen)]
    return parts


def _legend(report: Report) -> str:
    has_problems = any(picture.is_problem for picture in report.pictures)
    more = [("outside the table", UNLISTED_COLOR)] if has_problems else []
    return document.legend(report.classes, more)


def _figure(picture: Picture) -> str:
    images = [
        document.image(content, f"{what} of {picture.file}")
        for what, content in (
            ("image", picture.image),
            ("label", picture.label),
            ("overlay", picture.overlay),
        )
    ]
    return document.figure(images, f"<b>{text(picture.file)}</b> {text(picture.caption)}")
