"""Suspected label errors: regions where a network that is sure contradicts the label.

Confident learning (Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in
Dataset Labels, JAIR 2021, https://arxiv.org/abs/1911.00068), with pixels as examples. The threshold
of a class is the mean probability that the network gives it where the label has it. Of the classes
whose probability reaches their threshold, the most probable one is what the network is sure of. If
that is not the label, the pixel contradicts its label.

Pixels that touch and contradict in the same way make a region. Its score, in [0, 1], is the product
of three numbers: the mean margin, the probability of the network's class minus that of the label;
`pixels / (pixels + 1/2000 of the image)`, as small regions are chance; and the share of the pixels
around the region whose label is not the network's class, as a region beside such pixels is mostly
an object whose edge the network does not hit. Pixels at the edge of a region do not count for
margin and size, so that borders which are a pixel off have no score.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import ndimage

from kerasseg import IGNORE_LABEL, encoded_images, inference, serving, visualize

from ..classes import ClassSpace
from ..classes.label_maps import LabelMap
from ..errors import ImageFileError, InputError
from ..images import record_images
from ..runs import calibration, trained_networks
from . import suspect_pictures
from .examiner import Examined
from .pictures import Reader
from .suspects import Box, SuspectedImage, SuspectedRegion, Suspects

_SMALL = 1 / 2000  # of the image
_AROUND = 2  # pixels around a region that tell what it touches


class Pair(NamedTuple):
    """An image and its label that can be compared.

    Attributes:
        split: Split of the pair.
        file: Name of the image.
        where: Position from which its source reads it.
    """

    split: str
    file: str
    where: Any


class Compared(NamedTuple):
    """A pair and what the network says about it.

    Attributes:
        image: uint8 or uint16 (height, width, channels).
        label: uint8 (height, width).
        probabilities: float32 (height, width, classes).
    """

    image: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray


class Network:
    """The network that labels are compared with.

    Args:
        path: A run folder or a `.keras` file.
        classes: Classes of the dataset.
        root: Folder of the dataset, for messages.
        channels: Number of channels of its images.
        bits: Bits of each channel.
        checkpoint: Network of the run, "best" or "last"; None as `predict`.
        code: Files and modules with code that the network needs.

    Raises:
        InputError: If the network cannot be used, or has other classes or channels.
    """

    def __init__(
        self,
        path: Path | str,
        classes: ClassSpace,
        root: Path,
        channels: int = 3,
        bits: int = 8,
        checkpoint: str | None = None,
        code: Sequence[str] = (),
    ):
        described, model = trained_networks.load(path, checkpoint=checkpoint, code=code)
        described.check_classes(classes, root)
        if model.input_shape[-1] != channels:
            raise InputError(
                f"{path}: network must take images of {channels} channels, as {root} has, got "
                f"{model.input_shape[-1]}."
            )
        temperature = calibration.of_network(path, checkpoint).temperature
        compute = inference.with_constant_weights(model)

        def probabilities(image):
            batch = encoded_images.to_float(image[tf.newaxis])
            return serving.softmax(compute(batch, training=False)[0], temperature)

        image = tf.TensorSpec((None, None, channels), tf.uint8 if bits == 8 else tf.uint16)
        self.probabilities = tf.function(probabilities, input_signature=[image])


class Doubter:
    """Compares the labels of a source with a network.

    Args:
        reader: The source.
        network: The network.
    """

    def __init__(self, reader: Reader, network: Network):
        self._reader, self._network = reader, network
        self._pairs: list[Pair] = []

    def add(self, pair: Examined) -> None:
        """Adds a pair, unless image or label cannot be used."""
        if pair.is_drawable and pair.counts is not None:
            self._pairs.append(Pair(pair.split, pair.file, pair.where))

    def suspects(self, most: int, on_step: Callable[[], None], *, are_drawn: bool) -> Suspects:
        """Ranks the regions and images, see `find`.

        Args:
            most: Number of regions, and of images, to list at most.
            on_step: Called twice for each pair.
            are_drawn: Whether to draw the regions.
        """
        found = find(self._reader, self._pairs, self._network, most, on_step)
        if not are_drawn:
            return found
        pairs = {(pair.split, pair.file): pair for pair in self._pairs}
        comparison = Comparison(self._reader, self._network)

        def compare(region: SuspectedRegion):
            compared = comparison(pairs[region.split, region.file])
            if compared is None:
                return None
            prediction = compared.probabilities.argmax(axis=-1).astype(np.uint8)
            return visualize.rgb(compared.image), compared.label, prediction

        return suspect_pictures.draw(found, compare, self._reader.description.classes)


def find(
    reader: Reader,
    pairs: Sequence[Pair],
    network: Network,
    most: int,
    on_step: Callable[[], None] = lambda: None,
) -> Suspects:
    """Ranks regions and images in which the network contradicts the labels.

    Args:
        reader: The source of the pairs.
        pairs: The pairs; each is read twice.
        network: The network.
        most: Number of regions, and of images, to list at most.
        on_step: Called twice for each pair.

    Returns:
        The most suspicious first.
    """
    compare = Comparison(reader, network)
    classes = reader.description.classes
    thresholds = _thresholds(_stepping(map(compare, pairs), on_step), classes.count)
    best: list[SuspectedRegion] = []
    images: list[SuspectedImage] = []
    total = 0
    for pair, compared in zip(pairs, _stepping(map(compare, pairs), on_step), strict=True):
        found = [] if compared is None else list(_regions(pair, compared, thresholds, classes))
        if found:
            score = sum(region.score for region in found)
            images.append(SuspectedImage(pair.split, pair.file, score, len(found)))
        best = _ranked([*best, *found])[:most]
        total += len(found)
    return Suspects(best, _ranked(images)[:most], total)


class Comparison:
    """Reads pairs and asks the network.

    Args:
        reader: The source of the pairs.
        network: The network.
    """

    def __init__(self, reader: Reader, network: Network):
        self._reader, self._network = reader, network
        self._label_map = LabelMap(reader.description)

    def __call__(self, pair: Pair) -> Compared | None:
        """Compares a pair; None if it cannot be decoded or the network cannot take it."""
        try:
            content, raw = self._reader.read(pair.where)
            image = record_images.decode(content, self._reader.channels, self._reader.bits)
            label, _ = self._label_map.apply(self._label_map.read(*raw))
        except ImageFileError:  # which is a finding of the check
            return None
        if image.shape[:2] != label.shape:
            return None
        try:
            return Compared(image, label, self._network.probabilities(image).numpy())
        except tf.errors.OpError:  # such as a size that the network cannot take
            return None


def _stepping(compared: Iterable, on_step: Callable[[], None]) -> Iterator:
    for each in compared:
        yield each
        on_step()


def _thresholds(compared: Iterable[Compared | None], count: int) -> np.ndarray:
    """Returns the mean probability of each class where the label has it; infinity without any."""
    sums, pixels = np.zeros(count), np.zeros(count, np.int64)
    for each in compared:
        if each is None:
            continue
        there = each.label != IGNORE_LABEL
        labels = each.label[there]
        own = np.take_along_axis(each.probabilities[there], labels[:, np.newaxis].astype(int), 1)
        sums += np.bincount(labels, own[:, 0], count)
        pixels += np.bincount(labels, minlength=count)
    return np.divide(sums, pixels, out=np.full(count, np.inf), where=pixels > 0)


def _contradictions(compared: Compared, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class that the network is sure of, and the pixels where it is not the label."""
    reached = compared.probabilities >= thresholds
    sure = np.where(reached, compared.probabilities, -1).argmax(axis=-1).astype(np.uint8)
    contradicts = reached.any(axis=-1) & (sure != compared.label)
    return sure, contradicts & (compared.label != IGNORE_LABEL)


