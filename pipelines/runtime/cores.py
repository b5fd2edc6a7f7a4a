"""The processor cores of this process; imports nothing but Python's own modules."""

import os


def count() -> int:
    """Returns the number of cores that this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
