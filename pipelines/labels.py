"""Label files: decoded to the integers they hold, and mapped to classes value by value."""

import io
from pathlib import Path

import numpy as np
import PIL.Image

from .datasets import IGNORE_LABEL, Description
from .images import ImageFileError, check_complete

_UNKNOWN = -1
_PNG_BIT_DEPTH = 24  # position in the file: the header is always the first chunk


def decode_label(content: bytes) -> np.ndarray:
    """Decodes a label file without interpreting its values.

    Palette images give their indices: TensorFlow's decoder would give the palette's luma.

    Args:
        content: The file's bytes.

    Returns:
        uint8 (height, width) values, or uint8 (height, width, 3) colours.

    Raises:
        ImageFileError: If the file is damaged, a JPEG, or holds more than 8 bits a channel.
    """
    values, mode = _decode_png(content)
    depth = content[_PNG_BIT_DEPTH]
    if depth > 8:
        raise ImageFileError(
            f"label must have 8 bits a channel, got {depth} bits",
            "16-bit instance ids? save class numbers as 8-bit PNG",
        )
    if mode == "L" and depth < 8:
        return values // (255 // (2**depth - 1))  # Pillow scales them, so that the largest is 255
    if mode in ("L", "P", "1"):
        return values.astype(np.uint8)
    if mode == "RGB" or (mode == "RGBA" and (values[..., 3] == 255).all()):
        return values[..., :3]
    raise ImageFileError(
        f"label must have 8 bits a pixel or be RGB, got mode {mode}",
        "save class numbers as 8-bit PNG",
    )


def _decode_png(content: bytes) -> tuple[np.ndarray, str]:
    check_complete(content)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            if image.format == "PNG":
                return np.asarray(image), image.mode
    except Exception as error:  # Pillow raises many kinds on damaged data
        raise ImageFileError("label cannot be decoded", str(error)) from error
    raise ImageFileError("label must not be a JPEG", "lossy: it changes labels; use PNG")


class LabelMap:
    """Turns raw label values or colours into classes, refusing those that are not listed.

    Args:
        description: The dataset's facts.
    """

    def __init__(self, description: Description):
        self.num_classes = len(description.classes.names)
        self._table = np.full(256, _UNKNOWN, np.int16)
        for value, label in description.raw_values.items():
            self._table[value] = label
        codes = {r << 16 | g << 8 | b: v for (r, g, b), v in description.raw_colors.items()}
        self._codes = np.array(sorted(codes), np.uint32)
        self._code_labels = np.array([codes[code] for code in sorted(codes)], np.uint8)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Maps a decoded label.

        Args:
            raw: Result of `decode_label`.

        Returns:
            uint8 (height, width): classes in [0, num_classes) or 255.

        Raises:
            ImageFileError: If a value or colour is not in the table; its message counts them.
        """
        return self._from_values(raw) if raw.ndim == 2 else self._from_colors(raw)

    def _from_values(self, raw: np.ndarray) -> np.ndarray:
        counts = np.bincount(raw.reshape(-1), minlength=256)
        unknown = np.flatnonzero((counts > 0) & (self._table == _UNKNOWN))
        if unknown.size:
            listed = ", ".join(f"{value} ({counts[value]} pixels)" for value in unknown[:6])
            more = f" and {unknown.size - 6} more" if unknown.size > 6 else ""
            raise ImageFileError(
                f"label values must be {self._allowed()}, got {listed}{more}",
                self._likely_cause(np.flatnonzero(counts)),
            )
        return self._table.astype(np.uint8)[raw]

    def _from_colors(self, raw: np.ndarray) -> np.ndarray:
        if not self._codes.size:
            raise ImageFileError("label is an RGB picture", "these labels are gray or palette")
        wide = raw.astype(np.uint32)
        codes = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        position = np.searchsorted(self._codes, codes).clip(max=self._codes.size - 1)
        unknown = self._codes[position] != codes
        if unknown.any():
            found, counts = np.unique(codes[unknown], return_counts=True)
            largest = np.argsort(-counts)[:4]
            listed = ", ".join(
                f"({found[i] >> 16}, {found[i] >> 8 & 255}, {found[i] & 255}) ({counts[i]} pixels)"
                for i in largest
            )
            more = f" and {found.size - 4} more" if found.size > 4 else ""
            raise ImageFileError(
                f"label colours must be those of the classes, got {listed}{more}",
                "another colour table" if found.size < 32 else "a resized or JPEG-compressed label",
            )
        return self._code_labels[position]

    def _allowed(self) -> str:
        values = np.flatnonzero(self._table != _UNKNOWN)
        small = [int(value) for value in values if value != IGNORE_LABEL]
        text = f"0 to {small[-1]}" if small == list(range(len(small))) else f"in {small}"
        return f"{text} or {IGNORE_LABEL}" if self._table[IGNORE_LABEL] != _UNKNOWN else text

    def _likely_cause(self, present: np.ndarray) -> str:
        if set(present.tolist()) <= {0, 255}:
            return "a black-and-white mask: save the class as 1 instead of 255"
        if present[0] >= 1 and present[present < IGNORE_LABEL].max(initial=0) == self.num_classes:
            return "classes counted from 1: subtract 1 from every value"
        return "another class table, or a resized label"


def encode_label(label: np.ndarray) -> bytes:
    """Encodes a label as an 8-bit gray PNG.

    Args:
        label: uint8 (height, width).

    Returns:
        The PNG's bytes.
    """
    buffer = io.BytesIO()
    # Level 1: level 9 takes ten times as long to save a tenth of the bytes.
    PIL.Image.fromarray(label).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def read_file(path: Path | None, what: str) -> bytes:
    """Reads an image or label file.

    Raises:
        ImageFileError: If there is none or it cannot be read.
    """
    if path is None or not path.is_file():
        raise ImageFileError(f"{what} is missing", f"no {what} file of this name")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"{what} cannot be read", str(error.strerror)) from error
