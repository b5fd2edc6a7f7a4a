"""Sizes of memory as people write them: 500MB, 2GB or 1.5GiB."""

import re

from ..errors import InputError

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse(text: str) -> int:
    """Reads a size.

    Args:
        text: A number above 0 with a unit: MB, GB and so on are powers of 1000, MiB and GiB powers
            of 1024; without a unit, bytes.

    Returns:
        The number of bytes.

    Raises:
        InputError: If it is anything else.
    """
    found = _SIZE.fullmatch(text.strip())
    unit = (1024 if found[3] else 1000) ** _POWERS[found[2].upper()] if found else 0
    count = int(float(found[1]) * unit) if found else 0
    if count < 1:
        raise InputError(f"size must be one such as 500MB, 2GB or 1.5GiB, got {text!r}.")
    return count


def describe(count: float) -> str:
    """Rounds a number of bytes to text, such as "9.1 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count, 0) / 1e6:.0f} MB"
