import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import BatchNormalization, LayerNormalization
from kerasseg.pipelines.runtime.devices import mirrored_strategy


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return (3 + 2 * rng.normal(size=(4, 5, 6, 8))).astype(np.float32)


def test_training_normalises_by_the_batch_and_moves_the_averages(features):
    layer = BatchNormalization(momentum=0.9, epsilon=1e-5)
    out = layer(features, training=True)
    mean, variance = features.mean((0, 1, 2)), features.var((0, 1, 2))
    np.testing.assert_allclose(out, (features - mean) / np.sqrt(variance + 1e-5), atol=2e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)


def test_inference_normalises_by_the_moving_averages(features):
    layer = BatchNormalization()
    layer.build(features.shape)
    rng = np.random.default_rng(1)
    gamma, beta, mean = rng.normal(size=(3, 8))
    variance = rng.uniform(0.5, 2, 8)
    for weight, value in zip(layer.weights, (gamma, beta, mean, variance), strict=True):
        weight.assign(value)
    expected = (features - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(layer(features, training=False), expected, atol=1e-5)


def test_values_and_gradients_equal_those_of_keras_own_layer(features):
    results = []
    for layer in (
        BatchNormalization(),
        keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
    ):
        layer.build(features.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 8))
        x = tf.Variable(features)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(layer(x, training=True)))
        results.append(tape.gradient(loss, [x, layer.gamma.value, layer.beta.value]))
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=1e-4)


def test_a_frozen_layer_uses_its_moving_averages_in_training_too(features):
    layer = BatchNormalization()
    layer.build(features.shape)
    layer.trainable = False
    expected = features / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(layer(features, training=True), expected, rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(8))


def test_frozen_statistics_leave_scale_and_offset_to_be_trained(features):
    layer = BatchNormalization(epsilon=1e-5)
    layer.build(features.shape)
    layer.frozen_statistics = True
    rng = np.random.default_rng(1)
    gamma, beta, mean = rng.normal(size=(3, 8)).astype(np.float32)
    variance = rng.uniform(0.5, 2, 8).astype(np.float32)
    layer.set_weights([gamma, beta, mean, variance])
    upstream = rng.normal(size=features.shape).astype(np.float32)
    x = tf.Variable(features)
    with tf.GradientTape() as tape:
        out = layer(x, training=True)
        loss = tf.reduce_sum(out * upstream)
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    # y = gamma n + beta, with n = (x - mean) / sqrt(variance + epsilon) and constant statistics
    scale = 1 / np.sqrt(variance + 1e-5)
    normalized = (features - mean) * scale
    np.testing.assert_allclose(out, gamma * normalized + beta, atol=1e-5)
    expected = (
        upstream * gamma * scale,
        (upstream * normalized).sum((0, 1, 2)),
        upstream.sum((0, 1, 2)),
    )
    for gradient, value in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, value, atol=1e-4)
    np.testing.assert_array_equal(layer.moving_mean, mean)
    np.testing.assert_array_equal(layer.moving_variance, variance)


def test_bfloat16_features_stay_bfloat16(features):
    layer = BatchNormalization(dtype="mixed_bfloat16")
    for training in (True, False):
        assert layer(features, training=training).dtype == tf.bfloat16


def test_two_replicas_normalise_by_the_whole_batch(features, two_cpus):
    alone = BatchNormalization()
    expected = alone(features, training=True).numpy()
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        layer = BatchNormalization()
        layer.build(features.shape)
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(features, 2)[context.replica_id_in_sync_group])
    )
    out = strategy.run(lambda x: layer(x, training=True), args=(halves,))
    joined = tf.concat(strategy.experimental_local_results(out), 0)
    np.testing.assert_allclose(joined, expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, alone.moving_variance, rtol=1e-5)


