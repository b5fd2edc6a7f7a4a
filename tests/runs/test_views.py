import re

import numpy as np
import pytest

import kerasseg
from kerasseg.layers import AveragedViews, SlidingWindow
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.views import WHOLE, View, seen


def test_the_whole_image_is_the_network_itself(tiny_run):
    model = kerasseg.load(tiny_run)
    assert seen(model, WHOLE) is model
    assert WHOLE.facts() is None


def test_windows_are_below_the_scales_as_in_openmmlab(tiny_run):
    model = kerasseg.load(tiny_run)
    image = np.random.default_rng(0).uniform(0, 255, (1, 21, 33, 3)).astype(np.float32)
    windows = seen(model, View((16, 16), (8, 8)))
    np.testing.assert_array_equal(windows(image), SlidingWindow(model, (16, 16), (8, 8))(image))
    both = seen(model, View((16, 16), (8, 8), scales=(0.5, 1.0), flip=True))
    np.testing.assert_array_equal(both(image), AveragedViews(windows, (0.5, 1.0), True)(image))


def test_the_stride_is_two_thirds_of_the_window_unless_given():
    # As OpenMMLab's crops of 512 with a stride of 341.
    assert View((512, 240)).stride == (341, 160)
    assert View((1, 2)).stride == (1, 1)


def test_a_view_describes_itself():
    view = View((240, 320), (160, 213), scales=(0.5, 1.0), flip=True)
    assert view.facts() == {
        "window": (240, 320),
        "stride": (160, 213),
        "blend": "smooth",
        "scales": (0.5, 1.0),
        "flip": True,
    }
    assert str(view) == (
        "windows of 240 x 320 (height x width) with a stride of 160 x 213, blended by smooth "
        "weights, scales of 0.5, 1, mirror images"
    )
    assert View(flip=True).facts() == {
        "window": None,
        "stride": None,
        "blend": None,
        "scales": (1.0,),
        "flip": True,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (0, 4)}, "window must be (height, width), both at least 1, got (0, 4)."),
        ({"window": (8, 8), "stride": (9, 8)}, "stride must be (height, width), from 1 to the"),
        ({"stride": (9, 8)}, "stride must be left out without a window, got (9, 8)."),
        ({"blend": "hann"}, "blend must be one of smooth, uniform, got 'hann'."),
        ({"scales": ()}, "scales must be numbers above 0, at least one, got ()."),
        ({"scales": (0.5, 0.0)}, "scales must be numbers above 0, at least one, got (0.5, 0.0)."),
    ],
)
def test_a_view_out_of_range_is_refused(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        View(**arguments)
