import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import losses, metrics

# Rows are labels, columns predictions. Class 2 is predicted, never labelled; class 3 is neither.
MATRIX = np.array([[6, 1, 1, 0], [2, 8, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_class_iou_is_intersection_over_union():
    # class 0: 6 / (8 + 8 - 6); class 1: 8 / (12 + 9 - 8); class 2: 0 / (0 + 3 - 0); class 3: 0 / 0
    np.testing.assert_allclose(metrics.class_iou(MATRIX), [6 / 10, 8 / 13, 0, np.nan])


def test_class_accuracy_is_the_share_of_the_labels_that_is_right():
    np.testing.assert_allclose(metrics.class_accuracy(MATRIX), [6 / 8, 8 / 12, np.nan, np.nan])


def test_means_leave_absent_classes_out():
    assert float(metrics.mean_iou(MATRIX)) == pytest.approx((6 / 10 + 8 / 13 + 0) / 3)
    assert float(metrics.mean_accuracy(MATRIX)) == pytest.approx((6 / 8 + 8 / 12) / 2)


def test_pixel_accuracy_and_frequency_weighted_iou():
    assert float(metrics.pixel_accuracy(MATRIX)) == pytest.approx(14 / 20)
    expected = 8 / 20 * 6 / 10 + 12 / 20 * 8 / 13
    assert float(metrics.frequency_weighted_iou(MATRIX)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "score",
    [
        metrics.class_iou,
        metrics.class_accuracy,
        metrics.mean_iou,
        metrics.mean_accuracy,
        metrics.pixel_accuracy,
        metrics.frequency_weighted_iou,
    ],
)
def test_each_of_many_matrices_is_scored_alone(score):
    matrices = np.stack([MATRIX, MATRIX.T, 3 * MATRIX, MATRIX @ MATRIX]).reshape(2, 2, 4, 4)
    scores = score(matrices)
    for place in np.ndindex(2, 2):
        np.testing.assert_allclose(scores[place], score(matrices[place]), rtol=1e-12)


def test_without_pixels_no_score_is_shown_as_zero():
    report = metrics.scores(np.zeros((3, 3), np.int64))
    assert report["mean_iou"] is None
    assert report["pixel_accuracy"] is None
    assert report["class_iou"] == [None, None, None]


def test_scores_are_plain_numbers_and_none():
    report = metrics.scores(MATRIX)
    assert report["class_iou"] == [pytest.approx(0.6), pytest.approx(8 / 13), 0.0, None]
    assert type(report["mean_iou"]) is float


@pytest.fixture
def pixels():
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 1, 2, 3, 4, 255], (6, 13, 17)).astype(np.uint8)
    return labels, rng.integers(0, 5, labels.shape)


def counted_one_by_one(labels, predictions, num_classes):
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for label, prediction in zip(labels.ravel(), predictions.ravel(), strict=True):
        if label != 255:
            matrix[label, prediction] += 1
    return matrix


@pytest.mark.parametrize("compiled", [False, True])
def test_the_confusion_matrix_equals_a_count_pixel_by_pixel(pixels, compiled):
    count = tf.function(metrics.confusion_matrix, jit_compile=compiled)
    matrix, invalid = count(*pixels, 5)
    np.testing.assert_array_equal(matrix, counted_one_by_one(*pixels, 5))
    assert int(invalid) == 0


def test_counts_are_exact_beyond_the_integers_of_float32():
    # 2^24 + 1 is the first integer that float32 lacks; two updates pass it.
    labels = tf.zeros((2**23 + 1,), tf.uint8)
    metric = metrics.ConfusionMatrix(2)
    for _ in range(2):
        metric.update_state(labels, tf.zeros((2**23 + 1, 2)))
    assert int(metric.result()[0, 0]) == 2**24 + 2


def test_pixels_out_of_range_are_counted_as_invalid(pixels):
    labels, predictions = pixels
    labels[0, 0, :3] = [5, 77, 254]
    _, invalid = metrics.confusion_matrix(labels, predictions, 5)
    assert int(invalid) == 3


def test_a_label_out_of_range_is_an_error_and_not_dropped(pixels):
    labels, predictions = pixels
    labels[0, 0, 0] = 9
    metric = metrics.MeanIoU(5)
    metric.update_state(labels, tf.one_hot(predictions, 5))
    with pytest.raises(ValueError, match=r"\[0, 5\) or 255"):
        metric.result()


def test_inside_a_graph_a_label_out_of_range_gives_nan():
    metric = metrics.MeanIoU(2)
    metric.update_state(np.array([[0, 7]], np.uint8), tf.one_hot([[0, 1]], 2))
    assert np.isnan(tf.function(metric.result)())


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        (metrics.MeanIoU, metrics.mean_iou),
        (metrics.PixelAccuracy, metrics.pixel_accuracy),
        (metrics.MeanAccuracy, metrics.mean_accuracy),
        (metrics.FrequencyWeightedIoU, metrics.frequency_weighted_iou),
    ],
)
def test_a_metric_does_not_depend_on_how_pixels_are_batched(pixels, metric, score):
    labels, predictions = pixels
    logits = tf.one_hot(predictions, 5)
    expected = float(score(counted_one_by_one(labels, predictions, 5)))
    for size in (1, 4, 6):
        state = metric(5)
        for first in range(0, 6, size):
            state.update_state(labels[first : first + size], logits[first : first + size])
        assert float(state.result()) == pytest.approx(expected, rel=1e-12)


