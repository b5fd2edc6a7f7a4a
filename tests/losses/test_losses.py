import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.losses import CrossEntropy, Dice, WeightedSum
from kerasseg.pipelines.runtime.devices import mirrored_strategy


def by_formula(labels, logits, weights=None, ignore=255):
    total = norm = 0.0
    for index in np.ndindex(labels.shape):
        label = labels[index]
        if label == ignore:
            continue
        weight = 1.0 if weights is None else weights[label]
        z = logits[index].astype(np.float64)
        total += weight * (np.log(np.exp(z).sum()) - z[label])
        norm += weight
    return total / norm


def test_the_loss_is_the_mean_over_pixels_that_are_not_ignored(batch):
    assert float(CrossEntropy()(*batch)) == pytest.approx(by_formula(*batch), rel=1e-5)


def test_class_weights_weigh_pixels_and_normaliser(batch):
    weights = [0.5, 2.0, 1.25]
    loss = CrossEntropy(class_weights=weights)(*batch)
    assert float(loss) == pytest.approx(by_formula(*batch, weights), rel=1e-5)


def test_the_gradient_at_ignored_pixels_is_exactly_zero(batch):
    labels, logits = batch
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = CrossEntropy()(labels, logits)
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[labels == 255] == 0).all()
    assert (np.abs(gradient[labels != 255]).sum(axis=-1) > 0).all()


def test_a_batch_with_every_pixel_ignored_has_loss_and_gradient_zero():
    logits = tf.Variable(tf.random.normal((1, 4, 4, 3)))
    with tf.GradientTape() as tape:
        loss = CrossEntropy()(np.full((1, 4, 4), 255, np.uint8), logits)
    assert float(loss) == 0.0
    assert not np.any(tape.gradient(loss, logits).numpy())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_loss_is_computed_in_float32(batch, dtype):
    labels, logits = batch
    low = tf.cast(logits, dtype)
    loss = CrossEntropy()(labels, low)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(by_formula(labels, low.numpy().astype(float)), rel=1e-5)


@pytest.mark.parametrize("bad", [3, 11, 254])
def test_a_label_out_of_range_is_an_error_that_names_the_range(batch, bad):
    labels, logits = batch
    labels[0, 0, 0] = bad
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 3\) or 255 .* got {bad}"):
        CrossEntropy()(labels, logits)


def test_labels_with_a_channel_axis_are_taken_too(batch):
    labels, logits = batch
    assert float(CrossEntropy()(labels[..., None], logits)) == float(CrossEntropy()(labels, logits))


def test_another_ignored_label_can_be_chosen(batch):
    labels, logits = batch
    labels = np.where(labels == 255, 2, labels)
    loss = CrossEntropy(ignore_label=2)(labels, logits)
    assert float(loss) == pytest.approx(by_formula(labels, logits, ignore=2), rel=1e-5)


def test_negative_class_weights_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        CrossEntropy(class_weights=[1.0, -1.0])


@pytest.mark.parametrize("make", [CrossEntropy, Dice])
def test_a_reduction_by_keras_is_refused(make):
    make(reduction=None)
    with pytest.raises(ValueError, match=r"reduction must be None, .* got 'sum'"):
        make(reduction="sum")


def test_the_configuration_builds_an_equal_loss(batch):
    loss = CrossEntropy(class_weights=[1.0, 2.0, 3.0], ignore_label=254)
    again = CrossEntropy.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


def dice_by_formula(labels, logits):
    """Pixel by pixel and class by class, classes without a pixel left out."""
    exponentials = np.exp(logits.astype(np.float64))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    valid = labels != 255
    coefficients = []
    for number in range(logits.shape[-1]):
        truth, predicted = labels[valid] == number, probabilities[valid][:, number]
        if truth.any():
            coefficients.append(2 * predicted[truth].sum() / (predicted.sum() + truth.sum()))
    return 1 - np.mean(coefficients)


