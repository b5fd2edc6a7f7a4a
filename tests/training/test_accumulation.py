"""One step of the optimizer over several small batches."""

import signal
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_ends import At, assert_same_end, signalled

import kerasseg
from kerasseg import losses, optimizers
from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError, Interrupted
from kerasseg.pipelines.runtime.devices import mirrored_strategy
from kerasseg.pipelines.training.accumulation import Accumulation

WEIGHTS = [0.5, 1.0, 4.0]


def network(strategy, loss):
    keras.utils.set_random_seed(3)
    with strategy.scope():
        images = keras.Input((4, 4, 3))
        features = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(images)
        model = keras.Model(images, keras.layers.Conv2D(3, 1)(features))
        # With momentum, a limit of the norm that bites, and weight decay.
        rule = optimizers.SGD(0.5, momentum=0.9, weight_decay=0.1, global_clipnorm=0.2)
        model.compile(rule, loss)
        rule.build(model.trainable_variables)
    return model


def batch():
    """Eight images, in which very different numbers of pixels are ignored, in two of them all."""
    random = np.random.default_rng(0)
    images = random.normal(size=(8, 4, 4, 3)).astype(np.float32)
    labels = random.integers(0, 3, (8, 4, 4)).astype(np.uint8)
    labels[0], labels[1, 1:], labels[2:4], labels[4, 0], labels[6, :2] = 255, 255, 255, 255, 255
    return images, labels


def train(strategy, model, images, labels, size):
    """Trains two times over the images in batches of a size."""
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).batch(size).repeat(2)
    batches = iter(strategy.experimental_distribute_dataset(pairs))
    model.make_train_function()
    for _ in range(2 * len(images) // size):
        yield model.train_function(batches)


EXACT = {
    "cross-entropy": losses.CrossEntropy(WEIGHTS, label_smoothing=0.1),
    "focal": losses.Focal(class_weights=WEIGHTS),
    "ohem": losses.OnlineHardExamples(threshold=0.3, min_kept=4, class_weights=WEIGHTS),
    "sum": losses.WeightedSum([losses.Focal(), losses.CrossEntropy()], [0.5, 2.0]),
}


@pytest.mark.parametrize(
    ("name", "replicas"),
    [("cross-entropy", 1), ("cross-entropy", 2), ("focal", 2), ("ohem", 1), ("sum", 1)],
)
def test_small_batches_are_one_large_one_however_many_pixels_are_ignored(name, replicas, two_cpus):
    images, labels = batch()
    strategy = mirrored_strategy(two_cpus[:replicas])
    large = network(strategy, EXACT[name])
    list(train(strategy, large, images, labels, 8))
    small = network(strategy, EXACT[name])
    accumulation = Accumulation(small, 4, strategy)
    for step, _ in enumerate(train(strategy, small, images, labels, 2)):
        accumulation.on_train_batch_end(step)
    assert int(small.optimizer.iterations.numpy()) == 2
    untrained = network(strategy, EXACT[name]).get_weights()
    for one, other, start in zip(small.get_weights(), large.get_weights(), untrained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)
        assert np.abs(one - start).max() > 1e-3


def test_other_losses_are_the_mean_weighted_by_the_pixels_that_count():
    """Dice of a batch is not a ratio of two sums: its parts are averaged, as the guide says."""
    images, labels = batch()
    strategy = mirrored_strategy(["CPU:0"])
    loss = losses.Dice()
    model = network(strategy, loss)
    start = [w.copy() for w in model.get_weights()]
    gradients, counts = [], []
    for index in range(0, 8, 2):
        with tf.GradientTape() as tape:
            value = loss(labels[index : index + 2], model(images[index : index + 2]))
        found = tape.gradient(value, model.trainable_variables)
        gradients.append([np.asarray(gradient) for gradient in found])
        counts.append((labels[index : index + 2] != 255).sum())
    mean = [np.average(parts, axis=0, weights=counts) for parts in zip(*gradients, strict=True)]
    norm = np.sqrt(sum((gradient**2).sum() for gradient in mean))
    accumulation = Accumulation(model, 4, strategy)
    for step, _ in zip(range(4), train(strategy, model, images, labels, 2), strict=False):
        accumulation.on_train_batch_end(step)
    for weight, before, gradient in zip(model.get_weights(), start, mean, strict=True):
        # The first step with momentum: the gradient, clipped; the decay comes first.
        expected = before * (1 - 0.5 * 0.1) - 0.5 * gradient * min(1, 0.2 / norm)
        np.testing.assert_allclose(weight, expected, atol=1e-6)


@pytest.fixture
def training(tiny_training):
    options = {**tiny_training.model_options, "depth": 1, "filters": 2, "dropout": 0.3}
    return replace(tiny_training, model_options=options, epochs=1, batch_size=2, accumulate=2)


@pytest.mark.slow
def test_a_run_of_small_batches_is_a_run_of_large_ones(training, tiny_data, tmp_path, two_cpus):
    # Without dropout and statistics of batches; the padding of the crops is ignored. In an epoch of
    # 12 images, the last 2 do not fill a step of 10.
    plain = {k: v for k, v in training.model_options.items() if k != "dropout"}
    options = replace(
        training,
        model_options=plain,
        batch_norm="frozen",
        crop_size=(48, 48),
        epochs=2,
        accumulate=5,
        class_weights="median-frequency",
        optimizer="sgd",
    )
    small = fit.run(options, tiny_data, tmp_path / "small", devices=two_cpus)
    large = fit.run(replace(options, batch_size=10, accumulate=1), tiny_data, tmp_path / "large")
    for one, other in zip(
        *(kerasseg.load(run.folder, "last").get_weights() for run in (small, large)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_everything_together_is_resumed_within_a_step_bit_for_bit(
    training, tiny_data, tmp_path, two_cpus, replicas
):
    options = replace(
        training, dtype_policy="mixed_float16", ema=0.9, clip_norm=0.5, schedule="cosine"
    )
    more = {"devices": two_cpus[:replicas]}
    whole = fit.run(options, tiny_data, tmp_path / "whole", **more).folder
    stopped = At(0, 2, signalled(signal.SIGTERM))  # after the first of the two batches of a step
    with pytest.raises(Interrupted):
        fit.run(options, tiny_data, tmp_path / "run", extra_callbacks=[stopped], **more)
    fit.resume(tmp_path / "run", **more)
    assert_same_end(tmp_path / "run", whole)


def test_a_step_of_more_batches_than_an_epoch_has_is_refused(training, tiny_data, tmp_path):
    with pytest.raises(InputError, match="accumulate must be at most the 6 batches of an epoch, g"):
        fit.run(replace(training, accumulate=7), tiny_data, tmp_path / "run")
