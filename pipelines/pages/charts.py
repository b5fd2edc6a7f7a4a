"""Charts as SVG, part of a page: curves, bars of scores, and the diagram of calibration.

Each has a description for those who cannot see it, and stands beside a table of its numbers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from .document import text

# Colours that people with any colour vision tell apart (Okabe and Ito), and dashes beside them.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")
_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 10, 36
STYLE = """
.charts { display: flex; flex-wrap: wrap; gap: 1em 2em; }
.charts > * { min-width: 0; } .charts figure { margin: 0; flex: 0 1 440px; }
.charts svg { width: 100%; }
svg { height: auto; font: 12px system-ui, sans-serif; } svg text { fill: #202020; }
svg .grid { stroke: #ddd; } svg .axis { stroke: #666; } svg .diagonal { stroke: #666; }
.key svg { width: 28px; height: 10px; vertical-align: middle; margin-right: .3em; }
.key span { display: inline-block; margin-right: 1.2em; }
td svg { display: block; margin-top: .25em; }
"""

Points = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Points], title: str) -> str:
    """Draws curves over the epochs of a training, with a legend below.

    Args:
        series: Points (epoch, value) of each curve, which is not empty, in the order of epochs.
        title: What the curves show.

    Returns:
        A figure, HTML.
    """
    points = [point for curve in series.values() for point in curve]
    epochs, values = zip(*points, strict=True)
    frame = _Frame(*_bounds(epochs), *_bounds(values), least_step=1)
    drawn, keys, told = [], [], []
    for number, (name, curve) in enumerate(series.items()):
        look = f'stroke="{_COLORS[number % 6]}" stroke-dasharray="{_DASHES[number % 6]}"'
        drawn.append(_line(frame, curve, look))
        keys.append(f"<span>{_key(look)}{text(name)}</span>")
        told.append(f"{name} from {_number(curve[0][1])} to {_number(curve[-1][1])}")
    description = f"{title}: {'; '.join(told)}."
    picture = _svg([*_axes(frame, "epoch"), *drawn], description)
    key = f'<span class="key">{"".join(keys)}</span>'
    return f"<figure>{picture}\n<figcaption>{text(title)}<br>{key}</figcaption></figure>"


def _key(look: str) -> str:
    line = f'<path d="M0 5H28" fill="none" stroke-width="2" {look}/>'
    return f'<svg viewBox="0 0 28 10" aria-hidden="true">{line}</svg>'


def reliability(
    accuracy: Sequence[float | None], confidence: Sequence[float | None], description: str
) -> str:
    """Draws the diagram of calibration: accuracy by confidence, and the diagonal between them.

    Args:
        accuracy: Share of correct pixels in each of the bins of equal width; None for empty ones.
        confidence: Mean confidence in each bin.
        description: What it shows.

    Returns:
        A figure, HTML.
    """
    frame = _Frame(0, 1, 0, 1)
    bars = []
    for number, (right, sure) in enumerate(zip(accuracy, confidence, strict=True)):
        if right is None or sure is None:
            continue
        left, until = number / len(accuracy), (number + 1) / len(accuracy)
        bars.append(_bar(frame, left, until, 0, right, 'fill="#0072b2" stroke="#fff"'))
        low, high = sorted((right, sure))
        bars.append(_bar(frame, left, until, low, high, 'fill="#d55e00" fill-opacity=".35"'))
    diagonal = _line(frame, [(0, 0), (1, 1)], 'class="diagonal" stroke-dasharray="4 3"')
    picture = _svg([*_axes(frame, "confidence"), *bars, diagonal], description)
    caption = (
        "Accuracy by confidence, in bars; the orange part of a bar is the gap between accuracy and "
        "mean confidence. A calibrated network has its bars on the dashed line."
    )
    return f"<figure>{picture}\n<figcaption>{caption}</figcaption></figure>"


def score_bar(value: float, interval: Sequence[float] | None, color: Sequence[int]) -> str:
    """Draws a score in [0, 1] as a bar with its interval; its numbers stand beside it in a table.

    Args:
        value: The score.
        interval: Lower and upper bound, or None.
        color: (red, green, blue) of the bar.
    """
    red, green, blue = color
    parts = [
        '<rect x="0.5" y="0.5" width="200" height="13" fill="#f4f4f4" stroke="#ddd"/>',
        f'<rect x="0.5" y="0.5" width="{200 * value:.1f}" height="13" '
        f'fill="rgb({red},{green},{blue})" stroke="#666"/>',
    ]
    if interval is not None:
        low, high = (200 * bound + 0.5 for bound in interval)
        path = f"M{low:.1f} 4V10M{low:.1f} 7H{high:.1f}M{high:.1f} 4V10"
        # A dark line on a light one is seen on a bar of any colour.
        parts += [
            f'<path d="{path}" fill="none" stroke="#fff" stroke-width="4"/>',
            f'<path d="{path}" fill="none" stroke="#000" stroke-width="1.5"/>',
        ]
    return f'<svg width="201" viewBox="0 0 201 14" aria-hidden="true">{"".join(parts)}</svg>'


class _Frame:
    """Maps values to positions within a chart."""

    def __init__(
        self, x_low: float, x_high: float, y_low: float, y_high: float, least_step: float = 0
    ):
        self.x_ticks, self.y_ticks = _ticks(x_low, x_high, least_step), _ticks(y_low, y_high)
        self._x = min(x_low, self.x_ticks[0]), max(x_high, self.x_ticks[-1])
        self._y = min(y_low, self.y_ticks[0]), max(y_high, self.y_ticks[-1])

    def x(self, value: float) -> float:
        """Returns the position of a value from left to right, in pixels."""
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Returns the position of a value from above, in pixels."""
        low, high = self._y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _bounds(values: Iterable[float]) -> tuple[float, float]:
    """Returns the smallest and the largest of the finite values, never the same."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, least_step: float = 0) -> list[float]:
    """Returns three to six round numbers that reach from one bound to the other."""
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    step = max(step, least_step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _axes(frame: _Frame, x_title: str) -> list[str]:
    left, right = _LEFT, _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for value in frame.y_ticks:
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(_label(left - 6, y + 4, "end", _number(value)))
    for value in frame.x_ticks:
        x = frame.x(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
        parts.append(_label(x, bottom + 16, "middle", _number(value)))
    return [
        *parts,
        f'<path class="axis" d="M{left} {bottom}H{right}"/>',
        _label((left + right) / 2, _HEIGHT - 4, "middle", x_title),
    ]


def _label(x: float, y: float, anchor: str, content: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(content)}</text>'


def _line(frame: _Frame, points: Points, look: str) -> str:
    """Draws a curve; what is not finite interrupts it, and a single point is a dot."""
    path, pen_is_up = [], True
    for x, y in points:
        if not math.isfinite(y):
            pen_is_up = True
            continue
        path.append(f"{'M' if pen_is_up else 'L'}{frame.x(x):.1f} {frame.y(y):.1f}")
        pen_is_up = False
    path += ["h0"] if len(path) == 1 else []
    style = 'fill="none" stroke-width="2" stroke-linecap="round"'
    return f'<path d="{"".join(path)}" {style} {look}/>'


def _bar(frame: _Frame, left: float, right: float, low: float, high: float, look: str) -> str:
    x, y = frame.x(left), frame.y(high)
    width, height = frame.x(right) - x, frame.y(low) - y
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {look}/>'


def _svg(parts: Sequence[str], description: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(description)}">'
        f"{''.join(parts)}</svg>"
    )


def _number(value: float) -> str:
    return f"{value:.4g}"
