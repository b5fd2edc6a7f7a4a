"""The early end of a training whose score has stopped rising."""

from collections.abc import Mapping, Sequence
from typing import Any


def is_exhausted(
    history: Sequence[Mapping[str, Any]], monitor: str, patience: int | None, since: int = 0
) -> bool:
    """Tells whether a training has made too many evaluations without a better score.

    It is a function of the history alone, so that a resumed training ends after the same epoch.

    Args:
        history: One entry per finished epoch, with the score if the epoch was evaluated.
        monitor: Name of the score, of which more is better.
        patience: Number of evaluations after the best one that are too many; None for never.
        since: Number of first epochs whose evaluations are not counted, but whose best score must
            be exceeded.
    """
    if patience is None:
        return False
    best, without_better = float("-inf"), 0
    for entry in history:
        score = entry.get(monitor)
        if score is None:
            continue
        if score > best:
            best, without_better = score, 0
        elif entry["epoch"] > since:
            without_better += 1
    return without_better >= patience
