"""OpenVINO's intermediate representation: any batch, height and width, for Intel's processors."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from .. import portable
from . import FLOAT16, QUANTIZED, Export
from . import onnx as onnx_format

HELP = "for OpenVINO: a batch of images as pixels"
PACKAGES = ("openvino", "onnx", "onnxruntime", "tf2onnx")
FILE = "model.xml"  # the weights are in model.bin beside it
TAKES_CRF = False
TAKES_VIEWS = False
NEEDS_SIZE = False
QUANTIZES = QUANTIZED
IS_SCORED = True  # the network comes by way of two other formats
NOTES = (
    "`model.xml` holds the operations and `model.bin` the weights; both are needed.",
    "",
    "OpenVINO computes in bfloat16 or float16 where the processor can, which changes some labels.",
    'For those that were checked, compile it with `{"INFERENCE_PRECISION_HINT": "f32"}`.',
    "",
)
describe_input = portable.describe_input

_MEANING = "kerasseg"  # the section of the file for names and colours of the classes


def adapt(model, size: tuple[int, int] | None):
    """Returns the network without its resizing, in float32."""
    from .. import single_file

    return single_file.adapt(model, size)


def write(model, folder: Path, export: Export) -> Path:
    """Converts a network by way of ONNX, and stores the meaning of the labels in the file.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        folder: Folder to write `FILE` and the weights into.
        export: The export.

    Returns:
        The folder.

    Raises:
        InputError: If an operation of the network has no counterpart in ONNX or OpenVINO, or the
            file cannot be written.
    """
    import openvino

    to_float16 = export.quantize == FLOAT16
    with tempfile.TemporaryDirectory() as scratch:
        on_the_way = replace(export, quantize=None if to_float16 else export.quantize)
        file = onnx_format.write(model, Path(scratch), on_the_way) / onnx_format.FILE
        network = _read(openvino.Core(), file, model.name)
        for name, value in export.facts.items():
            text = value if isinstance(value, str) else json.dumps(value)
            network.set_rt_info(text, [_MEANING, name])
        try:
            openvino.save_model(network, folder / FILE, compress_to_fp16=to_float16)
        except RuntimeError as error:  # which does not say why, such as a full disk
            raise InputError(f"{folder / FILE}: cannot be written ({error}).") from error
    return folder


def _read(core: Any, file: Path, name: str) -> Any:
    try:
        return core.read_model(file)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-300:]
        raise InputError(f"{name} cannot be converted to OpenVINO: {reason}") from error


def check(model, folder: Path, export: Export) -> dict[str, Any]:
    """Compares the file with the network, as `single_file.check`."""
    from .. import single_file

    return single_file.check(model, folder / FILE, export, "openvino")


def facts(file: Path) -> dict[str, Any]:
    """Reads the meaning of the labels that `write` stored, see `formats`."""
    import openvino

    stored = openvino.Core().read_model(_with_weights(file))
    known = [name for name in portable.FACTS if stored.has_rt_info([_MEANING, name])]
    return portable.facts_of(
        {name: stored.get_rt_info([_MEANING, name]).astype(str) for name in known}
    )


def _with_weights(file: Path) -> Path:
    weights = file.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"{file}: its weights must lie beside it as {weights.name}, got nothing.")
    return file


def load(file: Path) -> portable.Loaded:
    """Loads a file into OpenVINO, which computes in float32 what is not quantised.

    Raises:
        InputError: If the file of its weights is missing.
    """
    import openvino

    # Without this, processors that can do so compute in bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    network = openvino.Core().compile_model(_with_weights(file), "CPU", settings)
    (taken,) = network.inputs
    shape = tuple(side.get_length() if side.is_static else None for side in taken.partial_shape)
    names = {output: output.get_any_name() for output in network.outputs}

    def run(images):
        answers = network([images])
        return {name: answers[output].copy() for output, name in names.items()}

    return portable.Loaded(shape, run, taken.element_type.bitwidth)
