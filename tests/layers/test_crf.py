import functools
import re
from pathlib import Path

import keras
import new_processes
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers.crf import DenseCRF

SMALL = Path(__file__).parents[1] / "crf" / "scene_66x99_9.npz"
SHARED = Path(__file__).parents[3] / "shared" / "crf"
SETTING = re.compile(r"labels_(xy(\d+)_rgb(\d+)_compat(\d+)_n(\d+))")


def settings():
    """Yields every reference: its file, its name, and the layer's arguments."""
    for path in (SMALL, *sorted(SHARED.glob("*.npz"))):
        with np.load(path) as stored:
            names = [match for match in map(SETTING.fullmatch, stored) if match]
        for match in names:
            xy, rgb, compat, iterations = (int(group) for group in match.groups()[1:])
            arguments = (iterations, compat, xy, rgb)
            yield pytest.param(path, match[1], arguments, id=f"{path.stem}-{match[1]}")


def load(path):
    """Returns image, logits and all that is stored."""
    stored = dict(np.load(path))
    probabilities = stored["probabilities"].astype(np.float32)
    return stored["image"], np.log(np.maximum(probabilities, 1e-20)), stored


@functools.cache
def graph_of(classes, *arguments):
    """The graph of one layer, which tests may share: tracing takes longest."""
    return as_graph(DenseCRF(*arguments), classes)


def as_graph(layer, classes):
    return tf.function(
        lambda image, logits: layer([image, logits]),
        input_signature=[
            tf.TensorSpec((None, None, None, 3), tf.uint8),
            tf.TensorSpec((None, None, None, classes), tf.float32),
        ],
    )


@pytest.fixture
def scene():
    image, logits, _ = load(SMALL)
    return image, logits


@pytest.mark.parametrize(("path", "name", "arguments"), list(settings()))
def test_marginals_are_those_of_the_authors_code(path, name, arguments):
    image, logits, stored = load(path)
    # Eagerly, for tracing takes ten times as long; graphs are held against this further down.
    marginals = DenseCRF(*arguments)([image[None], logits[None]])[0].numpy()
    labels = stored[f"labels_{name}"]
    assert (marginals.argmax(-1) == labels).mean() >= 0.9999
    (key,) = (k for k in stored if k.startswith("q_") and k.endswith(name))
    step = 4 if "every_4" in key else 3
    assert np.abs(marginals[::step, ::step] - stored[key]).mean() <= 1e-6


def test_the_reference_changes_many_labels(scene):
    # So that a layer which does nothing would fail the test above.
    _, logits = scene
    with np.load(SMALL) as stored:
        assert (stored["labels_xy67_rgb3_compat4_n10"] != logits.argmax(-1)).mean() > 0.03


def test_each_image_of_a_batch_is_inferred_by_itself_and_none_may_be(scene):
    image, logits = scene
    infer = graph_of(9, 2)
    images, batch = np.stack([image, image[::-1]]), np.stack([logits, logits[:, ::-1]])
    together = infer(images, batch).numpy()
    for index in range(2):
        alone = infer(images[index : index + 1], batch[index : index + 1]).numpy()
        np.testing.assert_array_equal(together[index], alone[0])
    assert infer(images[:0], batch[:0]).shape == (0, *logits.shape)
    np.testing.assert_allclose(together.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3)])
def test_the_smallest_images_are_inferred(scene, size):
    image, logits = (x[: size[0], : size[1]] for x in scene)
    assert np.isfinite(graph_of(9, 2)(image[None], logits[None])).all()


def test_without_iterations_marginals_are_the_softmax(scene):
    image, logits = scene
    marginals = DenseCRF(0)([image[None], logits[None]])[0].numpy()
    exponents = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(marginals, exponents / exponents.sum(-1, keepdims=True), atol=1e-6)


def test_logits_that_differ_by_a_constant_a_pixel_give_the_same(scene):
    image, logits = scene
    layer = DenseCRF(3)
    shift = np.random.default_rng(0).normal(size=(*logits.shape[:2], 1)).astype(np.float32)
    one, other = (layer([image[None], x[None]]).numpy() for x in (logits, logits + shift))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_compatibility_of_potts_is_the_default(scene):
    image, logits = scene
    one, other = (
        layer([image[None], logits[None]]).numpy()
        for layer in (DenseCRF(3), DenseCRF(3, compatibility=1 - np.eye(9)))
    )
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_compatibility_that_forbids_two_neighbours_separates_them():
    # All pixels of one colour. Class 1 is slightly ahead of class 2 everywhere, but class 0 on the
    # left costs nothing beside class 2, and much beside class 1.
    image = np.full((1, 12, 12, 3), 90, np.uint8)
    logits = np.tile(np.array([0, 1.2, 1.0], np.float32), (1, 12, 12, 1))
    logits[:, :, :6] = [9, 0, 0]
    forbids = np.array([[0, 5, 0], [5, 0, 0], [0, 0, 0]], np.float32)
    marginals = DenseCRF(5, compatibility=forbids)([image, logits]).numpy()
    assert (marginals[..., 6:, :].argmax(-1) == 2).all()
    # Row l of the matrix is what label l pays; a transposed asymmetric one is another.
    pays = np.array([[0, 0, 0], [5, 0, 0], [0, 0, 0]], np.float32)
    assert (
        DenseCRF(5, compatibility=pays)([image, logits])[..., 6:, :].numpy().argmax(-1) == 2
    ).all()
    assert (
        DenseCRF(5, compatibility=pays.T)([image, logits])[..., 6:, :].numpy().argmax(-1) == 1
    ).all()


def numeric_gradient(function, value, direction, step):
    return (function(value + step * direction) - function(value - step * direction)) / (2 * step)


