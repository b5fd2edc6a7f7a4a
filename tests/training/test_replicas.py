"""Trainings on two devices, which are those on one."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.losses import CrossEntropy, Dice, WeightedSum
from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runtime.devices import mirrored_strategy


def test_two_replicas_train_as_one(tiny_data, tiny_training, tmp_path, two_cpus):
    # Crops larger than the images: the padding is ignored, and differs between the replicas.
    options = dataclasses.replace(
        tiny_training,
        model_options={**tiny_training.model_options, "depth": 1},
        epochs=1,
        crop_size=(48, 48),
        optimizer="sgd",
        learning_rate=0.01,
    )
    one = fit.run(options, tiny_data, tmp_path / "one", devices=two_cpus[:1])
    two = fit.run(options, tiny_data, tmp_path / "two", devices=two_cpus)
    histories = [run_folder.history(run.folder) for run in (one, two)]
    for alone, shared in zip(*histories, strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert shared["mean_iou"] == pytest.approx(alone["mean_iou"], abs=1e-3)
    models = [kerasseg.load(run.folder / "checkpoints/last.keras") for run in (one, two)]
    for alone, shared in zip(*(model.get_weights() for model in models), strict=True):
        # In units of float32's rounding, which is in proportion above 1 (moving variances); without
        # global counts the difference is 4e-3, without synchronised statistics 0.5.
        unit = np.maximum(1, np.abs(alone))
        np.testing.assert_allclose(shared / unit, alone / unit, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(class_weights=[1.0, 2.0, 5.0]),
        Dice(),
        WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5]),
    ],
    ids=lambda loss: loss.name,
)
def test_the_gradient_of_two_replicas_is_that_of_one_with_ignored_pixels(loss, two_cpus):
    """The halves differ in ignored pixels: dividing by each one's own count is wrong."""
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0], labels[1, :2] = 255, 1
    labels[0, 0, 0] = 2
    logits = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)

    def gradient(y, z):
        z = tf.convert_to_tensor(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(y, z)
        return value, tape.gradient(value, z)

    expected, expected_gradient = gradient(labels, logits)
    strategy = mirrored_strategy(two_cpus)

    def half(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(array[context.replica_id_in_sync_group][None])
        )

    value, shared = strategy.run(gradient, args=(half(labels), half(logits)))
    total = strategy.reduce("SUM", value, axis=None)
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    joined = tf.concat(strategy.experimental_local_results(shared), 0)
    np.testing.assert_allclose(joined, expected_gradient, atol=1e-7)


def test_a_batch_that_the_replicas_cannot_share_is_refused(
    tiny_data, tiny_training, tmp_path, two_cpus
):
    options = dataclasses.replace(tiny_training, batch_size=3)
    with pytest.raises(InputError, match="batch_size must be a multiple of the 2 replicas, got 3"):
        fit.run(options, tiny_data, tmp_path / "run", devices=two_cpus)
