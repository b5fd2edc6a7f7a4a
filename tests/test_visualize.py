import numpy as np
import pytest

from kerasseg import visualize

COLORS = [(10, 20, 30), (200, 100, 50)]


def test_a_label_is_painted_in_its_colours_and_ignored_pixels_in_white():
    painted = visualize.colorize(np.array([[0, 1, 255]], np.uint8), COLORS)
    np.testing.assert_array_equal(painted, [[[10, 20, 30], [200, 100, 50], [255, 255, 255]]])


def test_an_overlay_mixes_by_opacity_and_leaves_ignored_pixels():
    image = np.full((1, 2, 3), 100, np.uint8)
    mixed = visualize.overlay(image, np.array([[1, 255]], np.uint8), COLORS, opacity=0.25)
    # 0.75 * 100 + 0.25 * (200, 100, 50)
    np.testing.assert_array_equal(mixed, [[[125, 100, 88], [100, 100, 100]]])


def test_an_overlay_leaves_the_classes_that_are_to_stay_undrawn():
    image = np.full((1, 3, 3), 100, np.uint8)
    mixed = visualize.overlay(image, np.array([[0, 1, 255]], np.uint8), COLORS, 0.25, undrawn=[0])
    np.testing.assert_array_equal(mixed, [[[100, 100, 100], [125, 100, 88], [100, 100, 100]]])


def test_a_label_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"size \(4, 4\), got \(4, 5\)"):
        visualize.overlay(np.zeros((4, 4, 3)), np.zeros((4, 5), np.uint8), COLORS)


def test_an_opacity_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        visualize.overlay(np.zeros((1, 1, 3)), np.zeros((1, 1), np.uint8), COLORS, opacity=1.5)
