import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import (
    CenterCropLike,
    CropLike,
    FitWithin,
    PadLike,
    PadToMultiple,
    ResizeLike,
    Upsample,
)


def bilinear_by_formula(image, height, width):
    """Half-pixel centres, edges repeated, one output pixel at a time."""
    h, w = image.shape[:2]
    out = np.zeros((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            fy, fx = y - y0, x - x0
            top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            bottom = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
            out[i, j] = top * (1 - fy) + bottom * fy
    return out


@pytest.mark.parametrize("size", [(9, 14), (3, 2), (5, 7)])
def test_resize_like_is_bilinear_with_half_pixel_centres(size):
    features = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    resized = ResizeLike()(features, np.zeros((2, *size, 1), np.float32)).numpy()
    for image, result in zip(features, resized, strict=True):
        np.testing.assert_allclose(result, bilinear_by_formula(image, *size), atol=1e-5)


def test_pad_like_puts_the_smaller_half_before():
    features = np.ones((1, 2, 3, 1), np.float32)
    padded = PadLike()(features, np.zeros((1, 5, 4, 2), np.float32)).numpy()[0, :, :, 0]
    expected = np.zeros((5, 4))
    expected[1:3, 0:3] = 1  # 3 missing rows: 1 before, 2 after; 1 missing column: after
    np.testing.assert_array_equal(padded, expected)


def test_center_crop_like_takes_the_middle():
    features = np.arange(35, dtype=np.float32).reshape(1, 5, 7, 1)
    cropped = CenterCropLike()(features, np.zeros((1, 3, 3, 4), np.float32)).numpy()
    np.testing.assert_array_equal(cropped[0, :, :, 0], features[0, 1:4, 2:5, 0])


@pytest.mark.parametrize(
    ("image", "box", "fitted"),
    [
        ((360, 480), (180, 240), (180, 240)),
        ((400, 480), (180, 240), (180, 216)),
        ((100, 50), (200, 200), (200, 100)),
        ((1, 1000), (10, 10), (1, 10)),
    ],
)
def test_fit_within_keeps_the_aspect_ratio(image, box, fitted):
    assert FitWithin(box)(np.zeros((1, *image, 3), np.float32)).shape[1:3] == fitted


def test_fit_within_refuses_an_empty_box():
    with pytest.raises(ValueError, match=r"got \(0, 5\)"):
        FitWithin((0, 5))


@pytest.mark.parametrize("layer", [ResizeLike, PadLike, CenterCropLike])
def test_sizes_known_only_at_run_time_work_in_a_graph(layer):
    features, reference = keras.Input((None, None, 2)), keras.Input((None, None, 3))
    model = keras.Model([features, reference], layer()(features, reference))
    assert model.output_shape == (None, None, None, 2)
    run = tf.function(lambda a, b: model([a, b]), reduce_retracing=True)
    for small, large in (((4, 6), (9, 11)), ((5, 5), (6, 6))):
        sizes = (large, small) if layer is CenterCropLike else (small, large)
        out = run(tf.zeros((1, *sizes[0], 2)), tf.zeros((1, *sizes[1], 3)))
        assert out.shape == (1, *sizes[1], 2)


def interpolate_aligned(samples, size):
    """Linear interpolation along the first axis, the outermost samples kept in place."""
    position = np.linspace(0, len(samples) - 1, size)
    below = np.minimum(position.astype(int), len(samples) - 1)
    above = np.minimum(below + 1, len(samples) - 1)
    share = (position - below).reshape(-1, *[1] * (samples.ndim - 1))
    return samples[below] * (1 - share) + samples[above] * share


@pytest.mark.parametrize("size", [(9, 13), (33, 5), (4, 6)])
def test_aligned_corners_stay_in_the_corners(size):
    features = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype(np.float32)
    expected = interpolate_aligned(features[0], size[0])
    expected = interpolate_aligned(expected.swapaxes(0, 1), size[1]).swapaxes(0, 1)
    resized = ResizeLike(align_corners=True)(features, np.zeros((1, *size, 1), np.float32))
    np.testing.assert_allclose(resized[0], expected, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
def test_upsampling_by_a_factor_is_resizing_to_the_multiple(align_corners):
    features = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype(np.float32)
    reference = np.zeros((1, 15, 21, 1), np.float32)
    layer = Upsample(3, align_corners)
    expected = ResizeLike(align_corners)(features, reference)
    np.testing.assert_allclose(layer(features), expected, atol=1e-6)
    assert layer.compute_output_shape(features.shape) == (1, 15, 21, 2)


def test_a_window_is_cut_at_its_offset():
    features = np.arange(30, dtype=np.float32).reshape(1, 5, 6, 1)
    window = CropLike(2)(features, np.zeros((1, 3, 2, 1), np.float32))
    np.testing.assert_array_equal(window, features[:, 2:5, 2:4])
    with pytest.raises(ValueError, match=r"offset must be at least 0 .*, got offset=-1"):
        CropLike(-1)


@pytest.mark.parametrize("size", [(32, 48), (33, 49), (40, 63)])
def test_padded_sides_are_multiples_and_an_extra_pixel(size):
    images = np.random.default_rng(0).normal(size=(1, *size, 2)).astype(np.float32)
    layer = PadToMultiple(16, extra=1)
    padded = layer(images).numpy()
    expected = tuple(-(-(side - 1) // 16) * 16 + 1 for side in size)
    assert padded.shape[1:3] == expected == layer.compute_output_shape(images.shape)[1:3]
    np.testing.assert_array_equal(padded[:, : size[0], : size[1]], images)
    assert np.count_nonzero(padded) == np.count_nonzero(images)


def test_an_extra_beyond_the_multiple_is_refused():
    with pytest.raises(ValueError, match="got multiple=8, extra=8"):
        PadToMultiple(8, extra=8)


def test_a_crop_by_stride_keeps_the_rows_that_stand_for_the_image():
    features = np.arange(5 * 7, dtype=np.float32).reshape(1, 5, 7, 1)
    image = np.zeros((1, 15, 24, 3), np.float32)
    layer = CropLike(0, stride=4)
    np.testing.assert_array_equal(layer(features, image), features[:, :4, :6])
    assert layer.compute_output_shape(features.shape, image.shape) == (1, 4, 6, 1)
    with pytest.raises(ValueError, match="stride at least 1, got offset=0, stride=0"):
        CropLike(0, stride=0)
