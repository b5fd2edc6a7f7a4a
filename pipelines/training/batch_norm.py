"""What stands in the place of batch normalisation, and what it does in a training, in words."""

from collections.abc import Iterator

import keras

from kerasseg.layers import BatchNormalization, GroupNormalization

from ..runs.option_fields import check_option
from ..runs.training_options import TrainingOptions

# Of the paper; fewer where channels are few or cannot be shared out.
_GROUPS = 32


def replace_by_groups(model: keras.Model, options: TrainingOptions) -> keras.Model:
    """Builds a network anew with group normalisation in the place of batch normalisation.

    The layers keep their names. Group normalisation takes the statistics of each image alone, over
    32 groups of channels: the largest divisor of the channels that is at most 32 and leaves two
    channels per group. (One channel of a pooled image has no statistics.)

    Args:
        model: The network, whose weights do not count.
        options: The options of the training.

    Raises:
        InputError: If there is no batch normalisation, or its pretrained weights would be lost.

    Reference:
        Wu and He, Group Normalization, ECCV 2018. https://arxiv.org/abs/1803.08494
    """
    replaced = list(_layers(model))
    requirement = f"another with {options.model}, which has no batch normalisation"
    check_option("batch_norm", bool(replaced), requirement, options.batch_norm)
    pretrained = options.encoder_weights != "none"
    lost = pretrained and any(name.startswith("encoder_") for name, _ in replaced)
    requirement = "another with encoder_weights, which were trained with batch normalisation"
    check_option("batch_norm", not lost, requirement, options.batch_norm)
    return keras.models.clone_model(model, clone_function=_clone)


def describe(model: keras.Model, options: TrainingOptions, replicas: int) -> str | None:
    """Says in one line how the network is normalised; None if it has no such layers.

    Args:
        model: The network of the training.
        options: The options of the training.
        replicas: Number of replicas.
    """
    if options.batch_norm == "group":
        return "group normalisation in the place of batch normalisation, of each image alone"
    layers = [layer for _, layer in _layers(model)]
    if not layers:
        return None
    frozen = sum(not layer.trainable or _keeps_statistics(layer) for layer in layers)
    if frozen == len(layers):
        return "batch normalisation: the moving statistics, which stay as they are"
    images = options.batch_size
    alone = any(not layer.synchronized for layer in layers) and replicas > 1
    words = f"statistics of all {images} images of a batch"
    if replicas > 1:
        words += f" on the {replicas} replicas together"
    if alone:
        words = f"statistics of the {images // replicas} images of each replica in layers of Keras"
    kept = f"; {frozen} of {len(layers)} layers keep theirs" if frozen else ""
    return f"batch normalisation: {words}{kept}"


def _keeps_statistics(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, BatchNormalization) and layer.frozen_statistics


def _layers(
    model: keras.Model, part: str = ""
) -> Iterator[tuple[str, keras.layers.BatchNormalization]]:
    """Yields the layers of batch normalisation with the name of the outermost layer they are in."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, part or layer.name)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield part or layer.name, layer


def _clone(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.Model):
        with keras.name_scope(layer.name):  # by which optimizers know the encoder's variables
            return keras.models.clone_model(layer, clone_function=_clone)
    if isinstance(layer, keras.layers.BatchNormalization):
        return GroupNormalization(
            _count_groups(layer.moving_mean.shape[0]),
            axis=layer.axis,
            epsilon=layer.epsilon,
            center=layer.center,
            scale=layer.scale,
            dtype=layer.dtype_policy,
            name=layer.name,
        )
    return type(layer).from_config(layer.get_config())


def _count_groups(channels: int) -> int:
    most = max(1, min(_GROUPS, channels // 2))
    return next(count for count in range(most, 0, -1) if channels % count == 0)
