"""The metadata of a `.tflite` file: what its input and its labels mean, for any program.

In the form of TensorFlow Lite's metadata: a FlatBuffer of the schema below within the model
describes inputs and outputs, and a ZIP archive behind the model holds the files that it names:
`labels.txt`, one name of a class per line, and `classes.json`, which has colours too.

https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
"""

import io
import json
import zipfile
from typing import Any

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from kerasseg.channels import is_default

from .formats import Export
from .portable import INPUT, LABELS, PROBABILITIES, describe_images, describe_input

BUFFER = "TFLITE_METADATA"
LABELS_FILE, CLASSES_FILE = "labels.txt", "classes.json"
_MODEL_IDENTIFIER, _IDENTIFIER = b"TFL3", b"M001"
_OLDEST_READER = "1.0.0"
_LARGE = 2**16  # bytes
_DATE = (1980, 1, 1, 0, 0, 0)  # the same files give the same bytes

# Places of the fields in the schema's tables, and values of its enumerations.
_MODEL = {"name": 0, "description": 1, "subgraphs": 3, "files": 6, "oldest_reader": 7}
_SUBGRAPH = {"inputs": 2, "outputs": 3}
_TENSOR = {"name": 0, "description": 1, "content": 3, "files": 6}
_CONTENT = {"kind": 0, "properties": 1}
_FILE = {"name": 0, "description": 1, "type": 2}
_FEATURES, _IMAGE, _RGB = 1, 2, 1
_DESCRIPTION, _LABELS_OF_AXIS, _LABELS_OF_VALUES = 1, 2, 3


def add(content: bytes, export: Export) -> bytes:
    """Adds the metadata to a `.tflite` file.

    Args:
        content: The file, with the signature of `single_file.signature`.
        export: The export: name, classes, size and facts.

    Returns:
        The file with its metadata.
    """
    model: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    (signature,) = model.signatureDefs
    names = {each.tensorIndex: each.name.decode() for each in signature.outputs}
    outputs = [names[index] for index in model.subgraphs[0].outputs]
    buffer: Any = schema.BufferT()
    entry: Any = schema.MetadataT()
    buffer.data = describe(export, outputs)
    entry.name, entry.buffer = BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_MODEL_IDENTIFIER)
    file = io.BytesIO(bytes(builder.Output()))
    texts = {
        LABELS_FILE: "".join(f"{name}\n" for name in export.classes.names),
        CLASSES_FILE: json.dumps(export.facts, indent=1) + "\n",
    }
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text)
    return file.getvalue()


def describe(export: Export, outputs: list[str]) -> bytes:
    """Writes the FlatBuffer.

    Args:
        export: The export.
        outputs: Names of the outputs, in the order of the model.

    Returns:
        A `ModelMetadata`.
    """
    table = _Tables()
    subgraph = table.add(
        _SUBGRAPH,
        inputs=[_describe_image(table, export)],
        outputs=[_describe_output(table, name) for name in outputs],
    )
    classes = table.add(
        _FILE,
        name=CLASSES_FILE,
        description="Names and colours of the classes, and the dataset of the training.",
        type=_DESCRIPTION,
    )
    root = table.add(
        _MODEL,
        name=export.name,
        description=f"Semantic segmentation. {describe_input(export)}",
        subgraphs=[subgraph],
        files=[classes],
        oldest_reader=_OLDEST_READER,
    )
    return table.finish(root)


def _describe_image(table: "_Tables", export: Export) -> "_Offset":
    if is_default(export.channels, export.bits):
        rgb = table.add({"color_space": 0}, color_space=_RGB)
        content = table.add(_CONTENT, kind=_IMAGE, properties=rgb)
        description = "RGB image, in [0, 255]."
    else:  # the schema knows RGB and gray images of 8 bits only
        content = table.add(_CONTENT, kind=_FEATURES, properties=table.add({}))
        description = f"One of {describe_images(export)}."
    return table.add(_TENSOR, name=INPUT, description=description, content=content)


def _describe_output(table: "_Tables", name: str) -> "_Offset":
    described = {
        LABELS: ("Class of each pixel.", _LABELS_OF_VALUES),
        PROBABILITIES: ("Probability of each class at each pixel.", _LABELS_OF_AXIS),
    }
    description, kind = described[name]
    names = table.add(
        _FILE, name=LABELS_FILE, description="Names of the classes, one per line.", type=kind
    )
    content = table.add(_CONTENT, kind=_FEATURES, properties=table.add({}))
    return table.add(_TENSOR, name=name, description=description, content=content, files=[names])


class _SharingBuilder(flatbuffers.Builder):
    """Stores equal vectors once, but for large ones, such as kernels.

    The zero points of kernels and biases, 8 bytes for each channel, are all 0: in a small network
    of 8-bit integers they take a tenth of the file.
    """

    def __init__(self, size: int):
        super().__init__(size)
        self._places: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x) -> int:  # noqa: N802 (the builder's own name)
        """Stores a vector, or finds its equal."""
        if x.nbytes > _LARGE:
            return super().CreateNumpyVector(x)
        key = (x.dtype.str, x.tobytes())
        if key not in self._places:
            self._places[key] = super().CreateNumpyVector(x)
        return self._places[key]


class _Offset(int):
    """The place of a finished table, string or vector."""


class _Tables:
    """Writes tables without the code that a compiler of schemas generates."""

    def __init__(self):
        self._builder = flatbuffers.Builder(1024)

    def add(self, places: dict[str, int], **fields: Any) -> _Offset:
        """Writes a table of texts, lists of tables, tables and bytes, and returns its place."""
        written = {places[name]: self._write(value) for name, value in fields.items()}
        self._builder.StartObject(max(places.values(), default=-1) + 1)
        for place, value in written.items():
            if isinstance(value, _Offset):
                self._builder.PrependUOffsetTRelativeSlot(place, value, 0)
            else:
                self._builder.PrependUint8Slot(place, value, 0)
        return _Offset(self._builder.EndObject())

    def _write(self, value: Any) -> int:
        if isinstance(value, str):
            return _Offset(self._builder.CreateString(value))
        if isinstance(value, list):
            self._builder.StartVector(4, len(value), 4)
            for offset in reversed(value):
                self._builder.PrependUOffsetTRelative(offset)
            return _Offset(self._builder.EndVector())
        return value

    def finish(self, root: _Offset) -> bytes:
        """Returns the finished FlatBuffer."""
        self._builder.Finish(root, file_identifier=_IDENTIFIER)
        return bytes(self._builder.Output())
