"""Static quantisation of ONNX models to 8-bit integers."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization import registry
from onnxruntime.quantization.shape_inference import quant_pre_process

from . import portable

_IN_FLOAT = {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "Softmax"}
_ON_PIXELS = {"Add", "Cast", "Concat", "Div", "Mul", "Pad", "Resize", "Slice", "Sub", "Transpose"}


def quantize(proto: Any, images: Iterator[np.ndarray]) -> Any:
    """Quantises a model's weights and activations.

    Weights get a scale for each output channel, activations one for each tensor, from the largest
    and smallest values that the images give. Integers are written as pairs of QuantizeLinear and
    DequantizeLinear around the operations, which runtimes fuse with them.

    Args:
        proto: An `onnx.ModelProto` that takes `image`.
        images: uint8 (1, height, width, 3) each.

    Returns:
        The quantised `onnx.ModelProto`.
    """
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        given, prepared, quantized = (Path(scratch, f"{step}.onnx") for step in range(3))
        onnx.save(proto, given)
        # Folds batch normalisations, which cannot be quantised, into convolutions.
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            _Reader(images),
            op_types_to_quantize=_operations(),
            nodes_to_exclude=_preprocessing(onnx.load(prepared)),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Unsigned activations and signed weights are what processors multiply fastest.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(quantized)


def _operations() -> list[str]:
    """Lists the operations that are quantised: all that can be but normalisations."""
    return sorted({*registry.QDQRegistry, *registry.QLinearOpsRegistry} - _IN_FLOAT)


def _preprocessing(proto: Any) -> list[str]:
    """Lists the nodes through which pixels pass before the first product with weights.

    In float they take less time than in integers, for which ONNX Runtime has no fast operations on
    three channels, and mean and deviation of the images are not rounded.
    """
    pixels, found = {portable.INPUT}, []
    for node in proto.graph.node:
        if node.op_type in _ON_PIXELS and pixels & set(node.input):
            pixels |= set(node.output)
            found.append(node.name)
    return found


class _Reader(quantization.CalibrationDataReader):
    """Hands one image after the other to the calibration."""

    def __init__(self, images: Iterator[np.ndarray]):
        self._images = images

    def get_next(self) -> Any:
        """Returns the inputs of the next image; None after the last."""
        image = next(self._images, None)
        return None if image is None else {portable.INPUT: image}
