"""Attention within windows against the definition, pixel by pixel."""

import numpy as np
import pytest

from kerasseg.layers.windows import WindowAttention, WindowMerge, WindowPartition

WINDOW, HEADS, WIDTH = 3, 2, 4


def attend(features, biases, shift, still, pad_first):
    """What each pixel sees of the others, without cutting windows out.

    `features` are queries, keys and values `(height, width, 3 * WIDTH)` of one map.
    """
    size = np.array(features.shape[:2])
    padded = -(-size // WINDOW) * WINDOW
    single = padded == WINDOW
    shifts = np.where({"never": False, "axis": single, "map": single.any()}[still], 0, shift)
    # Where a place lies after the map was moved.
    period = padded if pad_first else size
    places = np.moveaxis(np.indices(padded), 0, -1).reshape(-1, 2)
    inside = (places < period).all(1)
    moved = np.where(inside[:, None], (places - shifts) % period, places)
    came_round = moved >= padded - shifts
    values = np.zeros((*padded, 3 * WIDTH))
    values[: size[0], : size[1]] = features
    queries, keys, values = values.reshape(-1, 3, HEADS, WIDTH // HEADS).transpose(1, 2, 0, 3)
    scores = queries @ keys.swapaxes(1, 2) / np.sqrt(WIDTH // HEADS)
    apart = moved[:, None] - moved[None]
    index = np.clip(apart + WINDOW - 1, 0, 2 * WINDOW - 2) @ [2 * WINDOW - 1, 1]
    scores += biases[index].transpose(2, 0, 1)
    same_window = (moved[:, None] // WINDOW == moved[None] // WINDOW).all(-1)
    same_side = (came_round[:, None] == came_round[None]).all(-1)
    scores = np.where(same_window, scores + np.where(same_side, 0, -100), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    seen = (weights @ values).transpose(1, 0, 2).reshape(*padded, WIDTH)
    return seen[: size[0], : size[1]]


@pytest.mark.parametrize("size", [(5, 4), (6, 9), (3, 8), (2, 2)])
@pytest.mark.parametrize(
    ("shift", "still", "pad_first"),
    [
        (0, "never", True),
        (1, "never", True),
        (1, "axis", True),
        (1, "map", True),
        (1, "never", False),
    ],
)
def test_each_pixel_sees_its_window(size, shift, still, pad_first):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, *size, 3 * WIDTH)).astype(np.float32)
    options = {"window": WINDOW, "shift": shift, "still": still, "pad_first": pad_first}
    attention = WindowAttention(HEADS, **options)
    windows = WindowPartition(**options)(maps)
    attention.build(windows.shape)
    biases = rng.normal(size=((2 * WINDOW - 1) ** 2, HEADS))
    attention.set_weights([biases])
    found = WindowMerge(**options)(attention(windows), maps)
    assert found.shape == (2, *size, WIDTH)
    for values, given in zip(found.numpy(), maps, strict=True):
        expected = attend(given, biases, shift, still, pad_first)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)


def test_shapes_are_known_as_far_as_the_map_s_are():
    options = {"window": 7, "shift": 3}
    partition, attention = WindowPartition(**options), WindowAttention(3, **options)
    merge = WindowMerge(**options)
    for size, counts in (((16, 24), (3, 4)), ((None, 24), (None, 4))):
        assert partition.compute_output_shape((2, *size, 96)) == (2, *counts, 49, 96)
        assert attention.compute_output_shape((2, *counts, 49, 288)) == (2, *counts, 49, 96)
        assert merge.compute_output_shape((2, *counts, 49, 96), (2, *size, 5)) == (2, *size, 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be at least 1 and shift in .*got window=0, shift=0"),
        ({"window": 7, "shift": 7}, "got window=7, shift=7"),
        ({"window": 7, "still": "often"}, "still must be one of never, axis, map, got 'often'"),
    ],
)
def test_bad_arguments_are_refused_with_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        WindowPartition(**options)
    with pytest.raises(ValueError, match="heads must be at least 1, got 0"):
        WindowAttention(0, 7)