def test_the_gradient_through_the_logits_is_the_numeric_one(scene):
    image, logits = (x[None, 20:34, 30:49] for x in scene)
    layer = DenseCRF(3, theta_alpha=20.0, theta_beta=13.0)
    rng = np.random.default_rng(1)
    direction = rng.normal(size=logits.shape).astype(np.float32)
    weights = rng.normal(size=logits.shape)

    def objective(value):
        return float((layer([image, value]).numpy() * weights).sum())

    variable = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = tf.reduce_sum(layer([image, variable]) * weights.astype(np.float32))
    computed = float((tape.gradient(value, variable).numpy() * direction).sum())
    assert computed == pytest.approx(numeric_gradient(objective, logits, direction, 3e-3), rel=0.01)
    assert abs(computed) > 0.1


def test_trained_weights_have_the_numeric_gradient_and_begin_as_given(scene):
    image, logits = (x[None, 20:34, 30:49] for x in scene)
    options = {"num_iterations": 3, "theta_alpha": 20.0, "theta_beta": 13.0}
    layer = DenseCRF(bilateral_weight=2.0, gaussian_weight=1.5, trainable_weights=True, **options)
    fixed = DenseCRF(bilateral_weight=2.0, gaussian_weight=1.5, **options)
    np.testing.assert_allclose(layer([image, logits]), fixed([image, logits]), atol=1e-5)
    assert [weight.name for weight in layer.trainable_weights] == [
        "bilateral_weight",
        "gaussian_weight",
    ]
    assert fixed.weights == []
    weights = np.random.default_rng(1).normal(size=logits.shape)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer([image, logits]) * weights.astype(np.float32))
    computed = tape.gradient(value, [weight.value for weight in layer.trainable_weights])
    for index, name in enumerate(("bilateral_weight", "gaussian_weight")):

        def objective(weight, name=name):
            other = DenseCRF(
                **{"bilateral_weight": 2.0, "gaussian_weight": 1.5, name: weight}, **options
            )
            return float((other([image, logits]).numpy() * weights).sum())

        start = {"bilateral_weight": 2.0, "gaussian_weight": 1.5}[name]
        assert float(computed[index]) == pytest.approx(
            numeric_gradient(objective, start, 1.0, 1e-2), rel=0.01
        )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_marginals_are_float32_and_the_same_under_every_policy(scene, policy):
    image, logits = scene
    expected = DenseCRF(2)([image[None], logits[None]]).numpy()
    layer = DenseCRF(2, dtype=policy)
    marginals = layer([image[None], logits[None]])
    assert marginals.dtype == tf.float32
    np.testing.assert_array_equal(marginals, expected)


def test_the_layer_runs_in_tf_data(scene):
    image, logits = scene
    layer = DenseCRF(2)
    dataset = tf.data.Dataset.from_tensors((image[None], logits[None]))
    (marginals,) = dataset.map(lambda i, x: layer([i, x]))
    np.testing.assert_allclose(marginals, layer([image[None], logits[None]]), atol=1e-6)


def test_a_network_with_a_crf_trains_and_loads_in_a_fresh_process(scene, tmp_path):
    image, logits = scene
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Conv2D(9, 1)(inputs / 255.0)
    layer = DenseCRF(1, 3.0, 30.0, 7.0, 2.0, 2.0, trainable_weights=True)
    model = keras.Model(inputs, layer([inputs, outputs]))
    assert model.output.shape == (None, None, None, 9)
    model.compile("sgd", "sparse_categorical_crossentropy")
    images = image[None, :20, :31].astype(np.float32)
    labels = logits[None, :20, :31].argmax(-1)
    before = [weight.numpy() for weight in layer.trainable_weights]
    model.fit(images, labels, verbose=0)
    assert all(
        weight.numpy() != old for weight, old in zip(layer.trainable_weights, before, strict=True)
    )
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np, kerasseg, keras\n"
        f"model = keras.models.load_model({str(tmp_path / 'model.keras')!r})\n"
        f"images = np.load({str(tmp_path / 'images.npy')!r})\n"
        f"np.save({str(tmp_path / 'marginals.npy')!r}, model(images))\n"
    )
    done = new_processes.run("-c", code)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "marginals.npy"), model(images), atol=1e-5)


def test_a_saved_model_holds_stock_operations_only_and_gives_the_same(scene, tmp_path):
    image, logits = scene
    infer = graph_of(9, 2)
    module = tf.Module()
    module.infer = infer
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_array_equal(
        loaded.infer(image[None], logits[None]), infer(image[None], logits[None])
    )
    graph = infer.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assert not {node.op for node in nodes} & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_iterations": -1}, "num_iterations must be at least 0, got -1"),
        ({"bilateral_weight": -1.0}, "bilateral_weight must be at least 0, got -1.0"),
        ({"gaussian_weight": float("nan")}, "gaussian_weight must be at least 0, got nan"),
        ({"theta_alpha": 0}, "theta_alpha must be above 0, got 0"),
        ({"theta_beta": -3.0}, "theta_beta must be above 0, got -3.0"),
        ({"theta_gamma": 0.0}, "theta_gamma must be above 0, got 0.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(**arguments)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 4, 1), (1, 4, 4, 2)), r"must be an image \(batch, height, width, 3\) and logits"),
        (((4, 4, 3), (4, 4, 2)), r"must be an image"),
        (((1, 4, 5, 3), (1, 4, 4, 2)), r"image and logits must have one size"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF()([np.zeros(shape, np.float32) for shape in shapes])


def test_a_compatibility_of_another_number_of_classes_is_refused(scene):
    image, logits = scene
    with pytest.raises(ValueError, match=r"compatibility must be of shape \(9, 9\), got \(3, 3\)"):
        DenseCRF(compatibility=np.ones((3, 3)))([image[None], logits[None]])
