from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.pipelines import inputs, records
from kerasseg.pipelines.inputs import sources


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


def test_the_same_seed_gives_the_same_batches(shards):
    once = batches(shards, seed=3)
    assert_same(once, batches(shards, seed=3))
    with pytest.raises(AssertionError):
        assert_same(once, batches(shards, seed=4))


def test_a_stream_begun_at_a_later_epoch_continues_as_the_whole_one(shards):
    whole = batches(shards, epochs=3)
    assert_same(whole[6:], batches(shards, first_epoch=2, epochs=3))
    with pytest.raises(AssertionError):
        assert_same(whole[:3], whole[3:6])


@pytest.mark.parametrize("policy", ["standard", pytest.param("rand", marks=pytest.mark.slow)])
def test_a_stream_begun_within_an_epoch_continues_as_the_whole_one(shards, policy):
    whole = batches(shards, epochs=3, policy=policy)
    assert_same(whole[4:], batches(shards, first_epoch=1, first_batch=1, epochs=3, policy=policy))


def test_a_stream_begun_after_all_batches_of_an_epoch_continues_with_the_next(shards):
    whole = batches(shards, epochs=3)
    assert_same(whole[6:], batches(shards, first_epoch=1, first_batch=3, epochs=3))


def is_part(crop, image):
    height, width = crop.shape[:2]
    return any(
        np.array_equal(crop, image[top : top + height, left : left + width])
        for top in range(image.shape[0] - height + 1)
        for left in range(image.shape[1] - width + 1)
    )


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (1, 2)])
def test_the_records_of_a_batch_are_those_that_it_was_made_of(shards, epoch, batch):
    plain = {"policy": "none", "scale": (1.0, 1.0), "flip": False, "crop_size": (33, 48)}
    images, labels = batches(shards, epochs=2, seed=5, **plain)[3 * epoch + batch]
    contents = inputs.records_of_batch(
        shards, examples=12, batch_size=4, seed=5, epoch=epoch, batch=batch
    )
    assert len(contents) == 4
    for image, label, content in zip(images, labels, contents, strict=True):
        whole_image, whole_label = (pixels.numpy() for pixels in sources.decode(content))
        assert is_part(image, whole_image)
        assert is_part(label, whole_label)


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


def test_evaluation_sees_every_pixel_of_the_split_once(tiny_data):
    dataset = records.load(tiny_data)
    split = dataset.splits["validation"]
    seen = np.zeros(256, int)
    for _, labels in inputs.evaluation_batches(dataset.files("validation"), batch_size=3):
        seen += np.bincount(labels.numpy().ravel(), minlength=256)
    np.testing.assert_array_equal(seen[:3], split.class_pixels)
    assert seen[255] == split.ignored_pixels
    assert seen.sum() == sum(split.class_pixels) + split.ignored_pixels


def test_training_sees_every_pixel_of_the_split_once_where_nothing_is_cut_off(tiny_data):
    dataset = records.load(tiny_data)
    # 40 x 48 and 33 x 57 both fit; what is padding is 255.
    plain = {"scale": (1.0, 1.0), "crop_size": (40, 57), "batch_size": 1}
    seen = sum(
        np.bincount(labels.ravel(), minlength=256)
        for _, labels in batches(dataset.files("train"), **plain)
    )
    np.testing.assert_array_equal(seen[:3], dataset.splits["train"].class_pixels)


def test_large_records_are_shuffled_in_blocks_that_fit_in_memory(shards, monkeypatch):
    plain = {"policy": "none", "scale": (1.0, 1.0), "flip": False, "crop_size": (40, 57)}
    whole = batches(shards, batch_size=1, **plain)
    size = sum(Path(file).stat().st_size for file in shards) // 12
    monkeypatch.setattr(inputs, "_SHUFFLE_BYTES", 5 * size)
    in_blocks = batches(shards, batch_size=1, **plain)
    assert len({x.tobytes() for x, _ in in_blocks}) == 12
    with pytest.raises(AssertionError):
        assert_same(whole, in_blocks)


def test_an_image_size_scales_the_whole_image_into_its_box(shards):
    for images, labels in batches(
        shards, image_size=(20, 24), crop_size=(20, 24), scale=(1.0, 1.0), policy="none"
    ):
        assert images.shape[1:3] == (20, 24)
        # 40 x 48 images fill the box; 33 x 57 ones become 14 x 24.
        rows = {int((label != 255).any(axis=1).sum()) for label in labels}
        assert max(rows) <= 20
        assert min(rows) >= 12


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
