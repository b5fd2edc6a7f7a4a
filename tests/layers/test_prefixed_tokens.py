import numpy as np
import PIL.Image
import pytest

from kerasseg.layers.position_embeddings import interpolation_matrix
from kerasseg.layers.prefixed_tokens import PrefixedTokens


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("size", "source"), [(5, 37), (11, 37), (40, 37), (3, 8), (1, 4)])
def test_antialiased_bicubic_weights_are_those_of_pillow(size, source):
    line = random(1, source)
    picture = PIL.Image.fromarray(np.repeat(line, 2, axis=0))
    resized = picture.resize((size, 2), PIL.Image.Resampling.BICUBIC)
    matrix = interpolation_matrix(size, source, "bicubic_antialiased").numpy()
    np.testing.assert_allclose(matrix @ line[0], np.asarray(resized)[0], atol=1e-5)


def test_class_token_registers_and_patches_follow_each_other():
    layer = PrefixedTokens(2, (2, 3))
    patches = random(2, 2, 3, 4)
    tokens = layer(patches).numpy()
    first, registers, positions = (weight.numpy() for weight in layer.weights)
    assert positions.shape == (1, 7, 4)
    for index in range(2):
        np.testing.assert_allclose(tokens[index, 0], first[0, 0] + positions[0, 0], atol=1e-6)
        np.testing.assert_array_equal(tokens[index, 1:3], registers[0])
        expected = patches[index].reshape(6, 4) + positions[0, 1:]
        np.testing.assert_allclose(tokens[index, 3:], expected, atol=1e-6)
    assert layer.compute_output_shape((None, 2, 3, 4)) == (None, 9, 4)
    assert layer.compute_output_shape((None, None, 3, 4)) == (None, None, 4)


def test_positions_of_patches_alone_are_resized_and_leave_the_class_token():
    layer = PrefixedTokens(0, (4, 4), "bicubic_antialiased", class_position=False)
    tokens = layer(np.zeros((1, 2, 2, 3), np.float32)).numpy()
    first, positions = (weight.numpy() for weight in layer.weights)
    half = interpolation_matrix(2, 4, "bicubic_antialiased").numpy()
    expected = np.einsum("ir,rcd,jc->ijd", half, positions.reshape(4, 4, 3), half)
    np.testing.assert_allclose(tokens[0, 1:], expected.reshape(4, 3), atol=1e-6)
    np.testing.assert_array_equal(tokens[0, 0], first[0, 0])


def test_a_mask_token_is_kept_but_not_trained_and_not_used():
    layer = PrefixedTokens(mask_token=True)
    before = layer(np.zeros((1, 1, 1, 3), np.float32)).numpy()
    assert [weight.name for weight in layer.non_trainable_weights] == ["mask_token"]
    layer.non_trainable_weights[0].assign(np.ones((1, 3)))
    np.testing.assert_array_equal(layer(np.zeros((1, 1, 1, 3), np.float32)), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"registers": -1}, "registers must be at least 0, got -1"),
        ({"grid": (0, 1)}, r"grid must be .*, got \(0, 1\)"),
        ({"interpolation": "nearest"}, "interpolation must be one of bilinear, .*got 'nearest'"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PrefixedTokens(**options)
