import os
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg import inference, layers
from kerasseg.inference import Evaluator, inference_model, pad_batch
from kerasseg.pipelines.runtime.devices import mirrored_strategy


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return kerasseg.build("unet", num_classes=3, variant="milesial", filters=4, depth=2)


def test_an_image_size_is_a_resize_before_and_one_after(model):
    images = np.random.default_rng(0).uniform(0, 255, (1, 50, 70, 3)).astype(np.float32)
    small = tf.image.resize(images, (25, 35))
    expected = layers.ResizeLike()(model(small), images)
    np.testing.assert_allclose(inference_model(model, (25, 40))(images), expected, atol=1e-5)


def test_without_image_size_the_network_is_used_as_it_is(model):
    assert inference_model(model) is model


@pytest.mark.parametrize("size", [None, (25, 40)])
def test_a_training_leaves_nothing_in_the_saved_network(model, size, tmp_path):
    inference_model(model, size).save(tmp_path / "before.keras")
    model.compile("adamw", "mse")
    model.optimizer.build(model.trainable_variables)
    inference_model(model, size).save(tmp_path / "after.keras")
    before, after = (tmp_path / f"{name}.keras" for name in ("before", "after"))
    assert after.stat().st_size == pytest.approx(before.stat().st_size, rel=0.01)
    assert "optimizer" not in zipfile.ZipFile(after).read("config.json").decode()


def test_a_model_of_a_class_of_its_own_is_not_taken_apart():
    class Doubled(keras.Model):
        def call(self, images):
            return 2 * images

    model = Doubled()
    model.compile("sgd", "mse")
    assert inference_model(model) is model


def test_a_run_loads_as_a_model_of_logits_at_any_size(tiny_run):
    model = kerasseg.load(tiny_run)
    assert model(np.zeros((2, 37, 51, 3), np.float32)).shape == (2, 37, 51, 3)
    assert not model.compiled


def test_a_run_without_a_best_model_has_its_last(tiny_run, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    copy = shutil.copy(tiny_run / inference.LAST_MODEL, tmp_path / inference.LAST_MODEL)
    expected = kerasseg.load(tiny_run, "last").get_weights()
    for weights in (kerasseg.load(path).get_weights() for path in (tmp_path, copy)):
        for one, other in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(FileNotFoundError, match=r"best.keras: no such model"):
        kerasseg.load(tmp_path, "best")


def test_a_missing_model_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"best.keras: no such model"):
        kerasseg.load(tmp_path)


@pytest.mark.parametrize(
    "order",
    ["import kerasseg, keras", pytest.param("import keras, kerasseg", marks=pytest.mark.slow)],
)
def test_keras_loads_a_run_in_a_fresh_process_after_import_kerasseg(tiny_run, order):
    path = tiny_run / inference.BEST_MODEL
    code = f"{order}; print(keras.models.load_model({str(path)!r}, compile=False).output_shape)"
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "(None, None, None, 3)"


def batches_of(sizes, num_classes=3):
    rng = np.random.default_rng(0)
    for batch, height, width in sizes:
        images = rng.uniform(0, 255, (batch, height, width, 3)).astype(np.float32)
        yield (
            images,
            rng.choice([*range(num_classes), 255], (batch, height, width)).astype(np.uint8),
        )


def counted_by_hand(model, batches):
    matrix = np.zeros((3, 3), np.int64)
    for images, labels in batches:
        predictions = np.argmax(model(images), axis=-1)
        valid = labels != 255
        np.add.at(matrix, (labels[valid], predictions[valid]), 1)
    return matrix


def test_the_evaluator_counts_every_pixel_over_batches_of_any_size(model):
    batches = list(batches_of([(3, 20, 24), (1, 33, 17), (2, 20, 24)]))
    matrix = Evaluator(model, 3)(batches)
    np.testing.assert_array_equal(matrix, counted_by_hand(model, batches))


def test_two_replicas_count_what_one_counts_ragged_batches_included(two_cpus):
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = kerasseg.build("unet", num_classes=3, variant="milesial", filters=4, depth=2)
        batches = list(batches_of([(3, 20, 24), (1, 33, 17), (4, 20, 24)]))
        matrix = Evaluator(model, 3, strategy)(batches)
    np.testing.assert_array_equal(matrix, counted_by_hand(model, batches))


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_observer_sees_what_is_predicted_and_how_surely(replicas, two_cpus):
    strategy, seen = mirrored_strategy(two_cpus[:replicas]), []
    batches = [(*batch, number) for number, batch in enumerate(batches_of([(3, 8, 9), (1, 5, 4)]))]
    with strategy.scope():
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs / 255))
        observer = lambda *arrays: seen.append(arrays)  # noqa: E731
        evaluator = Evaluator(model, 3, strategy, observer=observer, temperature=2.0)
    matrix = evaluator(batches)
    np.testing.assert_array_equal(matrix, counted_by_hand(model, [batch[:2] for batch in batches]))
    assert len(seen) == 2
    for (images, labels, number), observed in zip(batches, seen, strict=True):
        logits = np.asarray(model(images), np.float64) / 2
        softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        np.testing.assert_array_equal(observed[0], images)
        np.testing.assert_array_equal(observed[1], labels)
        np.testing.assert_array_equal(observed[2], softmax.argmax(axis=-1))
        np.testing.assert_allclose(observed[3], softmax.max(axis=-1), rtol=1e-5)
        assert (observed[2].dtype, observed[4]) == (np.uint8, number)


