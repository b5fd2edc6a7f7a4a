import numpy as np
import pytest

from kerasseg.layers import MirrorPadForValidConvolutions
from kerasseg.layers.tiling import padded_size


def output_side(side, depth):
    """Walks through a U-Net of valid convolutions; None where a pooling meets an odd side."""
    for _ in range(depth):
        side -= 4
        if side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        side = 2 * side - 4
    return side


def test_the_paper_s_tile_is_found():
    assert padded_size(388, 4) == 572


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_padded_side_is_the_smallest_that_covers_the_image(depth):
    for size in range(1, 100):
        padded = padded_size(size, depth)
        covering = [s for s in range(1, padded + 1) if (output_side(s, depth) or 0) >= size]
        assert covering == [padded]


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (33, 47), (120, 90)])
def test_images_of_any_size_are_extended_by_mirroring(size):
    image = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    padded = MirrorPadForValidConvolutions(2)(image[np.newaxis]).numpy()[0]
    missing = [padded_size(side, 2) - side for side in size]
    sides = [(m // 2, m - m // 2) for m in missing]
    np.testing.assert_array_equal(padded, np.pad(image, [*sides, (0, 0)], mode="reflect"))


def test_no_depth_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        MirrorPadForValidConvolutions(0)
