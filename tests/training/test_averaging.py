"""The average of the weights over the steps of a training."""

import signal
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_ends import At, assert_same_end, signalled

import kerasseg
from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError, Interrupted
from kerasseg.pipelines.runs import state
from kerasseg.pipelines.training import averaging

DECAY = 0.6  # which is in force from the sixth step on: (1 + 5) / (10 + 5) = 0.4 at the sixth


@pytest.fixture(scope="module")
def training(tiny_training):
    options = {**tiny_training.model_options, "depth": 1, "filters": 2}
    return replace(tiny_training, model_options=options, ema=DECAY, learning_rate=1e-2, epochs=2)


class Recorder(keras.callbacks.Callback):
    """Keeps the weights at the beginning and after each step."""

    def on_train_begin(self, logs=None):
        assert self.model is not None
        self.weights = [[w.copy() for w in self.model.get_weights()]]

    def on_train_batch_end(self, batch, logs=None):
        assert self.model is not None
        self.weights.append([w.copy() for w in self.model.get_weights()])


def average(weights, decay):
    """The rule in float64: a share d of the old average is kept, d = min(decay, (1+n)/(10+n))."""
    first, *rest = weights
    result = [np.asarray(w, np.float64) for w in first]
    for n, after in enumerate(rest):
        d = min(decay, (1 + n) / (10 + n))
        result = [d * a + (1 - d) * w for a, w in zip(result, after, strict=True)]
    return result


@pytest.fixture(scope="module")
def averaged(training, tiny_data, tmp_path_factory):
    """Runs the training on devices, once: `averaged(devices)` is the run and its `Recorder`."""
    done = {}

    def run_on(devices):
        if str(devices) not in done:
            folder, recorder = tmp_path_factory.mktemp("averaged") / "run", Recorder()
            more = {"devices": devices, "extra_callbacks": [recorder]}
            done[str(devices)] = fit.run(training, tiny_data, folder, **more).folder, recorder
        return done[str(devices)]

    return run_on


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_saved_network_is_the_average_and_the_state_keeps_the_weights(
    averaged, two_cpus, replicas
):
    run, recorder = averaged(two_cpus[:replicas])
    assert len(recorder.weights) == 1 + 2 * 3
    saved = kerasseg.load(run, "last").get_weights()
    expected = average(recorder.weights, DECAY)
    for one, other in zip(saved, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)
    # Far from the weights of the last step, batch normalisation's statistics among them.
    apart = [np.abs(a - w).max() for a, w in zip(saved, recorder.weights[-1], strict=True)]
    assert min(apart) > 1e-4


def test_a_decay_above_that_of_the_step_does_not_count_yet():
    class Optimizer:
        iterations = keras.Variable(0, dtype="int64")

    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(inputs))
    model.optimizer = Optimizer()  # pyright: ignore
    averages = averaging.WeightAverages(model, 0.2, tf.distribute.get_strategy())
    averages.start()
    averages.on_train_begin()
    found = []
    for step in range(1, 5):
        model.layers[1].kernel.assign([[1.0]])
        Optimizer.iterations.assign(step)
        averages.on_train_batch_end(step - 1)
        averages.on_train_batch_end(step - 1)  # not a step of the optimizer: nothing moves
        found.append(averages.network.layers[1].kernel.numpy().item())
    # (1 + n) / (10 + n) is 0.1, 0.1818, 0.25, 0.3077; the distance to 1 shrinks by it, or by 0.2.
    distances = np.cumprod([1 / 10, 2 / 11, 0.2, 0.2])
    np.testing.assert_allclose(found, 1 - distances, rtol=1e-6)


@pytest.mark.slow
def test_an_average_is_resumed_bit_for_bit(training, averaged, two_cpus, tiny_data, tmp_path):
    stopped = At(1, 1, signalled(signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit.run(training, tiny_data, tmp_path / "run", extra_callbacks=[stopped])
    fit.resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", averaged(two_cpus[:1])[0])


def test_averaging_leaves_the_training_itself_alone(
    training, averaged, two_cpus, tiny_data, tmp_path
):
    alone = fit.run(replace(training, ema=None), tiny_data, tmp_path / "run").folder
    folders = (alone, averaged(two_cpus[:1])[0])
    states: list[Any] = [state.newest_whole(folder / "checkpoints")[0] for folder in folders]
    plain, together = (tf.train.load_checkpoint(str(s.variables)) for s in states)
    names = [n for n in plain.get_variable_to_shape_map() if n.startswith("variables/")]
    for name in names:
        np.testing.assert_array_equal(plain.get_tensor(name), together.get_tensor(name), name)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_that_averages_nothing_is_refused(training, decay):
    with pytest.raises(InputError, match=f"ema must be above 0 and below 1, got {decay}"):
        replace(training, ema=decay)
