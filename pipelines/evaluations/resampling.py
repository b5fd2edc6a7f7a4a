"""Bootstrap over images: how sure is a score, or the difference between two networks?"""

from collections.abc import Callable
from typing import Any

import numpy as np

_RESAMPLES = 1000
_PERCENT = 95
# Resamples and images that are worked on at a time, so that large splits need little memory.
_BLOCK = 250
_IMAGES = 1024


def interval(counts: np.ndarray, score: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Computes the interval of a score from resampled images.

    Each of 1,000 resamples draws as many images as there are, with replacement.

    Args:
        counts: What the score is computed from, (images, ...), integers that add up.
        score: Function from sums (..., *counts.shape[1:]) to scores (...) or (..., n).

    Returns:
        The bounds of the 95 % interval, (2,) or (2, n). NaN where the score is undefined.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13, 1993.
    """
    return _percentiles(_resampled(counts, score))


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
    gains = _resampled(after, score) - _resampled(before, score)
    overall = np.asarray(score(after.sum(0))) - np.asarray(score(before.sum(0)))
    return overall, _percentiles(gains)


def _resampled(counts: np.ndarray, score: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Scores each resample; for the same number of images it always draws the same ones."""
    rng = np.random.default_rng(0)
    images = len(counts)
    share = np.full(images, 1 / images)
    found = []
    for _ in range(_RESAMPLES // _BLOCK):
        drawn = rng.multinomial(images, share, size=_BLOCK)
        found.append(np.asarray(score(_weighted_sums(drawn, counts))))
    return np.concatenate(found)


def _percentiles(scores: np.ndarray) -> np.ndarray:
    """Returns the bounds of the middle 95 %, leaving out resamples where a score is undefined."""
    bounds = (50 - _PERCENT / 2, 50 + _PERCENT / 2)
    undefined = np.isnan(scores).all(axis=0)
    known = np.where(undefined, 0.0, scores)
    return np.where(undefined, np.nan, np.nanpercentile(known, bounds, axis=0))


def _weighted_sums(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums counts (images, ...) with each row of (rows, images) as weights.

    Floats, because BLAS multiplies these; they are exact up to 2^53 pixels.
    """
    total = np.zeros((len(weights), *counts.shape[1:]))
    for first in range(0, len(counts), _IMAGES):
        part = slice(first, first + _IMAGES)
        total += np.tensordot(weights[:, part].astype(float), counts[part].astype(float), axes=1)
    return total
