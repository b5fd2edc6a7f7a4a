"""The weights a training begins with: an encoder's from ImageNet, or those of another run."""

import inspect
import sys
from pathlib import Path
from typing import Any

import keras

import kerasseg
from kerasseg import inference
from kerasseg.checkpoints import imagenet, readers, transfer

from .. import records
from ..errors import InputError
from . import run_folder
from .training_options import TrainingOptions


def load(model: keras.Model, options: TrainingOptions, dataset: records.Dataset) -> dict[str, Any]:
    """Gives a network the weights with which its training begins.

    Args:
        model: The network, which has random ones.
        options: Of the training; they name the weights.
        dataset: The training's.

    Returns:
        What was loaded, for the run's description.

    Raises:
        InputError: If weights cannot be read, or are not those of such a network and such classes.
    """
    loaded: dict[str, Any] = {}
    try:
        if options.encoder_weights != "none":
            encoder = options.model_options.get("encoder") or _default_encoder(options.model)
            notices: list[str] = []
            loaded["encoder_variables_loaded"] = imagenet.load_encoder(
                model, encoder, options.encoder_weights, report=notices.append
            )
            if notices:
                loaded["encoder_tensors"] = notices[0]
                print(notices[0], file=sys.stderr)
        if options.init_from is not None:
            source = Path(options.init_from)
            same = _has_classes_of(source, dataset, reset_head=options.reset_head)
            anew = transfer.copy_weights(
                _load_source(source), model, reset_head=options.reset_head, same_classes=same
            )
            loaded["layers_started_anew"] = anew
    except ValueError as error:
        raise InputError(str(error)) from error
    return loaded


def _has_classes_of(source: Path, dataset: records.Dataset, *, reset_head: bool) -> bool:
    """Tells whether a run knows the dataset's classes; another number of them shows otherwise.

    Raises:
        InputError: If it knows as many others, and its classifiers are not to start anew.
    """
    if not (source / run_folder.DESCRIPTION).is_file():
        return True
    known, wanted = run_folder.load(source).classes, dataset.classes
    unnamed = run_folder.has_placeholders(known, known.count)
    if known == wanted or unnamed or len(known.names) != len(wanted.names):
        return True
    if not reset_head:
        raise InputError(
            f"{source}: must have the classes of {dataset.root}, or --reset-head:\n"
            + run_folder.describe_difference(wanted, known)
        )
    return False


def _default_encoder(model: str) -> str:
    """Returns the encoder that an architecture has unless told otherwise.

    Raises:
        InputError: If it takes none.
    """
    option = inspect.signature(kerasseg.models.builder(model)).parameters.get("encoder")
    if option is None:
        raise InputError(f"encoder_weights must be none for {model}: it has no encoder to choose.")
    return option.default


def _load_source(path: Path) -> keras.Model:
    """Loads a network, once its file is known to hold no more than its size allows."""
    try:
        file = inference.model_of_run(path) if path.is_dir() else path
        if file.is_file():
            readers.check_keras_file(file)
        return kerasseg.load(path)
    except readers.CheckpointError as error:
        raise InputError(str(error)) from error
    except FileNotFoundError as error:
        raise InputError(
            f"init_from must be a run or a .keras file, got {path}: {error}"
        ) from error
    except Exception as error:  # Keras raises many kinds on a damaged archive
        raise InputError(f"{path}: cannot be loaded ({error}).") from error
