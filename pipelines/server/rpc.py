"""TensorFlow Serving's PredictionService and ModelService over gRPC."""

import functools
import logging
import math
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from ..serving import tensors
from ..serving.signatures import Signature
from ..serving.tensors import DTYPES, NAMES, STRING
from . import metadata, protos
from .engine import Engine
from .messages import Messages
from .refusals import (
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    ServingError,
    invalid,
    no_signature,
)

_logger = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_STRING_SIZE = 24  # bytes that TensorFlow takes for an empty one
_HANDSHAKE = 10_000  # milliseconds
_MOST_DIMENSIONS = 254  # as in TensorFlow
_LARGE = 2**18  # bytes of messages that are not parsed in the loop, which they would block
_STREAMS = 256  # calls of a connection


def server(engine: Engine) -> grpc.aio.Server:
    """Makes the server, still without a port."""
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", engine.limits.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # Otherwise two servers could share a port, with half of the calls each.
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE),
            ("grpc.max_concurrent_streams", _STREAMS),
        ],
        interceptors=[_Unread()],
    )
    messages = Messages(engine.limits.max_request_bytes)
    prediction, model = _Prediction(engine, messages), _Model(engine, messages)
    protos.prediction_service.add_PredictionServiceServicer_to_server(prediction, made)
    protos.model_service.add_ModelServiceServicer_to_server(model, made)
    return made


class _Unread(grpc.aio.ServerInterceptor):
    """Lets the methods read their message themselves, as gRPC would wait for it forever."""

    async def intercept_service(self, continuation, handler_call_details):
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        return grpc.stream_unary_rpc_method_handler(
            handler.unary_unary, None, handler.response_serializer
        )


def _method(handler):
    """Makes a method that reads its message within a time limit and fails with gRPC's errors."""

    @functools.wraps(handler)
    async def method(self, _, context: grpc.aio.ServicerContext):
        try:
            async with self.engine.in_time(context.time_remaining()) as deadline:
                # Without a name: gRPC keeps the frame of an aborted call for a while.
                return await handler(self, await self.messages.receive(context), deadline)
        except ServingError as error:
            code, reason = _CODES.get(error.code, grpc.StatusCode.UNKNOWN), str(error)
        except Exception:
            _logger.exception("%s", handler.__name__)
            code, reason = _CODES[INTERNAL], "internal error; the server's log tells more."
        await context.abort(code, reason)

    return method


class _Servicer:
    def __init__(self, engine: Engine, messages: Messages):
        self.engine = engine
        self.messages = messages


class _Prediction(_Servicer, protos.prediction_service.PredictionServiceServicer):
    @_method
    async def Predict(self, content: bytes, deadline: float):  # noqa: N802
        with self.engine.places.take():
            parse = functools.partial(_parse, protos.predict.PredictRequest, content)
            is_large = len(content) > _LARGE
            request = await self.engine.unpacking.do(parse) if is_large else parse()
            del content, parse
            await self.engine.load(request.model_spec.name, _number(request.model_spec))
            work = functools.partial(_predict, self.engine, request, deadline)
            del request
            return await self.engine.computing.do(work)

    @_method
    async def GetModelMetadata(self, content: bytes, deadline: float):  # noqa: N802
        request = _parse(protos.model_metadata.GetModelMetadataRequest, content)
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        name, number = request.model_spec.name, _number(request.model_spec)
        await self.engine.load(name, number)
        with self.engine.places.take():
            work = functools.partial(metadata.signatures, self.engine.catalog, name, number)
            return await self.engine.computing.do(work)

    @_method
    async def Classify(self, content: bytes, deadline: float):  # noqa: N802
        raise ServingError("segmentation has Predict only.", UNIMPLEMENTED)

    Regress = MultiInference = Classify


class _Model(_Servicer, protos.model_service.ModelServiceServicer):
    @_method
    async def GetModelStatus(self, content: bytes, deadline: float):  # noqa: N802
        spec = _parse(protos.model_status.GetModelStatusRequest, content).model_spec
        return metadata.status(self.engine.catalog, spec.name, _number(spec))

    @_method
    async def HandleReloadConfigRequest(self, content: bytes, deadline: float):  # noqa: N802
        raise ServingError("the folder says what is served.", UNIMPLEMENTED)


def _parse(message: Any, content: bytes):
    try:
        return message.FromString(content)
    except DecodeError:
        raise invalid("Request must be a message of this method's kind.") from None


def _number(spec) -> int | None:
    if spec.HasField("version_label"):
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return spec.version.value if spec.HasField("version") else None


def _predict(engine: Engine, request, deadline: float):
    spec = request.model_spec
    name = spec.signature_name or "serving_default"
    with engine.catalog.use(spec.name, _number(spec)) as loaded:
        signature = loaded.model.signatures.get(name)
        if signature is None:
            raise no_signature(name, loaded.model.signatures)
        inputs = _inputs(request, signature, engine.limits.max_request_bytes)
        outputs = engine.run(
            loaded,
            inputs,
            signature=name,
            deadline=deadline,
            outputs=list(request.output_filter) or None,
        )
    response = protos.predict.PredictResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = loaded.number
    response.model_spec.signature_name = name
    for key, array in outputs.items():
        tensors.write(array, response.outputs[key])
    return response


def _inputs(request, signature: Signature, limit: int) -> dict[str, np.ndarray]:
    """Makes the arrays; invalid tensors are refused before they take time and memory.

    A tensor may declare any shape and leave out repeated values; these count as if they were there.
    """
    if request.inputs.keys() != signature.inputs.keys():
        got = ", ".join(sorted(request.inputs)) or "none"
        raise invalid(f"inputs must be {', '.join(signature.inputs)}, got {got}.")
    size = 0
    for name, info in signature.inputs.items():
        proto = request.inputs[name]
        shape = tuple(dim.size for dim in proto.tensor_shape.dim)
        if proto.dtype != info.dtype:
            wanted, got = (NAMES.get(dtype, dtype) for dtype in (info.dtype, proto.dtype))
            raise invalid(f"dtype of {name} must be {wanted}, got {got}.")
        if not info.takes(shape) or len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
            raise invalid(f"shape of {name} must be {info.shape}, got {shape}.")
        if proto.dtype == STRING:
            size += _STRING_SIZE * math.prod(shape)
        elif not proto.tensor_content:
            size += DTYPES[proto.dtype].itemsize * math.prod(shape)
    if size > limit:
        raise ServingError(
            f"Request must have at most {limit} bytes of tensors, got {size}.", RESOURCE_EXHAUSTED
        )
    try:
        return {name: tensors.read(proto) for name, proto in request.inputs.items()}
    except ValueError as error:
        raise invalid(str(error)) from error
