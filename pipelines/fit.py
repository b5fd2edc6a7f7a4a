"""Training: a converted dataset to a run folder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kerasseg
from kerasseg import callbacks, losses, optimizers, schedules
from kerasseg.layers import BatchNormalization
from kerasseg.layers.outputs import SegmentationModel

from . import inputs, records
from .errors import InputError
from .inputs import cache
from .inputs.service import check_dispatcher
from .runs import initial_weights, run_folder
from .runs.training_options import TrainingOptions, check_option
from .runtime import allocator
from .runtime.devices import mirrored_strategy


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
        InputError: If the options, the dataset or the folder cannot be used.
    """
    folder = Path(folder)
    dataset = records.load(data)
    _check_data(options, dataset)
    cache.check(options.cache, dataset, folder)
    _check_service(options, service)
    strategy = mirrored_strategy(devices)
    check_option(
        "batch_size",
        options.batch_size % strategy.num_replicas_in_sync == 0,
        f"a multiple of the {strategy.num_replicas_in_sync} replicas",
        options.batch_size,
    )
    model = _build_model(options, dataset, strategy)
    loaded = initial_weights.load(model, options, dataset)
    described = run_folder.create(
        folder,
        options,
        dataset,
        parameters=model.count_params(),
        replicas=strategy.num_replicas_in_sync,
        **loaded,
    )
    _train(described, options, dataset, model, strategy, extra_callbacks, service, resume=False)
    return described


def resume(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    devices: Sequence[str] | None = None,
    service: str | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> run_folder.Run:
    """Goes on with a run after its last finished epoch, as if it had not been interrupted.

    Args:
        folder: The run.
        data: Folder of the dataset, if it has moved.
        devices: As for `run`.
        service: As for `run`.
        extra_callbacks: As for `run`.

    Raises:
        InputError: If there is no such run, or the dataset is not the one it was trained on.
    """
    described = run_folder.load(Path(folder))
    options = described.options
    dataset = described.open_dataset(None if data is None else Path(data))
    if dataset.fingerprint != described.dataset["fingerprint"]:
        raise InputError(
            f"{dataset.root}: must be the records that {folder} was trained on, fingerprint "
            f"{described.dataset['fingerprint']}, got {dataset.fingerprint}."
        )
    _check_service(options, service)
    strategy = mirrored_strategy(devices)
    model = _build_model(options, dataset, strategy)
    _train(described, options, dataset, model, strategy, extra_callbacks, service, resume=True)
    return described


def _check_data(options: TrainingOptions, dataset: records.Dataset) -> None:
    for split in ("train", "validation"):
        dataset.files(split)
        counts = dataset.splits[split].class_pixels
        if counts and not any(counts):
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


def _check_service(options: TrainingOptions, service: str | None) -> None:
    if service is not None:
        requirement = "auto or none with a data service, whose workers decode"
        check_option("cache", options.cache in ("auto", "none"), requirement, options.cache)
        check_dispatcher(service)


def _build_model(options: TrainingOptions, dataset: records.Dataset, strategy) -> keras.Model:
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.dtype_policy)
    steps = options.epochs * (dataset.splits["train"].examples // options.batch_size)
    try:
        with strategy.scope():
            model = kerasseg.build(
                options.model, num_classes=len(dataset.classes.names), **options.model_options
            )
            _set_batch_norm(model.layers, options)
            loss = _build_loss(options, dataset)
            model.compile(optimizer=_build_optimizer(options, steps), loss=loss)
            if isinstance(model, SegmentationModel):
                model.set_auxiliary_loss(loss, options.auxiliary_weight)
    except ValueError as error:
        raise InputError(str(error)) from error
    except TypeError as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.model_options.items())
        raise InputError(f"{options.model} cannot be built with {given} ({error}).") from error
    return model


def _set_batch_norm(
    layers: list[keras.layers.Layer], options: TrainingOptions, part: str = ""
) -> None:
    for layer in layers:
        if isinstance(layer, keras.Model):  # an encoder of keras-hub
            _set_batch_norm(layer.layers, options, layer.name)
        elif isinstance(layer, BatchNormalization):
            encoder = (part or layer.name).startswith("encoder_")
            layer.trainable = not (
                options.batch_norm == "frozen"
                or (options.batch_norm == "frozen-encoder" and encoder)
            )
            layer.frozen_statistics = options.batch_norm == "frozen-statistics"
            layer.momentum = options.batch_norm_momentum


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


def _build_loss(options: TrainingOptions, dataset: records.Dataset) -> keras.losses.Loss:
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


def _train(
    described, options, dataset, model, strategy, extra_callbacks, service, *, resume
) -> None:
    allocator.keep_freed(allocator.ARRAYS)
    split = dataset.splits["train"]
    checkpoints = described.folder / run_folder.CHECKPOINTS
    with strategy.scope():
        scoring = callbacks.SegmentationMetrics(
            inputs.evaluation_batches(dataset.files("validation"), options.batch_size),
            class_names=dataset.classes.names,
            colors=dataset.classes.colors,
            directory=described.folder,
            image_size=options.image_size,
            every=options.evaluate_every,
        )
        saving = callbacks.Checkpoints(checkpoints, scoring)
        first_epoch = saving.restore(model) if resume and _has_state(checkpoints) else 0
        remaining = options.epochs - first_epoch
        if not remaining:
            return
        batches = inputs.training_batches(
            dataset.files("train"),
            examples=split.examples,
            batch_size=options.batch_size,
            crop_size=options.crop_size or options.image_size or (512, 512),
            image_size=options.image_size,
            scale=options.scale,
            flip=options.flip,
            policy=options.augment,
            seed=options.seed,
            first_epoch=first_epoch,
            epochs=options.epochs,
            decoded=None
            if service
            else cache.load(options.cache, dataset, remaining, described.folder),
            service=service,
        )
        with records.reading(dataset):
            model.fit(
                _without_auto_sharding(batches),
                initial_epoch=first_epoch,
                epochs=options.epochs,
                steps_per_epoch=split.examples // options.batch_size,
                shuffle=False,
                verbose=0,
                callbacks=[_StopOnNaN(), scoring, saving, *extra_callbacks],
            )


def _has_state(checkpoints: Path) -> bool:
    return (checkpoints / "state.json").is_file()


def _without_auto_sharding(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)


class _StopOnNaN(keras.callbacks.Callback):
    """Stops a run that has diverged, before it overwrites its last good state."""

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise InputError(
                f"loss must be finite, got {loss} at step {batch + 1} of the epoch; try a lower "
                "--learning-rate, a longer --warmup-epochs or --dtype-policy float32."
            )