def test_the_evaluator_refuses_labels_out_of_range(model):
    labels = np.full((1, 8, 8), 3, np.uint8)
    with pytest.raises(ValueError, match=r"\[0, 3\) or 255 \(ignored\), got 64 other pixels"):
        Evaluator(model, 3)([(np.zeros((1, 8, 8, 3), np.float32), labels)])


def test_a_batch_is_padded_with_ignored_images():
    images, labels = pad_batch(tf.ones((3, 2, 2, 3)), tf.ones((3, 2, 2), tf.uint8), 4)
    assert images.shape == (4, 2, 2, 3)
    assert np.all(labels[3] == 255)
    assert np.all(labels[:3] == 1)
    assert pad_batch(images, labels, 2) == (images, labels)


def test_constant_weights_give_the_same_logits_and_leave_no_variable():
    model = kerasseg.build("segnet", num_classes=3, filters=4)
    images = np.random.default_rng(0).uniform(0, 255, (1, 33, 47, 3)).astype(np.float32)
    expected = model(images)
    run = tf.function(inference.with_constant_weights(model))
    np.testing.assert_allclose(run(images), expected, atol=1e-5)
    assert not run.get_concrete_function(images).graph.captures
    # They are those of when it was made.
    model.get_layer("logits").bias.assign_add([1.0, 2.0, 3.0])
    np.testing.assert_allclose(run(images), expected, atol=1e-5)


def test_a_network_too_large_for_a_graph_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(inference, "_LARGEST_CONSTANT_NETWORK", 10)
    model = kerasseg.build("segnet", num_classes=3, filters=4)
    assert inference.with_constant_weights(model) is model


def test_more_classes_than_labels_hold_are_refused_rather_than_wrapped_around():
    logits = np.zeros((1, 2, 2, 255), np.float32)
    logits[..., 254] = 1
    assert (inference.label_map(logits).numpy() == 254).all()
    with pytest.raises(ValueError, match="at most 255 classes, got 256: labels are 8-bit"):
        inference.label_map(np.zeros((1, 2, 2, 256), np.float32))


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_loss_of_a_dataset_is_that_of_all_its_pixels_together(replicas, two_cpus):
    rng = np.random.default_rng(0)
    batches = []
    for images, size, ignored in ((3, (8, 9), 0.9), (1, (12, 7), 0.1), (2, (8, 9), 1.0)):
        labels = rng.integers(0, 3, (images, *size))
        labels[rng.random(labels.shape) < ignored] = 255
        batches.append((rng.uniform(0, 255, (images, *size, 3)), labels.astype(np.uint8)))
    strategy = mirrored_strategy(two_cpus[:replicas])
    weights = [1.0, 0.25, 3.0]
    with strategy.scope():
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs / 255))
        loss = kerasseg.losses.CrossEntropy(class_weights=weights)
        evaluator = Evaluator(model, 3, strategy, loss)
    evaluator(batches)
    total = divisor = 0.0
    for images, labels in batches:
        logits = np.asarray(model(images.astype(np.float32)), np.float64)
        for z, y in zip(logits.reshape(-1, 3), labels.reshape(-1), strict=True):
            if y != 255:
                total += weights[y] * (np.log(np.exp(z).sum()) - z[y])
                divisor += weights[y]
    assert evaluator.mean_loss == pytest.approx(total / divisor, rel=1e-5)


def test_a_loss_of_ones_own_is_a_mean_over_images():
    images, labels = np.zeros((3, 4, 4, 3), np.float32), np.zeros((3, 4, 4), np.uint8)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    own = lambda y, z: tf.reduce_mean(tf.cast(y, tf.float32))  # noqa: E731
    labels[0] = 1
    evaluator = Evaluator(model, 2, loss=own)
    evaluator([(images[:1], labels[:1]), (images[1:], labels[1:])])
    assert evaluator.mean_loss == pytest.approx(1 / 3)
    evaluator([(images, np.full_like(labels, 255))])
    assert evaluator.mean_loss is None
