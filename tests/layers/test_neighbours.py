import numpy as np

from kerasseg.layers.neighbours import JoinNeighbours


def test_neighbours_are_joined_column_by_column():
    maps = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    joined = JoinNeighbours()(maps).numpy()
    # As `PatchMerging` of Swin's authors.
    parts = [maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    np.testing.assert_array_equal(joined, np.concatenate(parts, axis=-1))
    assert JoinNeighbours().compute_output_shape((None, None, 6, 3)) == (None, None, 3, 12)
