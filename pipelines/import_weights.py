"""Importing published weights into a run folder that every later stage takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras

from kerasseg import atomic_files, checkpoints, inference
from kerasseg.checkpoints import (
    assign,
    catalogue,
    huggingface_files,
    readers,
    recognition,
    untold,
)
from kerasseg.checkpoints.limits import OtherNetworkError
from kerasseg.checkpoints.recognition import Recognized

from .classes import ClassSpace, class_file, colors, comparison
from .datasets import _published
from .errors import InputError, writing_to
from .runs import run_folder
from .runs.training_options import TrainingOptions


class _Given(NamedTuple):
    """What the user gave for the network."""

    options: dict[str, Any]
    num_classes: int | None
    reset_head: bool
    prefix: str | None
    allow_non_finite: bool


def run(
    file: Path | str,
    output: Path | str,
    *,
    model: str | None = None,
    source: str | None = None,
    checkpoint: str | None = None,
    model_options: dict[str, Any] | None = None,
    num_classes: int | None = None,
    reset_head: bool = False,
    classes: Path | str | None = None,
    prefix: str | None = None,
    allow_non_finite: bool = False,
    ignore_configuration: bool = False,
    report: Callable[[str], None] = lambda notice: None,
) -> run_folder.Run:
    """Imports a checkpoint into a new run folder.

    What is not given is recognised: by the configuration in the file, by the file's name or hash in
    the catalogue, or by the tensors. What is given counts more, and what the tensors show counts
    more than the catalogue.

    Args:
        file: The checkpoint, a `.pth`, `.safetensors`, `.h5` or `.npz` file; or `hf://USER/NAME`,
            from which it is downloaded.
        output: The run folder to write; must not exist.
        model: Name of the architecture; None to recognise it.
        source: Implementation that the checkpoint comes from, one of
            `kerasseg.checkpoints.SOURCES`; None to recognise it.
        checkpoint: Name of the checkpoint in the catalogue; None to recognise it.
        model_options: Further arguments of the architecture. Those that neither the tensors nor a
            configuration nor the catalogue tell must be given.
        num_classes: Number of classes, if it differs from the checkpoint's.
        reset_head: Whether the classifier may then start from random weights.
        classes: A `classes.txt` with names and colours; None for those of the file, or else those
            of the dataset in the catalogue, or else class_0, class_1 and so on.
        prefix: Beginning of the names of the network's tensors; None to find it.
        allow_non_finite: Whether weights may be NaN or infinite.
        ignore_configuration: Whether the configuration in the file or beside it does not count.
        report: Called with each sentence about what was recognised, removed, left out or
            overridden.

    Returns:
        The run.

    Raises:
        InputError: If the file cannot be read or recognised, its configuration describes a network
            that kerasseg does not have, its tensors do not fit, an argument that nothing tells is
            missing, `checkpoint` contradicts the file's configuration, or the output folder exists.
    """
    output = Path(output)
    if output.exists():
        raise InputError(f"{output}: must not exist yet; choose another --output.")
    file, checkpoint, address = _fetch(file, checkpoint)
    given = _Given(dict(model_options or {}), num_classes, reset_head, prefix, allow_non_finite)
    names = {"source": source, "model": model, "checkpoint": checkpoint}
    saved, found = _recognize(file, prefix, ignore_configuration, **names)
    for notice in (*found.notices, *_overridden(found, given)):
        report(notice)
    notices: list[str] = []
    contradictions: list[str] = []
    network = _build(file, saved, found, given, notices.append, contradictions.append)
    for notice in (*notices, *contradictions):
        report(notice)
    count = inference.without_auxiliary(network).output_shape[-1]
    space = _classes(None if classes is None else Path(classes), found, count, report)
    told = {key: found.configured[key] for key in recognition.UNSHOWN if key in found.configured}
    with writing_to(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.new_folder(output) as writing:
            (writing / run_folder.CHECKPOINTS).mkdir()
            network.save(writing / run_folder.CHECKPOINTS / "best.keras")
            run_folder.describe(
                writing,
                TrainingOptions(model=found.model, model_options={**told, **given.options}),
                space,
                {"name": "imported", "path": "", "fingerprint": ""},
                imported={
                    "file": address or file.name,
                    "source": found.source,
                    **_recorded(found, notices, is_published=not contradictions),
                },
                parameters=network.count_params(),
                **run_folder.form_of_images(network.input_shape[-1]),
            )
    return run_folder.load(output)


def _fetch(file: Path | str, checkpoint: str | None) -> tuple[Path, str | None, str]:
    """Downloads a file from the Hub; returns it, its name in the catalogue, and the address."""
    if isinstance(file, Path) or not huggingface_files.is_address(file):
        return Path(file), checkpoint, ""
    try:
        fetched = huggingface_files.fetch(file)
    except readers.CheckpointError as error:
        raise InputError(str(error)) from error
    known = [entry.name for entry in catalogue.entries()]
    named = fetched.name if checkpoint is None and fetched.name in known else checkpoint
    return fetched.path, named, fetched.address


def _recognize(
    file: Path, prefix: str | None, ignore_configuration: bool, **names: str | None
) -> tuple[readers.Saved, Recognized]:
    try:
        saved = readers.read_saved(file)
    except readers.CheckpointError as error:
        raise InputError(str(error)) from error
    try:
        return saved, recognition.recognize(
            file, saved, prefix=prefix, ignore_configuration=ignore_configuration, **names
        )
    except OtherNetworkError as error:
        raise InputError(
            f"{file}: its configuration must describe a network that kerasseg has. {error}\n"
            "--ignore-configuration imports the tensors nevertheless."
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error


def _overridden(found: Recognized, given: _Given) -> list[str]:
    """Describes the options that were given although the file is said to have others."""
    told = {**found.configured, "preprocessing": found.preprocessing}
    if found.preprocessing == "source":
        del told["preprocessing"]
    return [
        f"{name} is {value} as given, although the file is said to have {told[name]}"
        for name, value in given.options.items()
        if name in told and not _equal(told[name], value)
    ]


def _equal(one: Any, other: Any) -> bool:
    lists = (list, tuple)
    if isinstance(one, lists) and isinstance(other, lists):
        return list(one) == list(other)
    return one == other


def _build(
    file: Path,
    saved: readers.Saved,
    found: Recognized,
    given: _Given,
    report: Callable[[str], None],
    report_contradiction: Callable[[str], None],
) -> keras.Model:
    try:
        return checkpoints.from_state_dict(
            saved.tensors,
            source=found.source,
            model=found.model,
            num_classes=given.num_classes,
            reset_head=given.reset_head,
            prefix=given.prefix,
            allow_non_finite=given.allow_non_finite,
            resize_logits=True,
            complete=True,
            configured=found.configured,
            report=report,
            report_contradiction=report_contradiction,
            **{"preprocessing": found.preprocessing, **given.options},
        )
    except untold.UntoldError as error:
        asked = "".join(f"\n  --model-option {name}={v}" for name, v in error.missing.items())
        raise InputError(
            f"{file}: the tensors do not tell all of the network. Give what the configuration that "
            f"it was trained with says:{asked}\n"
            "Or give --checkpoint if 'kerasseg checkpoints' lists it."
        ) from error
    except assign.NonFiniteError as error:
        raise InputError(
            f"{file}: {error}\n--allow-non-finite imports them nevertheless."
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: {error}") from error


def _recorded(found: Recognized, notices: list[str], *, is_published: bool) -> dict[str, Any]:
    """Returns what the run remembers of its weights.

    Args:
        found: What the file is.
        notices: What was removed or left out.
        is_published: Whether the tensors can be those of the catalogue's checkpoint.
    """
    recorded: dict[str, Any] = {}
    if notices:
        recorded["tensors"] = notices[0]
    if found.entry is not None and is_published:
        recorded |= {"checkpoint": found.entry.name, "licence": found.entry.license}
    if found.windows is not None:
        recorded["windows"] = found.windows._asdict()
    return recorded


def _classes(
    file: Path | None, found: Recognized, count: int, report: Callable[[str], None]
) -> ClassSpace:
    """Chooses the classes: the user's, the file's, those of the catalogue's dataset, or none."""
    if file is not None:
        classes = class_file.read(file).classes
        if len(classes.names) != count:
            raise InputError(
                f"{file}: must list the network's {count} classes, got {len(classes.names)}."
            )
        return classes
    named = _named_classes(found, count, report)
    if named is None and found.entry is not None:
        named = _published.classes_of(found.entry.dataset, count)
    return named or comparison.placeholder_classes(count)


def _named_classes(
    found: Recognized, count: int, report: Callable[[str], None]
) -> ClassSpace | None:
    """Returns the classes that the file names, unless they are not those of the network."""
    names = found.notes.class_names
    if not names:
        return None
    if len(names) != count:
        report(f"the file's {len(names)} class names are not used: the network has {count} classes")
        return None
    try:
        return ClassSpace(names, found.notes.colors or colors.complete(names, {}))
    except InputError as error:
        report(f"the file's class names are not used: {error}")
        return None
