"""How many channels images may have, and how many bits each; needs no TensorFlow."""

MAX_CHANNELS = 16
BITS = (8, 16)


def check(channels: int, bits: int = 8) -> None:
    """Checks the number of channels of images and the bits of each.

    Raises:
        ValueError: If `channels` is not a whole number from 1 to 16, or `bits` neither 8 nor 16.
    """
    if type(channels) is not int or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(
            f"channels must be a whole number from 1 to {MAX_CHANNELS}, got {channels!r}."
        )
    if type(bits) is not int or bits not in BITS:
        raise ValueError(f"bits must be 8 or 16, got {bits!r}.")


def in_words(channels: int, bits: int) -> str:
    """Returns such words as "4 channels of 16 bits"."""
    return f"{channels} channel{'s' if channels > 1 else ''} of {bits} bits"


def is_default(channels: int, bits: int = 8) -> bool:
    """Returns whether images are RGB of 8 bits, which all formats and releases know."""
    return (channels, bits) == (3, 8)
