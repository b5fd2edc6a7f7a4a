"""The signatures of a SavedModel, read from its protocol buffers without TensorFlow."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records.wire import read_varint


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a signature.

    Attributes:
        name: Its name in the graph, such as `serving_default_image_bytes:0`.
        dtype: TensorFlow's number of its dtype.
        shape: Its sizes, each None if any is allowed; None if their number is unknown.
    """

    name: str
    dtype: int
    shape: tuple[int | None, ...] | None

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tells whether an array of this shape fits."""
        return self.shape is None or (
            len(self.shape) == len(shape)
            and all(want in (None, got) for want, got in zip(self.shape, shape, strict=True))
        )


@dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel: its inputs and outputs by name."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]


def read(meta_graph: bytes) -> dict[str, Signature]:
    """Reads the signatures of a serialized MetaGraphDef.

    Layout: MetaGraphDef{5: {1: key, 2: SignatureDef{1: inputs, 2: outputs}}}, where both are
    {1: key, 2: TensorInfo}. The signature for the initializer, whose name begins with two
    underscores, is not one to call.
    """
    found = {}
    for entry in _parse(meta_graph)[5]:
        fields = _parse(entry)
        name = bytes(fields[1][0]).decode()
        if not name.startswith("__"):
            signature = _parse(fields[2][0])
            found[name] = Signature(_tensors(signature[1]), _tensors(signature[2]))
    return dict(sorted(found.items()))


def _tensors(entries: list) -> dict[str, TensorInfo]:
    tensors = {}
    for entry in entries:
        fields = _parse(entry)
        tensors[fields[1][0].decode()] = _tensor(_parse(fields[2][0]))
    return dict(sorted(tensors.items()))


def _tensor(fields: dict[int, list]) -> TensorInfo:
    """Layout: TensorInfo{1: name, 2: dtype, 3: {2: {1: size}, 3: whether the rank is unknown}}."""
    shape: dict[int, list[Any]] = _parse(fields[3][0]) if fields[3] else {3: [1]}
    sizes = [_signed(_parse(dim)[1]) for dim in shape.get(2, [])]
    known = tuple(None if size < 0 else size for size in sizes)
    dtype = fields[2][0] if fields[2] else 0
    return TensorInfo(fields[1][0].decode(), dtype, None if shape.get(3) else known)


def _signed(values: list[int]) -> int:
    value = values[0] if values else 0
    return value - (1 << 64) if value >= 1 << 63 else value


def _parse(message: bytes) -> dict[int, list[Any]]:
    """Splits a protocol-buffer message into numbers and bytes; skips fixed-size fields."""
    fields: dict[int, list[Any]] = defaultdict(list)
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        match tag & 7:
            case 0:
                value, position = read_varint(message, position)
                fields[tag >> 3].append(value)
            case 1:
                position += 8
            case 5:
                position += 4
            case _:
                length, position = read_varint(message, position)
                fields[tag >> 3].append(message[position : position + length])
                position += length
    return fields
