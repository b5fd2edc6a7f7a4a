"""Predictions in the form that a benchmark's server takes: its values, names and archive.

The facts of a benchmark are those of its dataset: `SUBMISSIONS` in `pipelines/datasets/`.
"""

import contextlib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from kerasseg import IGNORE_LABEL, atomic_files

from .. import datasets
from ..classes import ClassSpace
from ..classes.comparison import has_placeholders
from ..datasets import BENCHMARKS
from ..errors import InputError, writing_to
from ..images import figures, output_names
from ..images.elsewhere import Image, name_of
from ..images.output_names import LABEL, Output
from .predictor import Predicted

_COMMENT = b"written by kerasseg predict"  # of every archive: no other is replaced


@dataclass(frozen=True)
class BenchmarkFiles:
    """One file per image, and the archive of all; see `result_files.Results`.

    Attributes:
        folder: Folder to write to.
        benchmark: One of `datasets.BENCHMARKS`.
        archive: Zip file to write as well; None for none.
        has_ignored: Whether label maps may have ignored pixels.
        overwrite: Whether to replace files that kerasseg did not write.

    Raises:
        InputError: If there is no such benchmark, its files cannot have ignored pixels, or the
            archive would replace another file.
    """

    folder: Path
    benchmark: str
    archive: Path | None = None
    has_ignored: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.benchmark not in BENCHMARKS:
            known = ", ".join(BENCHMARKS)
            raise InputError(f"format must be one of {known}, got {self.benchmark!r}.")
        if self.has_ignored and self._submissions[0].no_class is None:
            raise InputError(
                f"min_confidence must be left out with format {self.benchmark}, whose files have "
                "no value for pixels of no class."
            )
        if self.archive is not None and not self.overwrite and _is_foreign(self.archive):
            raise InputError(
                "zip must be a new file or an earlier archive of predictions, got "
                f"{self.archive}; choose another name, or give --overwrite."
            )

    @property
    def _submissions(self) -> Sequence[datasets.Submission]:
        return datasets.module(BENCHMARKS[self.benchmark]).SUBMISSIONS

    def plan(self, images: Iterable[tuple[Image, Path]]) -> list[Output]:
        """Names the files as the server wants them."""
        submission, places = self._submissions[0], []
        for image, _ in images:
            place = submission.path_of(name_of(image).stem)
            if place is None:
                raise InputError(
                    f"{image}: must be named as an image of {self.benchmark}, such as "
                    f"{submission.example}; the server finds it by its name."
                )
            places.append((image, Path(place)))
        return output_names.plan(places, self.folder, [LABEL], refuse_others=not self.overwrite)

    def check(self, classes: ClassSpace) -> None:
        """Refuses a network with other classes than the benchmark's."""
        self._submission_for(classes)

    def _submission_for(self, classes: ClassSpace) -> datasets.Submission:
        for submission in self._submissions:
            count = len(submission.names)
            if tuple(submission.names) == classes.names or has_placeholders(classes, count):
                return submission
        numbers = " or ".join(str(len(submission.names)) for submission in self._submissions)
        raise InputError(
            f"format {self.benchmark} must have the {numbers} classes of the benchmark, "
            f"{_list(self._submissions[0].names)}; got {classes.count}: {_list(classes.names)}."
        )

    def writing(self) -> contextlib.AbstractContextManager["BenchmarkFiles"]:
        """Yields itself: each file is complete on its own."""
        return contextlib.nullcontext(self)

    def write(self, item: Output, predicted: Predicted, classes: ClassSpace) -> None:
        """Writes the file of an image."""
        submission = self._submission_for(classes)
        values = _values(submission)[predicted.labels[0]]
        picture = PIL.Image.fromarray(values, "L")
        if submission.color_of is not None:
            picture.putpalette([part for v in range(256) for part in submission.color_of(v)])
        contents = {item.file(LABEL): figures.png(picture)}
        output_names.write(contents, overwrite=self.overwrite, item=item)

    def finish(self, items: Sequence[Output], *, are_all: bool) -> None:
        """Writes the archive, if all images are in it."""
        if self.archive is None or not are_all:
            return
        with writing_to(self.archive):
            self.archive.parent.mkdir(parents=True, exist_ok=True)
            with (
                atomic_files.new_file(self.archive) as writing,
                # The files are compressed themselves.
                zipfile.ZipFile(writing, "w", zipfile.ZIP_STORED) as archive,
            ):
                archive.comment = _COMMENT
                for file in (item.file(LABEL) for item in items):
                    archive.write(file, file.relative_to(self.folder).as_posix())


def _values(submission: datasets.Submission) -> np.ndarray:
    """Returns the value of each label, uint8 (256,)."""
    table = np.zeros(256, np.uint8)
    table[: len(submission.values)] = submission.values
    if submission.no_class is not None:
        table[IGNORE_LABEL] = submission.no_class
    return table


def _is_foreign(archive: Path) -> bool:
    """Tells whether something has the name of an archive that is none of `BenchmarkFiles`."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.comment != _COMMENT
    except FileNotFoundError:
        return False
    except (OSError, zipfile.BadZipFile):
        return True


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
