"""One image and its label, examined: everything that is wrong with them, not only the first."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasseg import IGNORE_LABEL
from kerasseg import channels as channels_rule

from ..classes import Description
from ..classes.label_maps import LabelMap
from ..classes.palettes import NOTHING, Notes
from ..classes.value_runs import color_codes
from ..errors import ImageFileError
from ..images import formats, png, record_images, stored_values
from ..images.channel_images import OtherChannelsError
from ..images.image_files import (
    DeepImageError,
    check_complete,
    check_decodable,
    check_upright,
)
from ..images.label_files import RawLabel
from ..images.source_images import prepare
from ..images.treatments import Treatment
from .report import ERROR, WARNING, Color, Finding

DIGEST_SIZE = 16
LABEL_HEAD = 26  # bytes of a PNG up to and including its depth and colour type
# A photograph given as a label has 100,000 colours; the most frequent tell enough.
_MOST_COLORS = 1024
_COLOR_TYPES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}


@dataclass(slots=True)
class Examined:
    """A pair and the results of its examination.

    Attributes:
        split: Split of the pair.
        file: Name of the image.
        where: Position from which its source reads it again.
        image_bytes: Size of the image's file; 0 if the image cannot be used.
        digest: Hash of the image's file; empty if the image cannot be used.
        size: `(height, width)` of the image; None if it cannot be used.
        image_kind: Format and mode of the image.
        label_kind: Bits and colour type of the label's file.
        counts: int64 (256,) pixels of each class; None if the label cannot be used.
        raw_counts: Pixels of each raw value or colour of a label that has some outside the table.
        is_drawable: Whether image and label have one size.
        palette: uint8 (entries, 3) palette of the label, if it has one that is examined.
        notes: Notes on the label's colours for the comparison with the others.
        findings: Everything that is wrong.
    """

    split: str
    file: str
    where: Any
    image_bytes: int = 0
    digest: bytes = b""
    size: tuple[int, int] | None = None
    image_kind: str = ""
    label_kind: str = ""
    counts: np.ndarray | None = None
    raw_counts: dict[int | Color | None, int] = field(default_factory=dict)
    is_drawable: bool = False
    palette: bytes = b""
    notes: Notes = NOTHING
    findings: list[Finding] = field(default_factory=list)

    def report(self, kind: str, file: str, what: str, cause: str, severity: str = ERROR) -> None:
        """Adds a finding."""
        self.findings.append(Finding(severity, kind, self.split, encodable(file), what, cause))


def encodable(name: str) -> str:
    """Escapes parts of a file name that are not UTF-8, so that it can be written anywhere."""
    return name.encode("utf-8", "backslashreplace").decode()


class Examiner:
    """Examines pairs; one serves all threads.

    Args:
        description: Facts of the dataset.
        full: Whether to decode images.
        treatment: Changes that a conversion would make to the images; None for images in records,
            which are upright PNG and JPEG files.
        channels: Number of channels of images in records.
        bits: Bits of their channels.
    """

    def __init__(
        self,
        description: Description,
        full: bool,
        treatment: Treatment | None = None,
        channels: int = 3,
        bits: int = 8,
    ):
        self._description = description
        self._full = full
        self._treatment = treatment
        self._stored_as = channels, bits
        self.label_map = LabelMap(description)

    def examine_image(
        self, pair: Examined, content: bytes, label_size: tuple[int, int] | None = None
    ) -> None:
        """Checks an image and records its kind, size and hash; a label's size may show its turn."""
        try:
            if self._treatment is None:
                stored, size = content, record_images.check(content, *self._stored_as)
            else:
                stored, size, _ = prepare(content, self._treatment, label_size)
            if self._full:
                check_decodable(stored)
        except ImageFileError as error:
            pair.report(_kind_of_image_fault(content, error), pair.file, error.what, error.cause)
            return
        pair.size = size
        pair.image_bytes = len(content)
        pair.digest = hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
        pair.image_kind = self._kind_of(content)

    def _kind_of(self, content: bytes) -> str:
        if self._treatment is None and not channels_rule.is_default(*self._stored_as):
            channels, bits = self._stored_as
            return f"png of {channels} channel{'s' if channels > 1 else ''}, {bits} bits"
        return stored_values.kind_of(content)

    def examine_label(self, pair: Examined, raw: RawLabel, file: str) -> None:
        """Checks the values of a label and its size, if the image's size is known."""
        height, width = raw.values.shape[:2]
        if raw.palette is not None:
            pair.palette = raw.palette.tobytes()
        pair.is_drawable = pair.size == (height, width)
        if pair.size is not None and not pair.is_drawable:
            turned = pair.size == (width, height)
            pair.report(
                "size mismatch",
                file,
                f"label must have the image's size {pair.size[0]}x{pair.size[1]}, got "
                f"{height}x{width}",
                f"one of the two was {'rotated' if turned else 'resized'}",
            )
        try:
            reading = self.label_map.read(*raw)
            _, pair.counts = self.label_map.apply(reading)
        except ImageFileError as error:
            pair.report("label values", file, error.what, error.cause)
            pair.raw_counts = _count_raw(raw.values)
            return
        pair.notes = reading.notes
        if pair.counts[IGNORE_LABEL] == height * width:
            pair.report(
                "all ignored",
                file,
                "label must have a pixel of some class, got ignored ones only",
                "an unlabelled image, or another class table",
                WARNING,
            )


