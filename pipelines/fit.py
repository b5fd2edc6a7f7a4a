"""Training: a converted dataset to a run folder."""

import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasseg
from kerasseg import IGNORE_LABEL, losses, optimizers, schedules
from kerasseg.layers import BatchNormalization
from kerasseg.layers.outputs import SegmentationModel

from . import records
from .errors import ImageFileError, InputError
from .images import png
from .inputs import cache
from .inputs.service import check_dispatcher
from .records import reader
from .runs import guests, initial_weights, run_folder
from .runs.guests import Guest
from .runs.option_fields import check_option
from .runs.state import State, newest_whole
from .runs.training_options import TrainingOptions
from .runtime import allocator, interruption, locks
from .runtime.devices import mirrored_strategy
from .training import guest_parts
from .training.epochs import Training


def run(
    options: TrainingOptions,
    data: Path | str,
    folder: Path | str,
    *,
    devices: Sequence[str] | None = None,
    service: str | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> run_folder.Run:
    """Trains a network.

    A model, an encoder or a loss of your own, named in the options as `FILE.py:NAME`, is executed,
    and copied into the run folder.

    In the main thread, SIGINT and SIGTERM stop the training after the step it is at; a second
    SIGINT aborts it at once.

    Args:
        options: What to train, and how.
        data: Folder of the converted dataset.
        folder: Folder of the new run.
        devices: Names of the devices, one replica each; None for all GPUs, or the CPU.
        service: HOST:PORT of a tf.data service that makes the training batches; None for here.
        extra_callbacks: Called after those of the run.

    Returns:
        The run.

    Raises:
        InputError: If the options, code of your own, the dataset or the folder cannot be used,
            another process trains there, or the loss is not finite.
        Interrupted: If a signal asked to stop. If the run has been begun, its state is saved.
    """
    folder = Path(folder)
    dataset = records.load(data)
    run_folder.check_new(folder)
    _check_data(options, dataset)
    cache.check(options.cache, dataset, folder)
    _check_service(options, service)
    strategy = _strategy(options, devices)
    own = guests.load(options)
    with interruption.handled() as stop:
        model = _build_model(options, dataset, strategy, own)
        loaded = initial_weights.load(model, options, dataset)
        with locks.exclusive(folder):
            run_folder.remove_leftovers(folder)
            described = run_folder.create(
                folder,
                options,
                dataset,
                code=guests.store(folder, own),
                parameters=model.count_params(),
                replicas=strategy.num_replicas_in_sync,
                **loaded,
            )
            allocator.keep_freed(allocator.ARRAYS)
            training = Training(described, dataset, model, strategy, stop, service, extra_callbacks)
            training.run(None)
    return described


def resume(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    devices: Sequence[str] | None = None,
    service: str | None = None,
    code: Sequence[str] = (),
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
    on_notice: Callable[[str], None] = lambda text: None,
) -> run_folder.Run:
    """Goes on with a run where its newest whole state was saved, as if it had not been interrupted.

    A run that was stopped before it could save any state begins again, with the initial weights
    that it was to have.

    Args:
        folder: The run.
        data: Folder of the dataset, if it has moved.
        devices: As for `run`.
        service: As for `run`.
        code: Files or modules of a run with code of your own, which are executed if they are those
            that it was trained with.
        extra_callbacks: As for `run`.
        on_notice: Called with lines that tell where it goes on, and which states are damaged.

    Returns:
        The run.

    Raises:
        InputError: If there is no such run, the dataset is not the one it was trained on, no state
            is whole, or as for `run`.
        Interrupted: As for `run`.
    """
    described = run_folder.load(Path(folder))
    with locks.exclusive(described.folder), interruption.handled() as stop:
        options = described.options
        own = guests.load_again(options, described.code, code, described.folder)
        found = _find_state(described, on_notice)
        run_folder.remove_leftovers(described.folder)
        dataset = described.open_dataset(None if data is None else Path(data))
        if dataset.fingerprint != described.dataset["fingerprint"]:
            raise InputError(
                f"{dataset.root}: must be the records that {folder} was trained on, fingerprint "
                f"{described.dataset['fingerprint']}, got {dataset.fingerprint}."
            )
        _check_service(options, service)
        strategy = _strategy(options, devices)
        model = _build_model(options, dataset, strategy, own)
        if found is None:
            initial_weights.load(model, options, dataset)
        allocator.keep_freed(allocator.ARRAYS)
        Training(described, dataset, model, strategy, stop, service, extra_callbacks).run(found)
    return described


def _find_state(described: run_folder.Run, on_notice: Callable[[str], None]) -> State | None:
    """Finds the state to go on from; None if the training has to begin again.

    Raises:
        InputError: If states are there and none is whole, or none is there of a run that had some.
    """
    folder = described.folder
    checkpoints = folder / run_folder.CHECKPOINTS
    found, damaged = newest_whole(checkpoints)
    for problem in damaged:
        on_notice(f"damaged state passed over: {problem}")
    if found is not None:
        epoch, step = found.position
        on_notice(f"going on after epoch {epoch}" + (f" and {step} steps" if step else ""))
        return found
    if damaged:
        raise InputError(
            f"{checkpoints}: must hold a whole state to go on from, got damaged ones only: "
            f"{'; '.join(damaged)}. Nothing was changed."
        )
    if run_folder.has_epochs(described):
        raise InputError(f"{checkpoints}: must hold a state to go on from, got none.")
    initial = [
        f"{name} {value}"
        for name in ("init_from", "encoder_weights")
        if (value := getattr(described.options, name)) not in (None, "none")
    ]
    on_notice(
        "the run was stopped before its first state was saved: it begins again"
        + (f", with {' and '.join(initial)}" if initial else "")
    )
    return None


def _check_data(options: TrainingOptions, dataset: records.Dataset) -> None:
    for split in ("train", "validation"):
        if not _holds_a_class(dataset, split):
            raise InputError(
                f"{dataset.root}: labels of split {split} must hold a pixel of some class, got "
                "ignored ones only; convert labels that are not withheld, or with another --map."
            )
    counted = bool(dataset.splits["train"].class_pixels) or options.class_weights == "none"
    requirement = (
        "none for a dataset converted with --verify checksums, whose labels no one counted"
    )
    check_option("class_weights", counted, requirement, options.class_weights)
    examples = dataset.splits["train"].examples
    check_option(
        "batch_size",
        options.batch_size <= examples,
        f"at most the {examples} training images",
        options.batch_size,
    )


def _holds_a_class(dataset: records.Dataset, split: str) -> bool:
    """Tells whether a label has a pixel of a class; looks for one where nobody counted them."""
    files, counts = dataset.files(split), dataset.splits[split].class_pixels
    if counts:
        return any(counts)
    try:
        for path in map(Path, files):
            with path.open("rb") as file:
                for frame in reader.frames(file, path.stat().st_size):
                    label = png.decode(reader.parse_example(frame.content)["segmentation_mask"])
                    if (label != IGNORE_LABEL).any():
                        return True
    except (OSError, InputError, ImageFileError):
        return True  # what is damaged, training says
    return False


def _check_service(options: TrainingOptions, service: str | None) -> None:
    if service is not None:
        requirement = "auto or none with a data service, whose workers decode"
        check_option("cache", options.cache in ("auto", "none"), requirement, options.cache)
        check_dispatcher(service)


def _strategy(options: TrainingOptions, devices: Sequence[str] | None):
    strategy = mirrored_strategy(devices)
    replicas = strategy.num_replicas_in_sync
    requirement = f"a multiple of the {replicas} replicas"
    check_option("batch_size", options.batch_size % replicas == 0, requirement, options.batch_size)
    return strategy


def _build_model(
    options: TrainingOptions,
    dataset: records.Dataset,
    strategy,
    own: Mapping[str, Guest] = types.MappingProxyType({}),
) -> keras.Model:
    guest_parts.check_options(options, own)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.dtype_policy)
    steps = options.epochs * (dataset.splits["train"].examples // options.batch_size)
    try:
        with strategy.scope():
            model = _build_network(options, dataset, own)
            _set_batch_norm(model.layers, options, lambda: model.optimizer.iterations)
            _refuse_frozen(model, options)
            with_auxiliary = isinstance(model, SegmentationModel)
            model.compile(
                optimizer=_build_optimizer(options, steps),
                loss=_build_loss(options, dataset, own),
                loss_weights={"auxiliary": options.auxiliary_weight} if with_auxiliary else None,
            )
    except ValueError as error:
        raise InputError(str(error)) from error
    except TypeError as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.model_options.items())
        raise InputError(f"{options.model} cannot be built with {given} ({error}).") from error
    return model


