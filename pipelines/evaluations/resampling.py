"""Paired bootstrap over images: how sure is the difference between two networks?"""

from collections.abc import Callable
from typing import Any

import numpy as np

_RESAMPLES = 1000
_PERCENT = 95


def gain(
    before: np.ndarray, after: np.ndarray, score: Callable[[np.ndarray], Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Computes how much a score gains, with an interval from resampled images.

    Each of 1,000 resamples draws as many images as there are, with replacement, the same ones for
    both networks: what makes an image hard for both does not widen the interval.

    Args:
        before: Confusion matrices (images, classes, classes) of one network.
        after: Those of another network on the same images.
        score: Function from matrices (..., classes, classes) to scores (...) or (..., n).

    Returns:
        The gain of the score of all images, () or (n,); and the bounds of its 95 % interval, (2,)
        or (2, n). NaN where the score is undefined.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13, 1993.
    """
    rng = np.random.default_rng(0)
    images = len(before)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=_RESAMPLES)
    gains = np.asarray(score(_weighted_sums(drawn, after))) - np.asarray(
        score(_weighted_sums(drawn, before))
    )
    overall = np.asarray(score(after.sum(0))) - np.asarray(score(before.sum(0)))
    return overall, _percentiles(gains)


def _percentiles(gains: np.ndarray) -> np.ndarray:
    """Returns the bounds of the middle 95 %, leaving out resamples where a score is undefined."""
    bounds = (50 - _PERCENT / 2, 50 + _PERCENT / 2)
    undefined = np.isnan(gains).all(axis=0)
    known = np.where(undefined, 0.0, gains)
    return np.where(undefined, np.nan, np.nanpercentile(known, bounds, axis=0))


def _weighted_sums(weights: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Sums matrices (images, classes, classes) with each row of (rows, images) as weights.

    Floats, because BLAS multiplies these; they are exact up to 2^53 pixels.
    """
    return np.tensordot(weights.astype(np.float64), matrices.astype(np.float64), axes=1)
