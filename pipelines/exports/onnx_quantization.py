"""Static quantisation of ONNX models to 8-bit integers."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from . import portable


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
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Unsigned activations and signed weights are what processors multiply fastest.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(quantized)


class _Reader(quantization.CalibrationDataReader):
    """Hands one image after the other to the calibration."""

    def __init__(self, images: Iterator[np.ndarray]):
        self._images = images

    def get_next(self) -> Any:
        """Returns the inputs of the next image; None after the last."""
        image = next(self._images, None)
        return None if image is None else {portable.INPUT: image}