def test_reset_forgets_everything():
    metric = metrics.MeanIoU(2)
    metric.update_state([[0, 1]], tf.one_hot([[1, 0]], 2))
    metric.reset_state()
    metric.update_state([[0, 1]], tf.one_hot([[0, 1]], 2))
    assert float(metric.result()) == 1.0


def test_keras_own_mean_iou_agrees_where_it_is_right(pixels):
    labels, predictions = pixels
    keras_metric = keras.metrics.MeanIoU(5, ignore_class=255)
    keras_metric.update_state(labels, predictions)
    ours = metrics.MeanIoU(5)
    ours.update_state(labels, tf.one_hot(predictions, 5))
    assert float(ours.result()) == pytest.approx(float(keras_metric.result()), rel=1e-6)


@pytest.mark.parametrize("per", ["pixel", "image"])
def test_sample_weights_say_how_often_a_pixel_counts(pixels, per):
    labels, predictions = pixels
    weights = np.random.default_rng(2).choice([0.0, 0.25, 1.0, 2.5], labels.shape)
    weights = weights if per == "pixel" else weights[:, 0, 0]
    everywhere = np.broadcast_to(weights.reshape(6, *weights.shape[1:] or (1, 1)), labels.shape)
    expected = np.zeros((5, 5))
    kept = labels != 255
    np.add.at(expected, (labels[kept], predictions[kept]), everywhere[kept])
    metric = metrics.ConfusionMatrix(5)
    for half in (slice(0, 2), slice(2, 6)):
        logits = tf.one_hot(predictions[half], 5)
        metric.update_state(labels[half], logits, sample_weight=weights[half])
    np.testing.assert_array_equal(metric.result(), expected)


def test_weighted_scores_are_keras_own(pixels):
    labels, predictions = pixels
    weights = np.random.default_rng(2).uniform(0, 2, labels.shape).astype(np.float32)
    keras_metric = keras.metrics.MeanIoU(5, ignore_class=255, dtype="float32")
    keras_metric.update_state(labels, predictions, sample_weight=weights)
    ours = metrics.MeanIoU(5)
    ours.update_state(labels, tf.one_hot(predictions, 5), sample_weight=weights)
    assert float(ours.result()) == pytest.approx(float(keras_metric.result()), rel=1e-6)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_weight_that_cannot_weigh_is_an_error_and_nan_inside_a_graph(pixels, bad):
    labels, predictions = pixels
    weights = np.ones(labels.shape)
    weights[0, 0, 0] = bad
    metric = metrics.MeanIoU(5)
    metric.update_state(labels, tf.one_hot(predictions, 5), sample_weight=weights)
    assert np.isnan(tf.function(metric.result)())
    with pytest.raises(ValueError, match="weights finite and at least 0, got 1 other pixels"):
        metric.result()


def test_keras_weighs_weighted_metrics_alone():
    images = keras.Input((None, None, 2))
    model = keras.Model(images, keras.layers.Activation("linear")(images))
    model.compile(
        loss=losses.CrossEntropy(),
        metrics=[metrics.MeanIoU(2)],
        weighted_metrics=[metrics.PixelAccuracy(2)],
    )
    logits = np.array([[[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]], np.float32)
    labels, weights = np.array([[[0, 1, 0]]]), np.array([[[1.0, 1.0, 0.5]]])
    scores = model.evaluate(logits, labels, sample_weight=weights, verbose=0, return_dict=True)
    # Unweighted: class 0 has 1 of 2 pixels, class 1 its pixel and a wrong one. Weighted: 2 of 2.5.
    assert scores["mean_iou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(2 / 2.5)


def test_labels_and_predictions_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must have the shape \(4, 2\), .* got \(2, 4\)"):
        metrics.confusion_matrix(np.zeros((2, 4), np.uint8), np.zeros((4, 2), np.uint8), 3)


def test_the_configuration_builds_an_equal_metric():
    metric = metrics.MeanIoU(7, ignore_label=9)
    again = metrics.MeanIoU.from_config(metric.get_config())
    assert (again.num_classes, again.ignore_label, again.name) == (7, 9, "mean_iou")
