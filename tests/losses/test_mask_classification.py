import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers.mask_classification import MaskClassificationModel
from kerasseg.losses import CrossEntropy, Dice, MaskClassification, WeightedSum
from kerasseg.losses.points import Points
from kerasseg.pipelines.runtime.devices import mirrored_strategy

CLASSES, QUERIES = 3, 4


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def outputs_of(images, height=8, width=12):
    return {
        "logits": random(0, images, height, width, CLASSES),
        "class_queries": random(1, images, QUERIES, CLASSES + 1),
        "masks_queries": random(2, images, height // 4, width // 4, QUERIES),
        "class_queries_1": random(3, images, QUERIES, CLASSES + 1),
        "masks_queries_1": random(4, images, height // 4, width // 4, QUERIES),
    }


def labels_of(images, height=8, width=12):
    """Two classes in the first image, three in the others; some pixels ignored."""
    rng = np.random.default_rng(5)
    labels = rng.choice(np.array([0, 1, 2, 255], np.uint8), (images, height, width))
    labels[0][labels[0] == 2] = 255
    return labels


def by_formula(labels, outputs, weights=(2, 5, 5, 0.1)):
    """All segments, all pixels, and all ways to match them."""
    of_class, of_mask, of_dice, of_nothing = weights
    total = 0.0
    for head in ("", "_1"):
        maps = tf.image.resize(outputs[f"masks_queries{head}"], labels.shape[1:]).numpy()
        classes = outputs[f"class_queries{head}"].astype(np.float64)
        shares = np.exp(classes) / np.exp(classes).sum(-1, keepdims=True)
        entropies = norm = masks = dices = 0.0
        count = 0
        for label, logits, share in zip(labels, maps.astype(np.float64), shares, strict=True):
            counted = label != 255
            segments = np.unique(label[counted])
            if not len(segments):
                continue
            x = logits[counted]
            s = 1 / (1 + np.exp(-x))
            costs = np.zeros((QUERIES, len(segments), 3))
            for k, segment in enumerate(segments):
                y = (label[counted] == segment)[:, None]
                costs[:, k, 0] = -share[:, segment]
                costs[:, k, 1] = -np.mean(np.where(y, np.log(s), np.log(1 - s)), axis=0)
                costs[:, k, 2] = 1 - (2 * (s * y).sum(0) + 1) / (s.sum(0) + y.sum() + 1)
            mixed = costs @ [of_class, of_mask, of_dice]
            ways = itertools.permutations(range(QUERIES), len(segments))
            best = min(ways, key=lambda way: sum(mixed[q, k] for k, q in enumerate(way)))
            targets, importance = np.full(QUERIES, CLASSES), np.full(QUERIES, of_nothing)
            for k, query in enumerate(best):
                targets[query], importance[query] = segments[k], 1
                masks += costs[query, k, 1]
                dices += costs[query, k, 2]
            count += len(segments)
            entropies += np.sum(importance * -np.log(share[range(QUERIES), targets]))
            norm += importance.sum()
        total += of_class * entropies / norm + (of_mask * masks + of_dice * dices) / count
    return total


def test_the_loss_is_that_of_the_best_match_over_all_pixels_of_small_images():
    labels, outputs = labels_of(3), outputs_of(3)
    found = MaskClassification()(labels, outputs)
    assert float(found) == pytest.approx(by_formula(labels, outputs), rel=1e-5)
    found = MaskClassification(1, 2, 0.5, 0.3)(labels, outputs)
    assert float(found) == pytest.approx(by_formula(labels, outputs, (1, 2, 0.5, 0.3)), rel=1e-5)


def test_an_image_whose_pixels_are_all_ignored_takes_no_part():
    labels, outputs = labels_of(3), outputs_of(3)
    labels[1] = 255
    without = {name: values[[0, 2]] for name, values in outputs.items()}
    found = float(MaskClassification()(labels, outputs))
    assert found == pytest.approx(by_formula(labels[[0, 2]], without), rel=1e-5)
    variables = {name: tf.Variable(values) for name, values in outputs.items()}
    with tf.GradientTape() as tape:
        value = MaskClassification()(np.full_like(labels, 255), variables)
    assert float(value) == 0
    gradients = tape.gradient(value, variables)
    assert not any(np.any(each) for each in gradients.values() if each is not None)


def test_the_gradient_reaches_every_query_s_class_and_the_matched_masks():
    labels, outputs = labels_of(2), outputs_of(2)
    variables = {name: tf.Variable(values) for name, values in outputs.items()}
    with tf.GradientTape() as tape:
        value = MaskClassification()(labels, variables)
    gradients = tape.gradient(value, variables)
    for head in ("", "_1"):
        assert (np.abs(gradients[f"class_queries{head}"]).max(-1) > 0).all()
        of_masks = np.abs(gradients[f"masks_queries{head}"]).max((1, 2)) > 0
        assert of_masks.sum(-1).tolist() == [2, 3]


def test_more_classes_than_queries_leave_some_without_a_query():
    labels, outputs = labels_of(2), outputs_of(2)
    two = {name: values if name == "logits" else values[..., :2, :] if "class" in name
           else values[..., :2] for name, values in outputs.items()}  # fmt: skip
    assert np.isfinite(float(MaskClassification()(labels, two)))


def test_drawn_points_give_nearly_the_loss_of_all_pixels_and_the_same_when_repeated():
    labels, outputs = labels_of(2, 40, 32), outputs_of(2, 40, 32)
    every = float(MaskClassification(mask_weight=0, dice_weight=0)(labels, outputs))
    drawn = MaskClassification(mask_weight=0, dice_weight=0, points=700)(labels, outputs)
    assert float(drawn) == pytest.approx(every, rel=0.05)
    loss = MaskClassification(points=100)
    assert float(loss(labels, outputs)) == float(loss(labels, outputs))


def test_three_quarters_of_the_points_are_where_the_mask_is_unsure():
    labels = np.zeros((1, 40, 40), np.int64)
    labels[:, 20:] = 1
    counted = np.ones_like(labels, bool)
    counted[:, :, :10] = False
    points = Points(tf.constant(labels), tf.constant(counted), 200, tf.constant([1, 2], tf.int64))
    mask = np.linspace(-5, 5, 10, dtype=np.float32)[np.newaxis, :, np.newaxis] * np.ones((1, 1, 10))
    one = tf.constant([0], tf.int64)
    logits, truth, counts = (
        each.numpy()[0]
        for each in points.of_masks(tf.constant(mask, tf.float32), one, tf.constant([1], tf.int64))
    )
    assert logits.shape == (200,)
    assert counts[:150].all()
    assert np.abs(logits[:150]).max() < np.median(np.abs(logits[150:]))
    # Logits rise from row to row, and the class is below the middle.
    assert ((logits > 0) == (truth > 0))[counts > 0].all()


def test_the_loss_of_logits_alone_is_their_cross_entropy():
    labels, outputs = labels_of(2), outputs_of(2)
    loss = MaskClassification()
    expected = CrossEntropy()(labels, outputs["logits"])
    assert float(loss(labels, outputs["logits"])) == float(expected)
    assert float(loss.normalizer(labels, outputs["logits"])) == np.sum(labels != 255)


def test_it_can_be_added_to_losses_of_the_logits():
    labels, outputs = labels_of(2), outputs_of(2)
    both = WeightedSum([MaskClassification(), Dice()], [1.0, 0.5])
    assert both.takes_queries
    assert not WeightedSum([Dice()], [1.0]).takes_queries
    expected = MaskClassification()(labels, outputs) + 0.5 * Dice()(labels, outputs["logits"])
    assert float(both(labels, outputs)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda loss, y, o: loss(y, o, np.ones(2)), "sample_weight must be None with a MaskClass"),
        (lambda loss, y, o: loss(y, {"logits": o["logits"]}), "model must return class_queries"),
        (lambda loss, y, o: loss(y + 7, o), r"labels must be in \[0, 3\) or 255"),
        (lambda *_: MaskClassification(points=0), "points must be at least 1, got 0"),
        (lambda *_: MaskClassification(points=0.5), "points must be an integer, got 0.5"),
        (lambda *_: MaskClassification(dice_weight=-1), "dice_weight must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(MaskClassification(), labels_of(2), outputs_of(2))


def test_invalid_labels_make_the_loss_nan_in_a_graph():
    labels, outputs, loss = labels_of(2), outputs_of(2), MaskClassification(points=20)
    run = tf.function(loss)
    assert float(run(labels, outputs)) == pytest.approx(float(loss(labels, outputs)), rel=1e-5)
    labels[0, 0, 0] = 100
    assert np.isnan(run(labels, outputs))


def small_model():
    images = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(QUERIES, 4, strides=4)(images)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    classes = keras.layers.Dense(QUERIES * (CLASSES + 1))(pooled)
    classes = keras.layers.Reshape((QUERIES, CLASSES + 1))(classes)
    logits = keras.layers.UpSampling2D(4)(features[..., :CLASSES])
    outputs = {"logits": logits, "class_queries": classes, "masks_queries": features}
    return MaskClassificationModel(images, outputs)


def test_a_model_trains_with_its_queries_and_evaluates_its_logits():
    keras.utils.set_random_seed(0)
    model, images = small_model(), random(9, 2, 8, 8, 3)
    labels = labels_of(2, 8, 8)
    outputs = model(images, training=True)
    model.compile("sgd", MaskClassification(), loss_weights=0.5)
    assert not model.supports_jit
    expected = 0.5 * float(MaskClassification()(labels, outputs))
    evaluated = 0.5 * float(CrossEntropy()(labels, outputs["logits"]))
    assert model.evaluate(images, labels, verbose=0) == pytest.approx(evaluated, rel=1e-5)
    history = model.fit(images, labels, verbose=0).history
    assert history["loss"] == [pytest.approx(expected, rel=1e-5)]
    model.compile("sgd", CrossEntropy())
    assert model.supports_jit
    with pytest.raises(ValueError, match="loss must be one, that of the logits"):
        model.compile("sgd", {"logits": CrossEntropy(), "class_queries": CrossEntropy()})


def test_a_saved_model_keeps_its_loss(tmp_path):
    model = small_model()
    model.compile("sgd", MaskClassification(points=7))
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(again, MaskClassificationModel)
    assert again.loss.points == 7


@pytest.mark.slow
def test_two_replicas_train_as_one(two_cpus):
    images, labels = random(9, 4, 8, 8, 3), labels_of(4, 8, 8)
    labels[3] = 255  # a replica has half as many segments as the other
    trained = []
    for devices in (two_cpus, ["CPU:0"]):
        keras.utils.set_random_seed(0)
        with mirrored_strategy(devices).scope():
            model = small_model()
            model.compile(keras.optimizers.SGD(0.1), MaskClassification())
        history = model.fit(images, labels, batch_size=4, verbose=0).history
        trained.append((history["loss"][0], model.get_weights()))
    (value, weights), (expected, expected_weights) = trained
    assert value == pytest.approx(expected, rel=1e-5)
    for one, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