def _build_network(
    options: TrainingOptions, dataset: records.Dataset, own: Mapping[str, Guest]
) -> keras.Model:
    arguments = {"num_classes": len(dataset.classes.names), **options.model_options}
    if "encoder" in own:
        arguments["encoder"] = own["encoder"].value
    if "model" in own:
        model = guest_parts.build_network(own["model"], options, arguments)
    else:
        architecture: Any = options.model  # known at run time only
        model = kerasseg.build(architecture, **arguments)
    for option in own.keys() - {"loss"}:
        guest_parts.check_saving(own[option], model)
    return model


def _set_batch_norm(
    layers: list[keras.layers.Layer], options: TrainingOptions, steps_done: Callable, part: str = ""
) -> None:
    for layer in layers:
        if isinstance(layer, keras.Model):  # an encoder of keras-hub
            _set_batch_norm(layer.layers, options, steps_done, layer.name)
        elif isinstance(layer, keras.layers.BatchNormalization):
            encoder = (part or layer.name).startswith("encoder_")
            if options.batch_norm == "frozen" or (
                options.batch_norm == "frozen-encoder" and encoder
            ):
                layer.trainable = False  # else as it is: someone may have frozen a part of theirs
            layer.momentum = options.batch_norm_momentum
            if isinstance(layer, BatchNormalization):
                layer.frozen_statistics = options.batch_norm == "frozen-statistics"
                layer.steps_done = steps_done
            elif options.batch_norm == "frozen-statistics":
                raise ValueError(
                    f"batch_norm must be another than {options.batch_norm} with layer {layer.name} "
                    "of Keras; kerasseg.layers.BatchNormalization can do so."
                )


