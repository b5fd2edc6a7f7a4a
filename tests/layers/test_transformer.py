import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.layers import PadToMultiple
from kerasseg.layers.position_embeddings import interpolation_matrix
from kerasseg.layers.transformer import (
    AppendClassTokens,
    ClassMasks,
    DropPath,
    MultiHeadAttention,
    PatchTokens,
    attend,
)


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_bicubic_weights_are_those_of_keys_with_a_of_minus_three_quarters():
    """Halving 4 samples: positions 0.5 and 2.5, taps at distances 1.5, 0.5, 0.5, 1.5."""
    a = -0.75
    near = (a + 2) * 0.5**3 - (a + 3) * 0.5**2 + 1
    far = a * 1.5**3 - 5 * a * 1.5**2 + 8 * a * 1.5 - 4 * a
    matrix = interpolation_matrix(2, 4, "bicubic").numpy()
    # The tap beyond the edge counts for the edge.
    np.testing.assert_allclose(matrix[0], [far + near, near, far, 0], atol=1e-6)
    np.testing.assert_allclose(matrix[1], [0, far, near, near + far], atol=1e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "source"), [(5, 5), (7, 3), (3, 8), (1, 4)])
def test_interpolation_keeps_constants_and_the_identity(interpolation, size, source):
    matrix = interpolation_matrix(size, source, interpolation).numpy()
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    if size == source:
        np.testing.assert_allclose(matrix, np.eye(size), atol=1e-6)


@pytest.mark.parametrize(("size", "source"), [(7, 3), (3, 8)])
def test_bilinear_interpolation_is_tensorflow_s(size, source):
    samples = random(1, source, 1, 2)
    expected = tf.image.resize(samples, (size, 1), "bilinear")[0, :, 0]
    matrix = interpolation_matrix(size, source, "bilinear")
    np.testing.assert_allclose(matrix @ samples[0, :, 0], expected, atol=1e-5)


def test_attention_is_the_softmax_of_the_scaled_products():
    tokens, width, heads = 5, 6, 2
    stacked = random(1, tokens, 3 * width)
    result = MultiHeadAttention(heads)(stacked)
    queries, keys, values = np.split(stacked[0], 3, axis=1)
    for head in range(heads):
        part = slice(head * 3, head * 3 + 3)
        scores = queries[:, part] @ keys[:, part].T / np.sqrt(3)
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        np.testing.assert_allclose(result[0, :, part], weights @ values[:, part], atol=1e-5)


def test_gradients_of_attention_are_those_of_its_formula():
    queries, keys, values, upstream = (tf.constant(random(2, 3, n, 4)) for n in (5, 6, 6, 5))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, keys, values])
        attended = attend(queries, keys, values)
        scores = tf.einsum("bhqd,bhkd->bhqk", queries, keys) / 2  # the root of four channels
        expected = tf.einsum("bhqk,bhkd->bhqd", tf.nn.softmax(scores), values)
    np.testing.assert_allclose(attended, expected, atol=1e-5)
    for array in (queries, keys, values):
        found, wanted = (tape.gradient(each, array, upstream) for each in (attended, expected))
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_tokens_have_the_class_first_and_their_own_position():
    layer = PatchTokens((2, 3))
    patches = random(1, 2, 3, 4)
    tokens = layer(patches).numpy()
    positions = layer.position_embedding.numpy()
    np.testing.assert_allclose(tokens[:, 0], layer.class_token[:, 0] + positions[:, 0], atol=1e-6)
    np.testing.assert_allclose(
        tokens[:, 1:], patches.reshape(1, 6, 4) + positions[:, 1:], atol=1e-6
    )


def test_masks_are_cosines():
    for_patches, for_classes = random(1, 8, 4), 3 * random(1, 8, 4)
    masks = ClassMasks(2)(for_patches, for_classes, random(1, 2, 3, 1)).numpy()
    patch, class_ = for_patches[0, 4], for_classes[0, 7]
    cosine = patch @ class_ / np.linalg.norm(patch) / np.linalg.norm(class_)
    np.testing.assert_allclose(masks[0, 1, 1, 1], cosine, atol=1e-6)


def test_class_tokens_come_last():
    layer = AppendClassTokens(2)
    patches = random(3, 2, 2, 4)
    tokens = layer(patches).numpy()
    np.testing.assert_array_equal(tokens[:, :4], patches.reshape(3, 4, 4))
    np.testing.assert_array_equal(tokens[1, 4:], layer.embedding[0])


def test_images_are_padded_at_the_bottom_and_right():
    padded = PadToMultiple(4)(np.ones((1, 5, 8, 1), np.float32)).numpy()
    assert padded.shape == (1, 8, 8, 1)
    assert padded[0, 5:].sum() == 0
    assert padded.sum() == 40


def test_a_dropped_path_is_dropped_for_whole_images_and_kept_on_average():
    keras.utils.set_random_seed(0)
    layer = DropPath(0.25)
    features = np.ones((4000, 2, 3), np.float32)
    np.testing.assert_array_equal(layer(features), features)
    dropped = layer(features, training=True).numpy()
    values = {round(float(value), 4) for value in np.unique(dropped)}
    assert values == {0.0, round(4 / 3, 4)}
    assert (dropped == dropped[:, :1, :1]).all()
    # Standard deviation of the share: sqrt(0.25 * 0.75 / 4000) = 0.007
    assert abs((dropped[:, 0, 0] == 0).mean() - 0.25) < 5 * 0.007


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchTokens((0, 3)), r"grid must be \(rows, columns\).*got \(0, 3\)"),
        (lambda: PatchTokens((2, 3), "nearest"), "interpolation must be .*got 'nearest'"),
        (lambda: MultiHeadAttention(0), "heads must be at least 1, got 0"),
        (lambda: DropPath(1.0), r"rate must be in \[0, 1\), got 1.0"),
        (lambda: PadToMultiple(0), "multiple must be at least 1 and extra.*got multiple=0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
