"""A loss that is not finite: the records at fault are named, or the training has diverged."""

import json
import shutil

import keras
import pytest
import tensorflow as tf

from kerasseg import IGNORE_LABEL
from kerasseg.pipelines import fit, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.records import reader
from kerasseg.pipelines.training import compiled_model
from kerasseg.pipelines.training.loss_guard import LossGuard

BAD = 7


@pytest.fixture
def data(tiny_data, tmp_path):
    """The tiny dataset, in which two training labels have a pixel that is no class."""
    root = shutil.copytree(tiny_data, tmp_path / "data")
    dataset = records.load(root)
    manifest = json.loads((dataset.root / records.MANIFEST).read_text())
    for shard in manifest["splits"]["train"]["shards"]:
        path = dataset.root / shard["file"]
        change_labels(path)
        shard["bytes"] = path.stat().st_size
    (dataset.root / records.MANIFEST).write_text(json.dumps(manifest))
    return root


def change_labels(path):
    with path.open("rb") as file:
        contents = [frame.content for frame in reader.frames(file, path.stat().st_size)]
    with path.open("wb") as file:
        writer = records.RecordWriter(file)
        for content in contents:
            features = reader.parse_example(content)
            if features["filename"].endswith((b"03.png", b"08.png")):
                features["segmentation_mask"] = with_a_bad_pixel(features["segmentation_mask"])
            writer.write(records.encode_example(features))


def with_a_bad_pixel(png):
    label = tf.tensor_scatter_nd_update(tf.io.decode_png(png), [[20, 20, 0]], [BAD])
    return tf.io.encode_png(label).numpy()


class NotFinite(keras.losses.Loss):
    """A loss as ours are in a graph: not a number where a label is no class."""

    def call(self, y_true, y_pred):
        invalid = tf.reduce_any((y_true > 2) & (y_true != IGNORE_LABEL))
        return tf.reduce_mean(y_pred, (1, 2, 3)) * tf.where(invalid, float("nan"), 1.0)


def test_a_training_names_the_records_of_invalid_labels(data, tiny_training, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_model, "_build_loss", lambda *arguments: NotFinite())
    with pytest.raises(InputError, match=r"labels must be in \[0, 3\) or 255") as refusal:
        fit.run(tiny_training, data, tmp_path / "run")
    assert "got 7 in '" in str(refusal.value)
    assert "kerasseg check" in str(refusal.value)


@pytest.mark.parametrize("in_order", [True, False])
def test_only_the_records_of_the_batch_are_looked_at_where_it_is_known(
    data, tiny_training, in_order
):
    dataset = records.load(data)
    guard = LossGuard(tiny_training, dataset, in_order=in_order)
    guard.on_epoch_begin(1)
    named = set()
    for batch in range(3):
        with pytest.raises(InputError) as refusal:
            guard.on_train_batch_end(batch, {"loss": float("nan")})
        message = str(refusal.value)
        assert f"at step {batch + 1} of epoch 2" in message
        found = {name for name in ("03.png", "08.png") if name in message}
        assert found or "its labels are valid, so the training has diverged" in message
        assert in_order or found == {"03.png", "08.png"}
        named |= found
    assert named == {"03.png", "08.png"}


def test_a_finite_loss_passes(tiny_data, tiny_training):
    guard = LossGuard(tiny_training, records.load(tiny_data), in_order=True)
    guard.on_train_batch_end(0, {"loss": 1.5})
