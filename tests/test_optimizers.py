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


def test_replicas_scale_in_the_same_way(two_cpus):
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


@pytest.mark.parametrize(
    ("kind", "options"), [("AdamW", {}), ("SGD", {}), ("SGD", {"momentum": 0.9, "nesterov": True})]
)
def test_an_encoder_without_a_rate_stays_bit_for_bit(kind, options):
    trained = variables()
    trained[0].assign(-0.0 * trained[0])  # zeros whose sign a step of zero would lose
    before = [variable.numpy() for variable in trained]
    make = getattr(optimizers, kind)
    optimizer = make(schedules.Poly(0.1, 9), encoder_factor=0.0, weight_decay=0.1, **options)
    for seed in range(3):
        step(optimizer, trained, seed)
    assert trained[0].numpy().tobytes() == before[0].tobytes()
    assert (trained[1].numpy() != before[1]).all()


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_the_encoder_decays_by_its_share_of_the_rate(kind, factor):
    trained = variables()
    before = [variable.numpy() for variable in trained]
    optimizer = getattr(optimizers, kind)(0.1, encoder_factor=factor, weight_decay=0.2)
    zeros = [tf.zeros(variable.shape) for variable in trained]
    optimizer.apply_gradients(zip(zeros, trained, strict=True))
    np.testing.assert_allclose(trained[0], before[0] * (1 - 0.1 * 0.2 * factor), rtol=1e-6)
    np.testing.assert_allclose(trained[1], before[1] * (1 - 0.1 * 0.2), rtol=1e-6)


@pytest.mark.parametrize("replicas", [1, 2])
def test_weight_decay_leaves_out_what_is_named_so_and_nothing_else(replicas, two_cpus):
    strategy = mirrored_strategy(two_cpus[:replicas])
    with strategy.scope():
        inputs = keras.Input((4, 4, 3))
        # Names of layers that contain those of the variables.
        features = keras.layers.Conv2D(3, 1, name="encoder_bias_gamma")(inputs)
        features = keras.layers.BatchNormalization(name="beta_bn")(features)
        model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="debias")(features))
        for variable in model.trainable_variables:
            variable.assign(tf.fill(variable.shape, 2.0))
        optimizer = optimizers.AdamW(0.1, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        optimizer.build(model.trainable_variables)
    zeros = [tf.zeros(variable.shape) for variable in model.trainable_variables]
    tf.function(lambda: strategy.run(lambda: optimizer.apply(zeros)))()
    for variable in model.trainable_variables:
        expected = 2.0 * (1 - 0.1 * 0.1) if variable.name == "kernel" else 2.0
        np.testing.assert_allclose(variable, expected, rtol=1e-6, err_msg=variable.path)


def test_a_factor_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="encoder_factor must be at least 0, got nan"):
        optimizers.AdamW(encoder_factor=float("nan"))


@pytest.mark.parametrize("late", [False, True])
def test_an_encoder_that_begins_late_has_a_bias_correction_of_its_own(late):
    trained = variables()
    optimizer = optimizers.AdamW(0.01, weight_decay=0.0, encoder_waits=late)
    optimizer.build(trained)
    for _ in range(20):
        optimizer.apply([tf.ones(trained[1].shape)], trained[1:])
    if late:
        optimizer.begin_encoder()
        optimizer.begin_encoder()  # as in a resumed training: what was counted stays
    moved = step(optimizer, trained)
    # m = 0.1 and v = 0.001 after one gradient of one: by the rate if divided by 1 - beta**1, by
    # 0.1 / (1 - 0.9**21) / sqrt(0.001 / (1 - 0.999**21)) = 0.51 of it if the others' steps counted.
    np.testing.assert_allclose(moved[0], -0.01 if late else -0.00513, rtol=1e-2)
    np.testing.assert_allclose(moved[1], -0.01, rtol=1e-4)


@pytest.mark.parametrize("limit", [1.0, 100.0])
def test_the_norm_of_the_sum_over_replicas_is_clipped(limit, two_cpus):
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        trained = variables()
        optimizer = optimizers.SGD(0.1, global_clipnorm=limit)
        optimizer.build(trained)
    before = [variable.numpy() for variable in trained]
    rng = np.random.default_rng(0)
    parts = [[rng.normal(size=v.shape).astype(np.float32) for v in trained] for _ in range(2)]

    @tf.function
    def apply():
        def on_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply(
                [tf.gather(tf.stack(each), replica) for each in zip(*parts, strict=True)]
            )

        strategy.run(on_replica)

    apply()
    # g / max(1, |g| / limit) with g the sum of the replicas and |g| the norm over all variables.
    summed = [one + other for one, other in zip(*parts, strict=True)]
    norm = np.sqrt(sum((gradient**2).sum() for gradient in summed))
    assert 1 < norm < 100
    for variable, old, gradient in zip(trained, before, summed, strict=True):
        expected = old - 0.1 * gradient * min(1, limit / norm)
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("faulty", [0, 1])
def test_a_gradient_that_is_not_finite_on_one_replica_costs_the_step_and_no_more(faulty, two_cpus):
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        trained = variables()
        optimizer = optimizers.LossScaleOptimizer(optimizers.SGD(0.1, momentum=0.9))
        optimizer.build(trained)
    before = [variable.numpy() for variable in trained]
    ones = [tf.ones(variable.shape) for variable in trained]

    @tf.function
    def apply(value):
        def on_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            factor = tf.where(tf.equal(replica, faulty), value, 1.0)
            optimizer.apply([factor * each for each in ones], trained)

        strategy.run(on_replica)

    apply(tf.constant(float("inf")))
    for variable, old in zip(trained, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    assert int(optimizer.iterations.numpy()) == 0
    scale = float(optimizer.dynamic_scale.numpy())
    assert scale == 2.0**14  # halved
    apply(tf.constant(1.0))
    for variable, old in zip(trained, before, strict=True):
        np.testing.assert_allclose(variable, old - 0.1 * 2 / scale, rtol=1e-6)
