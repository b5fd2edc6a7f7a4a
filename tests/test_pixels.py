"""What losses and scores refuse, and what makes them NaN inside a graph; the same for all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.losses import CrossEntropy, Dice, WeightedSum
from kerasseg.metrics import ConfusionMatrix, MeanIoU, PixelAccuracy


def both():
    return WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])


every_loss = pytest.mark.parametrize("make", [CrossEntropy, Dice, both])
# Losses, and metrics of three classes.
everything = pytest.mark.parametrize(
    "make", [CrossEntropy, Dice, both, lambda: MeanIoU(3), lambda: ConfusionMatrix(3)]
)
compiled = pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (2, 5, 7)).astype(np.uint8)
    return labels, rng.normal(size=(2, 5, 7, 3)).astype(np.float32)


def change(labels, value, dtype):
    """Puts a value at one pixel; int8 has no 255 for the ignored ones."""
    changed = np.where((labels == 255) & (dtype == np.int8), 2, labels).astype(dtype)
    changed[1, 2, 3] = value
    return changed


# Shapes


@everything
@pytest.mark.parametrize(
    "shape", [(2, 5, 7, 3), (2, 5, 6), (2, 7, 5), (3, 5, 7), (5, 7), (2, 5, 7, 1, 1), (2, 35)]
)
def test_labels_of_another_shape_are_refused_with_both_shapes(batch, make, shape):
    with pytest.raises(ValueError, match=r"labels must have the shape \(2, 5, 7\)") as refusal:
        make()(np.zeros(shape, np.uint8), batch[1])
    assert f"got {shape}" in str(refusal.value)


@everything
def test_one_hot_labels_are_refused_with_the_remedy(batch, make):
    labels, logits = batch
    with pytest.raises(ValueError, match="take the argmax over the last axis of one-hot labels"):
        make()(tf.one_hot(labels, 3), logits)


@everything
def test_shapes_are_refused_when_a_graph_is_traced(batch, make):
    labels = tf.TensorSpec((None, None, None, 3), tf.uint8)
    logits = tf.TensorSpec((None, None, None, 3), tf.float32)
    with pytest.raises(ValueError, match="labels must have the shape"):
        tf.function(make()).get_concrete_function(labels, logits)


@every_loss
@pytest.mark.parametrize("shape", [(2, 7, 5), (2, 5, 1), (1, 5, 7)])
def test_shapes_known_only_at_run_time_give_nan_or_stop(batch, make, shape):
    labels = tf.TensorSpec((None, None, None), tf.uint8)
    logits = tf.TensorSpec((None, None, None, 3), tf.float32)
    run = tf.function(make(), input_signature=[labels, logits])
    assert np.isfinite(run(*batch))
    try:
        value = run(np.zeros(shape, np.uint8), batch[1])
    except tf.errors.InvalidArgumentError:
        return
    assert np.isnan(value)


@everything
def test_labels_of_unknown_rank_are_taken_as_the_logits_are(batch, make):
    labels, logits = batch
    signature = [tf.TensorSpec(None, tf.uint8), tf.TensorSpec((None, None, None, 3), tf.float32)]
    run = tf.function(make(), input_signature=signature)
    np.testing.assert_allclose(run(labels, logits), make()(labels, logits), rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[2,5\].*not compatible"):
        run(labels[..., 0], logits)


@everything
def test_a_single_channel_is_refused_with_the_remedy(batch, make):
    labels, logits = batch
    with pytest.raises(ValueError, match=r"at least 2 classes, got shape .*num_classes=2"):
        make()(labels, logits[..., :1])


@everything
def test_several_heads_are_refused_by_name(batch, make):
    labels, logits = batch
    with pytest.raises(ValueError, match="got a dict of logits, auxiliary"):
        make()(labels, {"logits": logits, "auxiliary": logits})


@everything
@pytest.mark.parametrize("shape", [(), (3,)])
def test_logits_without_an_axis_of_pixels_are_refused(make, shape):
    with pytest.raises(ValueError, match=r"logits must be \(batch, height, width, classes\)"):
        make()(np.zeros((), np.uint8), np.zeros(shape, np.float32))


@everything
def test_labels_that_are_no_numbers_are_refused(batch, make):
    with pytest.raises(ValueError, match="labels must be integers, got string"):
        make()(np.full((2, 5, 7), "road"), batch[1])


@pytest.mark.parametrize("metric", [MeanIoU, PixelAccuracy, ConfusionMatrix])
def test_a_metric_of_another_number_of_classes_is_refused_with_both(batch, metric):
    with pytest.raises(ValueError, match=r"must have 5 channels, .* got shape \(2, 5, 7, 3\)"):
        metric(5).update_state(*batch)
    with pytest.raises(ValueError, match=r"num_classes must be at least 2, .* got 1"):
        metric(1)
    with pytest.raises(ValueError, match=r"num_classes must be an integer, got 2.5"):
        metric(2.5)


def test_class_weights_of_another_number_are_refused_with_both(batch):
    with pytest.raises(ValueError, match="each of the 3 channels of the logits, got 4 numbers"):
        CrossEntropy(class_weights=[1, 2, 3, 4])(*batch)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "must be a list of one number per class"),
        ([[1.0, 2.0]], "must be a list of one number per class"),
        ({0: 1.0, 1: 2.0}, "must be a list of one number per class, got {0: 1.0"),
        ([1.0, -1.0], "must not be negative"),
        ([1.0, float("nan")], "must be finite"),
        ([1.0, float("inf")], "must be finite"),
        ([0.0, 0.0], "must be finite and one of them above 0"),
    ],
)
def test_class_weights_that_cannot_weigh_are_refused(weights, message):
    with pytest.raises(ValueError, match=f"class_weights {message}"):
        CrossEntropy(class_weights=weights)


@pytest.mark.parametrize("label", [None, 1.5, "255", True])
def test_an_ignored_label_that_is_no_integer_is_refused(label):
    for make in (CrossEntropy, Dice, lambda **options: MeanIoU(3, **options)):
        with pytest.raises(ValueError, match=f"ignore_label must be an integer, got {label!r}"):
            make(ignore_label=label)


# Values of labels

# Neither a class of [0, 3) nor 255; of each kind of number that labels come in.
INVALID = [
    (3, np.uint8),
    (254, np.uint8),
    (-1, np.int8),
    (-1, np.int32),
    (256, np.int32),
    (2**32, np.int64),
    (1.5, np.float32),
    (-0.5, np.float64),
    (np.nan, np.float32),
    (np.inf, np.float32),
    (3, np.float16),
]
invalid = pytest.mark.parametrize(("value", "dtype"), INVALID)
some_invalid = pytest.mark.parametrize(
    ("value", "dtype"), [(3, np.uint8), (-1, np.int32), (1.5, np.float32), (np.nan, np.float32)]
)


@every_loss
@invalid
def test_an_invalid_label_is_named_eagerly(batch, make, value, dtype):
    labels = change(batch[0], value, dtype)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\) or 255") as refusal:
        make()(labels, batch[1])
    assert f"got {np.array(value, dtype)}:" in str(refusal.value)


@every_loss
@compiled
@some_invalid
def test_an_invalid_label_makes_loss_and_gradient_nan_inside_a_graph(
    batch, make, value, dtype, compiled
):
    loss = make()

    @tf.function(jit_compile=compiled)
    def run(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            computed = loss(labels, logits)
        return computed, tape.gradient(computed, logits)

    labels, logits = batch
    computed, gradient = run(change(labels, value, dtype), tf.constant(logits))
    assert np.isnan(computed)
    assert np.isnan(gradient).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.float32, np.float64])
@every_loss
def test_labels_of_every_dtype_give_the_same_loss(batch, make, dtype):
    labels = np.where(batch[0] == 255, 100, batch[0])
    with_100 = [CrossEntropy(ignore_label=100), Dice(ignore_label=100)]
    loss = WeightedSum(with_100, [1.0, 0.5]) if make is both else make(ignore_label=100)
    assert float(loss(labels.astype(dtype), batch[1])) == float(make()(*batch))


@pytest.mark.parametrize("metric", [MeanIoU, ConfusionMatrix])
@invalid
def test_an_invalid_label_is_not_dropped_by_a_metric(batch, metric, value, dtype):
    state = metric(3)
    state.update_state(change(batch[0], value, dtype), batch[1])
    with pytest.raises(ValueError, match=r"\[0, 3\) or 255 .*, got 1 other pixels"):
        state.result()


@pytest.mark.parametrize("metric", [MeanIoU, ConfusionMatrix])
@compiled
@some_invalid
def test_an_invalid_label_makes_a_score_nan_inside_a_graph(batch, metric, value, dtype, compiled):
    state = metric(3)

    @tf.function(jit_compile=compiled)
    def run(labels, logits):
        state.update_state(labels, logits)
        return state.result()

    assert np.isfinite(run(batch[0].astype(dtype), batch[1])).all()
    assert np.isnan(run(change(batch[0], value, dtype), batch[1])).all()


# Weights

WEIGHT_SHAPES = [(2, 5, 7), (2, 5, 7, 1), (2,), (2, 1), (2, 1, 1), (2, 1, 1, 1), ()]


@everything
@pytest.mark.parametrize("shape", WEIGHT_SHAPES)
def test_weights_of_one_change_nothing(batch, make, shape):
    ones = np.ones(shape, np.float32)
    np.testing.assert_array_equal(make()(*batch, sample_weight=ones), make()(*batch))


@everything
@pytest.mark.parametrize("shape", [(5,), (7,), (1,), (3,), (2, 5), (5, 7), (2, 5, 1), (2, 1, 7)])
def test_weights_of_another_shape_are_refused_with_both_shapes(batch, make, shape):
    with pytest.raises(ValueError, match=r"sample_weight must have the shape \(2, 5, 7\)") as no:
        make()(*batch, sample_weight=np.ones(shape, np.float32))
    assert f"got shape {shape}" in str(no.value)


@every_loss
def test_weights_whose_shape_is_known_only_at_run_time_give_nan_or_stop(batch, make):
    labels, logits = batch
    signature = [
        tf.TensorSpec((None, None, None), tf.uint8),
        tf.TensorSpec((None, None, None, 3), tf.float32),
        tf.TensorSpec((None, None, None), tf.float32),
    ]
    run = tf.function(make(), input_signature=signature)
    weights = np.random.default_rng(2).uniform(0, 2, (2, 5, 7)).astype(np.float32)
    for fitting in (weights, weights[:, :1, :1]):
        expected = float(make()(labels, logits, sample_weight=fitting))
        assert float(run(labels, logits, fitting)) == pytest.approx(expected, rel=1e-6)
    for misfit in (weights[:, :, :1], weights[:1], weights[:1, :1, :1]):
        assert np.isnan(run(labels, logits, misfit))


@every_loss
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_weight_that_cannot_weigh_is_named_eagerly_and_nan_inside_a_graph(batch, make, bad):
    weights = np.ones((2, 5, 7), np.float32)
    weights[0, 0, 0] = bad
    message = f"sample_weight must be finite and at least 0, got {bad}"
    with pytest.raises(ValueError, match=message):
        make()(*batch, sample_weight=weights)
    assert np.isnan(tf.function(make())(*batch, weights))


@every_loss
def test_pixels_of_weight_zero_have_a_gradient_of_exactly_zero(batch, make):
    labels, logits = batch
    weights = np.random.default_rng(2).choice([0.0, 0.5, 2.0], labels.shape)
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = make()(labels, logits, sample_weight=weights)
    gradient = tape.gradient(loss, logits).numpy()
    counts = (labels != 255) & (weights > 0)
    assert (gradient[~counts] == 0).all()
    assert (np.abs(gradient[counts]).sum(axis=-1) > 0).all()


@every_loss
def test_weights_of_zero_alone_give_a_loss_and_a_gradient_of_zero(batch, make):
    logits = tf.Variable(batch[1])
    with tf.GradientTape() as tape:
        loss = make()(batch[0], logits, sample_weight=np.zeros(2))
    assert float(loss) == 0.0
    assert not np.any(tape.gradient(loss, logits).numpy())


# Training with Keras


def small_model():
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Conv2D(3, 1)(images))


def operations(concrete):
    """All operations of a graph, and of the functions that it calls."""
    definition = concrete.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("weighted", [False, True])
def test_the_graph_of_training_asserts_nothing(weighted):
    model = small_model()
    model.compile("adamw", both(), metrics=[MeanIoU(3)], weighted_metrics=[PixelAccuracy(3)])
    data = [
        tf.TensorSpec((None, None, None, 3), tf.float32),
        tf.TensorSpec((None, None, None), tf.uint8),
        tf.TensorSpec((None, None, None), tf.float32),
    ]
    step = tf.function(model.train_step).get_concrete_function(tuple(data[: 2 + weighted]))
    found = operations(step)
    assert "SparseSoftmaxCrossEntropyWithLogits" in found  # or no loss was looked at
    assert not [name for name in found if "Assert" in name or "CheckNumerics" in name]


def test_keras_trains_on_no_invalid_label_unseen(batch):
    model, images = small_model(), np.zeros((2, 5, 7, 3), np.float32)
    labels = change(batch[0], 9, np.uint8)
    model.compile("sgd", CrossEntropy(), run_eagerly=True)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\) .* got 9"):
        model.fit(images, labels, verbose=0)
    model.compile("sgd", CrossEntropy())
    assert np.isnan(model.fit(images, labels, verbose=0).history["loss"]).all()
    # Keras reads metrics out of the graph once an epoch.
    model.compile("sgd", CrossEntropy(), metrics=[MeanIoU(3)])
    with pytest.raises(ValueError, match="got 1 other pixels"):
        model.fit(images, labels, verbose=0)