def _kind_of_image_fault(content: bytes, error: ImageFileError) -> str:
    if isinstance(error, OtherChannelsError):
        return "other channels"
    if isinstance(error, DeepImageError):
        return "deep image"
    try:
        if formats.is_native(content):
            check_complete(content)
            check_decodable(content)
        with formats.open_picture(content) as picture:
            if formats.is_deep(content, picture):
                return "deep image"
            return "damaged image" if formats.orientation_of(picture) == 1 else "rotated image"
    except ImageFileError:
        return "damaged image"


def kind_of_label_fault(content: bytes) -> str:
    """Returns the kind of the finding for a label file that cannot be decoded."""
    try:
        if content and not formats.is_native(content):
            formats.open_picture(content).close()
            return "label format"
        check_complete(content)
    except ImageFileError:
        return "damaged label"
    if not content.startswith(png.SIGNATURE):
        return "JPEG label"
    try:
        check_decodable(content)
    except ImageFileError:
        return "damaged label"
    try:
        check_upright(content, "label")
    except ImageFileError:
        return "rotated label"
    return "label format"


def label_kind(head: bytes, ending: str) -> str:
    """Returns the kind of a label's file.

    Args:
        head: Its first `LABEL_HEAD` bytes.
        ending: Ending of its name, for files that are not pictures.
    """
    if head.startswith(png.SIGNATURE) and len(head) >= LABEL_HEAD:
        depth, color_type = head[24], head[25]
        name = _COLOR_TYPES.get(color_type, f"colour type {color_type}")
        return name if name == "palette" else f"{depth}-bit {name}"
    return "JPEG" if head.startswith(b"\xff\xd8") else f"{ending or 'other'} file"


def _count_raw(raw: np.ndarray) -> dict[int | Color | None, int]:
    """Counts raw values, or the most frequent colours; None stands for all others."""
    values, counts = np.unique(color_codes(raw), return_counts=True)
    if raw.ndim == 2:
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    order = np.argsort(-counts, kind="stable")[:_MOST_COLORS]
    found: dict[int | Color | None, int] = {
        (code >> 16, code >> 8 & 255, code & 255): count
        for code, count in zip(values[order].tolist(), counts[order].tolist(), strict=True)
    }
    if rest := int(counts.sum() - counts[order].sum()):
        found[None] = rest
    return found
