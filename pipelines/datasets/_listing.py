"""Listing the files of a source, and pairing images with labels by name."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..images.image_files import IMAGE_ENDINGS
from . import Example


def pair(
    root: Path,
    images: Path,
    labels: Path,
    *,
    image_endings: Sequence[str] = IMAGE_ENDINGS,
    label_endings: Sequence[str] = (".png",),
) -> list[Example]:
    """Pairs the images below one folder with the labels below another, by relative path.

    Args:
        root: The source, to which filenames are relative.
        images: Folder of the images; nothing is listed if it is absent.
        labels: Folder of the labels.
        image_endings: What follows the common part of the names, such as "_leftImg8bit.png".
        label_endings: The same of the labels.

    Returns:
        The pairs in the order of their names. One whose image or label is missing is listed with
        the name that it should have: the converter reports it.

    Raises:
        InputError: If two images or two labels have the same name but for the ending.
    """
    found_images = files_by_stem(images, image_endings)
    found_labels = files_by_stem(labels, label_endings)
    return [
        Example(
            Path(image).relative_to(root).as_posix(),
            image,
            found_labels.get(stem, f"{labels}/{stem}{label_endings[0]}"),
        )
        for stem in sorted(found_images.keys() | found_labels.keys())
        for image in [found_images.get(stem, f"{images}/{stem}{image_endings[0]}")]
    ]


def files_by_stem(folder: Path, endings: Sequence[str]) -> dict[str, str]:
    """Finds the files below a folder by their relative path without the ending.

    Hidden files and folders are passed over: archives made on a Mac leave `._NAME.png` behind.

    Args:
        folder: Where to look; nothing is found if it is absent.
        endings: Those that count, in lower case; case does not matter.

    Raises:
        InputError: If two files differ in the ending only.
    """
    files: dict[str, str] = {}
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = Path(directory).relative_to(folder).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        for name in sorted(names):
            ending = next((e for e in endings if name.lower().endswith(e.lower())), None)
            if ending is None or name.startswith("."):
                continue
            stem, path = f"{prefix}{name[: -len(ending)]}", f"{directory}/{name}"
            if stem in files:
                raise InputError(
                    f"{path}: must be the only image of its name, got {files[stem]} too."
                )
            files[stem] = path
    return files
