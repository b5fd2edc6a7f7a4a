"""TFRecords: their schema, their framing, and the manifest that describes a converted dataset.

Each record is a `tf.train.Example` with three byte features:

    image               the image file as it was, PNG or JPEG; images that are not RGB of 8 bits
                        are PNGs as `kerasseg.encoded_images` describes
    segmentation_mask   the label, 8-bit gray PNG: class of each pixel, 255 where ignored
    filename            path of the image relative to the source

Nothing here needs TensorFlow: for a dozen lines of format code, the converter starts at once and
runs in 50 MB.
"""

import contextlib
import hashlib
import json
import os.path
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

from kerasseg import channels, lazy

from ..classes import ClassSpace
from ..errors import InputError
from . import reader
from .wire import field, masked_crc

if TYPE_CHECKING:
    from . import wire as wire
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

MANIFEST = "manifest.json"
# Suffixes of folders that are not yet or no longer a converted dataset.
INCOMPLETE, REPLACED = ".incomplete", ".replaced"
# Images that are not RGB of 8 bits have the second format: earlier releases would misread them.
FORMAT, CHANNELS_FORMAT = 1, 2
VERSION = "1.0.0"


def encode_example(features: Mapping[str, bytes]) -> list[bytes]:
    """Serialises a `tf.train.Example` of byte features, keys in sorted order.

    Message layout: Example{1: Features{1: {1: key, 2: Feature{1: BytesList{1: value}}}}}.

    Args:
        features: One value per key.

    Returns:
        The serialised message in parts, which avoids copying the images; the same features always
        give the same bytes.
    """
    entries: list[bytes] = []
    for key in sorted(features):
        feature = field(2, field(1, field(1, [features[key]])))
        entries += field(1, [*field(1, [key.encode()]), *feature])
    return field(1, entries)


class RecordWriter:
    """A writer of TFRecord framing that counts and hashes its output.

    Args:
        file: Binary file, open for writing.

    Attributes:
        examples: Number of records written.
        bytes: Number of bytes written.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self.examples = 0
        self.bytes = 0

    def write(self, record: Sequence[bytes]) -> None:
        """Appends one record, given in parts: length, its checksum, content, its checksum."""
        length = struct.pack("<Q", sum(map(len, record)))
        framed = (length, masked_crc([length]), *record, masked_crc(record))
        for part in framed:
            self._hash.update(part)
            self.bytes += len(part)
        self._file.writelines(framed)
        self.examples += 1

    @property
    def sha256(self) -> str:
        """Returns the hash of everything that was written."""
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Split:
    """One split of a converted dataset.

    Attributes:
        name: "train", "validation" or "test".
        examples: Number of records.
        shards: `{"file", "examples", "bytes", "sha256"}` of each shard.
        class_pixels: Number of pixels of each class.
        pixels_with_class: Number of labelled pixels of the images in which each class occurs.
        ignored_pixels: Number of pixels with the ignored label.
    """

    name: str
    examples: int
    shards: list[dict[str, Any]]
    class_pixels: list[int]
    pixels_with_class: list[int]
    ignored_pixels: int


class ImageForm(TypedDict):
    """The form of a dataset's images, see `Dataset`."""

    channels: int
    bits: int


@dataclass(frozen=True)
class Dataset:
    """A converted dataset on disk.

    Attributes:
        root: Folder of the records.
        name: Name of the dataset.
        classes: Names and colours.
        splits: The splits by name.
        fingerprint: Hash over classes and shards: equal contents have equal fingerprints.
        channels: Number of channels of the images, 1 to 16.
        bits: Bits of each channel, 8 or 16.
        stretch: `--stretch` of the conversion, in words; None without it.
    """

    root: Path
    name: str
    classes: ClassSpace
    splits: dict[str, Split]
    fingerprint: str
    channels: int = 3
    bits: int = 8
    stretch: str | None = None

    @property
    def image_form(self) -> ImageForm:
        """Returns `channels` and `bits` by name, as the functions that read records take them."""
        return {"channels": self.channels, "bits": self.bits}

    def files(self, split: str) -> list[str]:
        """Lists a split's shards after checking that each is there and complete.

        Raises:
            InputError: If the split is unknown or a shard is missing or cut short.
        """
        if split not in self.splits:
            raise InputError(
                f"{self.root}: split must be one of {', '.join(self.splits)}, got {split!r}."
            )
        files = []
        for shard in self.splits[split].shards:
            path = self.root / shard["file"]
            # Not `Path.is_file`, which raises where a name is too long.
            size = path.stat().st_size if os.path.isfile(path) else None  # noqa: PTH113
            if size != shard["bytes"]:
                raise InputError(
                    f"{path}: must have {shard['bytes']} bytes, got "
                    f"{'no file' if size is None else size}; convert again with --overwrite."
                )
            files.append(str(path))
        return files


