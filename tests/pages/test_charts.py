import xml.etree.ElementTree as ET

import numpy as np
import pytest

from kerasseg.pipelines.pages import charts


def parts(figure):
    return ET.fromstring(figure.replace("<br>", "<br/>")).iter()


def test_a_curve_is_drawn_through_its_points_and_told_in_words():
    figure = charts.curves({"loss": [(1, 2.0), (2, float("nan")), (3, 1.0), (4, 0.5)]}, "A & B")
    (line,) = [
        p for p in parts(figure) if p.get("stroke-width") == "2" and p.get("d", "")[:3] != "M0 "
    ]
    assert line.get("d").count("M") == 2  # the curve is interrupted
    (picture,) = [p for p in parts(figure) if p.get("role") == "img"]
    assert picture.get("aria-label") == "A & B: loss from 2 to 0.5."


@pytest.mark.parametrize("points", [[(1, 0.0)], [(1, 3.0), (2, 3.0)], [(1, 1e-9), (2, 1e9)]])
def test_curves_without_a_range_are_drawn_too(points):
    assert "nan" not in charts.curves({"loss": points}, "Loss").lower()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.123, 0.124), (1, 45), (-3, 1e6), (0.5, 1.5)])
def test_ticks_are_few_round_and_reach_from_end_to_end(low, high):
    ticks = charts._ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    step = ticks[1] - ticks[0]
    assert np.isclose(step / 10 ** np.floor(np.log10(step * 1.0001)), [1, 2, 5]).any()


def test_a_diagram_of_calibration_has_bars_as_high_as_the_accuracy():
    figure = charts.reliability([None, 0.25, 1.0], [None, 0.5, 0.9], "told")
    bars = [p for p in parts(figure) if p.get("fill") == "#0072b2"]
    heights = [float(bar.get("height")) for bar in bars]
    assert heights[0] / heights[1] == pytest.approx(0.25, abs=0.01)
