"""The address of an image: how it is shown, and the name of its results."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from . import download
from .download import Limits

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w.+=@ -]+")
_LONGEST = 120  # characters of a name


@dataclass(frozen=True)
class Address:
    """An image at an http or https address.

    Attributes:
        url: The address; never shown, as it may hold a password or a key.
        place: Name of the image, from which those of its results are made.
        limits: What the download may take and reach.
    """

    url: str = field(repr=False)
    place: Path = field(compare=False)
    limits: Limits = field(default=Limits(), compare=False)

    def read(self) -> bytes:
        """Fetches the image's file.

        Raises:
            ImageFileError: If it cannot be fetched within the limits.
        """
        return download.fetch(self.url, self.limits)

    def __str__(self) -> str:
        """Returns the address without a password and without what may be a key after `?`."""
        target = download.parse(self.url)
        shown = f"{target.scheme}://{target.netloc}{target.path or ''}"
        return shown if target.query is None else f"{shown}?... ({self.place})"


def is_address(word: str) -> bool:
    """Tells whether a word has the form of an address, of whatever scheme."""
    return _SCHEME.match(word) is not None


def at(url: str, limits: Limits) -> Address:
    """Makes an `Address`, named by the last part of its path, or by the host without one.

    Raises:
        download.AddressError: If it is no address of http or https.
    """
    target = download.parse(url)
    parts = [unquote(part, errors="replace") for part in (target.path or "").split("/")]
    names = [safe for part in parts if (safe := _safe(part))]
    # Without points, as results would lose what seems to be an ending: the last number of a host.
    host = _safe(str(target.host).replace(".", "_"))
    return Address(url, Path(names[-1] if names else host), limits)


def _safe(part: str) -> str:
    """Returns a part of a path as a name of a file, which is neither hidden nor in a folder."""
    name = _UNSAFE.sub("_", part).strip(". ")
    if len(name) <= _LONGEST:
        return name
    place = Path(name)
    return f"{place.stem[: _LONGEST - len(place.suffix[:10])]}{place.suffix[:10]}"
