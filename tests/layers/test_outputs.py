"""Training of models with an auxiliary head by Keras' own `compile` and `fit`."""

import keras
import numpy as np
import pytest

from kerasseg.layers import SegmentationModel
from kerasseg.losses import CrossEntropy, Dice
from kerasseg.metrics import MeanIoU
from kerasseg.pipelines.runtime.devices import mirrored_strategy


def build():
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3), name="image")
    features = keras.layers.Conv2D(4, 3, padding="same", name="encoder_conv")(images)
    heads = {
        "logits": keras.layers.Conv2D(3, 1, name="logits")(features),
        "auxiliary": keras.layers.Conv2D(3, 1, name="auxiliary_logits")(features),
    }
    return SegmentationModel(images, heads, name="small")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 6, 8, 3)).astype(np.float32)
    return images, rng.choice([0, 1, 2, 255], (4, 6, 8)).astype(np.uint8)


def values(model, data, loss=None, weights=None):
    """The loss of each head of the untrained model, each on its own."""
    images, labels = data
    heads = model(images, training=True)
    loss = loss or CrossEntropy()
    return {name: float(loss(labels, heads[name], weights)) for name in heads}


def step(model, data, **options):
    """The loss of training before its first step."""
    return model.fit(*data, batch_size=4, verbose=0, **options).history["loss"][0]


def test_the_auxiliary_loss_counts_at_four_tenths_in_training_alone(data):
    model = build()
    of = values(model, data)
    model.compile("adamw", CrossEntropy(), metrics=[MeanIoU(3)])
    assert list(model.evaluate(*data, verbose=0, return_dict=True)) == ["loss", "mean_iou"]
    assert model.evaluate(*data, verbose=0)[0] == pytest.approx(of["logits"], rel=1e-6)
    history = model.fit(*data, batch_size=4, validation_data=data, verbose=0).history
    assert list(history) == ["loss", "mean_iou", "val_loss", "val_mean_iou"]
    assert history["loss"][0] == pytest.approx(of["logits"] + 0.4 * of["auxiliary"], rel=1e-6)
    # Validation follows the step, so it is the loss of the logits then.
    assert history["val_loss"][0] == pytest.approx(values(model, data)["logits"], rel=1e-6)
    assert model.predict(data[0], verbose=0).shape == (4, 6, 8, 3)


def test_metrics_are_those_of_the_logits(data):
    images, _ = data
    model = build()
    logits = model(images, training=True)["logits"]
    labels = np.argmax(logits, -1)
    model.compile(
        "sgd", CrossEntropy(), metrics=[MeanIoU(3)], weighted_metrics=[MeanIoU(3, name="w")]
    )
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert logs["mean_iou"] == logs["w"] == 1.0


