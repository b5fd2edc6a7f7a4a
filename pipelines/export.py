"""Export: a run's network to a model that can be served, checked before it gets its name."""

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasseg import IGNORE_LABEL, adapters, atomic_files
from kerasseg.channels import is_default

from . import records
from .errors import InputError, writing_to
from .exports import (
    exported_network,
    formats,
    model_card,
    own_scores,
    rounded_kernels,
    single_file,
    training_images,
)
from .exports.formats import Export
from .runs import calibration, network_files, run_folder, trained_networks
from .runs.crf import CRFParameters, refine
from .runs.option_fields import check_option
from .runs.views import WHOLE, View, seen

_SIDES = (1, 8192)
_LAST_VERSION = 2**63 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def run(
    folder: Path | str,
    *,
    output: Path | str = Path("saved_models"),
    name: str | None = None,
    classes: Path | str | None = None,
    data: Path | str | None = None,
    view: View = WHOLE,
    crf: CRFParameters | None = None,
    probabilities: bool = False,
    size: tuple[int, int] | None = None,
    format: str = formats.DEFAULT,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    quantize: str | None = None,
    calibration_images: int | None = None,
    score: bool | None = None,
    tolerance: float | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Exports the network of a run or of a `.keras` file.

    The export is written under a hidden temporary name, and a separate process compares it with its
    network. Only then does it get the name of its version, for which servers wait. Two exports of
    the same name at the same time get different versions.

    Args:
        folder: The run folder or the file.
        output: Folder of the served models.
        name: Name of the model; None for the name of the run folder or the file, followed by "-crf"
            if the model has a CRF. Other formats than SavedModels have theirs after the name, as in
            "-onnx", and quantised models also how, as in "-litert-int8".
        classes: File that lists the classes of a `.keras` file; None for the classes of `data`, or
            for class_0, class_1 and so on without `data`.
        data: Converted dataset that names the classes of a `.keras` file, and on which an export is
            calibrated and scored; None for the dataset of the run's training.
        view: Windows, scales and mirror images in which the network sees an image; they become a
            part of the SavedModel.
        crf: Parameters of a CRF that becomes a part of the SavedModel; None for no CRF.
        probabilities: Whether the model also returns the probabilities of the classes, with the
            temperature of `kerasseg calibrate` if it was fitted to this network.
        size: `(height, width)` at which the network computes, instead of the run's image size. A
            SavedModel resizes encoded images to this size and logits back; a model of pixels takes
            this size only. None computes as `predict` does; LiteRT, whose size is fixed, then takes
            the run's image size, else its crop size, or the only size of a `.keras` file's network.
        format: One of `exports.formats.names()`: "savedmodel" for TensorFlow Serving, "litert" for
            a `.tflite` file, "onnx" for an `.onnx` file, "openvino" for OpenVINO's `.xml`.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        quantize: "float16" to store the weights in 16 bits, "int8" to compute in 8-bit integers
            what the format can; None for float32.
        calibration_images: Number of training images from which "int8" takes the ranges of the
            activations, 100 if None; for "int8" only.
        score: Whether to score an export that is not quantised. None does so for the formats that
            ask for it (`IS_SCORED`), unless nothing tells the dataset or its folder is gone.
        tolerance: Largest loss of mean IoU that a scored export may have, 0.01 if None; only with
            `quantize` or `score`.
        on_progress: Called with the number of scored images and of all images.

    Returns:
        `OUTPUT/NAME/VERSION`, the version being the next free integer.

    Raises:
        InputError: If the run, the folder or an argument cannot be used, or the export fails its
            check or loses more than the tolerance.
    """
    _check_arguments(view, crf, size, format, quantize)
    may_score = bool(quantize or score) or (score is None and formats.is_scored(format))
    check_option("score", score is not False or not quantize, "left out with quantize", score)
    images, largest_loss = _check_score(quantize, may_score, calibration_images, tolerance)
    chosen = trained_networks.choose(folder, checkpoint)
    described, model = trained_networks.load(
        folder, classes=classes, data=data, checkpoint=checkpoint, code=code
    )
    name = described.name + ("-crf" if crf else "") if name is None else name
    if not _NAME.fullmatch(name):
        raise InputError(
            f"name must be letters, digits, '.', '_' or '-', got {name!r}; --name gives another."
        )
    form = formats.module(format)
    if form.NEEDS_SIZE:
        size = size or adapters.only_size(model) or _trained_size(described)
    name += "" if format == formats.DEFAULT else f"-{format}"
    name += "" if quantize is None else f"-{quantize}"
    dataset = _dataset(described, data, is_needed=bool(quantize or score)) if may_score else None
    model = _adapt(model, view, crf, size, form)
    facts = _facts(described, view, crf, size, format, quantize)
    temperature = None
    if probabilities:
        temperature = calibration.of_network(folder, checkpoint, crf, view).temperature
        facts["temperature"] = temperature
    export = Export(
        name,
        described.classes,
        facts,
        size,
        probabilities,
        temperature or 1.0,
        quantize,
        channels=described.channels,
        bits=described.bits,
    )
    if dataset:
        draw = partial(training_images.draw, dataset, images, size)
        export = replace(export, calibration=draw)
    parent = Path(output) / name
    with writing_to(parent):
        parent.mkdir(parents=True, exist_ok=True)
        atomic_files.remove_leftovers(parent)
        with atomic_files.temporary_folder(parent) as writing:
            try:
                beside = form.write(_rounded(model, export), writing, export)
                report = form.check(model, writing, export)
                if dataset:
                    report["scores"] = _score(model, writing, export, dataset, on_progress)
                    own_scores.refuse_loss(report["scores"], largest_loss, str(parent))
            except InputError as error:  # whose temporary name would tell the user nothing
                raise InputError(str(error).replace(str(writing), str(parent))) from error
            atomic_files.write_json(beside / "classes.json", facts)
            card = beside / "model_card.md"
            epoch = network_files.epoch_of(described, chosen)
            how = {"view": view, "export": export, "format": format, "temperature": temperature}
            how |= {"quantize": quantize, "measured": report.get("scores")}
            model_card.write(card, name, described, crf, epoch, **how)
            parity = {"format": format, "size": size, "view": view.facts(), "quantize": quantize}
            parity |= report
            atomic_files.write_json(writing / "parity.json", parity)
            return _publish(writing)


def _check_arguments(view: View, crf, size, format: str, quantize: str | None) -> None:
    known = formats.names()
    check_option("format", format in known, f"one of {', '.join(known)}", format)
    form = formats.module(format)
    low, high = _SIDES
    fits = size is None or (len(size) == 2 and all(low <= side <= high for side in size))
    check_option("size", fits, f"HEIGHT,WIDTH from {low} to {high}", size)
    if crf and not form.TAKES_CRF:
        able = " or ".join(name for name in known if formats.module(name).TAKES_CRF)
        raise InputError(
            f"format must be {able} for a CRF, got {format!r}, which lacks the operations of its "
            "lattice, such as products with sparse matrices."
        )
    if view.suffix and not form.TAKES_VIEWS:
        able = " or ".join(name for name in known if formats.module(name).TAKES_VIEWS)
        raise InputError(
            f"format must be {able} for windows, scales or mirror images, got {format!r}, whose "
            "network computes once per image; cut and blend the images in the program around it."
        )
    if quantize is not None and quantize not in form.QUANTIZES:
        raise InputError(
            f"quantize must be {' or '.join(form.QUANTIZES) or 'left out'} for {format}, got "
            f"{quantize!r}."
        )
    single_file.require(format, *form.PACKAGES)


def _check_score(
    quantize: str | None, may_score: bool, calibration_images: int | None, tolerance: float | None
) -> tuple[int, float]:
    """Returns the number of images to calibrate with, and the largest loss of a scored export."""
    if quantize != formats.INT8:
        what = "left out unless quantize is int8"
        check_option("calibration_images", calibration_images is None, what, calibration_images)
    if not may_score:
        what = "left out without quantize or score"
        check_option("tolerance", tolerance is None, what, tolerance)
    images = 100 if calibration_images is None else calibration_images
    largest_loss = 0.01 if tolerance is None else tolerance
    check_option("calibration_images", images >= 1, "at least 1", images)
    check_option("tolerance", largest_loss >= 0, "at least 0", largest_loss)
    return images, largest_loss


def _dataset(
    described: run_folder.Run, data: Path | str | None, *, is_needed: bool
) -> records.Dataset | None:
    """Opens the dataset that an export is calibrated and scored on.

    Returns:
        The dataset; None if it `is_needed` by nothing, and nothing tells where it is now.
    """
    place = described.dataset["path"]
    if data is None and not is_needed and not (place and Path(place).is_dir()):
        return None
    if data is None and not place:
        raise InputError(
            f"data must be given for {described.name}, got none: the export is calibrated and "
            "scored on a converted dataset."
        )
    return described.open_dataset(None if data is None else Path(data))


def _rounded(model, export: Export):
    """Returns the network whose kernels become 8-bit integers without a shift of its means."""
    if export.quantize != formats.INT8:
        return model
    return rounded_kernels.rounded(model, export.calibration())


def _score(model, folder: Path, export: Export, dataset: records.Dataset, on_progress):
    """Scores an export beside its network, and tells the sizes of both."""
    exported = exported_network.of_path(folder)
    form = formats.module(export.facts["format"])
    size = export.size if form.FILE else None  # a SavedModel resizes images itself
    found = own_scores.compare(
        model,
        exported,
        dataset,
        size=size,
        probabilities=export.probabilities and bool(form.FILE),
        temperature=export.temperature,
        on_progress=on_progress,
    )
    found["network"]["bytes"] = own_scores.network_bytes(model)
    found["export"]["bytes"] = own_scores.file_bytes(folder)
    return found


def _trained_size(described: run_folder.Run) -> tuple[int, int]:
    """Returns the size of the images that a network was trained for."""
    size = described.options.image_size or described.options.crop_size
    if size is None:
        raise InputError(
            f"{described.folder}: must have been trained with an image size or a crop size, got "
            "neither; give --size."
        )
    return size


def _adapt(model, view: View, crf, size, form: ModuleType):
    """Adapts the network to the computation of the exported model."""
    fixed = adapters.only_size(model)
    if fixed and size not in (None, fixed):
        raise InputError(
            f"size must be {fixed[0]},{fixed[1]}, the only one that the network takes, got "
            f"{size[0]},{size[1]}."
        )
    model = seen(form.adapt(model, size), view)
    return model if crf is None else refine(model, crf)


def _facts(
    described: run_folder.Run, view: View, crf, size, format: str, quantize: str | None
) -> dict[str, Any]:
    """Returns the meaning of the labels and the form of the export's inputs."""
    classes = described.classes
    return {
        "class_names": classes.names,
        "colors": classes.colors,
        "ignore_label": IGNORE_LABEL,
        "classes_fingerprint": classes.fingerprint,
        "dataset": {key: described.dataset[key] for key in ("name", "fingerprint")},
        "view": view.facts(),
        "crf": crf is not None,
        "size": size,
        "format": format,
        "quantize": quantize,
        **_images(described),
    }


def _images(described: run_folder.Run) -> dict[str, Any]:
    """Returns facts on the images; none for RGB of 8 bits, as ever."""
    if is_default(described.channels, described.bits):
        return {}
    return {
        "channels": described.channels,
        "bits": described.bits,
        "stretch": described.stretch,
    }


def _publish(writing: Path) -> Path:
    """Gives a finished export the next version's name."""
    while True:
        numbers = [int(path.name) for path in writing.parent.iterdir() if path.name.isdecimal()]
        number = max(numbers, default=0) + 1
        if number > _LAST_VERSION:
            raise InputError(
                f"{writing.parent}: versions must be at most {_LAST_VERSION}, as for servers, got "
                f"{number - 1} there; choose another --name."
            )
        version = writing.parent / str(number)
        try:
            atomic_files.give_name(writing, version)
        except OSError as error:
            # Another export has just taken the number.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            return version
