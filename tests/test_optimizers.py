import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import optimizers, schedules
from kerasseg.pipelines.runtime.devices import mirrored_strategy


def variables():
    """One of the encoder, one of the layers upon it."""
    inputs = keras.Input((4,))
    features = keras.layers.Dense(3, use_bias=False, name="encoder_first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="logits")(features))
    return model.trainable_variables


def step(optimizer, trained, seed=None):
    """Takes a step against gradients of one, or drawn ones; returns what it changed."""
    before = [variable.numpy() for variable in trained]
    gradients = [tf.ones(variable.shape) for variable in trained]
    if seed is not None:
        rng = np.random.default_rng(seed)
        gradients = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in trained]
    optimizer.apply_gradients(zip(gradients, trained, strict=True))
    return [variable.numpy() - old for variable, old in zip(trained, before, strict=True)]


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_the_encoder_moves_by_its_share_of_the_rate(kind):
    make = getattr(optimizers, kind)
    options = {"weight_decay": 0.0} if kind == "AdamW" else {"momentum": 0.9}
    moved = step(make(0.01, encoder_factor=0.1, **options), variables())
    # A first step against a gradient of one: by the learning rate, in both.
    np.testing.assert_allclose(moved[0], -0.001, rtol=1e-4)
    np.testing.assert_allclose(moved[1], -0.01, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("AdamW", {"weight_decay": 0.01}),
        ("SGD", {}),
        ("SGD", {"momentum": 0.9, "weight_decay": 0.01}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_with_a_factor_of_one_it_is_keras_own(kind, options):
    results = []
    for make in (getattr(optimizers, kind), getattr(keras.optimizers, kind)):
        keras.utils.set_random_seed(0)
        trained = variables()
        optimizer = make(schedules.Poly(0.1, 5), **options)
        results.append([step(optimizer, trained, seed) for seed in range(4)])
    for ours, theirs in zip(*results, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_replicas_scale_alike(two_cpus):
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        trained = variables()
        optimizer = optimizers.SGD(0.01, encoder_factor=0.5)
        optimizer.build(trained)
    before = [variable.numpy() for variable in trained]

    @tf.function
    def apply():
        strategy.run(lambda: optimizer.apply([tf.ones(v.shape) for v in trained]))

    apply()
    # Each of the two replicas has a gradient of one, and they are added.
    moved = [variable.numpy() - old for variable, old in zip(trained, before, strict=True)]
    np.testing.assert_allclose(moved[0], -0.01, rtol=1e-4)
    np.testing.assert_allclose(moved[1], -0.02, rtol=1e-4)


def test_a_saved_optimizer_keeps_its_factor():
    optimizer = optimizers.AdamW(1e-3, encoder_factor=0.1)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, optimizers.AdamW)
    assert copy.encoder_factor == 0.1


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="amsgrad must be False, got True"):
        optimizers.AdamW(amsgrad=True)


def test_a_negative_factor_is_refused():
    with pytest.raises(ValueError, match=r"encoder_factor must be at least 0, got -0.1"):
        optimizers.SGD(encoder_factor=-0.1)
