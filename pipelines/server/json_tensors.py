"""Arrays in the JSON of TensorFlow Serving's REST API.

A request has `instances`, a list of examples (the row format), or `inputs`, whole tensors (the
column format); with one input, its name may be left out. Bytes are `{"b64": "..."}`.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..serving.signatures import Signature
from ..serving.tensors import DTYPES, NAMES, STRING
from .refusals import ServingError, invalid, no_signature

_BYTES = "_bytes"  # end of the names of outputs that are given in base64


@dataclass(frozen=True)
class Asked:
    """A request: its signature and arrays, and whether the answer consists of rows."""

    signature: str
    inputs: dict[str, np.ndarray]
    rows: bool


def read(body: bytes | bytearray, signatures: Mapping[str, Signature]) -> Asked:
    """Reads a request's body.

    Args:
        body: JSON.
        signatures: Signatures of the model.

    Raises:
        ServingError: If it is not a JSON object with `instances` or `inputs`, or does not fit the
            signature that it names.
    """
    request = _parse(body)
    name = request.get("signature_name") or "serving_default"
    if name not in signatures:
        raise no_signature(name, signatures)
    columns = _read_columns(request, signatures[name])
    # Few requests hold such a word at all.
    has_words = b"true" in body or b"false" in body
    inputs = {
        input_: _to_array(input_, values, signatures[name].inputs[input_].dtype, has_words)
        for input_, values in columns.items()
    }
    return Asked(name, inputs, "instances" in request)


def _parse(body: bytes | bytearray) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise invalid("Request must be a JSON object.")
    if ("instances" in request) == ("inputs" in request):
        raise invalid("Request must have either 'instances' or 'inputs'.")
    if not isinstance(request.get("signature_name", ""), str):
        raise invalid(f"signature_name must be text, got {request['signature_name']!r}.")
    return request


def _read_columns(request: Mapping[str, Any], signature: Signature) -> Mapping[str, Any]:
    if "instances" in request:
        columns = _columns(request["instances"], signature)
    else:
        columns = request["inputs"]
        if not _is_named(columns):
            columns = {_only_input(signature): columns}
    for name in signature.inputs:
        if name not in columns:
            raise invalid(f"Missing named input: {name}.")
    for name in columns:
        if name not in signature.inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
    return columns


def _holds_boolean(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_boolean, value))
    return isinstance(value, bool)


def _columns(instances: Any, signature: Signature) -> dict[str, list]:
    if not isinstance(instances, list):
        raise invalid("'instances' must be a list.")
    named = sum(map(_is_named, instances)) if dict in set(map(type, instances)) else 0
    if named == 0:
        return {_only_input(signature): instances}
    if named < len(instances):
        raise invalid("'instances' must be all named or all plain values.")
    names = instances[0].keys()
    for index, instance in enumerate(instances):
        if instance.keys() != names:
            raise invalid(
                f"Failed to process element: {index} of 'instances' list: it must have the keys "
                f"{', '.join(names)}, got {', '.join(instance)}."
            )
    return {name: [instance[name] for instance in instances] for name in names}


def _only_input(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        raise invalid(f"inputs must be named: {', '.join(signature.inputs)}.")
    return next(iter(signature.inputs))


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _to_array(name: str, values: Any, dtype: int, has_words: bool) -> np.ndarray:
    try:
        if dtype == STRING:
            return _to_strings(values)
        array = np.array(values)
        # Beside numbers, NumPy takes true for 1 and false for 0.
        is_mixed = has_words and array.dtype.kind != "b" and _holds_boolean(values)
    except (ValueError, OverflowError, RecursionError) as error:
        raise invalid(f"{name}: {error}") from error
    wanted = DTYPES.get(dtype)
    if wanted is None or is_mixed or (array.size and not _fits(array, wanted)):
        raise invalid(f"values of {name} must be of type {NAMES.get(dtype, dtype)}.")
    return array.astype(wanted)


def _fits(array: np.ndarray, dtype: np.dtype) -> bool:
    if dtype.kind not in "iu":
        return array.dtype.kind in ("iuf" if dtype.kind == "f" else dtype.kind)
    limits = np.iinfo(dtype)
    return array.dtype.kind in "iu" and limits.min <= array.min() and array.max() <= limits.max


def _to_strings(values: Any) -> np.ndarray:
    flat: list[bytes] = []
    shape = _flatten(values, flat)
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)


def _flatten(values: Any, flat: list[bytes]) -> tuple[int, ...]:
    """Appends the strings of nested lists and returns their shape."""
    if not isinstance(values, list):
        flat.append(_to_bytes(values))
        return ()
    shapes = {_flatten(value, flat) for value in values}
    if len(shapes) > 1:
        raise ValueError("lists must be of one size at each level")
    return (len(values), *(shapes.pop() if shapes else ()))


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_base64(value) or not isinstance(value["b64"], str):
        raise ValueError('strings must be text or {"b64": "..."}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"Unable to base64 decode: {error}") from error


def write(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """Writes the answer: rows as `predictions`, or `outputs`.

    Raises:
        ServingError: If rows are requested and outputs are not batches of the same size.
    """
    columns = {name: _to_json(name, array) for name, array in outputs.items()}
    if not rows:
        answer = {"outputs": columns if len(columns) > 1 else next(iter(columns.values()), [])}
        return _dump(answer)
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise ServingError("outputs must be batches of one size for the row format.", 3)
    predictions = next(iter(columns.values()))
    if len(columns) > 1:
        predictions = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    return _dump({"predictions": predictions})


def _dump(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


def _to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    write = _in_base64 if name.endswith(_BYTES) else _as_text
    written = np.empty(array.size, object)
    written[:] = [write(content) for content in array.ravel()]
    return written.reshape(array.shape).tolist()


def _in_base64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def _as_text(content: bytes) -> str:
    return content.decode(errors="replace")
