"""Reads a converted dataset back, with tf.data and with TensorFlow Datasets."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerasseg.pipelines import convert, records


@pytest.fixture
def convert_and_read(tmp_path):
    """Converts a source; returns `{split: {filename: (image's bytes, label)}}` and the dataset.

    What tf.data reads from the records, and what `tfds.load` reads from their folder, must agree.
    """

    def run(dataset, source, **options):
        output = tmp_path / "converted"
        converted = convert.run(dataset, source, output, allow_partial=True, **options)
        splits = {split: _read_records(converted.files(split)) for split in converted.splits}
        _compare_with_tfds(converted, output, splits)
        return splits, converted

    return run


def _read_records(files):
    features = {
        key: tf.io.FixedLenFeature([], tf.string)
        for key in ("filename", "image", "segmentation_mask")
    }
    rows = {}
    for record in tf.data.TFRecordDataset(files):
        row = tf.io.parse_single_example(record, features)
        label = tf.io.decode_png(row["segmentation_mask"]).numpy()
        assert label.dtype == np.uint8
        assert label.shape[-1] == 1
        filename = row["filename"].numpy().decode()
        assert filename not in rows
        rows[filename] = row["image"].numpy(), label[..., 0]
    return rows


def _compare_with_tfds(converted, output, splits):
    import tensorflow_datasets as tfds

    # With the version: without it a name that TensorFlow Datasets knows is its own dataset.
    name = f"{converted.root.parent.name}:{records.VERSION}"
    loaded, info = tfds.load(name, data_dir=output, with_info=True)
    assert set(loaded) == set(splits)
    assert info.features["segmentation_mask"].names == list(converted.classes.names)
    for split, rows in splits.items():
        seen = set()
        for row in loaded[split]:
            filename = row["filename"].numpy().decode()
            image, label = rows[filename]
            seen.add(filename)
            np.testing.assert_array_equal(row["segmentation_mask"][..., 0], label)
            with PIL.Image.open(io.BytesIO(image)) as picture:
                assert picture.size == label.shape[::-1]
        assert seen == set(rows)
