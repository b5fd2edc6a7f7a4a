"""The parts of batches that several workers read make up the batches of one process."""

import numpy as np
import pytest

from kerasseg.pipelines import inputs, records
from kerasseg.pipelines.inputs import Share, cache

BATCH, EXAMPLES = 4, 12


def training(data, share=inputs.WHOLE, **more):
    files = records.load(data).files("train")
    options = {"crop_size": (16, 16), "batch_size": BATCH, "epochs": 2, "policy": "none", **more}
    return inputs.training_batches(files, examples=EXAMPLES, share=share, **options)


def joined(parts, count):
    """Puts together what the workers' streams give in as many steps."""
    streams = [part.take(count).as_numpy_iterator() for part in parts]
    return [np.concatenate(pieces) for pieces in zip(*streams, strict=True)]


@pytest.mark.parametrize(
    ("workers", "replicas", "more"),
    [(2, 1, {}), (4, 1, {"first_epoch": 1, "first_batch": 2}), (2, 2, {"batch_size": 8})],
)
def test_the_workers_training_batches_make_up_those_of_one_process(
    tiny_data, workers, replicas, more
):
    expected = [image for image, _ in training(tiny_data, **more).as_numpy_iterator()]
    parts = []
    for worker in range(workers):
        share = Share(worker, workers, replicas)
        # A worker's stream has a piece for each of its replicas.
        pieces = training(tiny_data, share, **more).map(lambda image, label: image)
        parts.append(pieces.unbatch().batch(more.get("batch_size", BATCH) // workers))
    made = joined(parts, len(expected))
    np.testing.assert_array_equal(made, expected)


def test_workers_that_cache_their_images_make_the_same_parts(tiny_data):
    dataset = records.load(tiny_data)
    split = dataset.splits["train"]
    pixels = sum(split.class_pixels) + split.ignored_pixels
    decoded = cache.DecodedRecords(dataset.files("train"), pixels)
    share = Share(1, 2)
    streams = (training(tiny_data, share), training(tiny_data, share, decoded=decoded))
    images = [[i for i, _ in s.take(6).as_numpy_iterator()] for s in streams]
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(("workers", "replicas"), [(2, 1), (3, 1), (2, 2)])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_workers_evaluation_batches_make_up_those_of_one_process(
    tiny_data, workers, replicas, batch_size
):
    files = records.load(tiny_data).files("validation")
    parts = [
        inputs.evaluation_batches(files, batch_size, Share(worker, workers, replicas))
        for worker in range(workers)
    ]
    whole = list(inputs.evaluation_batches(files, batch_size).as_numpy_iterator())
    shared = list(zip(*(part.as_numpy_iterator() for part in parts), strict=True))
    assert len(shared) == len(whole)
    for pieces, (images, labels) in zip(shared, whole, strict=True):
        # All workers have as many images, and each as many as its replicas can share out.
        (count,) = {len(part) for part, _ in pieces}
        assert count % replicas == 0
        both = [np.concatenate(each) for each in zip(*pieces, strict=True)]
        np.testing.assert_array_equal(both[0][: len(images)], images)
        np.testing.assert_array_equal(both[1][: len(labels)], labels)
        # What fills a batch up does not count.
        assert (both[1][len(labels) :] == 255).all()