@contextlib.contextmanager
def reading(dataset: Dataset):
    """Turns errors about damaged records and invalid labels into errors that name the remedy.

    Raises:
        InputError: If the checksum of a record is wrong, which names the file, or a label neither a
            class nor ignored.
    """
    try:
        yield
    except Exception as error:
        # By name: this module does not import TensorFlow.
        if type(error).__name__ == "InvalidLabelError":
            raise InputError(f"{dataset.root}: {error} kerasseg check finds the images.") from error
        if type(error).__name__ != "DataLossError":
            raise
        file, damage = _find_damage(dataset) or (dataset.root, getattr(error, "message", error))
        raise InputError(
            f"{file}: a record is damaged ({damage}); convert the dataset again with --overwrite."
        ) from error


def _find_damage(dataset: Dataset) -> tuple[Path, str] | None:
    """Returns the first file with a damaged record, which TensorFlow does not name."""
    shards = (shard for split in dataset.splits.values() for shard in split.shards)
    for path in (dataset.root / shard["file"] for shard in shards):
        try:
            with path.open("rb") as file:
                for frame in reader.frames(file, path.stat().st_size):
                    if not frame.whole:
                        return path, f"the checksum of the one at byte {frame.offset} is wrong"
        except (OSError, InputError) as error:
            return path, str(error)
    return None


def fingerprint(classes: ClassSpace, splits: Mapping[str, Split]) -> str:
    """Hashes the classes and the contents of all shards."""
    shards = {name: [shard["sha256"] for shard in s.shards] for name, s in splits.items()}
    content = json.dumps([classes.fingerprint, shards], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def load(folder: Path | str) -> Dataset:
    """Opens a converted dataset.

    Args:
        folder: The folder of `manifest.json`, or one above it that holds a single dataset.

    Raises:
        InputError: If there is no dataset, more than one, or a damaged manifest.
    """
    path = _find_manifest(Path(folder))
    try:
        manifest = json.loads(path.read_text())
        classes = ClassSpace(
            tuple(manifest["class_names"]), tuple(tuple(color) for color in manifest["colors"])
        )
        splits = {name: Split(name, **split) for name, split in manifest["splits"].items()}
        stored = manifest["format"], manifest["dataset"], manifest["fingerprint"]
        depth = manifest.get("channels", 3), manifest.get("bits", 8)
        stretch = dict(manifest.get("how") or {}).get("stretch")
        channels.check(*depth)
        if not all(isinstance(text, str) for text in stored[1:]):
            raise TypeError(f"dataset and fingerprint must be text, got {stored[1:]}")
        if not splits:
            raise ValueError("no splits")
        for split in splits.values():
            _check_split(split)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged manifest ({error!r}); convert again with --overwrite."
        ) from error
    if manifest.get("classes_fingerprint") != classes.fingerprint:
        raise InputError(
            f"{path}: damaged manifest (classes_fingerprint must be {classes.fingerprint}, got "
            f"{manifest.get('classes_fingerprint')}); convert again with --overwrite."
        )
    if stored[0] != format_of(*depth):
        raise InputError(
            f"{path}: format must be {format_of(*depth)}, got {stored[0]}; convert again with "
            "--overwrite."
        )
    return Dataset(path.parent, stored[1], classes, splits, stored[2], *depth, stretch)


def format_of(channels_of_images: int, bits: int) -> int:
    """Returns the format of a manifest whose images have these channels and bits."""
    return FORMAT if channels.is_default(channels_of_images, bits) else CHANNELS_FORMAT


def _check_split(split: Split) -> None:
    """Refuses fields of other types, which would cause other errors much later."""
    kinds = {"file": str, "examples": int, "bytes": int, "sha256": str}
    for shard in split.shards:
        sound = isinstance(shard, dict) and all(
            type(shard.get(key)) is kind for key, kind in kinds.items()
        )
        if not sound or "/" in shard["file"] or not shard["file"].isprintable():
            raise TypeError(f"shards must have file, examples, bytes and sha256, got {shard!r}")
    numbers = [split.examples, split.ignored_pixels, *split.class_pixels, *split.pixels_with_class]
    if any(type(number) is not int or number < 0 for number in numbers):
        raise TypeError(f"numbers of split {split.name} must be whole and not negative")


def _find_manifest(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it with 'kerasseg convert'.")
    for pattern in (MANIFEST, f"*/{MANIFEST}", f"*/*/{MANIFEST}"):
        found = sorted(
            path
            for path in folder.glob(pattern)
            if path.parent.suffix not in (INCOMPLETE, REPLACED)
        )
        if len(found) > 1:
            listed = ", ".join(str(path.parent) for path in found)
            raise InputError(f"{folder}: holds several datasets, choose one of {listed}.")
        if found:
            return found[0]
    raise InputError(
        f"{folder}: must hold a converted dataset, got no {MANIFEST}; "
        "make one with 'kerasseg convert'."
    )
