"""Importing published weights into a run folder that every later stage takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from kerasseg import atomic_files, checkpoints
from kerasseg.checkpoints import assign, readers, untold

from .classes import ClassSpace, class_file
from .errors import InputError, writing_to
from .runs import run_folder
from .runs.training_options import TrainingOptions


def run(
    file: Path | str,
    output: Path | str,
    *,
    model: str,
    source: str,
    model_options: dict[str, Any] | None = None,
    num_classes: int | None = None,
    reset_head: bool = False,
    classes: Path | str | None = None,
    prefix: str | None = None,
    allow_non_finite: bool = False,
    report: Callable[[str], None] = lambda notice: None,
) -> run_folder.Run:
    """Imports a checkpoint into a new run folder.

    Args:
        file: The checkpoint, a `.pth`, `.safetensors`, `.h5` or `.npz` file.
        output: The run folder to write; must not exist.
        model: Name of the architecture.
        source: Implementation that the checkpoint comes from, one of
            `kerasseg.checkpoints.SOURCES`.
        model_options: Further arguments of the architecture. Those that do not follow from the
            tensors must be given.
        num_classes: Number of classes, if it differs from the checkpoint's.
        reset_head: Whether the classifier may then start from random weights.
        classes: A `classes.txt` with names and colours; None for class_0, class_1 and so on.
        prefix: Beginning of the names of the network's tensors; None to find it.
        allow_non_finite: Whether weights may be NaN or infinite.
        report: Called with a sentence if a prefix was removed or tensors were left out.

    Returns:
        The run.

    Raises:
        InputError: If the file cannot be read, its tensors do not fit, an argument that they do not
            tell is missing, or the output folder exists.
    """
    file, output = Path(file), Path(output)
    if output.exists():
        raise InputError(f"{output}: must not exist yet; choose another --output.")
    options = dict(model_options or {})
    notices: list[str] = []

    def say(notice: str) -> None:
        notices.append(notice)
        report(notice)

    network = _build(
        file,
        options,
        model=model,
        source=source,
        num_classes=num_classes,
        reset_head=reset_head,
        prefix=prefix,
        allow_non_finite=allow_non_finite,
        report=say,
    )
    # The shape of a network with an auxiliary head has a name for each.
    shape: Any = network.output_shape
    count = (shape["logits"] if isinstance(shape, dict) else shape)[-1]
    space = _classes(None if classes is None else Path(classes), count)
    with writing_to(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.new_folder(output) as writing:
            (writing / run_folder.CHECKPOINTS).mkdir()
            network.save(writing / run_folder.CHECKPOINTS / "best.keras")
            run_folder.describe(
                writing,
                TrainingOptions(model=model, model_options=options),
                space,
                {"name": "imported", "path": "", "fingerprint": ""},
                imported={"file": file.name, "source": source, **_recorded(notices)},
                parameters=network.count_params(),
            )
    return run_folder.load(output)


def _build(file: Path, options: dict[str, Any], **arguments: Any) -> keras.Model:
    try:
        return checkpoints.from_state_dict(
            readers.read(file),
            resize_logits=True,
            complete=True,
            **arguments,
            **{"preprocessing": "source", **options},
        )
    except readers.CheckpointError as error:
        raise InputError(str(error)) from error
    except untold.UntoldError as error:
        asked = "".join(f"\n  --model-option {name}={v}" for name, v in error.missing.items())
        raise InputError(
            f"{file}: the tensors do not tell all of the network. Give what the configuration that "
            f"it was trained with says:{asked}"
        ) from error
    except assign.NonFiniteError as error:
        raise InputError(
            f"{file}: {error}\n--allow-non-finite imports them nevertheless."
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: {error}") from error


def _recorded(notices: list[str]) -> dict[str, str]:
    return {"tensors": notices[0]} if notices else {}


def _classes(file: Path | None, count: int) -> ClassSpace:
    if file is None:
        return run_folder.placeholder_classes(count)
    classes = class_file.read(file).classes
    if len(classes.names) != count:
        raise InputError(
            f"{file}: must list the network's {count} classes, got {len(classes.names)}."
        )
    return classes