def _refuse_frozen(model: keras.Model, options: TrainingOptions) -> None:
    """Refuses a network of which no weight would change, however long it trained."""
    factor = options.encoder_learning_rate_factor
    if not any(factor or not v.path.startswith("encoder_") for v in model.trainable_variables):
        total, frozen = len(model.variables), len(model.non_trainable_variables)
        raise ValueError(
            f"network must have weights that are trained, got {frozen} of {total} frozen and "
            f"encoder_learning_rate_factor {factor:g} for the others."
        )


def _build_optimizer(options: TrainingOptions, steps: int) -> keras.optimizers.Optimizer:
    schedule: Any = schedules.Poly(
        options.learning_rate,
        steps,
        options.power,
        warmup_steps=round(steps * options.warmup_epochs / options.epochs),
    )
    factor = {"encoder_factor": options.encoder_learning_rate_factor}
    if options.optimizer == "sgd":
        optimizer = optimizers.SGD(
            schedule, momentum=0.9, weight_decay=options.weight_decay or None, **factor
        )
    else:
        optimizer = optimizers.AdamW(schedule, weight_decay=options.weight_decay, **factor)
    if options.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _build_loss(
    options: TrainingOptions, dataset: records.Dataset, own: Mapping[str, Guest]
) -> keras.losses.Loss:
    if "loss" in own:
        return guest_parts.build_loss(own["loss"], options, len(dataset.classes.names))
    cross_entropy = losses.CrossEntropy(class_weights=_class_weights(options, dataset))
    if options.dice_weight == 0:
        return cross_entropy
    return losses.WeightedSum([cross_entropy, losses.Dice()], [1.0, options.dice_weight])


def _class_weights(options: TrainingOptions, dataset: records.Dataset) -> list[float] | None:
    if options.class_weights == "none":
        return None
    weights = median_frequency_weights(dataset.splits["train"])
    if options.class_weights == "sqrt-median-frequency":
        return np.sqrt(weights).tolist()
    return weights


def median_frequency_weights(split: records.Split) -> list[float]:
    """Computes median-frequency class weights.

    `w_c = median_k(f_k) / f_c`, where f_c is the share of class c among the labelled pixels of the
    images in which it occurs. A class that never occurs has weight 0.

    Reference:
        Eigen and Fergus, 2015, section 6.3.2; SegNet, section 4. https://arxiv.org/abs/1511.00561
    """
    pixels = np.asarray(split.class_pixels, np.float64)
    totals = np.asarray(split.pixels_with_class, np.float64)
    frequency = np.divide(pixels, totals, out=np.zeros_like(pixels), where=totals > 0)
    median = np.median(frequency[frequency > 0])
    weights = np.divide(median, frequency, out=np.zeros_like(frequency), where=frequency > 0)
    return weights.tolist()