def _regions(
    pair: Pair, compared: Compared, thresholds: np.ndarray, classes: ClassSpace
) -> Iterator[SuspectedRegion]:
    """Yields the regions of an image that have a pixel away from their edge."""
    sure, contradicts = _contradictions(compared, thresholds)
    codes = np.where(contradicts, compared.label.astype(np.int32) * 256 + sure, -1)
    lowest, highest = ndimage.minimum_filter(codes, 3), ndimage.maximum_filter(codes, 3)
    inner = contradicts & (lowest == highest)
    for code in np.unique(codes[inner]).tolist():
        label, suggested = divmod(code, 256)
        parts = np.zeros(codes.shape, np.int32)
        ndimage.label(codes == code, output=parts)
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            window = tuple(slice(max(0, s.start - _AROUND), s.stop + _AROUND) for s in box)
            region = parts[window] == number
            core = region & inner[window]
            if not core.any():
                continue
            confidence, own = (
                float(compared.probabilities[window][core, class_].mean())
                for class_ in (suggested, label)
            )
            pixels = int(core.sum())
            size = pixels / (pixels + _SMALL * codes.size)
            free = 1 - _touching(region, compared.label[window] == suggested)
            yield SuspectedRegion(
                split=pair.split,
                file=pair.file,
                label=classes.names[label],
                sure=classes.names[suggested],
                score=max(0.0, confidence - own) * size * free,
                confidence=confidence,
                label_probability=own,
                pixels=int(region.sum()),
                box=Box(box[0].start, box[1].start, box[0].stop, box[1].stop),
            )


def _touching(region: np.ndarray, labelled: np.ndarray) -> float:
    """Returns the share of the pixels around a region that are labelled as a class."""
    around = ndimage.binary_dilation(region, iterations=_AROUND) & ~region
    return float(labelled[around].mean()) if around.any() else 0.0


def _ranked(found: Iterable) -> list:
    return sorted(found, key=lambda each: (-each.score, each.split, each.file))
