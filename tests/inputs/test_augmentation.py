import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg.pipelines.inputs import augmentation

SIDES = st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)
SEEDS = st.integers(0, 2**20)
many = settings(deadline=None, max_examples=60, derandomize=True)


def draw(size, seed, *, crop_size, scale=(1.0, 1.0), base_scale=1.0, flip=True):
    return augmentation.draw_window(
        tf.constant(size),
        crop_size=crop_size,
        base_scale=tf.constant(base_scale),
        scale=scale,
        flip=flip,
        seed=tf.constant([seed, 1]),
    )


def cut(pixels, window):
    (y, x), (height, width) = window.corner.numpy(), window.size.numpy()
    return tf.constant(pixels[y : y + height, x : x + width])


# An image that shows its own label, in three different channels.
def image_of(label):
    value = (20 * label.astype(int) + 10) % 256
    return np.stack([value, 255 - value, (value * 7) % 256], axis=-1).astype(np.uint8)


def crop(label, seed, **options):
    window = draw(label.shape, seed, **options)
    image = augmentation.fit_image(cut(image_of(label), window), window).numpy()
    return image, augmentation.fit_label(cut(label, window), window).numpy()


def random_label(seed, size, classes=12):
    return np.random.default_rng(seed).integers(0, classes, size).astype(np.uint8)


