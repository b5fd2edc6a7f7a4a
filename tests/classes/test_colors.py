import numpy as np
import pytest

from kerasseg.pipelines.classes import ClassSpace, colors, comparison
from kerasseg.pipelines.errors import InputError


def to_lab(rgb):
    """Converts sRGB to CIELAB under D65."""
    linear = np.asarray(rgb, float) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    ratios = linear @ np.transpose(matrix) / [0.95047, 1, 1.08883]
    roots = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def difference(one, other):
    """Computes CIEDE2000 of colours in CIELAB."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(other, -1, 0)
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean**7 / (mean**7 + 25.0**7))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1 = np.degrees(np.arctan2(b1, a1 * stretch)) % 360
    h2 = np.degrees(np.arctan2(b2, a2 * stretch)) % 360
    turn = np.where(c1 * c2 == 0, 0, (h2 - h1 + 180) % 360 - 180)
    hue = np.where(c1 * c2 == 0, h1 + h2, (h1 + turn / 2) % 360)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    cosine = lambda factor, shift: np.cos(np.radians(factor * hue + shift))  # noqa: E731
    weight = 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0)
    weight = weight + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
    of_lightness = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    of_chroma, of_hue = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    rotation = 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation *= -np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    d_chroma = (c2 - c1) / of_chroma
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / of_hue
    d_lightness = (l2 - l1) / of_lightness
    return np.sqrt(d_lightness**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue)


@pytest.mark.parametrize(
    ("one", "other", "expected"),  # of the table of Sharma et al., 2005
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_of_colours_is_that_of_its_paper(one, other, expected):
    assert difference(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-4)


def nearest(count):
    """Returns the least difference of two of the first colours, black and white among them."""
    lab = to_lab([(0, 0, 0), (255, 255, 255), *map(colors.color_of, range(count))])
    apart = difference(lab[:, None], lab[None])
    return apart[~np.eye(len(lab), dtype=bool)].min()


def test_the_first_colours_are_distinguished_easily_and_all_at_all():
    # Above 2.3 two colours are seen to differ; 16 is the distance of red and orange.
    assert nearest(30) > 16
    assert nearest(100) > 9
    assert nearest(255) > 6


def test_no_colour_is_dark_pale_or_gray_as_a_photograph_is():
    lab = to_lab([colors.color_of(index) for index in range(255)])
    assert lab[:, 0].min() >= 30
    assert lab[:, 0].max() <= 92
    assert np.hypot(lab[:, 1], lab[:, 2]).min() >= 30


@pytest.mark.parametrize(
    "name",
    [
        "background",
        "_background_",
        "Background",
        "void",
        "Unlabelled",
        "unlabeled",
        "other",
        "none",
    ],
)
def test_a_background_is_black_and_undrawn_by_its_name(name):
    names = (name, "car")
    assert colors.complete(names, {}) == ((0, 0, 0), colors.color_of(0))
    assert ClassSpace(names, colors.complete(names, {})).undrawn == (0,)


@pytest.mark.parametrize("names", [("road", "background"), ("backgrounds", "car"), ("sky", "void")])
def test_pictures_leave_out_no_class_but_a_background_in_the_first_place(names):
    assert ClassSpace(names, colors.complete(names, {})).undrawn == ()


def test_given_colours_stay_and_no_other_class_gets_them():
    names = ("void", "none", "a", "b", "c")
    first, second, third = map(colors.color_of, range(3))
    assert colors.complete(names, {"b": first}) == (
        (0, 0, 0),
        second,
        third,
        first,
        colors.color_of(3),
    )
    assert colors.complete(("background", "tar"), {"tar": (0, 0, 0)})[0] == first


@pytest.mark.parametrize("count", [2, 150, 255])
def test_as_many_classes_as_there_may_be_have_colours_that_differ(count):
    made = colors.complete([f"class {i}" for i in range(count)], {})
    assert len({*made}) == count


def test_placeholders_are_known_by_their_names_with_any_colours():
    made = comparison.placeholder_classes(3)
    assert made.colors == tuple(map(colors.color_of, range(3)))
    of_release_0_1 = ClassSpace(made.names, ((0, 60, 120), (37, 157, 37), (74, 254, 210)))
    assert comparison.has_placeholders(of_release_0_1, 3)
    assert not comparison.has_placeholders(of_release_0_1, 4)
    assert not comparison.has_placeholders(ClassSpace(("a", "b", "c"), made.colors), 3)


@pytest.mark.parametrize("color", [(0, 0), (0, 0, 300), (0, 0, -1), (0, 0, 0.5), ("a", "b", "c")])
def test_a_colour_is_three_bytes(color):
    with pytest.raises(InputError, match=r"three whole numbers in \[0, 255\], got \("):
        ClassSpace(("road", "car"), ((1, 2, 3), color))


def test_a_name_is_text():
    with pytest.raises(InputError, match="must be text of one line, got 1"):
        ClassSpace(("road", 1), ((1, 2, 3), (4, 5, 6)))  # pyright: ignore[reportArgumentType]
