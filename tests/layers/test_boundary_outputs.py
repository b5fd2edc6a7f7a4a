"""Training with a boundary head: the four terms of PIDNet's loss."""

import keras
import numpy as np
import pytest

from kerasseg.layers.boundary_outputs import BoundaryModel
from kerasseg.losses import BoundaryCrossEntropy, CrossEntropy, OnlineHardExamples


def build():
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3), name="image")
    features = keras.layers.Conv2D(8, 3, padding="same", name="encoder_conv")(images)
    heads = {
        "logits": keras.layers.Conv2D(3, 1, name="logits")(features),
        "auxiliary": keras.layers.Conv2D(3, 1, name="auxiliary_logits")(features),
        "boundary": keras.layers.Conv2D(1, 1, name="auxiliary_boundary")(features),
    }
    return BoundaryModel(images, heads, name="small")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 6, 8, 3)).astype(np.float32)
    return images, rng.choice([0, 1, 2, 255], (4, 6, 8)).astype(np.uint8)


def heads_of(model, images):
    return {name: head.numpy() for name, head in model(images, training=True).items()}


def first_loss(model, data):
    return model.fit(*data, batch_size=4, verbose=0).history["loss"][0]


def terms(loss, labels, heads):
    """The four terms of the paper, without their weights."""
    near = 1 / (1 + np.exp(-heads["boundary"][..., 0])) > 0.8
    assert 0 < near.mean() < 1
    return {
        "logits": float(loss(labels, heads["logits"])),
        "auxiliary": float(loss(labels, heads["auxiliary"])),
        "boundary": float(BoundaryCrossEntropy()(labels, heads["boundary"])),
        "at boundaries": float(loss(np.where(near, labels, 255), heads["logits"])),
    }


@pytest.mark.parametrize("loss", [CrossEntropy(), OnlineHardExamples(0.9, 20)])
@pytest.mark.parametrize(
    ("weights", "factors"),
    [
        (None, (1, 0.4, 20, 1)),
        ({"auxiliary": 0.1}, (1, 0.1, 20, 1)),
        ({"boundary": 2.0, "logits": 3.0}, (3, 0.4, 2, 3)),
        (0.5, (0.5, 0.2, 10, 0.5)),
    ],
)
def test_training_has_the_four_terms_of_the_paper(data, loss, weights, factors):
    model = build()
    expected = terms(loss, data[1], heads_of(model, data[0]))
    # Eagerly, for tracing takes longer than a step.
    model.compile("sgd", loss, loss_weights=weights, run_eagerly=True)
    of_logits = factors[0] * expected["logits"]
    assert model.evaluate(*data, verbose=0) == pytest.approx(of_logits, rel=1e-5)
    total = sum(f * each for f, each in zip(factors, expected.values(), strict=True))
    assert first_loss(model, data) == pytest.approx(total, rel=1e-5)


def test_heads_without_a_loss_of_their_own_have_none(data):
    model = build()
    heads = heads_of(model, data[0])
    model.compile("sgd", {"logits": CrossEntropy()}, run_eagerly=True)
    value = model.compute_loss(y=data[1], y_pred=heads)
    assert float(value) == pytest.approx(float(CrossEntropy()(data[1], heads["logits"])), rel=1e-5)


def test_a_saved_model_trains_on_with_all_terms(data, tmp_path):
    model = build()
    model.compile("sgd", CrossEntropy())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, BoundaryModel)
    assert first_loss(loaded, data) == pytest.approx(first_loss(model, data), rel=1e-6)
