"""ONNX: standard operations only, any batch, height and width."""

import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import InputError
from .. import portable
from . import INT8, Export

HELP = "for ONNX Runtime: a batch of images as pixels"
PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
FILE = "model.onnx"
TAKES_CRF = False
TAKES_VIEWS = False
NEEDS_SIZE = False
QUANTIZES = (INT8,)
NOTES = ()
describe_input = portable.describe_input

OPSET = 17


def adapt(model, size: tuple[int, int] | None):
    """Returns the network without its resizing, in float32."""
    from .. import single_file

    return single_file.adapt(model, size)


def write(model, folder: Path, export: Export) -> Path:
    """Converts a network and stores the meaning of the labels in the file's `metadata_props`.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        folder: Folder to write `FILE` into.
        export: The export.

    Returns:
        The folder.

    Raises:
        InputError: If an operation of the network has no counterpart in ONNX.
    """
    import onnx
    import tf2onnx

    from .. import single_file

    sides = export.size or (None, None)
    function = single_file.signature(model, (None, *sides, export.channels), export)
    handlers = {"AddV2": _add, "FloorMod": _floor_mod, "FloorDiv": _floor_div, "Erfc": _erfc}
    # tf2onnx logs each unknown node as an error; one message below names them all.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with _reshapes_kept():
        proto, _ = tf2onnx.convert.from_function(
            function,
            input_signature=function.input_signature,
            opset=OPSET,
            custom_op_handlers={name: (handler, []) for name, handler in handlers.items()},
        )
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    if foreign := sorted(set(operations(proto)) - known):
        raise InputError(f"{model.name} cannot be converted to ONNX: it has {', '.join(foreign)}.")
    _pad_explicitly(proto)
    _name_axes(proto, sides)
    if export.quantize == INT8:
        from .. import onnx_quantization

        proto = onnx_quantization.quantize(proto, export.calibration())
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in export.facts.items()}
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto)
    (folder / FILE).write_bytes(proto.SerializeToString())
    return folder


def check(model, folder: Path, export: Export) -> dict[str, Any]:
    """Compares the file with the network, as `single_file.check`."""
    from .. import single_file

    return single_file.check(model, folder / FILE, export, "onnxruntime")


def facts(file: Path) -> dict[str, Any]:
    """Reads the meaning of the labels that `write` stored, see `formats`."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session: Any = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return portable.facts_of(session.get_modelmeta().custom_metadata_map)


def load(file: Path) -> portable.Loaded:
    """Loads a file into ONNX Runtime."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (taken,) = session.get_inputs()
    shape = tuple(side if isinstance(side, int) else None for side in taken.shape)

    def run(images) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {taken.name: images}), strict=True))

    return portable.Loaded(shape, run, 16 if "uint16" in taken.type else 8)


def operations(proto) -> list[str]:
    """Lists the kinds of operations in a model."""
    return sorted({node.op_type for node in proto.graph.node})


@contextmanager
def _reshapes_kept():
    """Keeps tf2onnx from removing the first of two reshapes in a row.

    It does so even if the second one copies sides of the first one's result, as the heads of an
    attention after a dense layer without a bias do. A reshape costs a runtime nothing.
    """
    from tf2onnx.optimizer import back_to_back_optimizer

    mergers = back_to_back_optimizer._func_map
    merger = mergers.pop(("Reshape",))
    try:
        yield
    finally:
        mergers[("Reshape",)] = merger


def _replace(ctx, node, operation: str, inputs: list[str]) -> None:
    shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
    ctx.remove_node(node.name)
    ctx.make_node(operation, inputs, name=node.name, outputs=outputs, shapes=shapes, dtypes=dtypes)


def _add(ctx, node, name: str, args: Any) -> None:
    # tf2onnx's optimizer of transposes fails at a sum of a convolution and a constant without an
    # axis, as in hard swish, without a word. It then leaves two transposes at each convolution.
    for index, (term, other) in enumerate(zip(node.inputs, reversed(node.input), strict=True)):
        if term.is_const() and term.output_shapes[0] == [] and ctx.get_shape(other):
            value = term.get_tensor_value(as_list=False).reshape(1)
            constant = ctx.make_const(f"{node.name}_term", value)
            ctx.replace_input(node, node.input[index], constant.output[0], index)
    node.type = "Add"


def _floor_mod(ctx, node, name: str, args: Any) -> None:
    # tf2onnx's own remainder of integers has the sign of the dividend.
    _replace(ctx, node, "Mod", list(node.input))


def _floor_div(ctx, node, name: str, args: Any) -> None:
    # Division of integers rounds towards zero in ONNX, unless nothing is left over.
    inputs = list(node.input)
    rest = ctx.make_node("Mod", inputs)
    whole = ctx.make_node("Sub", [inputs[0], rest.output[0]])
    _replace(ctx, node, "Div", [whole.output[0], inputs[1]])


def _erfc(ctx, node, name: str, args: Any) -> None:
    # TensorFlow computes GELU by erfc(x) = 1 - erf(x), which ONNX does not have.
    import numpy as np

    erf = ctx.make_node("Erf", list(node.input))
    one = ctx.make_const(f"{node.name}_one", np.ones((), np.float32))
    _replace(ctx, node, "Sub", [one.output[0], erf.output[0]])


def _pad_explicitly(proto) -> None:
    """Writes out the padding of "SAME": ONNX Runtime refuses the word for dilated convolutions."""
    import onnx

    for node in proto.graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        read = {name: onnx.helper.get_attribute_value(item) for name, item in given.items()}
        rates, strides = (read.get(name, [1, 1]) for name in ("dilations", "strides"))
        if node.op_type != "Conv" or not read.get("auto_pad", b"").startswith(b"SAME"):
            continue
        kernel = read["kernel_shape"]
        if max(rates) > 1 and max(strides) == 1 and all(side % 2 for side in kernel):
            half = [rate * (side - 1) // 2 for rate, side in zip(rates, kernel, strict=True)]
            node.attribute.remove(given["auto_pad"])
            node.attribute.append(onnx.helper.make_attribute("pads", half * 2))


def _name_axes(proto, sides: tuple) -> None:
    """Writes heights and widths into inputs and outputs, or names for those of any length."""
    for value in (*proto.graph.input, *proto.graph.output):
        axes = value.type.tensor_type.shape.dim
        axes[0].dim_param = "batch"
        for axis, name, side in zip(axes[1:3], ("height", "width"), sides, strict=True):
            if side is None:
                axis.dim_param = name
            else:
                axis.dim_value = side