def test_by_default_both_heads_are_trained(data):
    model = build()
    before = [weights.copy() for weights in model.get_weights()]
    model.compile("sgd", CrossEntropy())
    step(model, data)
    assert all((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


def test_two_replicas_have_the_loss_of_one(data, two_cpus):
    found = []
    for devices in (["CPU:0"], two_cpus):
        with mirrored_strategy(devices).scope():
            model = build()
            model.compile("sgd", CrossEntropy(), metrics=[MeanIoU(3)])
        history = model.fit(*data, batch_size=4, verbose=0).history
        found.append((history["loss"][0], history["mean_iou"][0], model.get_weights()))
    (loss, iou, weights), (other_loss, other_iou, other_weights) = found
    assert loss == pytest.approx(other_loss, rel=1e-6)
    assert iou == other_iou
    for one, other in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("loss_weights", "factors"),
    [
        (None, (1.0, 0.4)),
        ({"auxiliary": 0.1}, (1.0, 0.1)),
        ({"auxiliary": 0.0}, (1.0, 0.0)),
        ({"logits": 2.0}, (2.0, 0.4)),
        ({"logits": 2.0, "auxiliary": 0.1}, (2.0, 0.1)),
        (0.5, (0.5, 0.2)),
    ],
)
@pytest.mark.parametrize("per_head", [False, True])
def test_loss_weights_are_keras_own(data, loss_weights, factors, per_head):
    model = build()
    main = values(model, data)["logits"]
    auxiliary = values(model, data, Dice() if per_head else CrossEntropy())["auxiliary"]
    loss = {"logits": CrossEntropy(), "auxiliary": Dice()} if per_head else CrossEntropy()
    metrics = {"logits": MeanIoU(3) if per_head else [MeanIoU(3)]}
    model.compile("sgd", loss, loss_weights=loss_weights, metrics=metrics)
    expected = factors[0] * main + factors[1] * auxiliary
    assert step(model, data) == pytest.approx(expected, rel=1e-6)
    assert "mean_iou" in model.evaluate(*data, verbose=0, return_dict=True)


def test_labels_and_weights_may_be_given_for_each_head(data):
    images, labels = data
    model = build()
    weights = np.random.default_rng(1).uniform(0, 2, labels.shape).astype(np.float32)
    main = values(model, data, weights=weights)["logits"]
    others = np.where(labels == 255, 0, labels)
    auxiliary = values(model, (images, others))["auxiliary"]
    model.compile("sgd", CrossEntropy(), metrics=[MeanIoU(3)])
    given = {"logits": labels, "auxiliary": others}
    ones = np.ones_like(weights)
    loss = step(model, (images, given), sample_weight={"logits": weights, "auxiliary": ones})
    assert loss == pytest.approx(main + 0.4 * auxiliary, rel=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 6, 8)])
def test_sample_weights_reach_both_heads(data, shape):
    model = build()
    weights = np.random.default_rng(1).uniform(0, 2, shape).astype(np.float32)
    of = values(model, data, weights=weights)
    model.compile("sgd", CrossEntropy())
    expected = of["logits"] + 0.4 * of["auxiliary"]
    assert step(model, data, sample_weight=weights) == pytest.approx(expected, rel=1e-6)


def test_a_loss_of_keras_is_taken_by_name_and_as_a_function(data):
    images, _ = data
    labels = np.random.default_rng(1).uniform(size=(4, 6, 8, 3)).astype(np.float32)
    for loss in ("mse", keras.losses.mean_squared_error, keras.losses.MeanSquaredError()):
        model = build()
        heads = model(images, training=True)
        of = {name: np.mean((heads[name] - labels) ** 2) for name in heads}
        model.compile("sgd", loss)
        expected = of["logits"] + 0.4 * of["auxiliary"]
        assert step(model, (images, labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "loss_weights"),
    [
        (CrossEntropy(class_weights=[1.0, 2.0, 3.0]), {"auxiliary": 0.1}),
        ({"logits": CrossEntropy(), "auxiliary": Dice()}, None),
    ],
)
def test_a_saved_model_loads_compiled_and_trains_further(data, tmp_path, loss, loss_weights):
    model = build()
    model.compile("adamw", loss, loss_weights=loss_weights, metrics=[MeanIoU(3)])
    step(model, data)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, SegmentationModel)
    assert int(again.optimizer.iterations) == 1
    one, other = (each.evaluate(*data, verbose=0, return_dict=True) for each in (model, again))
    assert one == other
    assert step(again, data) == step(model, data)
    for mine, its in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_model_that_was_not_compiled_loads_so(tmp_path):
    build().save(tmp_path / "model.keras")
    assert not keras.models.load_model(tmp_path / "model.keras").compiled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": {"logits": "mse", "head": "mse"}}, "loss must be .* auxiliary, logits, got"),
        ({"loss": {"auxiliary": "mse"}}, "loss must have logits, got auxiliary"),
        ({"loss": ["mse", "mse"]}, "loss must be one for all heads"),
        ({"loss": "mse", "loss_weights": {"head": 1.0}}, "loss_weights must be one for all heads"),
        ({"loss": "mse", "loss_weights": [1.0, 0.4]}, "loss_weights must be one for all heads"),
        ({"loss": "mse", "metrics": {"auxiliary": ["mse"]}}, "metrics must be of logits alone"),
    ],
)
def test_losses_and_metrics_of_unknown_heads_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build().compile("sgd", **options)
