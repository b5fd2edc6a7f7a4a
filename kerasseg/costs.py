"""Costs of a network, multiply-adds and memory, computed from its layers without running it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import layers

from .layers import BilinearConv2DTranspose, FuseMaps, MapAttention
from .layers.outputs import without_auxiliary
from .layers.queries import QueryMasks, QueryScores
from .layers.transformer import ClassMasks, MultiHeadAttention
from .layers.windows import WindowAttention

# Operations that may write their result over an input of the same size that nothing else needs.
_IN_PLACE = frozenset(
    (
        *("Add", "AddV2", "BiasAdd", "Cast", "Elu", "Erf", "Erfc", "Exp", "Identity", "LeakyRelu"),
        *("Maximum", "Minimum", "Mul", "Neg", "RealDiv", "Relu", "Relu6", "Reshape", "Rsqrt"),
        *("Sigmoid", "Softmax", "Sqrt", "Square", "SquaredDifference", "Squeeze", "Sub", "Tanh"),
    )
)
# What they give lives as long as the network.
_OF_NETWORK = frozenset(("Const", "Placeholder", "ReadVariableOp"))


class Costs(NamedTuple):
    """Costs of the inference of one image.

    Attributes:
        parameters: Number of all values that the network keeps: weights and moving statistics, also
            those of an auxiliary head.
        multiply_adds: Number of multiply-adds in convolutions, dense layers and attention.
            Auxiliary heads, normalisation, activations, pooling and resizing do not count, as in
            the numbers of papers.
        activations: Largest number of bytes of features that are kept at the same time, if the
            layers run one after another and features are freed after their last use. Further
            memory that operations need is not included, as it depends on device and library.
        weights: Bytes of the parameters without the auxiliary head.
    """

    parameters: int
    multiply_adds: int
    activations: int
    weights: int


def of(model: keras.Model) -> Costs:
    """Computes the costs of a network for a batch of one image.

    Args:
        model: A functional model of a known input size, such as `build(input_shape=(512, 512, 3))`
            returns. Its weights need no values.

    Raises:
        ValueError: If the size of the input is not known, or a layer is itself a model.
    """
    if None in model.input_shape[1:]:
        raise ValueError(f"input_shape must be known, got {model.input_shape}.")
    served = without_auxiliary(model)
    for layer in served.layers:
        if isinstance(layer, keras.Model):
            raise ValueError(f"layers must not be models of their own, got {layer.name}.")
    return Costs(
        model.count_params(),
        sum(_multiply_adds(layer) for layer in served.layers),
        _most_activations(served),
        sum(_bytes(weight) for weight in served.weights),
    )


def _multiply_adds(layer: Any) -> int:
    """Counts the multiply-adds of a layer; 0 for kinds of layers that are not in the table."""
    count = next((found for kind, found in _COUNTS if isinstance(layer, kind)), None)
    return count(layer) if count else 0


def _of_kernel(layer: Any) -> int:
    """Convolutions and dense layers sum over the taps of the kernel at each output position."""
    return math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)


def _of_transposed_kernel(layer: Any) -> int:
    """Transposed convolutions spread each input position over the taps of the kernel."""
    return math.prod(layer.input.shape[1:-1]) * math.prod(layer.kernel.shape)


def _of_separable(layer: Any) -> int:
    kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    return math.prod(layer.output.shape[1:-1]) * kernels


def _of_attention(layer: Any) -> int:
    """Attention compares each token with all tokens, and sums the values of all for each."""
    _, tokens, width = layer.output.shape
    return 2 * tokens * tokens * width


def _of_map_attention(layer: Any) -> int:
    """Each position of one map is compared with all of the other, and sums the values of all."""
    queries, keys_values = layer.input
    return 2 * math.prod(queries.shape[1:]) * math.prod(keys_values.shape[1:3])


def _of_fused_maps(layer: Any) -> int:
    """Each map passes its own part of the kernel, which its projection is multiplied with first."""
    of_maps = sum(math.prod(features.shape[1:]) * layer.filters for features in layer.input)
    channels = sum(features.shape[-1] for features in layer.input)
    return of_maps + channels * (layer.projected or 0) * layer.filters


def _of_windows(layer: Any) -> int:
    """Attention compares each pixel of a window with all of them, and sums the values of all."""
    _, rows, columns, pixels, width = layer.output.shape
    return 2 * rows * columns * pixels * pixels * width


def _of_masks(layer: Any) -> int:
    width = layer.input[0].shape[-1]
    return math.prod(layer.output.shape[1:]) * width


def _of_scores(layer: Any) -> int:
    """Each query adds to each class at each place."""
    queries = layer.input[0].shape[1]
    return math.prod(layer.output.shape[1:]) * queries


_COUNTS: tuple[tuple[Any, Callable[[Any], int]], ...] = (
    ((layers.Conv2DTranspose, BilinearConv2DTranspose), _of_transposed_kernel),
    (layers.SeparableConv2D, _of_separable),
    ((layers.Conv2D, layers.DepthwiseConv2D, layers.Dense), _of_kernel),
    (MultiHeadAttention, _of_attention),
    (MapAttention, _of_map_attention),
    (FuseMaps, _of_fused_maps),
    (WindowAttention, _of_windows),
    ((ClassMasks, QueryMasks), _of_masks),
    (QueryScores, _of_scores),
)


def _most_activations(model: keras.Model) -> int:
    """Returns the largest number of bytes of tensors that are alive at the same time."""
    runs = [
        (_tensors(layer.input), _tensors(layer.output))
        for layer in model.layers
        if not isinstance(layer, layers.InputLayer)
    ]
    last_use = {id(tensor): index for index, (inputs, _) in enumerate(runs) for tensor in inputs}
    last_use |= {id(tensor): len(runs) for tensor in _tensors(model.output)}
    alive = {id(tensor): _bytes(tensor) for tensor in _tensors(model.input)}
    most = 0
    for index, (_, outputs) in enumerate(runs):
        alive |= {id(tensor): _bytes(tensor) for tensor in outputs}
        most = max(most, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last_use.get(key, -1) > index}
    return most


def graph_activations(model: Callable, size: tuple[int, int], channels: int = 3) -> int:
    """Computes the memory of the features of any model, from the graph that it traces.

    Args:
        model: Function from images (batch, height, width, channels) and `training`.
        size: `(height, width)` of the image.
        channels: Number of channels of the image.

    Returns:
        Largest number of bytes of tensors that are alive at the same time, if the operations run
        one after another in the order in which they were made. Loops count by their results only,
        and tensors whose shape is known only at run time do not count.
    """
    images = tf.TensorSpec((1, *size, channels), tf.float32)
    trace = tf.function(lambda batch: model(batch, training=False))
    operations = trace.get_concrete_function(images).graph.get_operations()
    last_use = {id(x): index for index, op in enumerate(operations) for x in op.inputs}
    alive: dict[int, int] = {}
    most = 0
    for index, op in enumerate(operations):
        dying = [id(x) for x in op.inputs if last_use[id(x)] == index and id(x) in alive]
        if op.type in _IN_PLACE:
            _free(alive, dying)
        if op.type not in _OF_NETWORK:
            alive |= {id(x): _bytes_of_graph(x) for x in op.outputs}
        most = max(most, sum(alive.values()))
        _free(alive, [*dying, *(id(x) for x in op.outputs if id(x) not in last_use)])
    return most


def _free(alive: dict[int, int], tensors: list[int]) -> None:
    for tensor in tensors:
        alive.pop(tensor, None)


def _bytes_of_graph(tensor: Any) -> int:
    known = tensor.shape.rank is not None and tensor.shape.is_fully_defined()
    return math.prod(tensor.shape) * tensor.dtype.size if known and tensor.dtype.size else 0


def _tensors(structure: Any) -> list[Any]:
    return keras.tree.flatten(structure)


def _bytes(tensor: Any) -> int:
    """Returns the bytes of a variable, or of a tensor of one image."""
    shape = tensor.shape[1:] if isinstance(tensor, keras.KerasTensor) else tensor.shape
    return math.prod(shape) * tf.as_dtype(tensor.dtype).size
