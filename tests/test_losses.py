import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.losses import CrossEntropy, Dice, WeightedSum


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


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (2, 5, 7)).astype(np.uint8)
    logits = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    return labels, logits


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
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 3\)"):
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
