"""Pascal VOC 2012 (Everingham et al. 2010): 21 classes, and SBD's labels for more images.

Layout: `VOCdevkit/VOC2012/` with `JPEGImages/NAME.jpg`, `SegmentationClass/NAME.png` and
`ImageSets/Segmentation/{train,val}.txt`. The boundaries of objects, value 255, are ignored.

With `sbd`, the training split is the one known as trainaug: the images of VOC's train and of both
lists of SBD (Hariharan et al. 2011) without those of VOC's val. Images that VOC labelled keep VOC's
label. `sbd` is the folder of SBD, `benchmark_RELEASE/dataset/` with `{img,cls}/` and
`{train,val}.txt`, or a folder `SegmentationClassAug/` of its labels as gray PNG files.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kerasseg import IGNORE_LABEL

from ..classes import ClassSpace, Description
from ..errors import ImageFileError, InputError
from ..runs.option_fields import Option
from . import Example, Submission, _listing, find_top

if TYPE_CHECKING:
    import numpy as np

_HOMEPAGE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
_SBD_HOMEPAGE = "http://home.bharathh.info/pubs/codes/SBD/download.html"
_READY = "SegmentationClassAug"
_FOLDERS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")


def color_of(value: int) -> tuple[int, int, int]:
    """Returns the colour of a value in [0, 255] in the palette of the VOC devkit.

    The bits of the value go to red, green and blue in turn, the lowest to the highest bits.
    """
    red, green, blue = (
        sum((value >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
        for channel in range(3)
    )
    return red, green, blue


# Names and order of the VOC devkit (VOCinit.m); background is 0.
_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
CLASSES = ClassSpace(_NAMES, tuple(color_of(value) for value in range(len(_NAMES))))

# Of competition 6, whose networks may be trained on any data. Every pixel must have a class: the
# devkit (VOCevalseg.m) refuses values above 20.
SUBMISSIONS = (
    Submission(
        names=_NAMES,
        values=tuple(range(len(_NAMES))),
        no_class=None,
        image_name=r"(\d{4}_\d{6})",
        example="2008_000006.jpg",
        file="results/VOC2012/Segmentation/comp6_test_cls/{}.png",
        color_of=color_of,
    ),
)


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    top = _top(root)
    return _year(top) == "VOC2012" and all((top / folder).is_dir() for folder in _FOLDERS)


def describe(
    root: Path,
    *,
    sbd: Annotated[
        Path | None,
        Option(
            "Folder of the Semantic Boundaries Dataset (SBD), whose images make train the larger "
            "trainaug.",
            metavar="FOLDER",
        ),
    ] = None,
) -> Description:
    """Returns the facts.

    Args:
        root: The source.
        sbd: Folder of SBD for the larger training split; None for VOC alone.
    """
    values = {value: value for value in range(len(_NAMES))}
    return Description(
        classes=CLASSES,
        raw_values={**values, IGNORE_LABEL: IGNORE_LABEL},
        # Labels whose palette was applied, as some tools save them.
        raw_colors={color_of(value): label for value, label in values.items()}
        | {color_of(IGNORE_LABEL): IGNORE_LABEL},
        split_sizes={"train": 1464 if sbd is None else 10582, "validation": 1449},
        homepage=_HOMEPAGE,
    )


def examples(root: Path, split: str, *, sbd: Path | None = None) -> list[Example]:
    """Lists the images of a split with their labels; VOC publishes none for test.

    Args:
        root: The source.
        split: One of `SPLITS`.
        sbd: Folder of SBD for the larger training split; None for VOC alone.

    Raises:
        InputError: If a folder or a list is missing, or an image is in two splits.
    """
    top = _top(root)
    _check_layout(root, top)
    lists = top / "ImageSets" / "Segmentation"
    own_list = lists / {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}[split]
    if split == "test" or not own_list.is_file():
        return []
    names = _read_list(own_list)
    folder = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    if split == "train":
        validation = _read_list(lists / "val.txt") if (lists / "val.txt").is_file() else set()
        if both := names & validation:
            raise InputError(
                f"{lists}: train.txt and val.txt must have no image in common, got {len(both)}, "
                f"as {min(both)}."
            )
        if sbd is not None:
            return _augmented(root, folder, Path(sbd), names)
    return [_example(root, folder, name) for name in sorted(names)]


def read_label(example: Example, content: bytes) -> "np.ndarray":
    """Reads a label of VOC or of SBD.

    Args:
        example: The example of the label.
        content: The file's bytes.

    Raises:
        ImageFileError: If it is damaged, or SBD's has other values than 0 to 20.
    """
    from ..images.label_files import decode_label
    from . import _mat

    if not str(example.label).endswith(".mat"):
        return decode_label(content)
    values = _mat.read_struct_field(content, "GTcls", "Segmentation")
    if values.max() >= len(_NAMES):
        raise ImageFileError(
            f"SBD's label values must be 0 to {len(_NAMES) - 1}, got {values.max()}",
            "another class table, or a damaged file",
        )
    return values


def _top(root: Path) -> Path:
    top = find_top(root, "VOCdevkit/VOC2012")
    return find_top(root, "VOC2012") if top == root else top


def _year(top: Path) -> str:
    """Returns the year of a folder; other names are assumed to be of the right year."""
    name = top.resolve().name
    return name if re.fullmatch(r"VOC(20)?\d\d", name) else "VOC2012"


def _check_layout(root: Path, top: Path) -> None:
    others = [*root.glob("VOCdevkit/VOC20??"), *root.glob("VOC20??")] if top == root else []
    year = _year(others[0] if others else top)
    if year != "VOC2012":
        raise InputError(f"{root}: must be VOC2012, got {year}, whose images and splits differ.")
    missing = [folder for folder in _FOLDERS if not (top / folder).is_dir()]
    if missing:
        raise InputError(
            f"{top}: the folders {', '.join(f'{folder}/' for folder in _FOLDERS)} of "
            f"VOCdevkit/VOC2012 must be there (VOCtrainval_11-May-2012.tar, {_HOMEPAGE}), got no "
            f"{missing[0]}/."
        )


def _read_list(path: Path) -> set[str]:
    """Reads a list of images, one name per line."""
    if not path.is_file():
        raise InputError(f"{path}: must be there, it names the images of the split.")
    names = set()
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not re.fullmatch(r"\w*", line.strip()):
            raise InputError(f"{path}: line {number} must be one name, got {line[:80]!r}.")
        names.update(line.split())
    return names


def _example(root: Path, folder: str, name: str) -> Example:
    """Makes an example of VOC's own image and label."""
    image = f"{folder}JPEGImages/{name}.jpg"
    return Example(image, str(root / image), str(root / f"{folder}SegmentationClass/{name}.png"))