def test_two_unequal_replicas_keep_the_digits_of_a_small_variance(features, two_cpus):
    # A mean of thousands of deviations, whose square leaves no digits for the variance beside it.
    features = (features - 3) / 2 + 3000
    upstream = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        layer = BatchNormalization()
        layer.build(features.shape)

    def of_each_replica(batch):  # the last batch of an epoch leaves one replica fewer images
        parts = batch[:3], batch[3:]
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )

    def step(batch, upstream):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            normalized = layer(batch, training=True)
        return normalized, tape.gradient(normalized, batch, upstream)

    results = strategy.run(step, args=(of_each_replica(features), of_each_replica(upstream)))
    normalized, gradient = (
        tf.concat(strategy.experimental_local_results(each), 0) for each in results
    )

    exact, axes = features.astype(np.float64), (0, 1, 2)
    mean, variance = exact.mean(axes), exact.var(axes)
    deviation = np.sqrt(variance + 1e-5)
    expected = (exact - mean) / deviation
    np.testing.assert_allclose(normalized, expected, atol=1e-3)  # float32 at 3000: 2.4e-4
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)
    # Ioffe and Szegedy's gradient, with the means over the whole batch.
    projection = (upstream * expected).mean(axes)
    expected_gradient = (upstream - upstream.mean(axes) - expected * projection) / deviation
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-3)


def test_two_replicas_keep_the_type_of_half_precision(features, two_cpus):
    strategy = mirrored_strategy(two_cpus)
    with strategy.scope():
        layer = BatchNormalization(dtype="mixed_float16")
        layer.build(features.shape)
    out = strategy.run(lambda: layer(tf.constant(features), training=True))
    for part in strategy.experimental_local_results(out):
        assert part.dtype == tf.float16
        expected = (features - features.mean((0, 1, 2))) / features.std((0, 1, 2))
        np.testing.assert_allclose(part, expected, atol=5e-3)


def test_the_averages_of_the_first_steps_keep_less_of_the_old(features):
    """As TensorFlow's own average does when it is told the number of updates."""
    layer = BatchNormalization(momentum=0.5)
    layer.build(features.shape)
    steps = tf.Variable(0, dtype=tf.int64)
    layer.steps_done = lambda: steps
    expected = tf.Variable(np.zeros(8, np.float32))
    average = tf.train.ExponentialMovingAverage(0.5, num_updates=steps)
    average.apply([expected])
    for step in range(12):
        batch = features * (1 + step)
        expected.assign(batch.mean((0, 1, 2)))
        average.apply([expected])
        tf.function(layer)(batch, training=True)
        np.testing.assert_allclose(layer.moving_mean, average.average(expected), rtol=1e-5)
        steps.assign_add(1)
    assert layer.get_config()["momentum"] == 0.5
    assert len(layer.weights) == 4


def test_a_layer_that_counts_steps_keeps_its_averages_when_frozen(features):
    layer = BatchNormalization()
    layer.build(features.shape)
    layer.steps_done = lambda: tf.constant(0, tf.int64)
    layer.frozen_statistics = True
    layer(features, training=True)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(8))


def test_a_layer_normalisation_normalises_each_position_as_keras_own_does(features):
    # Also a mean of many deviations, which Keras' formula keeps: it squares what it has centred.
    inputs = tf.constant(features + np.linspace(0, 50, 6, dtype=np.float32)[:, None])
    upstream = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    layers = LayerNormalization(epsilon=1e-6), keras.layers.LayerNormalization(epsilon=1e-6)
    found = []
    for layer in layers:
        layer.build(inputs.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 8))
        layer.beta.assign(np.linspace(-1, 1, 8))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(outputs * upstream)
        gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
        found.append([outputs, *gradients])
    for ours, keras_own in zip(*found, strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=1e-4)
    mean, variance = (each(inputs.numpy(), axis=-1, keepdims=True) for each in (np.mean, np.var))
    expected = (inputs - mean) / np.sqrt(variance + 1e-6) * layers[0].gamma + layers[0].beta
    np.testing.assert_allclose(found[0][0], expected, atol=1e-4)


def test_a_layer_normalisation_takes_tokens_and_maps_of_any_size_in_any_precision(features):
    layer = LayerNormalization(epsilon=1e-3, dtype="mixed_bfloat16", name="norm")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is LayerNormalization
    assert again.get_config() == layer.get_config()
    spec = tf.TensorSpec((None, None, 8), tf.bfloat16)
    again.build((None, None, 8))
    run = tf.function(again, input_signature=[spec]).get_concrete_function()
    assert run.output_shapes == (None, None, 8)
    tokens = features.reshape(4, 30, 8)
    expected = (tokens - tokens.mean(-1, keepdims=True)) / tokens.std(-1, keepdims=True)
    found = run(tf.cast(tokens, tf.bfloat16))
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=5e-2)


def test_a_layer_normalisation_of_another_axis_is_refused():
    with pytest.raises(ValueError, match="axis must be -1, with center and scale, got axis=1"):
        LayerNormalization(axis=1)
