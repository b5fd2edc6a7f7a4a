"""The user's own networks and losses, checked before a training begins."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import IGNORE_LABEL, adapters

from ..errors import InputError
from ..runs import guests
from ..runs.guests import Guest
from ..runs.option_fields import check_option
from ..runs.training_options import TrainingOptions


def check_options(options: TrainingOptions, found: Mapping[str, Guest]) -> None:
    """Checks the options that apply only to kerasseg's own networks or losses, or only to others.

    Raises:
        InputError: If an option would have no effect.
    """
    for option in ("model", "encoder"):
        if option in found:
            check_option(
                "encoder_weights",
                options.encoder_weights == "none",
                f"none with {found[option]}, which loads its weights itself",
                options.encoder_weights,
            )
    if "loss" in found:
        for name, neutral in (("class_weights", "none"), ("dice_weight", 0)):
            value = getattr(options, name)
            check_option(name, value == neutral, f"{neutral} with {found['loss']}", value)
    else:
        given = options.loss_options
        requirement = "left out without your own loss"
        check_option("loss_options", not given, requirement, given)


def build_network(
    guest: Guest, options: TrainingOptions, arguments: dict[str, Any], channels: int = 3
) -> keras.Model:
    """Calls `function(num_classes, input_shape, **model_options)`.

    Args:
        guest: The function.
        options: Options of the training.
        arguments: `num_classes` and the options of the model.
        channels: Number of channels of the images.

    Returns:
        The network, whose output are logits `(batch, height, width, num_classes)`.

    Raises:
        InputError: If the function fails, or does not return such a network.
    """
    arguments = {"input_shape": (None, None, channels), **arguments}
    try:
        model = guest.value(**arguments)
    except (Exception, SystemExit) as error:  # it may raise anything
        listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise InputError(
            f"{guest} cannot be called with {listed} ({guests.place(error, guest.source)})."
        ) from error
    try:
        network = adapters.trainable_network(model, arguments["num_classes"], channels)
    except ValueError as error:
        raise InputError(f"{guest}: {error}") from error
    _check_encoder(guest, options, network)
    return network


def _check_encoder(guest: Guest, options: TrainingOptions, network: keras.Model) -> None:
    if any(variable.path.startswith("encoder_") for variable in network.variables):
        return
    requirement = f"{{}} with {guest}, which has no layer whose name begins with encoder_"
    factor = options.encoder_learning_rate_factor
    check_option("encoder_learning_rate_factor", factor == 1, requirement.format(1), factor)
    fixed = options.batch_norm
    check_option("batch_norm", fixed != "frozen-encoder", requirement.format("another"), fixed)


def check_saving(guest: Guest, network: keras.Model) -> None:
    """Saves a network and loads it again, so that a failure shows before the first epoch.

    Raises:
        InputError: If it cannot be saved or loaded, for example because of a Lambda layer.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.keras"
        try:
            network.save(file)
            keras.models.load_model(file, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises many kinds
            raise InputError(
                f"{guest} must return a network that Keras can save and load, got an error "
                f"({adapters.in_one_line(error)}); your own layers need get_config() with the "
                "arguments of their constructor, and Lambda layers are not loaded."
            ) from error


def build_loss(guest: Guest, options: TrainingOptions, num_classes: int) -> keras.losses.Loss:
    """Makes the loss `Class(**loss_options)`.

    Args:
        guest: A `keras.losses.Loss` class. It is called with labels (batch, height, width), which
            Keras converts to float32, and logits (batch, height, width, num_classes); pixels
            labelled 255 do not count. Keras averages what its `call` returns, so a mean over the
            pixels that count is for the loss itself to compute.
        options: Options of the training.
        num_classes: Number of classes.

    Raises:
        InputError: If it is not such a class, its value is not finite when a pixel is labelled 255,
            or it has no gradient.
    """
    # Checked before the call: someone else's run folder could name another function of the file.
    if not (isinstance(guest.value, type) and issubclass(guest.value, keras.losses.Loss)):
        raise InputError(f"{guest} must be a keras.losses.Loss class, got {guest.value!r}.")
    try:
        loss = guest.value(**options.loss_options)
    except (Exception, SystemExit) as error:  # it may raise anything
        listed = ", ".join(f"{name}={value!r}" for name, value in options.loss_options.items())
        raise InputError(
            f"{guest} cannot be made with {listed or 'no options'} "
            f"({guests.place(error, guest.source)})."
        ) from error
    random = np.random.default_rng(0)
    labels = random.integers(0, num_classes, (2, 5, 7)).astype(np.uint8)
    labels[:, 0] = IGNORE_LABEL
    logits = random.normal(size=(*labels.shape, num_classes)).astype(np.float32)
    watched: Any = tf.constant(logits)
    try:
        with tf.GradientTape() as tape:
            tape.watch(watched)
            value: Any = loss(labels, watched)
        gradient: Any = tape.gradient(value, watched)
        value = np.asarray(value)
    except (Exception, SystemExit) as error:  # it may raise anything
        raise InputError(
            f"{guest} must take labels {labels.shape}, some of them {IGNORE_LABEL} (ignored), and "
            f"logits {logits.shape}, got an error ({guests.place(error, guest.source)})."
        ) from error
    if value.shape != () or not np.isfinite(value):
        raise InputError(
            f"{guest} must give one finite number for labels in [0, {num_classes}) and "
            f"{IGNORE_LABEL}, which is ignored, got {value}."
        )
    if gradient is None or not np.any(gradient):
        raise InputError(
            f"{guest} must change with the logits, got a gradient of zero: nothing could be "
            "learned; rounding and argmax have none."
        )
    # Keras divides averages by the number of replicas, but not a loss that is a single number.
    averaged = type(loss).__call__ is not keras.losses.Loss.__call__
    averaged = averaged or np.ndim(loss.call(labels.astype(np.float32), logits)) > 0
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return loss if averaged or replicas == 1 else _Share(loss, replicas)


class _Share(keras.losses.Loss):
    """One replica's share of a loss; Keras adds up the shares of all replicas."""

    def __init__(self, loss: keras.losses.Loss, replicas: int):
        super().__init__(name=loss.name)
        self._loss = loss
        self._replicas = replicas

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the share."""
        value: Any = self._loss(y_true, y_pred, sample_weight)
        return value / self._replicas
