"""The reliability diagram: accuracy by confidence, before and after a calibration."""

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .reliability import BINS, Reliability


def draw(before: Reliability, after: Reliability, temperature: float, title: str) -> bytes:
    """Draws two diagrams side by side, each above the share of the pixels in its bins.

    Args:
        before: Pixels by confidence at temperature 1.
        after: The same at the fitted temperature.
        temperature: The fitted temperature.
        title: Title of the picture.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=(10, 6.4), dpi=100, layout="constrained")
    axes: Any = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    columns = ((before, "before, temperature 1"), (after, f"after, temperature {temperature:.3g}"))
    for (upper, lower), (counted, name) in zip(axes.T, columns, strict=True):
        _draw_bins(upper, counted)
        error = counted.expected_calibration_error
        upper.set_title(f"{name}\nexpected calibration error {error:.4f}")
        _draw_shares(lower, counted)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("share of pixels")
    axes[0, 0].legend(loc="upper left")
    figure.suptitle(title)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def _draw_bins(axes: Any, counted: Reliability) -> None:
    there = counted.pixels > 0
    left = np.arange(BINS)[there] / BINS
    accuracy = (counted.correct[there] / counted.pixels[there]).tolist()
    confidence = (counted.confidence[there] / counted.pixels[there]).tolist()
    style = {"width": 1 / BINS, "align": "edge", "edgecolor": "white"}
    axes.bar(left, accuracy, color="C0", label="accuracy", **style)
    gap = np.subtract(confidence, accuracy)
    axes.bar(
        left, gap, bottom=accuracy, color="C3", alpha=0.45, label="distance to confidence", **style
    )
    axes.plot((0, 1), (0, 1), "--", color="0.4", label="accuracy = confidence")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)


def _draw_shares(axes: Any, counted: Reliability) -> None:
    shares = counted.pixels / counted.pixels.sum()
    axes.bar(np.arange(BINS) / BINS, shares, width=1 / BINS, align="edge", edgecolor="white")
    axes.set_yscale("log")
    axes.set_xlabel("confidence (largest probability)")
    axes.grid(alpha=0.3)
