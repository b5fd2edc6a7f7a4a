"""What commands print: tables for people on a terminal, and lines for machines elsewhere.

A pipe or a file receives one record per line with tabs between the columns; nothing is wrapped,
padded or cut.
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import printable
from ..runs.intervals import describe_duration

_LINE_EVERY = 60.0  # seconds between two lines without a terminal


def console():
    """Returns the console for a command's reports; control characters have no effect on it."""
    from .terminal import NameSafeConsole

    shown = is_for_people()
    # Notebooks set FORCE_COLOR, which makes Rich treat any file as a terminal.
    return NameSafeConsole(soft_wrap=not shown, force_terminal=None if shown else False)


def is_for_people() -> bool:
    """Tells whether the output goes to a terminal; a closed output does not."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Prints a table; a terminal shows columns of numbers aligned to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if is_for_people():
        _print_for_people(columns, rows, title)
    else:
        lines = ([title] if title else []) + ["\t".join(row) for row in (columns, *rows)]
        print("\n".join(lines))


def _print_for_people(columns: Sequence[str], rows: list[list[str]], title: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[column, *(row[index] for row in rows)] for index, column in enumerate(columns)]
    # A number or a short word broken in two would read as two; paths and sentences may be broken.
    widths = [
        max((len(word) for cell in column for word in cell.split() if len(word) <= 14), default=0)
        for column in cells
    ]
    fits = sum(widths) + 2 * len(widths) < console().width
    table = Table(
        title=title or None,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    for column, width in zip(cells, widths, strict=True):
        numeric = len(column) > 1 and all(map(_is_number, column[1:]))
        table.add_column(
            column[0],
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=width if fits else None,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def _is_number(text: str) -> bool:
    return text == "-" or text.lstrip("+-").replace(",", "").replace(".", "", 1).isdigit()


class Bar:
    """A progress bar, which is called with the done and total numbers.

    Without a terminal, as in the log of a cluster, a line per minute stands for the bar. It goes to
    the standard error, as another program may read what the command prints.

    Args:
        text: What is being done.
        progress: Rich's display.
        task: Its task.
    """

    def __init__(self, text: str, progress, task):
        self._text, self._progress, self._task = text, progress, task
        self._begun = self._printed = time.monotonic()
        self._done = 0.0

    def __call__(self, done: float, total: float) -> None:
        """Moves the bar."""
        self._progress.update(self._task, completed=done, total=total)
        now = time.monotonic()
        if done < self._done:  # another pass over the same images
            self._begun = now
        elif 0 < done < total:
            left = describe_duration((now - self._begun) / done * (total - done))
            self.tell(f"{self._text}: {done / total:.0%}, {left} left")
        self._done = done

    def describe(self, text: str) -> None:
        """Changes the text before the bar."""
        from rich.markup import escape

        self._progress.update(self._task, description=escape(printable(text)))

    def tell(self, text: str) -> None:
        """Prints a line, unless there is a terminal or the last line was less than a minute ago."""
        if not is_for_people() and time.monotonic() - self._printed >= _LINE_EVERY:
            self._printed = time.monotonic()
            print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress_bar(text: str):
    """Shows a progress bar on a terminal; yields the `Bar`."""
    from rich.markup import escape
    from rich.progress import Progress

    shown = console()
    with Progress(console=shown, transient=True, disable=not shown.is_terminal) as progress:
        task = progress.add_task(escape(printable(text)))
        yield Bar(text, progress, task)


class FramesReport:
    """Shows the frames per second of a video: at the bar, and in a line when it is finished.

    Args:
        bar: The bar.
    """

    def __init__(self, bar: Bar):
        self._bar = bar

    def __call__(self, progress) -> None:
        """Shows how far a `video_results.Progress` is."""
        of = f" of {progress.count:,}" if progress.count and not progress.is_finished else ""
        noun = "frame" if progress.done == 1 and not of else "frames"
        frames = f"{progress.done:,}{of} {noun}, {progress.rate:.1f} frames/s"
        if progress.is_finished:
            console().print(f"{progress.video}: {frames}", soft_wrap=True)
            return
        left = max(progress.count - progress.done, 0)
        if progress.count and progress.rate:
            frames += f", {describe_duration(left / progress.rate)} left"
        self._bar.describe(f"{progress.video.name}: {frames}")
        self._bar.tell(f"{progress.video}: {frames}")


def print_problems(problems) -> None:
    """Prints the files that cannot be used, what is wrong with them and the likely cause."""
    print_table(
        ("file", "what is wrong", "likely cause"), [(p.file, p.what, p.cause) for p in problems]
    )


def value_text(value: Any) -> str:
    """Formats the value of an option as the command line takes it; an absent value is a dash."""
    if value is None or value in ([], ()):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def percent(score: float | None) -> str:
    """Formats a score for a table; an absent score is a dash, never a zero."""
    return "-" if score is None else f"{100 * score:.1f}"