def blocks(seed, size, side):
    """Squares of one class each, large enough to survive resizing."""
    coarse = random_label(seed, [-(-length // side) for length in size])
    return np.kron(coarse, np.ones((side, side), np.uint8))[: size[0], : size[1]]


@many
@given(SIZES, SIZES, st.floats(0.2, 4.0), SEEDS)
def test_windows_lie_in_the_image_and_fill_the_crop(size, crop_size, factor, seed):
    window = draw(size, seed, crop_size=crop_size, scale=(factor, factor))
    corner, extent, content, before = (
        np.array(part) for part in (window.corner, window.size, window.content, window.before)
    )
    assert (corner >= 0).all()
    assert (extent >= 1).all()
    assert (corner + extent <= size).all()
    assert (before >= 0).all()
    assert (before + content <= crop_size).all()
    # What is not filled is what the scaled image does not reach.
    reach = np.maximum(np.rint(np.float32(factor) * np.float32(size)), 1)
    np.testing.assert_array_equal(content, np.minimum(crop_size, reach))


@many
@given(SIZES, SIZES, SEEDS)
def test_image_and_label_move_together_exactly_at_native_scale(size, crop_size, seed):
    image, label = crop(random_label(seed, size), seed, crop_size=crop_size)
    inside = label != 255
    assert inside.sum() == np.prod(np.minimum(size, crop_size))
    np.testing.assert_array_equal(image[inside], image_of(label)[inside])


@many
@given(
    st.tuples(st.integers(40, 90), st.integers(40, 90)),
    st.tuples(st.integers(24, 70), st.integers(24, 70)),
    SEEDS,
)
def test_image_and_label_move_together_at_any_scale_away_from_borders(size, crop_size, seed):
    label = blocks(seed, size, side=16)
    image, label = crop(label, seed, crop_size=crop_size, scale=(0.5, 2.0))
    # At up to twice the size, interpolation reaches two pixels of the crop at most.
    around = np.lib.stride_tricks.sliding_window_view(label, (5, 5))
    alike = (around == around[..., :1, :1]).all((-1, -2)) & (around[..., 0, 0] != 255)
    inner = image[2:-2, 2:-2][alike]
    np.testing.assert_array_equal(inner, image_of(label)[2:-2, 2:-2][alike])


@many
@given(SIZES, SIZES, st.floats(0.2, 4.0), SEEDS)
def test_labels_out_are_labels_in_or_255(size, crop_size, factor, seed):
    label = np.random.default_rng(seed).choice([3, 7, 11], size).astype(np.uint8)
    _, made = crop(label, seed, crop_size=crop_size, scale=(factor, factor))
    assert made.dtype == np.uint8
    assert set(np.unique(made)) <= {*np.unique(label), 255}


@many
@given(SIZES, SIZES, st.floats(0.2, 4.0), SEEDS)
def test_crops_are_those_of_tf_image_resize(size, crop_size, factor, seed):
    label = random_label(seed, size)
    window = draw(size, seed, crop_size=crop_size, scale=(factor, factor))
    image_pixels, label_pixels = cut(image_of(label), window), cut(label, window)
    both = tf.concat([image_pixels, label_pixels[..., None]], -1)
    both = tf.reverse(both, [1]) if window.mirrored else both
    bilinear, nearest = (tf.image.resize(both, window.content, m) for m in ("bilinear", "nearest"))
    after = np.array(crop_size) - window.content - window.before
    sides = np.stack([window.before, after], axis=1)
    expected = np.pad(nearest.numpy()[..., 3], sides, constant_values=255)
    np.testing.assert_array_equal(augmentation.fit_label(label_pixels, window), expected)
    expected = np.pad(bilinear.numpy()[..., :3], [*sides, (0, 0)])
    inside = np.pad(np.ones(window.content, bool), sides)
    image = augmentation.fit_image(image_pixels, window).numpy()
    # Rounded: at most half a step away, and a little for float32.
    np.testing.assert_allclose(image[inside], expected[inside], atol=0.5001, rtol=0)


def test_half_of_the_crops_are_mirrored_and_none_if_that_is_not_wished():
    mirrored = [bool(draw((9, 9), seed, crop_size=(9, 9)).mirrored) for seed in range(200)]
    assert 70 < sum(mirrored) < 130
    assert not any(draw((9, 9), s, crop_size=(9, 9), flip=False).mirrored for s in range(20))


def test_padding_is_the_mean_of_the_image_and_the_ignored_label():
    label = np.zeros((10, 10), np.uint8)
    label[:5] = 4  # half at 90, half at 10
    image, made = crop(label, 0, crop_size=(30, 30), flip=False)
    assert (made == 255).sum() == 30 * 30 - 10 * 10
    np.testing.assert_array_equal(image[made == 255][:, 0], 50)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_colours_change_by_the_transform_that_is_drawn(factor):
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    colors = augmentation.color_transform(tf.constant([1, 2]))
    matrix, offset = (value.numpy() for value in colors)
    window = draw((20, 24), 3, crop_size=(10, 12), scale=(factor, factor), flip=False)
    pixels = cut(image, window)
    resized = tf.image.resize(pixels, window.content).numpy()
    expected = np.einsum("hwc,cd->hwd", resized + offset, matrix).clip(0, 255)
    made = augmentation.fit_image(pixels, window, colors).numpy()
    np.testing.assert_allclose(made, expected, atol=0.501, rtol=0)


def test_brightness_contrast_saturation_and_hue_are_drawn_from_their_ranges():
    # The chroma of NTSC as a complex number, after Pratt, Digital Image Processing.
    chroma = np.array([0.596 + 0.211j, -0.274 - 0.523j, -0.322 + 0.312j])
    luma = np.array([0.299, 0.587, 0.114])
    colors = np.array([[1.0, 0.2, 0.1], [0.3, 0.9, 0.4], [0.1, 0.2, 0.8]])
    drawn = []
    for seed in range(300):
        matrix, offset = augmentation.color_transform(tf.constant([seed, 0]))
        made = colors @ matrix.numpy()
        gain = (made @ luma) / (colors @ luma)
        np.testing.assert_allclose(gain, gain[0], rtol=1e-4)
        turned = (made @ chroma) / (colors @ chroma) / gain
        np.testing.assert_allclose(turned, turned[0], rtol=1e-3)
        contrast = 127.5 / (127.5 + offset.numpy())
        drawn.append([gain[0] / contrast, contrast, abs(turned[0]), np.angle(turned[0])])
    drawn = np.array(drawn)
    np.testing.assert_allclose(drawn.min(0), [0.8, 0.75, 0.6, -0.15], atol=0.02)
    np.testing.assert_allclose(drawn.max(0), [1.2, 1.25, 1.4, 0.15], atol=0.02)
    assert np.abs(np.corrcoef(drawn, rowvar=False) - np.eye(4)).max() < 0.2


def test_gray_stays_gray_with_any_saturation_and_hue():
    window = draw((1, 1), 0, crop_size=(1, 1))
    for seed in range(10):
        gray = tf.fill((1, 1, 3), tf.constant(100, tf.uint8))
        made = augmentation.fit_image(
            gray, window, augmentation.color_transform(tf.constant([seed, 0]))
        )
        red, green, blue = made.numpy()[0, 0].astype(int)
        assert max(red, green, blue) - min(red, green, blue) <= 1


def test_an_example_is_the_same_eagerly_and_in_tf_data():
    label = random_label(0, (30, 40))
    window = draw(label.shape, 5, crop_size=(24, 48), scale=(0.5, 2.0))

    def make(seed):
        again = draw(label.shape, 5, crop_size=(24, 48), scale=(0.5, 2.0))
        begin, size = tf.concat([again.corner, [0]], 0), tf.concat([again.size, [3]], 0)
        pixels = tf.slice(image_of(label), begin, size)
        return augmentation.fit_image(
            pixels, again, augmentation.color_transform(tf.stack([seed, seed]))
        )

    inside = next(iter(tf.data.Dataset.range(7, 8).map(make)))
    colors = augmentation.color_transform(tf.constant([7, 7], tf.int64))
    expected = augmentation.fit_image(cut(image_of(label), window), window, colors)
    np.testing.assert_allclose(inside, expected, atol=1)
