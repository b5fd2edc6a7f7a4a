import numpy as np
import pytest

from kerasseg.layers.rotary import RotaryAttention, rotary_angles, rotate


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_angles_are_those_of_the_patches_centres():
    angles = rotary_angles(np.array([2, 3], np.int32), 8).numpy()
    assert angles.shape == (6, 4)
    # Rows at -1/2 and 1/2, columns at -2/3, 0 and 2/3; frequencies 1 and 100^(-1/2).
    for index, (row, column) in enumerate(np.ndindex(2, 3)):
        y, x = (-0.5, 0.5)[row], (-2 / 3, 0, 2 / 3)[column]
        expected = 2 * np.pi * np.array([y, y / 10, x, x / 10])
        np.testing.assert_allclose(angles[index], expected, atol=1e-5)


def test_pairs_of_channels_turn_like_complex_numbers_and_the_prefix_stays():
    queries, keys, patches = random(1, 2, 8, 8), random(2, 1, 2, 8, 8)[0], random(1, 2, 3, 5)
    found = [each.numpy() for each in rotate(queries, keys, patches)]
    turn = np.exp(1j * rotary_angles(np.array([2, 3], np.int32), 8).numpy())
    for given, turned in zip((queries, keys), found, strict=True):
        np.testing.assert_allclose(turned[:, :, :2], given[:, :, :2], atol=1e-6)
        pairs = given[:, :, 2:, :4] + 1j * given[:, :, 2:, 4:]
        expected = pairs * turn
        np.testing.assert_allclose(turned[:, :, 2:, :4], expected.real, atol=1e-5)
        np.testing.assert_allclose(turned[:, :, 2:, 4:], expected.imag, atol=1e-5)


def test_attention_compares_turned_queries_with_turned_keys():
    tokens, patches = random(1, 5, 24), random(1, 2, 2, 8)
    attended = RotaryAttention(1)(tokens, patches).numpy()
    queries, keys, values = np.split(tokens[:, np.newaxis], 3, axis=-1)
    queries, keys = (each.numpy() for each in rotate(queries, keys, patches))
    scores = np.exp(queries @ keys.swapaxes(-1, -2) / np.sqrt(8))
    expected = scores / scores.sum(-1, keepdims=True) @ values
    np.testing.assert_allclose(attended, expected[:, 0], atol=1e-5)


def test_a_head_of_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="width of a head must be a multiple of 4, got 6"):
        RotaryAttention(1)(random(1, 5, 18), random(1, 2, 2, 6))
