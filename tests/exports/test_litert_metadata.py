"""What a `.tflite` file says about itself, read as other programs read it."""

import json
import zipfile

import flatbuffers.table
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import encode, number_types

from kerasseg.pipelines.exports import litert_metadata

# Fields of metadata_schema.fbs by place; a list is a vector.
SCHEMA = {
    "Model": {0: ("name", "text"), 3: ("subgraphs", ["SubGraph"]), 6: ("files", ["File"]),
              7: ("min_parser_version", "text")},
    "SubGraph": {2: ("inputs", ["Tensor"]), 3: ("outputs", ["Tensor"])},
    "Tensor": {0: ("name", "text"), 1: ("description", "text"), 3: ("content", "Content"),
               6: ("files", ["File"])},
    "Content": {0: ("kind", "byte"), 1: ("properties", "Image")},
    "Image": {0: ("color_space", "byte")},
    "File": {0: ("name", "text"), 1: ("description", "text"), 2: ("type", "byte")},
}  # fmt: skip


def read(table, kind):
    """Reads a table into a dict, by the rules of FlatBuffers."""
    found = {}
    for place, (name, type_) in SCHEMA[kind].items():
        offset = table.Offset(4 + 2 * place)
        if not offset:
            continue
        at = table.Pos + offset
        if type_ == "text":
            found[name] = table.String(at).decode()
        elif type_ == "byte":
            found[name] = table.Get(number_types.Uint8Flags, at)
        elif isinstance(type_, list):
            start, count = table.Vector(offset), table.VectorLen(offset)
            found[name] = [
                read(
                    flatbuffers.table.Table(table.Bytes, table.Indirect(start + 4 * index)),
                    type_[0],
                )
                for index in range(count)
            ]
        else:
            found[name] = read(flatbuffers.table.Table(table.Bytes, table.Indirect(at)), type_)
    return found


@pytest.fixture(scope="module")
def file(files):
    return files["litert"] / "model.tflite"


@pytest.fixture(scope="module")
def metadata(file):
    model = schema.Model.GetRootAs(file.read_bytes(), 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    (buffer,) = (entry.Buffer() for entry in entries if entry.Name() == b"TFLITE_METADATA")
    content = model.Buffers(buffer).DataAsNumpy().tobytes()
    assert content[4:8] == b"M001"
    root = encode.Get(number_types.UOffsetTFlags.packer_type, content, 0)
    return read(flatbuffers.table.Table(bytearray(content), root), "Model")


def test_names_and_colours_of_the_classes_are_in_the_file(file):
    assert file.read_bytes()[4:8] == b"TFL3"
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "ground\nsquare\ndisc\n"
        content = json.loads(archive.read("classes.json"))
    assert content == json.loads((file.parent / "classes.json").read_text())
    assert content["colors"] == [[128, 128, 128], [255, 0, 0], [0, 0, 255]]


def test_the_metadata_describes_input_and_labels(metadata):
    assert metadata["name"] == "tiny-litert"
    assert metadata["min_parser_version"] == "1.0.0"
    assert [each["name"] for each in metadata["files"]] == ["classes.json"]
    (subgraph,) = metadata["subgraphs"]
    (image,), (labels,) = subgraph["inputs"], subgraph["outputs"]
    assert image["name"] == "image"
    assert image["content"] == {"kind": 2, "properties": {"color_space": 1}}  # an image, RGB
    assert labels["name"] == "labels"
    (names,) = labels["files"]
    assert (names["name"], names["type"]) == ("labels.txt", 3)  # labels of the tensor's values


def test_equal_vectors_are_stored_once_and_read_as_often_as_before(file):
    content = file.read_bytes()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    with zipfile.ZipFile(file) as archive:
        start = min(info.header_offset for info in archive.infolist())
    assert start < len(flatbuffer_utils.convert_object_to_bytearray(model))
    zeros = schema.QuantizationParametersT()
    zeros.zeroPoint = np.zeros(1000, np.int64)
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = zeros
    builder = litert_metadata._SharingBuilder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    assert len(builder.Output()) < start + 12000
    again = flatbuffer_utils.convert_bytearray_to_object(bytearray(builder.Output()))
    for tensor in again.subgraphs[0].tensors:
        assert tensor.quantization.zeroPoint.tolist() == 1000 * [0]
    for before, after in zip(model.buffers, again.buffers, strict=True):
        assert np.array_equal(before.data, after.data)


def test_the_same_network_gives_the_same_file(file):
    """So does a file whose archive was written at another time."""
    with zipfile.ZipFile(file) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
