"""Initial weights of a training: ImageNet weights of an encoder, or the weights of another run."""

import sys
from pathlib import Path
from typing import Any

import keras

import kerasseg
from kerasseg import inference
from kerasseg.checkpoints import forms, imagenet, readers, transfer
from kerasseg.checkpoints.image_kernels import KernelAdapter, adapted_backbones

from .. import records
from ..classes import comparison
from ..errors import InputError
from . import chosen_encoder, run_folder
from .training_options import TrainingOptions


def load(model: keras.Model, options: TrainingOptions, dataset: records.Dataset) -> dict[str, Any]:
    """Loads the initial weights of a training into its network.

    Args:
        model: The network, with random weights.
        options: Options of the training, which name the weights.
        dataset: The dataset of the training.

    Returns:
        Facts on the loaded weights for the run's description.

    Raises:
        InputError: If the weights cannot be read, or belong to another network or other classes.
    """
    loaded: dict[str, Any] = {}
    before = forms.read(model)
    if (backbones := adapted_backbones(model)).adapted:
        loaded["adapted_kernels"] = _say(backbones.describe(model))
    try:
        if options.encoder_weights != "none":
            encoder = _encoder_of(options)
            notices: list[str] = []
            loaded["encoder_variables_loaded"] = imagenet.load_encoder(
                model, encoder, options.encoder_weights, report=notices.append
            )
            if notices:
                loaded["encoder_tensors"] = " ".join(notices)
                print(*notices, sep="\n", file=sys.stderr)
        if options.init_from is not None:
            source = Path(options.init_from)
            same = _has_classes_of(source, dataset, reset_head=options.reset_head)
            given = _load_source(source)
            _check_channels(source, given, model)
            adapter = transfer.adapter_of(given)
            loaded["layers_started_anew"] = transfer.copy_weights(
                given, model, reset_head=options.reset_head, same_classes=same, adapter=adapter
            )
            _tell_of_channels(given, model, adapter, loaded)
    except ValueError as error:
        raise InputError(str(error)) from error
    if changed := forms.changes(before, forms.read(model)):
        loaded[run_folder.FORMS] = forms.to_json(changed)
    return loaded


def set_forms(model: keras.Model, described: run_folder.Run) -> None:
    """Lets the network of a training that continues compute what its initial weights asked for.

    Args:
        model: The network, built anew.
        described: The run.
    """
    forms.set_on(model, forms.from_json(described.forms))


def _check_channels(path: Path, source: keras.Model, model: keras.Model) -> None:
    given, channels = source.input_shape[-1], model.input_shape[-1]
    if given not in (3, channels):
        raise InputError(
            f"{path}: must be a network of images of {channels} channels, as the dataset has"
            f"{'' if channels == 3 else ', or of RGB images'}, got one of {given}."
        )


def _tell_of_channels(
    source: keras.Model, model: keras.Model, adapter: KernelAdapter, loaded: dict[str, Any]
) -> None:
    """Says how the weights of a network of RGB images came to one of other images."""
    told = adapter.describe(model)
    if told and source.input_shape[-1] != model.input_shape[-1]:
        loaded["adapted_kernels"] = _say(told)


def _say(told: str | None) -> str | None:
    print(told, file=sys.stderr)
    return told


def _has_classes_of(source: Path, dataset: records.Dataset, *, reset_head: bool) -> bool:
    """Tells whether a run has the dataset's classes; False if their number differs.

    Raises:
        InputError: If it has as many other classes and its classifiers keep their weights.
    """
    if not (source / run_folder.DESCRIPTION).is_file():
        return True
    known, wanted = run_folder.load(source).classes, dataset.classes
    unnamed = comparison.has_placeholders(known, known.count)
    if comparison.are_same(known, wanted) or unnamed or len(known.names) != len(wanted.names):
        return True
    if not reset_head:
        raise InputError(
            f"{source}: must have the classes of {dataset.root}, or --reset-head:\n"
            + comparison.describe_difference(wanted, known)
        )
    return False


def _encoder_of(options: TrainingOptions) -> str:
    """Returns the name of the encoder.

    Raises:
        InputError: If the architecture has no choice of encoder.
    """
    found = chosen_encoder.name_of(options)
    if found is None:
        raise InputError(
            f"encoder_weights must be none for {options.model}: it has no choice of encoder, or "
            "none is named."
        )
    return found


def _load_source(path: Path) -> keras.Model:
    """Loads a network after checking that its file holds no more than its size allows."""
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
    except Exception as error:  # Keras raises many kinds of errors for a damaged archive
        raise InputError(f"{path}: cannot be loaded ({error}).") from error
