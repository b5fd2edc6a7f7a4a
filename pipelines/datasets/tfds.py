"""Any dataset of TensorFlow Datasets, `tfds:NAME`, with an image and a segmentation mask.

NAME is an argument of `tfds.builder`, such as "oxford_iiit_pet:4.0.0"; the source is its
`data_dir`. TensorFlow Datasets downloads and prepares a missing dataset. Images are copied as they
are stored, byte for byte.

The image is the feature `image_feature`, or else `image`, `image_left`, or the only one in colour;
the mask is `label_feature`, or else the `LabeledImage`, or the image called `segmentation_mask`,
`segmentation_label`, `annotation`, `label` or `mask`. Names of classes are those of the
`LabeledImage`, of the file given as `palette`, or of the table below. Where a dataset has a test
split and no validation split, as `oxford_iiit_pet`, its test split becomes validation;
`split_fractions` draws the splits that it lacks from train instead.

TensorFlow Datasets needs TensorFlow and is imported where it is used. The records are read without
it; listing them skips the images.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description, class_file, colors, compose, ignoring
from ..errors import InputError
from ..runs.option_fields import Option
from . import Example, _splits, _tfrecords
from ._options import Ignore, LabelsAre, Palette, SplitFractions
from ._splits import Fractions

if TYPE_CHECKING:
    from ..images.label_files import RawLabel

ARGUMENT = "builder"
SOURCE_IS_OPTIONAL = True
_IMAGE_KEYS = ("image", "image_left")
_MASK_KEYS = ("segmentation_mask", "segmentation_label", "annotation", "label", "mask")
_NAME_KEYS = ("filename", "file_name", "image/filename", "image/file_name", "image_id")
_ENDINGS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"))
# https://www.cityscapes-dataset.com withholds the labels of test: what is there is a dummy.
_WITHOUT_LABELS = {"cityscapes": ("test",)}
_REFUSED = {
    "scene_parse150": "its annotations are of the instances of 100 classes, in colours that are no "
    "classes; take ADE20K's own release, with --dataset ade20k"
}


def is_source(root: Path) -> bool:
    """Returns False for every folder, as a builder must be named."""
    return False


def describe(
    root: Path,
    *,
    builder: str,
    palette: Palette = None,
    ignore: Ignore = (),
    labels_are: LabelsAre = None,
    image_feature: Annotated[
        str | None, Option("Name of the feature that holds the image.", metavar="NAME")
    ] = None,
    label_feature: Annotated[
        str | None, Option("Name of the feature that holds the label.", metavar="NAME")
    ] = None,
    split_fractions: SplitFractions = None,
) -> Description:
    """Returns the classes of a dataset, which is downloaded and prepared if need be.

    Args:
        root: The `data_dir` of TensorFlow Datasets; `Path()` for its default.
        builder: What `tfds.builder` takes: name, configuration and version.
        palette: File of the classes, if the dataset does not name them; `class_file` describes the
            formats.
        ignore: Raw values of the mask that are ignored.
        labels_are: With `palette`: "numbers" or "colors", the meaning of masks with a palette; None
            to decide by the colours of the classes.
        image_feature: Name of the feature that is the image; None for the usual ones.
        label_feature: Name of the feature that is the mask; None for the usual ones.
        split_fractions: Shares of train, validation and test, drawn from train for those that the
            dataset lacks, 0 for those that it has; None for the splits as they are.

    Raises:
        InputError: If there is no such dataset, it cannot be prepared, its records hold no image
            with a mask, or no names of classes are known.
    """
    prepared = _prepare(root, builder)
    _, mask_key = _find_keys(prepared, image_feature, label_feature)
    if palette is not None:
        return class_file.describe(Path(palette), ignore=ignore, labels_are=labels_are)
    if labels_are is not None:
        raise InputError(f"labels_are must be given with palette only, got {labels_are!r}.")
    return ignoring(_describe_own(prepared, builder, mask_key), ignore)


def _describe_own(prepared, builder: str, mask_key: str) -> Description:
    """Returns the classes as the dataset itself or `_KNOWN` names them."""
    if prepared.name in _KNOWN and mask_key in _MASK_KEYS:
        return _KNOWN[prepared.name]()
    mask = _features(prepared)[mask_key]
    if not getattr(mask, "num_classes", None):
        raise InputError(
            f"tfds:{builder}: does not name its classes; palette must be a file of them."
        )
    names = tuple(map(compose, mask.names))
    return Description(
        classes=ClassSpace(names, colors.complete(names, {})),
        raw_values={value: value for value in (*range(len(names)), IGNORE_LABEL)},
        homepage=prepared.info.homepage,
    )


def examples(
    root: Path,
    split: str,
    *,
    builder: str,
    palette: Path | None = None,
    ignore: Sequence[int] = (),
    labels_are: str | None = None,
    image_feature: str | None = None,
    label_feature: str | None = None,
    split_fractions: Fractions | None = None,
) -> list[Example]:
    """Lists the records of a split; their images and masks are not read yet.

    Args:
        root: The `data_dir` of TensorFlow Datasets; `Path()` for its default.
        split: "train", "validation" or "test".
        builder: Name of the dataset.
        palette: Not used here.
        ignore: Not used here.
        labels_are: Not used here.
        image_feature: Name of the image.
        label_feature: Name of the mask.
        split_fractions: Shares of the splits.

    Raises:
        InputError: If `describe` refuses the dataset, the records are damaged or not in TFRecord
            files, or the fractions are for splits that exist.
    """
    prepared = _prepare(root, builder)
    chosen = _choose_splits(prepared, test_serves=split_fractions is None)
    files = {name: _files(prepared, source) for name, source in chosen.items()}
    state = tuple(
        (path.stat().st_size, path.stat().st_mtime_ns) for f in files.values() for path in f
    )
    paths = tuple((name, tuple(map(str, found))) for name, found in files.items())
    keys = _find_keys(prepared, image_feature, label_feature)
    index = _index(paths, state, keys, _find_name_key(prepared))
    if split_fractions is not None:
        there = {name: list(found) for name, found in index.items()}
        where = f"tfds:{builder}", "splits of its own"
        return list(_splits.draw_from_train(*where, there, split_fractions).get(split, ()))
    return list(index.get(split, ()))


def read(example: Example) -> tuple[bytes, "RawLabel"]:
    """Reads a record.

    Args:
        example: One of `examples`.

    Returns:
        The image as it is stored, a PNG or JPEG file, and the mask.

    Raises:
        ImageFileError: If the record is damaged, or the mask is no PNG.
    """
    from ..images.label_files import read_label

    path, offset, length, image_key, mask_key = example.details
    features = _tfrecords.features(memoryview(_tfrecords.read(path, offset, length)))
    return bytes(features[image_key]), read_label(bytes(features[mask_key]))


def _describe_pets() -> Description:
    # Trimaps, as the data's README says: 1 foreground, 2 background, 3 not classified.
    return Description(
        classes=ClassSpace(("pet", "background"), ((220, 20, 60), (70, 130, 180))),
        raw_values={1: 0, 2: 1, 3: IGNORE_LABEL},
        split_sizes={"train": 3680, "validation": 3669},
        homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    )


def _describe_cityscapes() -> Description:
    """Returns the 19 classes of the benchmark; the masks hold labelIds."""
    from . import cityscapes

    return Description(
        classes=cityscapes.class_space(),
        raw_values=cityscapes.values_of_label_ids(),
        homepage="https://www.cityscapes-dataset.com/",
    )


_KNOWN = {"oxford_iiit_pet": _describe_pets, "cityscapes": _describe_cityscapes}


def _prepare(root: Path, builder: str):
    """Returns the `tfds.core.DatasetBuilder`, with its records on disk."""
    import tensorflow_datasets as tfds

    if cause := _REFUSED.get(re.split("[/:]", builder)[0]):
        raise InputError(f"tfds:{builder}: cannot be converted: {cause}.")
    try:
        found = tfds.builder(builder, data_dir=None if root == Path() else str(root))
        if not found.is_prepared():
            found.download_and_prepare()
    except Exception as error:  # of any kind: from the network, the archives, the builder's code
        cause = " ".join(str(error).split("Available datasets", 1)[0].split())[:500]
        raise InputError(
            f"tfds:{builder}: must be a dataset of TensorFlow Datasets that is on disk or can be "
            f"prepared, got {type(error).__name__}: {cause}"
        ) from error
    return found


def _features(prepared) -> dict[str, Any]:
    """Returns the features of the top level by name."""
    return dict(prepared.info.features)


def _find_keys(prepared, image_feature: str | None, label_feature: str | None) -> tuple[str, str]:
    """Finds the features of the image and of the mask."""
    import numpy as np
    import tensorflow_datasets as tfds

    kinds: Any = tfds.features
    images = {k: f for k, f in _features(prepared).items() if isinstance(f, kinds.Image)}
    labeled = [k for k, f in images.items() if isinstance(f, kinds.LabeledImage)]
    masks = labeled if len(labeled) == 1 else [k for k in _MASK_KEYS if k in images]
    mask = label_feature or next(iter(masks), None)
    colored = [k for k, f in images.items() if f.shape[-1] == 3 and k != mask and k not in masks]
    named = [k for k in _IMAGE_KEYS if k in images and k != mask]
    image = image_feature or next(iter(named), colored[0] if len(colored) == 1 else None)
    if image not in images or mask not in images or image == mask:
        raise InputError(
            f"tfds:{prepared.name}: must have an image and a segmentation mask, got the features "
            f"{', '.join(_features(prepared))}, of which {', '.join(images) or 'none'} are images; "
            "--image-feature and --label-feature name them, got "
            f"{image_feature or 'none'} and {label_feature or 'none'}."
        )
    if images[mask].np_dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"tfds:{prepared.name}: {mask} must hold whole numbers, got {images[mask].np_dtype}."
        )
    return image, mask


def _find_name_key(prepared) -> str | None:
    import tensorflow_datasets as tfds

    texts = [k for k, f in _features(prepared).items() if isinstance(f, tfds.features.Text)]
    return next((key for key in _NAME_KEYS if key in texts), None)


def _choose_splits(prepared, test_serves: bool) -> dict[str, str]:
    """Returns the dataset's name of each of our splits that it has.

    Args:
        prepared: The dataset.
        test_serves: Whether its test split is validation where it has none.
    """
    absent = _WITHOUT_LABELS.get(prepared.name, ())
    there = [name for name in prepared.info.splits if name not in absent]
    chosen = {
        split: name for split, names in _splits.WORDS.items() for name in names if name in there
    }
    if test_serves and "validation" not in chosen and "test" in chosen:
        chosen["validation"] = chosen.pop("test")
    return chosen


def _files(prepared, split: str) -> list[Path]:
    info = prepared.info
    if info.file_format is None or info.file_format.value != "tfrecord":
        raise InputError(
            f"tfds:{prepared.name}: must be stored as tfrecord, got {info.file_format}; prepare it "
            "again with file_format='tfrecord'."
        )
    files = [Path(str(path)) for path in info.splits[split].filepaths]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: must be a file on this machine; prepare the dataset again.")
    return files


@lru_cache(maxsize=1)
def _index(
    files: tuple[tuple[str, tuple[str, ...]], ...],
    state: tuple[tuple[int, int], ...],
    keys: tuple[str, str],
    name_key: str | None,
) -> dict[str, tuple[Example, ...]]:
    """Lists the records of all splits, which are listed together since names must be unique.

    Args:
        files: Each split with its files.
        state: Sizes and times of the files, for which the cached index is valid.
        keys: Features of the image and of the mask.
        name_key: Feature of the file name, if there is one.
    """
    rows = [
        (split, path, *row)
        for split, paths in files
        for path in paths
        for row in _scan(path, keys, name_key)
    ]
    own = Counter(name for *_, name in rows)
    use_own = all(count == 1 and _is_relative(name) for name, count in own.items())
    index: dict[str, list[Example]] = {split: [] for split, _ in files}
    for split, path, offset, length, ending, name in rows:
        filename = name if use_own else f"{split}/{len(index[split]):08d}{ending}"
        # The image is inside a larger file, whose time and size show the converter a change.
        example = Example(filename, f"{path}@{offset}", path, (path, offset, length, *keys))
        index[split].append(example)
    return {split: tuple(found) for split, found in index.items()}


def _is_relative(name: str) -> bool:
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")


def _scan(
    path: str, keys: tuple[str, str], name_key: str | None
) -> Iterator[tuple[int, int, str, str]]:
    """Yields offset, length, ending of the image and own file name of each record of a file."""
    for offset, record in _tfrecords.frames(path):
        try:
            features = _tfrecords.features(record)
        except ValueError as error:
            raise InputError(f"{path}: {error}, at byte {offset}.") from error
        if not all(features.get(key) for key in keys):
            raise InputError(
                f"{path}: every record must hold {keys[0]} and {keys[1]}, got "
                f"{', '.join(sorted(features))} at byte {offset}."
            )
        start = bytes(features[keys[0]][:4])
        ending = next((e for magic, e in _ENDINGS if start.startswith(magic)), ".png")
        own = bytes(features.get(name_key or "", b"")).decode(errors="replace")
        if own and not own.lower().endswith((".png", ".jpg", ".jpeg")):
            own += ending
        yield offset, len(record), ending, own
