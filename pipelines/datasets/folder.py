"""The user's own folder: images below `images/`, labels below `labels/`, paired by name.

The splits are given in one of three ways:

    images/SPLIT/**, labels/SPLIT/**    SPLIT is train or training; validation, val, valid, dev or
                                        eval; test or testing; in any case
    SPLIT.txt                           lists at the top, in `splits/` or in
                                        `ImageSets/Segmentation/`: one image per line, relative to
                                        `images/`, with or without ending; what is in no list is
                                        left out
    split_fractions                     shares of train, validation and test, drawn at random but
                                        always the same; where there are folders, of train alone,
                                        for a split that has none

`images` and `labels` name other folders, in which `{split}` stands for the split, as in
`{split}/images`. Names are compared with accents composed; two that differ in case alone are one
where nothing else fits. Files that are not used are counted, with the reason.

Labels are PNG files of class numbers, gray of 8 or 16 bits or with a palette, or RGB pictures in
the classes' colours, which decide over a palette's numbers; or TIFF or BMP files of such, see
`images.label_pictures`. The classes stand in `classes.txt` at
the top, or in the file given as `palette`; `class_file` describes the formats. Value 255 is
ignored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ..classes import Description, class_file
from ..runs.option_fields import Option
from . import SPLITS, Example, Listing
from ._layout import Layout, Place
from ._options import Ignore, LabelsAre, Palette, SplitFractions
from ._splits import Fractions

HAS_CHANNELS = True


def is_source(root: Path) -> bool:
    """Tells whether a folder has this layout."""
    return all((root / name).exists() for name in ("images", "labels", "classes.txt"))


def describe(
    root: Path,
    *,
    palette: Palette = None,
    images: Annotated[
        str,
        Option(
            "Folder of the images below the source, images unless given; {split} stands for the "
            "name of the split, as in {split}/images.",
            metavar="DIR",
        ),
    ] = "images",
    labels: Annotated[
        str,
        Option(
            "Folder of the labels below the source, labels unless given; {split} stands for the "
            "name of the split, as in {split}/labels.",
            metavar="DIR",
        ),
    ] = "labels",
    split_fractions: SplitFractions = None,
    image_suffix: Annotated[
        str, Option("End of the image files' names, such as _rgb or _rgb.png.")
    ] = "",
    label_suffix: Annotated[
        str, Option("End of the label files' names, such as _mask or _mask.png.")
    ] = "",
    ignore: Ignore = (),
    labels_are: LabelsAre = None,
    skip_unlabelled: Annotated[
        bool, Option("Leave out images without a label, and report their number.")
    ] = False,
) -> Description:
    """Reads the classes.

    Args:
        root: The folder.
        palette: File of the classes, instead of `classes.txt` at the top.
        images: Folder of the images below `root`; may hold `{split}`.
        labels: Folder of the labels below `root`; may hold `{split}`.
        split_fractions: Shares of train, validation and test, if nothing else defines the splits.
        image_suffix: End of the images' names after the common part, with or without the ending of
            the format.
        label_suffix: End of the labels' names after the common part, such as "_mask" or
            "_mask.png".
        skip_unlabelled: Whether images without a label are left out.
        ignore: Raw label values that are ignored, in addition to those that the file lists.
        labels_are: "numbers" or "colors", the meaning of labels with a palette or in gray RGB; None
            to decide by the colours of the classes.

    Raises:
        InputError: If the file is missing, empty or of an unknown format.
    """
    return class_file.describe(_class_file(root, palette), ignore=ignore, labels_are=labels_are)


def examples(root: Path, split: str, **options) -> list[Example]:
    """Lists the images of a split with their labels, see `survey`."""
    return list(survey(root, **options).examples[split])


def survey(
    root: Path,
    *,
    palette: Path | None = None,
    images: str = "images",
    labels: str = "labels",
    split_fractions: Fractions | None = None,
    image_suffix: str = "",
    label_suffix: str = "",
    skip_unlabelled: bool = False,
    ignore: Sequence[int] = (),
    labels_are: str | None = None,
) -> Listing:
    """Lists the images of all splits with their labels.

    Args:
        root: The folder.
        palette: File of the classes, instead of `classes.txt` at the top.
        images: Folder of the images.
        labels: Folder of the labels.
        split_fractions: Shares of train, validation and test.
        image_suffix: End of the images' names.
        label_suffix: End of the labels' names.
        skip_unlabelled: Whether images without a label are left out.
        ignore: Not used here.
        labels_are: Not used here.

    Returns:
        The pairs, and lines on the files that are in none of them, with the reasons.

    Raises:
        InputError: If the folders do not exist or do not define the splits, two files fit one name,
            a list names a missing file, or a link leads in a circle.
    """
    layout = Layout(
        root,
        Place(root, images, "images", image_suffix),
        Place(root, labels, "labels", label_suffix),
        skip_unlabelled,
        _class_file(root, palette),
    )
    found = layout.splits(split_fractions)
    splits = {split: found.get(split, ()) for split in SPLITS}
    return Listing(splits, layout.passed_over())


def _class_file(root: Path, palette: Path | None) -> Path:
    return root / "classes.txt" if palette is None else Path(palette)
