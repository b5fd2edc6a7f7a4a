"""The run folder: `fit` writes it and the later stages read it.

run.json            options, versions, seed, dataset, classes: the run describes itself
history.csv, .json  loss and scores of each epoch
overlays.png        the pictures of the last evaluation
confusion_matrix.csv  its pixels by label and prediction
results.png         all of this in one picture, drawn by `kerasseg fit`
tensorboard/        the same for TensorBoard
learning_rate.png, .csv  the range test of `--learning-rate auto`
tracking.json       the run's identity at a tracker of experiments
checkpoints/        best.keras, last.keras and the states to resume from
code/               copies of a model, encoder or loss of the user's own; never executed from here
.lock               held while a training writes here
"""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from kerasseg import IGNORE_LABEL, atomic_files
from kerasseg.channels import check, is_default

from .. import records
from ..classes import ClassSpace, comparison
from ..errors import InputError, writing_to
from .phases import Phase
from .training_options import TrainingOptions

DESCRIPTION = "run.json"
HISTORY = "history.json"
CHECKPOINTS = "checkpoints"
FORMAT = 1
_CODE_FILE = re.compile(r"code/\w+\.py")
# What a training and the later commands write, beside the description. Files of these names that
# were there before would be replaced, or taken for those of the new run.
_WRITTEN = (
    *(CHECKPOINTS, "code", "evaluation*", "tensorboard", "history.csv", HISTORY, "overlays.png"),
    *("confusion_matrix.csv", "results.png", "learning_rate.png", "learning_rate.csv"),
    *("tracking.json", "calibration.json", "calibration.png", "crf.json"),
)
# Key of what the initial weights asked of the layers of the encoder.
FORMS = "encoder_forms"


@dataclass(frozen=True)
class Run:
    """An opened run folder.

    Attributes:
        folder: The folder.
        options: The resolved options of `fit`.
        classes: Names and colours of the classes.
        dataset: `{"name", "path", "fingerprint"}` of the training's dataset.
        code: Entries of `guests.store` for the user's own code.
        phases: What was changed when the training was resumed, oldest first.
        channels: Number of channels of the images that the network takes.
        bits: Bits of each channel of the training's images, 8 or 16.
        stretch: `--stretch` of the conversion, in words; None without it.
        forms: What the initial weights asked of the layers of the encoder, such as another epsilon,
            as `kerasseg.checkpoints.forms.to_json` gives it.
    """

    folder: Path
    options: TrainingOptions
    classes: ClassSpace
    dataset: dict[str, Any]
    code: Sequence[Mapping[str, str]] = ()
    phases: Sequence[Phase] = ()
    channels: int = 3
    bits: int = 8
    stretch: str | None = None
    forms: Sequence[Mapping[str, Any]] = ()

    @property
    def name(self) -> str:
        """Returns the name of the folder."""
        return self.folder.resolve().name

    def open_dataset(self, data: Path | None = None) -> records.Dataset:
        """Opens the dataset of the run, or another one with the same classes and channels.

        Raises:
            InputError: If it is not there, or its classes or channels differ from the run's.
        """
        if data is None and not self.dataset["path"]:
            raise InputError(
                f"{self.folder}: has no dataset of its training; name a converted one with --data."
            )
        dataset = records.load(data or self.dataset["path"])
        self.check_classes(dataset.classes, dataset.root)
        self.check_channels(dataset)
        return dataset

    def check_channels(self, dataset: records.Dataset) -> None:
        """Checks that the images of a dataset have as many channels as the network takes.

        Raises:
            InputError: If they have another number.
        """
        if dataset.channels != self.channels:
            raise InputError(
                f"{dataset.root}: channels of the images must be {self.channels}, as of those that "
                f"{self.folder} was trained on, got {dataset.channels}."
            )

    def check_classes(self, classes: ClassSpace, root: Path) -> None:
        """Checks that a dataset has the classes of the run.

        Args:
            classes: Classes of the dataset.
            root: Folder of the dataset.

        Raises:
            InputError: If they differ.
        """
        unnamed = comparison.has_placeholders(self.classes, classes.count)
        if not comparison.are_same(classes, self.classes) and not unnamed:
            raise InputError(
                f"{root}: must have the classes that {self.folder} was trained on:\n"
                + comparison.describe_difference(self.classes, classes)
            )


def check_new(folder: Path) -> None:
    """Checks that a folder holds no run yet, and no file that a run would replace.

    Raises:
        InputError: If it does.
    """
    _refuse_a_run(folder)
    there = sorted(path.name for name in _WRITTEN for path in folder.glob(name))
    if there:
        raise InputError(
            f"{folder}: must be new or empty, got {', '.join(there)} without {DESCRIPTION}, which "
            "a training would replace; remove what is not needed, or give another --run."
        )


def _refuse_a_run(folder: Path) -> None:
    if (folder / DESCRIPTION).exists():
        raise InputError(
            f"{folder}: holds a run already; give --resume to continue it, or another --run."
        )


def remove_leftovers(folder: Path) -> None:
    """Removes unfinished files of a killed training; the folder must be locked."""
    atomic_files.remove_leftovers(folder)
    atomic_files.remove_leftovers(folder / CHECKPOINTS)


def create(folder: Path, options: TrainingOptions, dataset: records.Dataset, **facts: Any) -> Run:
    """Writes a new run's description.

    Args:
        folder: Folder of the run; must not hold one already.
        options: The resolved options of `fit`.
        dataset: Dataset of the training.
        **facts: Further facts to record, such as the number of parameters.

    Raises:
        InputError: If there is a run already, or the folder cannot be written.
    """
    _refuse_a_run(folder)  # which another process has made since `check_new`
    images = form_of_images(**dataset.image_form, stretch=dataset.stretch)
    return describe(folder, options, dataset.classes, _origin(dataset), **images, **facts)