def test_the_dice_loss_follows_its_formula(batch):
    assert float(Dice()(*batch)) == pytest.approx(dice_by_formula(*batch), rel=1e-5)
    labels, logits = batch
    labels = np.where(labels == 1, 255, labels)  # a class that does not occur
    assert float(Dice()(labels, logits)) == pytest.approx(dice_by_formula(labels, logits), rel=1e-5)


def test_the_dice_loss_of_a_perfect_prediction_is_zero(batch):
    labels, _ = batch
    logits = 100.0 * np.eye(3, dtype=np.float32)[np.where(labels == 255, 0, labels)]
    assert float(Dice()(labels, logits)) == pytest.approx(0.0, abs=1e-6)


def test_the_dice_loss_has_no_gradient_at_ignored_pixels(batch):
    labels, logits = batch
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = Dice()(labels, logits)
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[labels == 255] == 0).all()
    assert (np.abs(gradient[labels != 255]).sum(axis=-1) > 0).all()


def test_the_dice_loss_of_an_ignored_batch_is_zero_with_its_gradient():
    logits = tf.Variable(tf.random.normal((1, 4, 4, 3)))
    with tf.GradientTape() as tape:
        loss = Dice()(np.full((1, 4, 4), 255, np.uint8), logits)
    assert float(loss) == 0.0
    assert not np.any(tape.gradient(loss, logits).numpy())


def test_losses_are_added_by_weight(batch):
    loss = WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])
    expected = by_formula(*batch) + 0.5 * dice_by_formula(*batch)
    assert float(loss(*batch)) == pytest.approx(expected, rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, kerasseg.losses.WeightedSum)
    assert float(again(*batch)) == float(loss(*batch))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0]])
def test_weights_that_do_not_fit_the_losses_are_refused(weights):
    with pytest.raises(ValueError, match="one number of at least 0 for each loss, got"):
        WeightedSum([CrossEntropy(), Dice()], weights)


def test_the_losses_of_a_sum_must_be_scalars(batch):
    maps = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255, reduction=None, name="maps"
    )
    with pytest.raises(ValueError, match=r"return a scalar, got shape \(2, 5, 7\) from maps"):
        WeightedSum([CrossEntropy(), maps], [1.0, 1.0])(*batch)


# Sample weights


