"""Every loss against its formula, written out in NumPy; and what all have in common."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from kerasseg import losses
from kerasseg.losses import (
    CrossEntropy,
    Dice,
    Focal,
    Jaccard,
    LovaszSoftmax,
    OnlineHardExamples,
    Tversky,
    WeightedSum,
)
from kerasseg.pipelines.runtime.devices import mirrored_strategy

CLASS_WEIGHTS = [0.5, 2.0, 1.25]


@pytest.fixture
def weights():
    drawn = np.random.default_rng(3).uniform(0, 3, (2, 5, 7))
    drawn[0, 0] = 0
    return drawn.astype(np.float32)


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def weighted_mean(labels, logits, weights, loss_of_pixel, class_weights=(1, 1, 1)):
    """`loss_of_pixel(probabilities, label)` is None where a pixel does not count."""
    total = norm = 0.0
    for place in np.ndindex(labels.shape):
        if labels[place] == 255:
            continue
        loss = loss_of_pixel(softmax(logits[place]), labels[place], place)
        if loss is not None:
            of_class = class_weights[labels[place]]
            total += weights[place] * of_class * loss
            norm += of_class
    return total / norm


def focal(gamma, class_weights=(1, 1, 1)):
    def loss_of_pixel(probabilities, label, place):
        return (1 - probabilities[label]) ** gamma * -np.log(probabilities[label])

    return lambda *batch: weighted_mean(*batch, loss_of_pixel, class_weights)


def smoothed(share, class_weights=(1, 1, 1)):
    """The cross-entropy to a target that is spread, each class with its own weight."""

    def loss_of_pixel(probabilities, label, place):
        target = np.full(3, share / 3)
        target[label] += 1 - share
        loss = -(target * np.array(class_weights) * np.log(probabilities)).sum()
        return loss / class_weights[label]

    return lambda *batch: weighted_mean(*batch, loss_of_pixel, class_weights)


def near_borders(labels, weight, sigma):
    """The weight of U-Net's paper, with SciPy's distances to pixels on borders."""
    found = np.zeros(labels.shape)
    for image, label in enumerate(labels):
        border = np.zeros(label.shape, bool)
        for row, column in np.ndindex(label.shape):
            for neighbour in ((row + 1, column), (row, column + 1)):
                if neighbour[0] == label.shape[0] or neighbour[1] == label.shape[1]:
                    continue
                values = {label[row, column], label[neighbour]}
                if len(values) == 2 and 255 not in values:
                    border[row, column] = border[neighbour] = True
        if border.any():
            distance = scipy.ndimage.distance_transform_edt(~border)
            found[image] = weight * np.exp(-(distance**2) / (2 * sigma**2))
    return found


def weighted_near_borders(weight, sigma, class_weights, gamma=0, share=0.0):
    def formula(labels, logits, weights):
        near, total, norm = near_borders(labels, weight, sigma), 0.0, 0.0
        for place in np.argwhere(labels != 255):
            place = tuple(place)
            of_classes = np.array(class_weights) + near[place]
            target = np.full(3, share / 3)
            target[labels[place]] += 1 - share
            p = softmax(logits[place])
            total += weights[place] * (target * of_classes * (1 - p) ** gamma * -np.log(p)).sum()
            norm += of_classes[labels[place]]
        return total / norm

    return formula


def hard_examples(threshold, min_kept, class_weights=(1, 1, 1)):
    def formula(labels, logits, weights):
        hard = set()
        for image in range(len(labels)):
            places = [(image, *at) for at in np.ndindex(labels.shape[1:])]
            places = [place for place in places if labels[place] != 255]
            of_label = {place: softmax(logits[place])[labels[place]] for place in places}
            hard.update(sorted(places, key=of_label.__getitem__)[:min_kept])
            hard.update(place for place in places if of_label[place] < threshold)

        def loss_of_pixel(probabilities, label, place):
            return -np.log(probabilities[label]) if place in hard else None

        return weighted_mean(labels, logits, weights, loss_of_pixel, class_weights)

    return formula


def overlap(alpha, beta):
    """The Tversky index; Dice and Jaccard are cases of it."""

    def formula(labels, logits, weights):
        counts = (labels != 255) * weights
        found = []
        for number in range(3):
            truth, predicted = labels == number, softmax(logits)[..., number]
            if not (truth * counts).any():
                continue
            hits = (predicted * truth * counts).sum()
            false_alarms = (predicted * ~truth * counts).sum()
            misses = ((1 - predicted) * truth * counts).sum()
            found.append(hits / (hits + alpha * false_alarms + beta * misses))
        return 1 - np.mean(found)

    return formula


def lovasz(labels, logits, weights):
    """Equation 9 of the paper: the set function of the wrong pixels, by inclusion in order."""
    kept = (labels != 255) & (weights > 0)
    y, p, w = labels[kept], softmax(logits)[kept], weights[kept].astype(np.float64)
    found = []
    for number in range(3):
        truth = y == number
        if not truth.any():
            continue

        def one_minus_iou(wrong, truth=truth):
            right = truth & ~wrong
            union = truth | wrong
            return 1 - w[right].sum() / w[union].sum()

        errors = np.where(truth, 1 - p[:, number], p[:, number])
        wrong, before, total = np.zeros(len(y), bool), 0.0, 0.0
        for index in np.argsort(-errors):
            wrong[index] = True
            total += errors[index] * (one_minus_iou(wrong) - before)
            before = one_minus_iou(wrong)
        found.append(total)
    return np.mean(found)


CASES = {
    "cross-entropy": (CrossEntropy(CLASS_WEIGHTS), focal(0, CLASS_WEIGHTS)),
    "smoothed": (CrossEntropy(label_smoothing=0.1), smoothed(0.1)),
    "smoothed, weighted": (
        CrossEntropy(CLASS_WEIGHTS, label_smoothing=0.3),
        smoothed(0.3, CLASS_WEIGHTS),
    ),
    "near borders": (
        CrossEntropy(CLASS_WEIGHTS, boundary_weight=10, boundary_sigma=0.7),
        weighted_near_borders(10, 0.7, CLASS_WEIGHTS),
    ),
    "near borders, smoothed": (
        CrossEntropy(CLASS_WEIGHTS, label_smoothing=0.3, boundary_weight=2),
        weighted_near_borders(2, 5, CLASS_WEIGHTS, share=0.3),
    ),
    "near borders, focal": (
        Focal(boundary_weight=4, boundary_sigma=1),
        weighted_near_borders(4, 1, [1, 1, 1], gamma=2),
    ),
    "focal": (Focal(), focal(2)),
    "focal, weighted": (Focal(0.5, CLASS_WEIGHTS), focal(0.5, CLASS_WEIGHTS)),
    "hard by probability": (OnlineHardExamples(0.3, 1), hard_examples(0.3, 1)),
    "hard by rank": (
        OnlineHardExamples(0.0, 6, CLASS_WEIGHTS),
        hard_examples(0.0, 6, CLASS_WEIGHTS),
    ),
    "all are hard": (OnlineHardExamples(), hard_examples(0.7, 100_000)),
    "dice": (Dice(), overlap(0.5, 0.5)),
    "jaccard": (Jaccard(), overlap(1, 1)),
    "tversky": (Tversky(), overlap(0.3, 0.7)),
    "lovasz": (LovaszSoftmax(), lovasz),
}
every_loss = pytest.mark.parametrize("loss", [case[0] for case in CASES.values()], ids=CASES.keys())


@pytest.mark.parametrize(("loss", "formula"), CASES.values(), ids=CASES.keys())
def test_a_loss_follows_its_formula_with_and_without_sample_weights(batch, weights, loss, formula):
    equal = np.ones_like(weights)
    assert float(loss(*batch)) == pytest.approx(formula(*batch, equal), rel=1e-6)
    labels, logits = batch
    weighted = formula(labels, logits, weights)
    assert float(loss(*batch, sample_weight=weights)) == pytest.approx(weighted, rel=1e-6)
    assert weighted != pytest.approx(formula(*batch, equal), rel=1e-2)
    without_a_class = np.where(labels == 1, 255, labels)
    expected = formula(without_a_class, logits, equal)
    assert float(loss(without_a_class, logits)) == pytest.approx(expected, rel=1e-6)


@every_loss
def test_the_gradient_is_that_of_small_steps_and_exactly_zero_at_ignored_pixels(batch, loss):
    labels, logits = batch
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(labels, variable)
    gradient = tape.gradient(value, variable).numpy()
    assert (gradient[labels == 255] == 0).all()
    direction = np.random.default_rng(5).normal(size=logits.shape).astype(np.float32)
    ahead, behind = (float(loss(labels, logits + step * direction)) for step in (1e-3, -1e-3))
    # In float32 the difference of two losses has four digits left.
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2e-3, abs=2e-3)
    assert np.abs(gradient).sum() > 0.1


@every_loss
def test_a_batch_with_every_pixel_ignored_has_loss_and_gradient_zero(loss):
    logits = tf.Variable(np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        value = loss(np.full((1, 4, 4), 255, np.uint8), logits)
    assert float(value) == 0.0
    assert not np.any(tape.gradient(value, logits).numpy())


@every_loss
def test_an_extremely_sure_network_has_a_finite_loss_and_gradient(loss):
    labels = np.array([[[0, 1, 2], [2, 255, 0]]], np.uint8)
    for sign in (1, -1):  # sure of what is right, and of what is wrong
        logits = tf.Variable(sign * 1e4 * np.eye(3, dtype=np.float32)[np.minimum(labels, 2)])
        with tf.GradientTape() as tape:
            value = loss(labels, logits)
        assert np.isfinite(value)
        assert np.isfinite(tape.gradient(value, logits)).all()


@every_loss
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_loss_is_computed_in_float32(batch, loss, dtype):
    labels, logits = batch
    low = tf.cast(logits, dtype)
    assert loss(labels, low).dtype == tf.float32
    assert float(loss(labels, low)) == float(loss(labels, tf.cast(low, tf.float32)))


@every_loss
def test_a_loss_is_the_same_again_from_its_configuration(batch, loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert float(again(*batch)) == float(loss(*batch))


@every_loss
# `test_losses.py` has graphs of two losses in every run.
@pytest.mark.parametrize("eagerly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_replicas_train_as_one(batch, weights, loss, eagerly, two_cpus):
    labels, images = batch
    labels[0, 2:] = 255  # far fewer pixels count in one replica than in the other
    found = []
    for strategy in (mirrored_strategy(two_cpus), tf.distribute.get_strategy()):
        with strategy.scope():
            inputs = keras.Input((None, None, 3))
            kernel = keras.initializers.Constant(np.eye(3)[None, None])
            model = keras.Model(
                inputs, keras.layers.Conv2D(3, 1, kernel_initializer=kernel)(inputs)
            )
            model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=eagerly)
        history = model.fit(images, labels, sample_weight=weights, batch_size=2, verbose=0)
        found.append((history.history["loss"][0], model.layers[1].kernel.numpy()))
    (value, kernel), (expected, expected_kernel) = found
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(kernel, expected_kernel, rtol=1e-6, atol=1e-7)


def test_the_lovasz_loss_of_decisions_is_one_minus_their_mean_iou(batch):
    labels, logits = batch
    decisions = logits.argmax(-1)
    valid = labels != 255
    regions = [(labels == number, decisions == number) for number in range(3)]
    ious = [
        (true & decided)[valid].sum() / (true | decided)[valid].sum() for true, decided in regions
    ]
    value = LovaszSoftmax()(labels, 1e3 * np.eye(3, dtype=np.float32)[decisions])
    assert float(value) == pytest.approx(1 - np.mean(ious), rel=1e-6)


def test_hard_examples_are_never_fewer_than_there_are_pixels_of_equal_rank():
    labels = np.array([[[0, 0, 1, 255]]], np.uint8)
    logits = np.zeros((1, 1, 4, 3), np.float32)
    assert float(OnlineHardExamples(0.0, 2)(labels, logits)) == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CrossEntropy(label_smoothing=1.5),
            r"label_smoothing must be in \[0, 1\], got 1.5",
        ),
        (lambda: CrossEntropy(label_smoothing=True), r"label_smoothing must be in .* got True"),
        (lambda: Focal(-1), "gamma must be at least 0, got -1"),
        (lambda: Focal(float("inf")), "gamma must be at least 0, got inf"),
        (lambda: Focal(float("nan")), "gamma must be at least 0, got nan"),
        (lambda: OnlineHardExamples(2.0), r"threshold must be in \[0, 1\], got 2.0"),
        (lambda: OnlineHardExamples(0.7, 0), "min_kept must be at least 1, got 0"),
        (lambda: OnlineHardExamples(0.7, 2.5), "min_kept must be an integer, got 2.5"),
        (lambda: Tversky(-0.1), "alpha must be at least 0, got -0.1"),
        (lambda: Tversky(0, 0), "alpha or beta must be above 0, got 0 for both"),
        (lambda: WeightedSum([Jaccard()], [-1.0]), "one number of at least 0 for each loss, got"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_loss_of_the_package_is_tested_here():
    tested = {type(case[0]).__name__ for case in CASES.values()} | {"WeightedSum"}
    # They have files of their own: they take other outputs than a network's logits.
    tested |= {"BoundaryCrossEntropy", "MaskClassification"}
    assert tested == {name for name in vars(losses) if name[0].isupper()}