def _augmented(root: Path, folder: str, sbd: Path, train: set[str]) -> list[Example]:
    """Lists trainaug.

    VOC's val must be known here: most of its images are in SBD, and none may be trained on.
    """
    top = root / folder
    validation = _read_list(top / "ImageSets" / "Segmentation" / "val.txt")
    images, labels = _find_sbd(sbd)
    own_images = _listing.files_by_stem(top / "JPEGImages", [".jpg"])
    listed = []
    for name in sorted((train | labels.keys()) - validation):
        example = _example(root, folder, name)
        filename, image, label = example.filename, example.image, example.label
        if name not in own_images and name in images:
            image = images[name]
            filename = Path(image).relative_to(sbd).as_posix()
        listed.append(Example(filename, image, label if name in train else labels[name]))
    return listed


def _find_sbd(sbd: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the files of SBD's images, if they exist, and of its labels, by name."""
    for top in (sbd / "benchmark_RELEASE" / "dataset", sbd / "dataset", sbd):
        if (top / "cls").is_dir():
            names = _read_list(top / "train.txt") | _read_list(top / "val.txt")
            labels = {name: f"{top}/cls/{name}.mat" for name in names}
            return _listing.files_by_stem(top / "img", [".jpg"]), labels
    ready = find_top(sbd, _READY)
    if ready.name == _READY and ready.is_dir():
        return {}, _listing.files_by_stem(ready, [".png"])
    raise InputError(
        f"{sbd}: must hold benchmark_RELEASE/dataset/cls/ of SBD (benchmark.tgz, {_SBD_HOMEPAGE}), "
        f"or be a folder {_READY}/."
    )
