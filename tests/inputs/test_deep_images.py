"""Batches of images that are not RGB of 8 bits."""

import deep_records
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.pipelines import inputs, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.inputs import Share, augmentation, cache

FORMS = [(1, 8), (2, 8), (4, 16), (12, 8)]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Converted datasets by channels and bits, of which the last channel tells the classes."""
    root = tmp_path_factory.mktemp("deep")
    return {
        form: records.load(deep_records.write(root / f"{form}", *form, telling=form[0] - 1))
        for form in FORMS
    }


def training(dataset, *, source=None, **more):
    options = {"crop_size": (16, 20), "batch_size": 4, "epochs": 2, **more}
    options |= dataset.image_form
    files = dataset.files("train")
    made = inputs.training_batches(files, examples=12, decoded=source, **options)
    return [(image.numpy(), label.numpy()) for image, label in made]


@pytest.mark.parametrize("form", FORMS)
def test_evaluation_sees_every_value_in_the_range_of_8_bits(datasets, form):
    dataset, found = datasets[form], {}
    batches = inputs.evaluation_batches(
        dataset.files("validation"), 2, named=True, **dataset.image_form
    )
    for images, labels, names in batches:
        parts = zip(images.numpy(), labels.numpy(), names.numpy(), strict=True)
        found |= {int(name.partition(b".")[0]): (image, label) for image, label, name in parts}
    assert sorted(found) == [100, 101, 102, 103]
    for number, (image, label) in found.items():
        size = deep_records.SIZES[bool(number % 3)]
        expected = deep_records.draw(number, *form, telling=form[0] - 1, size=size)
        if form[1] == 16:
            expected = (expected[0].astype(np.float32) / np.float32(257), expected[1])
        assert image.dtype == (np.uint8 if form[1] == 8 else np.float32)
        np.testing.assert_array_equal(image, expected[0])
        np.testing.assert_array_equal(label, expected[1])


@pytest.mark.parametrize("form", FORMS)
def test_crops_and_mirror_images_keep_labels_at_the_channel_that_tells_them(datasets, form):
    for images, labels in training(datasets[form], scale=(1.0, 1.0), policy="none"):
        assert images.shape == (4, 16, 20, form[0])
        told = (images[..., -1] > 125).astype(np.uint8)
        assert ((labels == told) | (labels == 255)).all()
        assert (labels != 255).mean() > 0.8


@pytest.mark.parametrize("form", [(2, 8), (4, 16)])
def test_scaled_and_distorted_crops_keep_labels_at_the_channel(datasets, form):
    right = counted = 0
    for images, labels in training(datasets[form]):
        assert images.min() >= 0
        assert images.max() <= 255
        told = images[..., -1] > 125
        right += ((labels == told) & (labels != 255)).sum()
        counted += (labels != 255).sum()
    assert right / counted > 0.97  # but for pixels between the classes


@pytest.mark.parametrize("form", [(4, 16), (12, 8)])
def test_a_cache_changes_nothing(datasets, form, tmp_path):
    dataset = datasets[form]
    expected = training(dataset)
    for choice in ("memory", "disk"):
        made = training(dataset, source=cache.load(choice, dataset, 3, tmp_path))
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def test_a_cache_has_the_size_of_the_decoded_values(datasets, tmp_path, monkeypatch):
    dataset = datasets[4, 16]
    pixels = sum(h * w for h, w in (deep_records.SIZES[bool(n % 3)] for n in range(12)))
    monkeypatch.setattr(cache, "available_memory", lambda: pixels * (4 * 2 + 1) - 1)
    with pytest.raises(InputError, match="cache must be disk or none"):
        cache.check("memory", dataset, tmp_path)
    monkeypatch.setattr(cache, "available_memory", lambda: pixels * (4 * 2 + 1))
    cache.check("memory", dataset, tmp_path)


def test_workers_make_the_parts_of_the_batches_of_one_process(datasets):
    dataset = datasets[4, 16]
    expected = training(dataset, epochs=1)
    for worker in range(2):
        files, form = dataset.files("train"), dataset.image_form
        options = {"crop_size": (16, 20), "batch_size": 4, "share": Share(worker, 2), **form}
        part = inputs.training_batches(files, examples=12, **options).take(3)
        for (images, labels), whole in zip(part, expected, strict=True):
            np.testing.assert_array_equal(images, whole[0][2 * worker : 2 * worker + 2])
            np.testing.assert_array_equal(labels, whole[1][2 * worker : 2 * worker + 2])
        files = dataset.files("validation")
        (images, _), *_ = inputs.evaluation_batches(files, 2, Share(worker, 2), **form)
        assert images.dtype == tf.float32
        assert images.shape[-1] == 4


def test_tones_change_by_the_same_factor_and_offset_in_all_channels():
    image = np.random.default_rng(0).uniform(60, 200, (6, 7, 5)).astype(np.uint16) * 257
    size = tf.constant([6, 7])
    window = augmentation.draw_window(
        size, crop_size=(6, 7), base_scale=1.0, scale=(1.0, 1.0), flip=False, seed=(1, 2)
    )
    distorted = augmentation.photometric("standard", 5, 16)(image, window, (3, 4)).numpy()
    factor, offset = (value.numpy() for value in augmentation.tone_transform((3, 4)))
    # Contrast moves values away from 127.5, and brightness is in [0.8, 1.2].
    contrast = 127.5 / (offset + 127.5)
    assert 0.75 <= contrast <= 1.25
    assert 0.8 <= factor / contrast <= 1.2
    expected = np.clip((image / 257 + offset) * factor, 0, 255)
    np.testing.assert_allclose(distorted, expected, atol=1e-3)


def test_rgb_images_of_16_bits_have_their_colours_changed_like_those_of_8_bits():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    window = augmentation.draw_window(
        tf.constant([8, 9]), crop_size=(12, 7), base_scale=1.0, scale=(0.9, 1.1), flip=True,
        seed=(1, 2),
    )  # fmt: skip
    of_8 = augmentation.photometric("standard")
    of_16 = augmentation.photometric("standard", 3, 16)
    cut = np.asarray(image[: window.size[0], : window.size[1]])
    deep = of_16(cut.astype(np.uint16) * 257, window, (3, 4)).numpy()
    assert deep.dtype == np.float32
    expected = of_8(cut, window, (3, 4)).numpy().astype(np.float32)
    # The second is rounded, and its padding is rounded twice.
    assert np.abs(deep - expected).max() <= 1


@pytest.mark.parametrize("form", [(4, 8), (3, 16)])
def test_the_operations_of_rand_augment_are_for_rgb_images_of_8_bits(form):
    with pytest.raises(ValueError, match=f"augment must be none or standard .* {form[0]} channels"):
        augmentation.photometric("rand", *form)
