"""LiteRT's `.tflite`: built-in operations only, one image of one size."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...runtime import cores
from .. import portable
from . import FLOAT16, INT8, QUANTIZED, Export

HELP = "for phones and small computers: one image of one size as pixels"
PACKAGES = ("ai_edge_litert",)
FILE = "model.tflite"
TAKES_CRF = False
TAKES_VIEWS = False
NEEDS_SIZE = True
QUANTIZES = QUANTIZED
NOTES = (
    "The file itself holds names and colours of the classes, as metadata of TensorFlow Lite.",
    "",
)
describe_input = portable.describe_input


def adapt(model, size: tuple[int, int] | None):
    """Returns the network without its resizing, in float32."""
    from .. import single_file

    return single_file.adapt(model, size)


def write(model, folder: Path, export: Export) -> Path:
    """Converts a network, and describes inputs and classes in the file's metadata.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        folder: Folder to write `FILE` into.
        export: The export, whose size is known.

    Returns:
        The folder.

    Raises:
        InputError: If an operation of the network has no counterpart in LiteRT.
    """
    import tensorflow as tf

    from .. import litert_layers, litert_metadata, single_file

    assert export.size is not None
    model = litert_layers.with_builtin_operations(model)
    shape = (1, *export.size, export.channels)
    function = single_file.signature(model, shape, export).get_concrete_function()
    # Untracked weights are not converted: the converter loses the weights of a Keras model.
    tracked = litert_layers.Weights([variable.value for variable in model.variables])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tracked)
    _quantize(converter, export)
    try:
        content = converter.convert()
    except InputError:  # of the images that it is calibrated on
        raise
    except Exception as error:  # the converter raises several kinds
        found = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
        reason = f"it has {', '.join(found)}." if found else str(error).strip().splitlines()[0]
        raise InputError(f"{model.name} cannot be converted to LiteRT: {reason}") from error
    (folder / FILE).write_bytes(litert_metadata.add(content, export))
    return folder


def _quantize(converter: Any, export: Export) -> None:
    """Sets what the converter stores and computes in fewer bits."""
    import tensorflow as tf

    if export.quantize is None:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if export.quantize == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if export.quantize == INT8:
        converter.representative_dataset = lambda: ([image] for image in export.calibration())
        # Operations that LiteRT does not compute in integers stay in float32.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]


def check(model, folder: Path, export: Export) -> dict[str, Any]:
    """Compares the file with the network, as `single_file.check`."""
    from .. import single_file

    return single_file.check(model, folder / FILE, export, "ai-edge-litert", (1, 1))


def facts(file: Path) -> dict[str, Any]:
    """Reads the meaning of the labels that `write` stored, see `formats`."""
    from .. import litert_metadata

    if not zipfile.is_zipfile(file):
        return {}
    with zipfile.ZipFile(file) as archive:
        if litert_metadata.CLASSES_FILE not in archive.namelist():
            return {}
        found = json.loads(archive.read(litert_metadata.CLASSES_FILE))
        return found if portable.FINGERPRINT in found else {}


def load(file: Path) -> portable.Loaded:
    """Loads a file into LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=cores.count())
    runner = interpreter.get_signature_runner(portable.SIGNATURE)
    details = runner.get_input_details()[portable.INPUT]
    bits = 8 * details["dtype"]().itemsize
    run = lambda images: runner(**{portable.INPUT: images})  # noqa: E731
    return portable.Loaded(tuple(details["shape"].tolist()), run, bits)
