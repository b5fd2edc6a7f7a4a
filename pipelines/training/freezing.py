"""Layers that keep their weights in a training: always, or in a phase of it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from ..runs.training_options import TrainingOptions


def freeze(layer: keras.layers.Layer) -> None:
    """Freezes a layer, and those inside of it, for this training: see `as_built`."""
    inner: list[Any] = layer._flatten_layers()
    for each in inner:
        each.trainable_as_built = _trainable_as_built(each)
    layer.trainable = False


def _trainable_as_built(layer: keras.layers.Layer) -> bool:
    """Tells whether a layer was trainable before this training froze it."""
    return getattr(layer, "trainable_as_built", layer.trainable)


@contextlib.contextmanager
def as_built(model: keras.Model) -> Iterator[None]:
    """Takes back in the block what `freeze` did, so that a copy can be trained as it was built."""
    now = [(layer, layer.trainable) for layer in model._flatten_layers()]
    try:
        for layer, _ in now:  # the outer ones first, which change the inner ones
            layer.trainable = _trainable_as_built(layer)
        yield
    finally:
        for layer, trainable in now:
            layer.trainable = trainable


def build_optimizer(
    model: keras.Model, options: TrainingOptions, on_notice: Callable[[str], None]
) -> list[keras.callbacks.Callback]:
    """Freezes the encoder if the options say so, and makes the optimizer's variables.

    Args:
        model: The compiled network.
        options: The options of the training.
        on_notice: Called with a line that says what is trained, when this changes.

    Returns:
        The callback that ends the phase, if there is such a phase.
    """
    if options.freeze == "encoder" and options.unfreeze_after is None:
        _freeze_encoder(model)
        on_notice("the encoder is frozen: its weights and its statistics stay as they are")
    # Without the variables of an encoder that is frozen for good, which saves memory.
    model.optimizer.build(model.trainable_variables)
    if options.unfreeze_after is None:
        return []
    return [Unfreezing(model, options.unfreeze_after, on_notice)]


class Unfreezing(keras.callbacks.Callback):
    """Freezes the encoder, and trains it from the beginning of an epoch on.

    The optimizer must have been built with the encoder's variables. Their moments stay zero while
    it is frozen, and the bias correction of AdamW counts their steps from where they begin.

    Args:
        model: The network.
        epochs: Number of epochs in which the encoder is frozen.
        on_notice: Called with a line that says what is trained, when this changes.
    """

    def __init__(self, model: keras.Model, epochs: int, on_notice: Callable[[str], None]):
        super().__init__()
        self._network = model
        self._epochs = epochs
        self._on_notice = on_notice
        self._frozen = _freeze_encoder(model)

    def on_epoch_begin(self, epoch, logs=None):
        """Ends the phase, also where the training continues after its end."""
        if not self._frozen:
            return
        if epoch < self._epochs:
            words = "epoch" if self._epochs == 1 else f"{self._epochs} epochs"
            self._on_notice(f"epoch {epoch + 1}: the encoder is frozen in the first {words}")
            return
        for layer, trainable in self._frozen:
            layer.trainable = trainable
        self._frozen = []
        _without_loss_scale(self._network.optimizer).begin_encoder()
        self._network.make_train_function(force=True)
        self._on_notice(f"epoch {epoch + 1}: the encoder is trained from here on")


def _freeze_encoder(model: keras.Model) -> list[tuple[keras.layers.Layer, bool]]:
    """Freezes the encoder; returns its layers with what they were, the outer ones first.

    Batch normalisation that is not trainable uses its moving statistics and keeps them.
    """
    before = []
    for layer in model.layers:
        if layer.name.startswith("encoder_"):
            before += [(each, each.trainable) for each in layer._flatten_layers()]
            freeze(layer)
    return before


def _without_loss_scale(optimizer: Any) -> Any:
    """Returns the optimizer that moves the weights, in mixed_float16 inside of another one."""
    return getattr(optimizer, "inner_optimizer", optimizer)
