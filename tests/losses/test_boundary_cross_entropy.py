"""The loss of a boundary head against its formula."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from test_boundary import regions

from kerasseg.losses import BoundaryCrossEntropy
from kerasseg.pipelines.runtime.devices import mirrored_strategy


def boundaries(labels, radius):
    """Both sides of each border between two classes, widened by a square."""
    found = np.zeros(labels.shape, bool)
    for index, y, x in np.ndindex(labels.shape):
        for other_y, other_x in ((y + 1, x), (y, x + 1)):
            if other_y < labels.shape[1] and other_x < labels.shape[2]:
                pair = {int(labels[index, y, x]), int(labels[index, other_y, other_x])}
                if len(pair) == 2 and 255 not in pair:
                    found[index, y, x] = found[index, other_y, other_x] = True
    size = (1, 2 * radius + 1, 2 * radius + 1)
    return scipy.ndimage.maximum_filter(found, size)


def by_formula(labels, logits, weights, radius):
    counted = labels != 255
    on = boundaries(labels, radius) & counted
    share = on.sum() / counted.sum()
    z, b = logits[..., 0].astype(np.float64), on.astype(np.float64)
    losses = np.log1p(np.exp(z)) - b * z
    return (np.where(on, 1 - share, share) * counted * losses * weights).sum() / counted.sum()


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 21, 17, 1)).astype(np.float32)
    weights = rng.uniform(0, 2, (4, 21, 17)).astype(np.float32)
    return regions((4, 21, 17), 0.1), logits, weights


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_boundaries_and_the_rest_weigh_the_same(batch, radius):
    labels, logits, _ = batch
    loss = BoundaryCrossEntropy(radius)
    assert float(loss(*batch)) == pytest.approx(by_formula(*batch, radius), rel=1e-5)
    equal = by_formula(labels, logits, np.ones(labels.shape), radius)
    assert float(loss(labels, logits)) == pytest.approx(equal, rel=1e-5)
    graph = tf.function(
        loss,
        input_signature=[
            tf.TensorSpec((None, None, None), tf.uint8),
            tf.TensorSpec((None, None, None, 1)),
        ],
    )
    assert float(graph(labels, logits)) == pytest.approx(equal, rel=1e-5)


@pytest.mark.parametrize("label", [0, 255])
def test_labels_without_a_boundary_have_the_loss_zero(label):
    labels = np.full((1, 4, 5), label, np.uint8)
    assert float(BoundaryCrossEntropy()(labels, tf.random.normal((1, 4, 5, 1)))) == 0


def test_two_replicas_share_the_loss_of_one(batch, two_cpus):
    labels, logits, weights = batch
    found = []
    for devices in (two_cpus[:1], two_cpus):
        with mirrored_strategy(devices).scope():
            inputs = keras.Input((None, None, 1))
            model = keras.Model(
                inputs, keras.layers.Conv2D(1, 1, kernel_initializer="ones")(inputs)
            )
            model.compile(keras.optimizers.SGD(0.1), BoundaryCrossEntropy())
        history = model.fit(logits, labels, sample_weight=weights, batch_size=4, verbose=0).history
        found.append((history["loss"][0], *model.get_weights()))
    assert found[0][0] == pytest.approx(by_formula(*batch, 1), rel=1e-5)
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-7)


def test_it_is_saved_with_its_arguments():
    loss = BoundaryCrossEntropy(2, ignore_label=0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (again.radius, again.ignore_label) == (2, 0)


def test_what_cannot_be_is_refused(batch):
    labels, logits, _ = batch
    with pytest.raises(ValueError, match=r"logits must be \(batch, height, width, 1\).*17, 3"):
        BoundaryCrossEntropy()(labels, np.repeat(logits, 3, axis=-1))
    with pytest.raises(ValueError, match="radius must be at least 0, got -1"):
        BoundaryCrossEntropy(-1)
