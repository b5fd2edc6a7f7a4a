"""The picture of a range test of the learning rate."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kerasseg import atomic_files

from ..errors import writing_to

PICTURE, TABLE = "learning_rate.png", "learning_rate.csv"


def write(
    folder: Path,
    learning_rate: float,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
) -> None:
    """Draws and lists how the loss followed the learning rate.

    Args:
        folder: The run folder.
        learning_rate: The learning rate that was chosen.
        rates: The learning rate of each step.
        losses: The loss of each step.
        smoothed: The mean of each loss and its neighbours.

    Raises:
        InputError: If the files cannot be written.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["learning_rate", "loss", "smoothed_loss"])
    writer.writerows(zip(rates, losses, smoothed, strict=True))
    with writing_to(folder):
        atomic_files.write_text(folder / TABLE, table.getvalue())
        atomic_files.write_bytes(folder / PICTURE, _draw(learning_rate, rates, losses, smoothed))


def _draw(
    learning_rate: float, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float]
) -> bytes:
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes: Any = figure.subplots()
    axes.plot(rates, losses, ".", color="0.7", label="loss of a step")
    axes.plot(rates, smoothed, label="mean of neighbours")
    axes.axvline(learning_rate, color="C1", label=f"chosen: {learning_rate:g}")
    axes.set_xscale("log")
    # What a rate that is too high does would hide the rest.
    axes.set_ylim(0, 2 * max(smoothed[: len(smoothed) // 2]))
    axes.set_title("Range test of the learning rate")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
