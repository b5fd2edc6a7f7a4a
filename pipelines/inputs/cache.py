"""The decoded cache: all pixels of a split in memory or on disk, so that they are decoded once."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from .. import records
from ..errors import InputError
from ..runtime import cores
from . import sources, threads

_ALIGNMENT = 64
# Share of the available memory that "auto" takes; the rest is for the network and others.
_SHARE = 0.5


class DecodedRecords:
    """A decoded split, whose records are identified by numbers.

    The pixels of all images lie in one array, one image after another, so that images of any size
    share a tensor and a window's rows are copied without reading the rest.

    Args:
        files: TFRecord shards, which are read once, here.
        pixels: Number of pixels of all their images.
        channels: Number of channels of the images.
        bits: Bits of each channel, 8 or 16.
        folder: Folder for the pixels, in files without a name that end with the process; None for
            memory.

    Raises:
        OSError: If the disk is full.

    Attributes:
        shards: int64 (shards, 2), numbers of each shard's records.
    """

    def __init__(
        self,
        files: list[str],
        pixels: int,
        folder: Path | None = None,
        *,
        channels: int = 3,
        bits: int = 8,
    ):
        self._channels = channels
        images, labels = (
            _aligned(size, kind) if folder is None else _on_disk(size, kind, folder)
            for size, kind in ((channels * pixels, _type_of(bits)), (pixels, np.uint8))
        )
        sizes, counts = [], []
        filled = 0
        for file in files:
            decoded = tf.data.TFRecordDataset(file).map(
                lambda record: sources.decode(record, channels, bits), cores.count()
            )
            decoded = threads.without_tuning(decoded.prefetch(2))
            begun = len(sizes)
            for image, label in decoded.as_numpy_iterator():
                images[channels * filled : channels * (filled + label.size)] = image.reshape(-1)
                labels[filled : filled + label.size] = label.reshape(-1)
                filled += label.size
                sizes.append(label.shape)
            counts.append(len(sizes) - begun)
        self.shards = sources.shard_ranges(counts)
        with tf.device("CPU:0"):
            self._images, self._labels = _shared_tensor(images), _shared_tensor(labels)
        self._sizes = tf.constant(np.array(sizes, np.int32))
        ends = np.cumsum(np.prod(np.array(sizes, np.int64), axis=1))
        self._begins = tf.constant(np.concatenate([[0], ends[:-1]]))

    def elements(self, shard) -> tf.data.Dataset:
        """Returns the numbers of a shard's records."""
        return tf.data.Dataset.range(shard[0], shard[1])

    def open(self, element) -> sources.Opened:
        """Finds the pixels of a record."""
        size, begin = self._sizes[element], self._begins[element]

        def cut(corner, window):
            channels = self._channels
            first = begin + tf.cast(corner[0] * size[1], tf.int64)
            count = tf.cast(window[0] * size[1], tf.int64)
            image = tf.slice(self._images, [channels * first], [channels * count])
            image = tf.reshape(image, tf.stack([window[0], size[1] * channels]))
            label = tf.reshape(tf.slice(self._labels, [first], [count]), [window[0], size[1]])
            image = tf.slice(image, [0, channels * corner[1]], [window[0], channels * window[1]])
            image = tf.reshape(image, tf.stack([window[0], window[1], channels]))
            return image, tf.slice(label, [0, corner[1]], window)

        return sources.Opened(size, cut)


def _type_of(bits: int) -> Any:
    return np.uint8 if bits == 8 else np.uint16


def _aligned(size: int, kind: Any) -> np.ndarray:
    """Allocates integers (size,) at an address to which TensorFlow aligns its tensors."""
    size *= np.dtype(kind).itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    skipped = -memory.ctypes.data % _ALIGNMENT
    return memory[skipped : skipped + size].view(kind)


def _on_disk(size: int, kind: Any, folder: Path) -> np.ndarray:
    """Maps a new file, integers (size,); the system reads its pages when they are used."""
    size *= np.dtype(kind).itemsize
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            # Writing to a page for which the disk has no room would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=(size,)).view(kind)


def _shared_tensor(array: np.ndarray) -> tf.Tensor:
    """Makes a tensor from an array without a copy, which might not fit into the memory."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def load(choice: str, dataset: records.Dataset, epochs: int, folder: Path) -> DecodedRecords | None:
    """Decodes the training split if the choice asks for it and there is room.

    Args:
        choice: "none"; "memory"; "disk", in files in the folder that end with the process; or
            "auto" for memory if the split takes at most half of the available memory and more than
            one epoch remains.
        dataset: The converted dataset.
        epochs: Number of epochs for which the split will be read.
        folder: The run folder.

    Returns:
        The split, or None.

    Raises:
        InputError: If the split does not fit into the chosen place, or a record is damaged.
    """
    if choice == "none" or (choice == "auto" and epochs < 2):
        return None
    needed = _needed_bytes(dataset)
    if choice == "auto":
        available = available_memory()
        if not needed or available is None or needed > _SHARE * available:
            return None
    check(choice, dataset, folder)
    try:
        with records.reading(dataset):
            place = folder if choice == "disk" else None
            pixels = needed // _bytes_per_pixel(dataset)
            return DecodedRecords(dataset.files("train"), pixels, place, **dataset.image_form)
    except OSError as error:
        raise InputError(f"{folder}: cannot hold the decoded split ({error}).") from error


def check(choice: str, dataset: records.Dataset, folder: Path) -> None:
    """Checks that the training split fits into the memory or onto the disk that is chosen.

    Args:
        choice: One of the choices of `load`.
        dataset: The converted dataset.
        folder: The run folder, which need not exist yet.

    Raises:
        InputError: If the split does not fit.
    """
    if choice not in ("memory", "disk"):
        return
    needed = _needed_bytes(dataset)
    if not needed:
        raise InputError(
            "cache must be none for a dataset converted with --verify checksums, whose pixels no "
            f"one counted, got {choice!r}."
        )
    available = available_memory() if choice == "memory" else _available_disk(folder)
    if available is not None and needed > available:
        others = "disk or none" if choice == "memory" else "none"
        raise InputError(
            f"cache must be {others} for a split that takes {needed / 2**30:.1f} GiB decoded, of "
            f"{available / 2**30:.1f} GiB available, got {choice!r}."
        )


def _needed_bytes(dataset: records.Dataset) -> int:
    """Returns the bytes of the decoded split; 0 if its pixels were not counted."""
    split = dataset.splits["train"]
    return _bytes_per_pixel(dataset) * (sum(split.class_pixels) + split.ignored_pixels)


def _bytes_per_pixel(dataset: records.Dataset) -> int:
    """Returns the bytes of a pixel's channels and of its label."""
    return dataset.channels * dataset.bits // 8 + 1


def _available_disk(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(existing).free


def available_memory() -> int | None:
    """Returns the bytes of memory that this process may still allocate; None if unknown."""
    found = [size for size in (_left_to_machine(), _left_to_container()) if size is not None]
    return max(0, min(found)) if found else None


def _left_to_machine() -> int | None:
    with contextlib.suppress(OSError, KeyError):
        return _table(Path("/proc/meminfo"))["MemAvailable:"] * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_to_container() -> int | None:
    """Reads version 2 of the kernel's control groups; cached files do not count as used."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        return limit - used + _table(group / "memory.stat")["inactive_file"]
    return None


def _table(file: Path) -> dict[str, int]:
    rows = (line.split() for line in file.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows}
