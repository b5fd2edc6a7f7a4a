import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg import adapters, inference
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


def test_a_run_s_image_size_is_scale_one(tiny_run):
    """Windows of the image before it is resized would be seen at another scale than in training."""
    network = kerasseg.load(tiny_run)
    model = inference.inference_model(network, (40, 60))
    image = np.random.default_rng(0).uniform(0, 255, (1, 81, 90, 3)).astype(np.float32)
    small = tf.image.resize(image, (40, 44))  # the largest of its aspect within 40 x 60
    view = View((24, 24), (16, 16))
    logits = SlidingWindow(network, (24, 24), (16, 16))(small)
    expected = tf.image.resize(logits, (81, 90))
    np.testing.assert_allclose(seen(model, view)(image), expected, atol=1e-5)
    # A scale of 2 shows details that the resized image has lost.
    total = 0
    for size in ((40, 44), (80, 88)):
        logits = network(tf.image.resize(image, size))
        total += tf.nn.softmax(tf.image.resize(logits, (81, 90)))
    found = tf.nn.softmax(seen(model, View(scales=(1.0, 2.0)))(image))
    np.testing.assert_allclose(found, total / 2, atol=1e-5)
    both = seen(model, View((24, 24), (16, 16), flip=True))
    assert both(image).shape == (1, 81, 90, 3)


def test_a_network_of_one_size_gets_every_window_resized_to_it(tiny_run):
    network = kerasseg.load(tiny_run)
    inputs = keras.Input((32, 32, 3))
    model = adapters.at_size(keras.Model(inputs, network(inputs)), (32, 32))
    image = np.random.default_rng(0).uniform(0, 255, (1, 50, 60, 3)).astype(np.float32)
    expected = SlidingWindow(model, (24, 24), (16, 16))(image)
    np.testing.assert_array_equal(seen(model, View((24, 24), (16, 16)))(image), expected)
    # An export of a size of its own.
    model = adapters.at_size(network, (40, 48))
    found = seen(model, View((24, 24), (16, 16)))(image)
    logits = SlidingWindow(network, (24, 24), (16, 16))(tf.image.resize(image, (40, 48)))
    np.testing.assert_allclose(found, tf.image.resize(logits, (50, 60)), atol=1e-5)


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
        (
            {"window": (0, 4)},
            "window must be (height, width), both from 1 to 16777216",
        ),
        ({"window": (8, 10**10)}, "both from 1 to 16777216, got (8, 10000000000)."),
        ({"window": (8, 8), "stride": (9, 8)}, "stride must be (height, width), from 1 to the"),
        ({"stride": (9, 8)}, "stride must be left out without a window, got (9, 8)."),
        ({"window": (8, 8), "blend": "hann"}, "blend must be one of smooth, uniform, got 'hann'."),
        ({"scales": ()}, "scales must be numbers above 0 and at most 100, at least one, got ()."),
        ({"scales": (0.5, 0.0)}, "at least one, got (0.5, 0.0)."),
        # Sides of more than 31 bits would wrap around to images of one pixel.
        ({"scales": (1.0, 1e9)}, "at most 100, at least one, got (1.0, 1000000000.0)."),
        ({"scales": (float("nan"),)}, "at least one, got (nan,)."),
    ],
)
def test_a_view_out_of_range_is_refused(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        View(**arguments)
