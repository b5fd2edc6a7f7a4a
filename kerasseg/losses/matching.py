"""Matching queries with segments, so that the sum of the costs is the least."""

from typing import Any

import numpy as np
import tensorflow as tf

# For costs that are not numbers: the loss is not a number either then, and says so.
_WORST = 1e9


def match(costs, occurring) -> list[Any]:
    """Matches each segment with one query, or each query with one segment if there are fewer.

    SciPy does it on the host.

    Args:
        costs: float32 (heads, batch, queries, classes).
        occurring: bool (batch, classes), the classes that are segments of the image.

    Returns:
        For each head an int64 tensor (pairs, 3) of image, query and class.

    Reference:
        Kuhn, The Hungarian Method for the Assignment Problem, 1955.
        https://doi.org/10.1002/nav.3800020109
    """
    heads = costs.shape[0]
    found = tf.numpy_function(_match_all, [costs, occurring], [tf.int64] * heads, stateful=False)
    found = [found] if tf.is_tensor(found) else found  # a single one comes without a list
    return [tf.ensure_shape(pairs, (None, 3)) for pairs in found]


def _match_all(costs: np.ndarray, occurring: np.ndarray) -> list[np.ndarray]:
    costs = np.nan_to_num(costs, nan=_WORST, posinf=_WORST, neginf=-_WORST)
    return [_match_images(of_head, occurring) for of_head in costs]


def _match_images(costs: np.ndarray, occurring: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    pairs = [np.zeros((0, 3), np.int64)]
    for image, (of_image, occurs) in enumerate(zip(costs, occurring, strict=True)):
        (classes,) = np.nonzero(occurs)
        queries, chosen = linear_sum_assignment(of_image[:, classes])
        images = np.full(len(queries), image)
        pairs.append(np.stack([images, queries, classes[chosen]], axis=1).astype(np.int64))
    return np.concatenate(pairs)
