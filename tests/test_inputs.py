import numpy as np
import pytest
import tensorflow as tf

from kerasseg.pipelines import augment, inputs, records


@pytest.fixture
def shards(tiny_data):
    return records.load(tiny_data).files("train")


def batches(shards, **options):
    options = {"examples": 12, "batch_size": 4, "crop_size": (24, 32), **options}
    return [(x.numpy(), y.numpy()) for x, y in inputs.training_batches(shards, **options)]


def assert_same(ours, others):
    assert len(ours) == len(others)
    for one, other in zip(ours, others, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_batches_have_the_crop_s_size_and_integer_labels(shards):
    for images, labels in batches(shards):
        assert images.shape == (4, 24, 32, 3)
        assert labels.shape == (4, 24, 32)
        assert (images.dtype, labels.dtype) == (np.uint8, np.uint8)
        assert set(np.unique(labels)) <= {0, 1, 2, 255}


@pytest.mark.parametrize("policy", ["standard", "rand"])
def test_the_same_seed_gives_the_same_batches(shards, policy):
    assert_same(batches(shards, policy=policy, seed=3), batches(shards, policy=policy, seed=3))
    with pytest.raises(AssertionError):
        assert_same(batches(shards, policy=policy), batches(shards, policy=policy, seed=4))


def test_a_stream_begun_at_a_later_epoch_goes_on_as_the_whole_one(shards):
    whole = batches(shards, epochs=3)
    assert_same(whole[6:], batches(shards, first_epoch=2, epochs=3))
    with pytest.raises(AssertionError):
        assert_same(whole[:3], whole[3:6])


def test_a_global_seed_set_by_the_user_does_not_matter(shards):
    expected = batches(shards)
    tf.random.set_seed(7)
    assert_same(expected, batches(shards))


def test_every_image_is_seen_once_an_epoch(shards):
    plain = {"policy": "none", "scale": (1.0, 1.0), "flip": False, "crop_size": (40, 57)}
    for epoch in range(2):
        seen = batches(shards, batch_size=1, first_epoch=epoch, epochs=epoch + 1, **plain)
        assert len({images.tobytes() for images, _ in seen}) == 12


def test_evaluation_gives_every_image_once_and_unchanged(tiny_data):
    files = records.load(tiny_data).files("validation")
    expected = {}
    for record in tf.data.TFRecordDataset(files):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        image = tf.io.decode_png(features["image"].bytes_list.value[0]).numpy()
        label = tf.io.decode_png(features["segmentation_mask"].bytes_list.value[0]).numpy()
        expected[image.tobytes()] = label[..., 0]
    seen = 0
    for images, labels in inputs.evaluation_batches(files, batch_size=2):
        for image, label in zip(images.numpy(), labels.numpy(), strict=True):
            np.testing.assert_array_equal(label, expected[image.tobytes()])
            seen += 1
    assert seen == len(expected) == 5


# An image that shows its own label: value 20 * label + 10 in every channel.
def image_of(label):
    return np.repeat((20 * label + 10)[..., np.newaxis], 3, axis=-1).astype(np.uint8)


def crop(label, seed, *, crop_size, scale=(1.0, 1.0), base_scale=1.0, flip=True):
    image, label = augment.crop(
        tf.constant(image_of(label)),
        tf.constant(label),
        crop_size=crop_size,
        base_scale=tf.constant(base_scale),
        scale=scale,
        flip=flip,
        seed=tf.constant([seed, 1]),
    )
    return image.numpy(), label.numpy()


@pytest.mark.parametrize("seed", range(12))
def test_image_and_label_move_together_at_native_scale(seed):
    label = np.random.default_rng(seed).integers(0, 12, (20, 30)).astype(np.uint8)
    image, cut = crop(label, seed, crop_size=(16, 40))  # lower than the image, but wider
    inside = cut != 255
    assert inside.sum() == 16 * 30
    np.testing.assert_array_equal(image[inside], image_of(cut)[inside])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("base_scale", [0.5, 1.0])
def test_image_and_label_move_together_at_any_scale(seed, base_scale):
    # Four quadrants of different class; away from their borders both must agree after resizing.
    label = np.zeros((60, 80), np.uint8)
    label[30:], label[:, 40:] = label[30:] + 1, label[:, 40:] + 2
    image, cut = crop(label, seed, crop_size=(48, 64), scale=(0.5, 2.0), base_scale=base_scale)
    flat = np.all(image % 20 == 10, axis=-1) & (cut != 255)
    assert flat.mean() > 0.1
    agree = image[flat] == image_of(cut)[flat]
    # Nearest neighbour and bilinear may put an edge one pixel apart: a row and a column at most.
    assert (~agree).any(axis=-1).sum() <= 48 + 64


@pytest.mark.parametrize("seed", range(8))
def test_labels_out_are_labels_in_or_255(seed):
    label = np.random.default_rng(seed).choice([3, 7, 11], (21, 35)).astype(np.uint8)
    _, cut = crop(label, seed, crop_size=(32, 32), scale=(0.3, 3.0))
    assert set(np.unique(cut)) <= {3, 7, 11, 255}


def test_padding_is_the_image_s_mean_and_the_ignored_label():
    label = np.zeros((10, 10), np.uint8)
    label[:5] = 4  # half at 90, half at 10
    image, cut = crop(label, 0, crop_size=(30, 30), flip=False)
    assert (cut == 255).sum() == 30 * 30 - 10 * 10
    np.testing.assert_array_equal(image[cut == 255], 50)


def test_an_image_size_scales_the_whole_image_into_its_box(shards):
    for images, labels in batches(
        shards, image_size=(20, 24), crop_size=(20, 24), scale=(1.0, 1.0), policy="none"
    ):
        assert images.shape[1:3] == (20, 24)
        # 40 x 48 images fill the box; 33 x 57 ones become 14 x 24.
        rows = {int((label != 255).any(axis=1).sum()) for label in labels}
        assert max(rows) <= 20
        assert min(rows) >= 12


def test_colours_change_by_the_transform_that_is_drawn():
    image = np.random.default_rng(0).integers(60, 180, (5, 6, 3)).astype(np.uint8)
    seed = tf.constant([1, 2])
    matrix, offset = (value.numpy() for value in augment.color_transform(seed))
    expected = np.einsum("hwc,cd->hwd", image.astype(float), matrix) + offset
    distorted = augment.distort_colors(image, seed).numpy()
    np.testing.assert_allclose(distorted, np.rint(expected).clip(0, 255), atol=1)


def test_gray_stays_gray_whatever_saturation_and_hue():
    for seed in range(10):
        gray = np.full((1, 1, 3), 100, np.uint8)
        red, green, blue = augment.distort_colors(gray, tf.constant([seed, 0])).numpy()[0, 0]
        assert max(red, green, blue) - min(red, green, blue) <= 1


def test_rand_gives_float_images_in_range_and_leaves_labels(shards):
    plain = batches(shards, policy="none")
    changed = 0
    for (images, labels), (plain_images, plain_labels) in zip(
        batches(shards, policy="rand"), plain, strict=True
    ):
        assert images.dtype == np.float32
        assert images.min() >= 0
        assert images.max() <= 255
        np.testing.assert_array_equal(labels, plain_labels)
        changed += np.any(images != plain_images, axis=(1, 2, 3)).sum()
    assert changed > 6


def test_an_unknown_policy_lists_the_known_ones(shards):
    with pytest.raises(ValueError, match=r"none, standard, rand, got 'auto'"):
        batches(shards, policy="auto")