def unwritten(folder: Path, options: TrainingOptions, dataset: records.Dataset) -> Run:
    """Returns a new run whose description another process writes."""
    form = form_of_images(**dataset.image_form, stretch=dataset.stretch).get("images", {})
    return Run(folder, options, dataset.classes, _origin(dataset), **form)


def form_of_images(channels: int, bits: int = 8, stretch: str | None = None) -> dict[str, Any]:
    """Returns what a run records of its images; nothing for RGB images that had 8 bits.

    Args:
        channels: Number of channels of the images that the network takes.
        bits: Bits of each channel of the training's images.
        stretch: `--stretch` of their conversion, in words; None without it.
    """
    if is_default(channels, bits) and stretch is None:
        return {}
    return {"images": {"channels": channels, "bits": bits, "stretch": stretch}}


def _recorded(options: TrainingOptions) -> dict[str, Any]:
    """Returns the options by name; without the number of channels where the dataset decides."""
    recorded = asdict(options)
    if options.channels is None:
        del recorded["channels"]
    return recorded


def _origin(dataset: records.Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "path": str(dataset.root.resolve()),
        "fingerprint": dataset.fingerprint,
    }


def describe(
    folder: Path,
    options: TrainingOptions,
    classes: ClassSpace,
    origin: dict[str, Any],
    **facts: Any,
) -> Run:
    """Writes the description of a run.

    Args:
        folder: Folder of the run.
        options: Options of the training.
        classes: Names and colours of the classes.
        origin: `{"name", "path", "fingerprint"}` of the dataset.
        **facts: Further facts to record.

    Raises:
        InputError: If the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "options": _recorded(options),
        "class_names": classes.names,
        "colors": classes.colors,
        "ignore_label": IGNORE_LABEL,
        "classes_fingerprint": classes.fingerprint,
        "dataset": origin,
        "versions": versions(),
        **facts,
    }
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_json(folder / DESCRIPTION, content)
    return load(folder)


def begin_phase(run: Run, options: TrainingOptions, phase: Phase) -> Run:
    """Records that a training continues with other options.

    Raises:
        InputError: If the description cannot be written.
    """
    path = run.folder / DESCRIPTION
    content = json.loads(path.read_text(encoding="utf-8"))
    phases = [each.to_json() for each in (*run.phases, phase)]
    with writing_to(run.folder):
        atomic_files.write_json(path, {**content, "options": _recorded(options), "phases": phases})
    return load(run.folder)


def load(folder: Path) -> Run:
    """Opens a run folder.

    Raises:
        InputError: If it is not one.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{folder}: must be a run folder, got no {DESCRIPTION}; make one with 'kerasseg fit'."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _check_format(path, content)
        classes = ClassSpace(
            tuple(content["class_names"]), tuple(tuple(color) for color in content["colors"])
        )
        options = TrainingOptions.from_json(content["options"])
        # Release 0.1 trained its own networks only.
        code = [_read_code(entry) for entry in content.get("code", ())]
        phases = [Phase.from_json(entry) for entry in content.get("phases", ())]
        images = content.get("images", {})
        form = (images.get("channels", 3), images.get("bits", 8), images.get("stretch"))
        check(*form[:2])
        forms = [_read_form(entry) for entry in content.get(FORMS, ())]
        facts = (_read_origin(content["dataset"]), code, phases, *form, forms)
        return Run(Path(folder), options, classes, *facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged run description ({error!r}).") from error


def _check_format(path: Path, content: Any) -> None:
    """Refuses what a newer release has written, which this one could misunderstand."""
    found = content["format"]
    if not isinstance(found, int) or isinstance(found, bool):
        raise TypeError(f"format must be a whole number, got {found!r}")
    if found != FORMAT:
        raise InputError(
            f"{path}: format must be {FORMAT}, which this version of kerasseg reads, got {found}; "
            "a newer version wrote it."
        )
    if not isinstance(content["class_names"], list):
        raise TypeError(f"class_names must be a list, got {content['class_names']!r}")
    if content["ignore_label"] != IGNORE_LABEL:
        raise ValueError(f"ignore_label must be {IGNORE_LABEL}, got {content['ignore_label']!r}")


def _read_origin(stored: Any) -> dict[str, Any]:
    if not all(isinstance(stored[name], str) for name in ("name", "path", "fingerprint")):
        raise TypeError("name, path and fingerprint of the dataset must be texts")
    return stored


def _read_form(stored: Any) -> Mapping[str, Any]:
    return {**stored, "layers": [str(name) for name in stored["layers"]]}


def _read_code(stored: Any) -> Mapping[str, str]:
    names = ("option", "source", "name", "file", "sha256")
    code = {name: str(stored[name]) for name in names}
    if not _CODE_FILE.fullmatch(code["file"]):  # messages say that a copy of the code is there
        raise ValueError(f"file of code must be code/NAME.py, got {code['file']!r}")
    return code


def versions() -> dict[str, str]:
    """Returns the versions of the packages that a result depends on."""
    packages = ("kerasseg", "tensorflow", "keras", "numpy", "pillow")
    return {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}}


def history(folder: Path) -> list[dict[str, Any]]:
    """Reads the epochs of a run, oldest first; empty before the first has ended.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / HISTORY
    if not path.is_file():
        return []
    try:
        epochs = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(epoch, dict) for epoch in epochs):
            raise TypeError("its entries must be objects")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged history ({error}).") from error
    return epochs
