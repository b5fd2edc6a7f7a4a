"""Pictures of a checked dataset: image, label and overlay of some samples."""

import heapq
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import PIL.Image

from kerasseg import IGNORE_LABEL, visualize
from kerasseg import channels as channels_rule

from ..classes import Description
from ..classes.label_maps import LabelMap
from ..classes.value_runs import code_of, color_codes
from ..errors import ImageFileError
from ..images import figures, record_images
from ..images.label_files import RawLabel, resize_label
from .examiner import Examined
from .report import Picture

UNLISTED_COLOR = (255, 0, 255)
OPACITY = 0.5
LONGEST_SIDE = 480
_UNLISTED = -1


class Reader(Protocol):
    """A source that reads a pair again.

    Attributes:
        description: Facts of the dataset.
        channels: Number of channels of the images.
        bits: Bits of each channel.
    """

    description: Description
    channels: int
    bits: int

    def read(self, where: Any) -> tuple[bytes, RawLabel]:
        """Returns the image's file and the raw label."""
        ...


class Sample(NamedTuple):
    """A pair to draw.

    Attributes:
        split: Split of the pair.
        file: Name of the image.
        where: Position from which its source reads it again.
        caption: Description of the picture, if it does not show classes.
        is_problem: Whether it is drawn because something is wrong with it.
    """

    split: str
    file: str
    where: Any
    caption: str = ""
    is_problem: bool = False


class _Candidate(NamedTuple):
    share: float
    order: int  # negative, so that the earlier of equal pairs is the larger
    mask: int  # bit of each class that occurs
    sample: Sample


class Gallery:
    """Chooses the few pairs of a split that are worth drawing.

    For each class it keeps the images with the largest share of the class, as many as there will be
    samples, independent of the size of the dataset.

    Args:
        num_classes: Number of classes.
        samples: Number of samples, and of problems, to draw at most.
    """

    def __init__(self, num_classes: int, samples: int):
        self._samples = samples
        self._candidates: list[list[_Candidate]] = [[] for _ in range(num_classes)]
        self._images_with_class = [0] * num_classes
        self._problems: list[Sample] = []
        self._seen = 0

    def add(self, pair: Examined) -> None:
        """Adds a pair; all pairs must come in the same order in every run."""
        self._seen += 1
        if not self._samples or not pair.is_drawable:
            return
        if pair.findings:
            if len(self._problems) < self._samples:
                caption = "; ".join(f"{f.what} ({f.cause})" for f in pair.findings)
                self._problems.append(_sample(pair, caption, True))
        elif pair.counts is not None:
            self._add_candidate(pair, pair.counts)

    def _add_candidate(self, pair: Examined, counts: np.ndarray) -> None:
        present = np.flatnonzero(counts[: len(self._candidates)]).tolist()
        mask = sum(1 << label for label in present)
        for label in present:
            self._images_with_class[label] += 1
            share = float(counts[label] / counts.sum())
            kept = self._candidates[label]
            if len(kept) < self._samples:
                heapq.heappush(kept, _Candidate(share, -self._seen, mask, _sample(pair)))
            elif share > kept[0].share:
                heapq.heapreplace(kept, _Candidate(share, -self._seen, mask, _sample(pair)))

    def choose(self) -> list[Sample]:
        """Returns the samples, with rare classes among them, and then the problems."""
        there = [label for label, kept in enumerate(self._candidates) if kept]
        rarest = sorted(there, key=lambda label: (self._images_with_class[label], label))
        ranked = {label: sorted(self._candidates[label], reverse=True) for label in rarest}
        chosen: dict[int, _Candidate] = {}
        covered = 0
        for label in rarest:  # classes first that no chosen image has yet
            if not covered >> label & 1 and len(chosen) < self._samples:
                best = ranked[label][0]
                chosen[best.order] = best
                covered |= best.mask
        for rank in range(self._samples):
            for label in rarest:
                if rank < len(ranked[label]) and len(chosen) < self._samples:
                    chosen.setdefault(ranked[label][rank].order, ranked[label][rank])
        return [candidate.sample for candidate in chosen.values()] + self._problems


def _sample(pair: Examined, caption: str = "", is_problem: bool = False) -> Sample:
    return Sample(pair.split, pair.file, pair.where, caption, is_problem)


def draw(reader: Reader, sample: Sample) -> Picture:
    """Draws a pair.

    Raises:
        ImageFileError: If the image cannot be decoded.
    """
    description = reader.description
    content, raw = reader.read(sample.where)
    image = _load_image(content, reader.channels, reader.bits)
    codes, are_colors = _codes(description, raw)
    label, unlisted = _map_codes(resize_label(codes, image.shape[:2]), description, are_colors)
    colors, undrawn = description.classes.colors, description.classes.undrawn
    picture = visualize.colorize(label, colors)
    picture[unlisted] = UNLISTED_COLOR
    blended = visualize.overlay(image, label, colors, OPACITY, undrawn)
    blended[unlisted] = np.rint((1 - OPACITY) * image + OPACITY * np.array(UNLISTED_COLOR))[
        unlisted
    ]
    return Picture(
        sample.split,
        sample.file,
        sample.caption or _list_classes(label, description.classes.names),
        sample.is_problem,
        figures.jpeg(image),
        figures.png(picture),
        figures.jpeg(blended),
    )


def _codes(description: Description, raw: RawLabel) -> tuple[np.ndarray, bool]:
    """Returns (height, width) values or packed colours, and whether they are colours."""
    try:
        values, codes, _ = LabelMap(description).read(*raw)
    except ImageFileError:  # a label that contradicts itself is drawn by its values
        values, codes = raw.values, None
    if codes is not None:
        return codes[values], True
    return color_codes(values), values.ndim == 3


def _map_codes(
    codes: np.ndarray, description: Description, is_colored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Maps raw values or packed colours; returns the label and the pixels without a class."""
    table: Mapping[int, int] = description.raw_values
    if is_colored:
        table = {code_of(color): label for color, label in description.raw_colors.items()}
    values, position = np.unique(codes, return_inverse=True)
    mapped = np.array([table.get(value, _UNLISTED) for value in values.tolist()])
    label = mapped[position].reshape(codes.shape)
    unlisted = label == _UNLISTED
    return np.where(unlisted, IGNORE_LABEL, label).astype(np.uint8), unlisted


def _load_image(content: bytes, channels: int, bits: int) -> np.ndarray:
    """Decodes an image to uint8 RGB, scaled down to a longest side of `LONGEST_SIDE`."""
    if not channels_rule.is_default(channels, bits):
        pixels = visualize.rgb(record_images.decode(content, channels, bits))
        picture = PIL.Image.fromarray(pixels)
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        return np.asarray(picture)
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            picture: PIL.Image.Image = image
            if image.mode.startswith("I"):  # 16-bit gray
                picture = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode == "P":
                picture = image.convert("RGB")  # indices cannot be averaged
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds of errors for damaged data
        raise ImageFileError("image cannot be decoded", str(error)) from error


def _list_classes(label: np.ndarray, names: Sequence[str]) -> str:
    present: list[int] = np.unique(label).tolist()
    return ", ".join(names[value] for value in present if value < len(names))