def keras_value(labels, logits, weights):
    """Keras' own: the weighted sum over the number of pixels that are not ignored."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    # Of one weight an image Keras would make one a column.
    weights = weights.reshape(-1, 1, 1) if weights.ndim == 1 else weights
    return float(loss(labels, logits, sample_weight=weights))


@pytest.fixture(params=["per pixel", "per image", "with a channel"])
def weights(request):
    drawn = np.random.default_rng(3).uniform(0, 3, (2, 5, 7)).astype(np.float32)
    drawn[0, 0] = 0.0
    return {
        "per pixel": drawn,
        "per image": drawn[:, 1, 1],
        "with a channel": drawn[..., np.newaxis],
    }[request.param]


def per_pixel(weights):
    weights = weights[..., 0] if weights.ndim == 4 else weights
    return np.broadcast_to(weights.reshape(2, *weights.shape[1:] or (1, 1)), (2, 5, 7))


def test_sample_weights_have_the_effect_that_they_have_on_keras_own_loss(batch, weights):
    expected = keras_value(*batch, weights[..., 0] if weights.ndim == 4 else weights)
    value = float(CrossEntropy()(*batch, sample_weight=weights))
    assert value == pytest.approx(expected, rel=1e-6)
    assert value != pytest.approx(float(CrossEntropy()(*batch)), rel=1e-2)


def test_sample_weights_multiply_class_weights(batch, weights):
    labels, logits = batch
    of_class, of_pixel = np.array([0.5, 2.0, 1.25]), per_pixel(weights)
    valid = labels != 255
    z = logits.astype(np.float64)[valid]
    y = labels[valid]
    losses = np.log(np.exp(z).sum(-1)) - z[np.arange(len(y)), y]
    expected = (of_pixel[valid] * of_class[y] * losses).sum() / of_class[y].sum()
    loss = CrossEntropy(class_weights=of_class)
    assert float(loss(labels, logits, sample_weight=weights)) == pytest.approx(expected, rel=1e-5)


def test_a_pixel_of_weight_two_counts_twice_in_the_dice_loss(batch):
    labels, logits = batch
    # Two copies of every image, one with the pixels of weight two alone.
    heavy = logits.argmax(axis=-1) == labels
    twice = np.concatenate([labels, np.where(heavy, labels, 255)])
    expected = dice_by_formula(twice, np.concatenate([logits, logits]))
    value = Dice()(labels, logits, sample_weight=1.0 + heavy)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(value) != pytest.approx(dice_by_formula(labels, logits), rel=1e-2)


def test_a_pixel_of_weight_zero_is_ignored_by_the_dice_loss(batch):
    labels, logits = batch
    weights = np.where(labels == 1, 0.0, 0.7)  # a class without a pixel left
    expected = dice_by_formula(np.where(labels == 1, 255, labels), logits)
    value = Dice()(labels, logits, sample_weight=weights)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_a_weighted_sum_passes_sample_weights_on(batch, weights):
    loss = WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])
    expected = [float(part(*batch, sample_weight=weights)) for part in (CrossEntropy(), Dice())]
    value = float(loss(*batch, sample_weight=weights))
    assert value == pytest.approx(expected[0] + 0.5 * expected[1], rel=1e-6)


# Training with Keras, by which every road that weights take is gone


def pixelwise_model():
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Conv2D(3, 1, kernel_initializer="ones")(images))


@pytest.fixture
def images():
    return np.random.default_rng(4).normal(size=(2, 5, 7, 3)).astype(np.float32)


def fitted(loss, images, labels, weights, devices, from_dataset=False):
    """Trains for a step of gradient descent; returns the loss before it and the kernel after it."""
    strategy = mirrored_strategy(devices)
    with strategy.scope():
        model = pixelwise_model()
        model.compile(keras.optimizers.SGD(0.1), loss)
    if from_dataset:
        data = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(2)
        history = model.fit(data, shuffle=False, verbose=0)
    else:
        history = model.fit(images, labels, sample_weight=weights, batch_size=2, verbose=0)
    return history.history["loss"][0], model.layers[1].kernel.numpy()


@pytest.mark.parametrize("from_dataset", [False, True])
def test_fit_weighs_as_keras_own_loss(batch, images, weights, from_dataset):
    labels, _ = batch
    expected = keras_value(
        labels, pixelwise_model()(images), weights[..., 0] if weights.ndim == 4 else weights
    )
    value, _ = fitted(CrossEntropy(), images, labels, weights, ["CPU:0"], from_dataset)
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", ["per pixel", "per image"], indirect=True)
@pytest.mark.parametrize("loss", [CrossEntropy(), WeightedSum([Dice(), CrossEntropy()], [1, 0.5])])
def test_two_replicas_weigh_as_one(batch, images, weights, loss, two_cpus):
    labels, _ = batch
    labels[0, 1:] = 255  # far fewer pixels count in one replica than in the other
    value, kernel = fitted(loss, images, labels, weights, two_cpus)
    expected, expected_kernel = fitted(loss, images, labels, weights, ["CPU:0"])
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(kernel, expected_kernel, rtol=1e-6, atol=1e-7)
    if isinstance(loss, CrossEntropy):
        logits = pixelwise_model()(images)
        assert value == pytest.approx(keras_value(labels, logits, weights), rel=1e-6)


def test_without_weights_fit_gives_the_loss_of_weights_of_one(batch, images):
    labels, _ = batch
    loss = WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])
    without = fitted(loss, images, labels, None, ["CPU:0"])
    ones = fitted(loss, images, labels, np.ones(labels.shape), ["CPU:0"])
    assert without[0] == ones[0] == float(loss(labels, pixelwise_model()(images)))
    np.testing.assert_array_equal(without[1], ones[1])
