"""The messages of TensorFlow Serving's gRPC services that a client needs, without TensorFlow.

The official ones import TensorFlow. These have the same numbers and types of fields, and nothing
else is sent. They live in a separate pool, so that a program may load both.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "kerasseg.serving"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# One field per entry: name, number, type. `*` is repeated, `map` from string; `.X` another message.
# Enumerations are numbers here.
_MESSAGES = {
    "Dim": "size 1 int64",
    "TensorShape": "dim 2 *.Dim, unknown_rank 3 bool",
    "Tensor": """dtype 1 int32, tensor_shape 2 .TensorShape, tensor_content 4 bytes,
        half_val 13 *int32, float_val 5 *float, double_val 6 *double, int_val 7 *int32,
        string_val 8 *bytes, int64_val 10 *int64, bool_val 11 *bool, uint32_val 16 *uint32,
        uint64_val 17 *uint64""",
    "Number": "value 1 int64",
    "ModelSpec": "name 1 string, version 2 .Number, signature_name 3 string",
    "PredictRequest": "model_spec 1 .ModelSpec, inputs 2 map.Tensor, output_filter 3 *string",
    "PredictResponse": "outputs 1 map.Tensor, model_spec 2 .ModelSpec",
    "MetadataRequest": "model_spec 1 .ModelSpec, metadata_field 2 *string",
    "MetadataResponse": "model_spec 1 .ModelSpec, metadata 2 map.Any",
    "Any": "type_url 1 string, value 2 bytes",
    "SignatureDefMap": "signature_def 1 map.Signature",
    "Signature": "inputs 1 map.TensorInfo, outputs 2 map.TensorInfo, method_name 3 string",
    "TensorInfo": "name 1 string, dtype 2 int32, tensor_shape 3 .TensorShape",
    "StatusRequest": "model_spec 1 .ModelSpec",
    "StatusResponse": "model_version_status 1 *.VersionStatus",
    "VersionStatus": "version 1 int64, state 2 int32, status 3 .Status",
    "Status": "error_code 1 int32, error_message 2 string",
}
_Field = descriptor_pb2.FieldDescriptorProto


def _build() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="kerasseg/serving.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split(","):
            _add_field(message, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.startswith("map"):
        kind = "*" + _add_entry(message, name, kind.removeprefix("map"))
    if kind.startswith("*"):
        field.label, kind = _Field.LABEL_REPEATED, kind[1:]
    if kind.startswith("."):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}{kind}"
    else:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")


def _add_entry(message: descriptor_pb2.DescriptorProto, field: str, kind: str) -> str:
    """A map is a repeated message of keys and values, named after the field."""
    name = f"{field.title().replace('_', '')}Entry"
    entry = message.nested_type.add(name=name)
    entry.options.map_entry = True
    _add_field(entry, "key", "1", "string")
    _add_field(entry, "value", "2", kind)
    return f".{message.name}.{name}"


_POOL = _build()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


PredictRequest = _class("PredictRequest")
PredictResponse = _class("PredictResponse")
MetadataRequest = _class("MetadataRequest")
MetadataResponse = _class("MetadataResponse")
SignatureDefMap = _class("SignatureDefMap")
StatusRequest = _class("StatusRequest")
StatusResponse = _class("StatusResponse")
