"""TensorFlow Serving's PredictionService and ModelService over gRPC."""

import functools
import logging
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ..serving import tensors
from . import metadata, protos
from .engine import Engine, signature_of
from .errors import INTERNAL, UNIMPLEMENTED, ServingError, invalid

_logger = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SLACK = 64  # calls beyond those that the engine admits, which refuses them with its own words


def server(engine: Engine) -> grpc.aio.Server:
    """Makes the server, which has no port yet."""
    limits = engine.limits
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else two servers would share a port, each half the calls
        ],
        maximum_concurrent_rpcs=limits.max_concurrency + limits.max_waiting + _SLACK,
        interceptors=[_Parsing()],
    )
    protos.prediction_service.add_PredictionServiceServicer_to_server(_Prediction(engine), made)
    protos.model_service.add_ModelServiceServicer_to_server(_Model(engine), made)
    return made


class _Parsing(grpc.aio.ServerInterceptor):
    """Gives methods None for what is not their message, which else would fail as unknown."""

    async def intercept_service(self, continuation, handler_call_details):
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        parse = handler.request_deserializer

        def parse_or_none(content: bytes):
            try:
                return parse(content)
            except DecodeError:
                return None

        return handler._replace(request_deserializer=parse_or_none)


def _method(handler):
    """Makes a method whose failures are gRPC's."""

    @functools.wraps(handler)
    async def method(self, request, context: grpc.aio.ServicerContext):
        try:
            if request is None:
                raise invalid("Request must be a message of this method's kind.")
            return await handler(self, request, context)
        except ServingError as error:
            await context.abort(_CODES.get(error.code, grpc.StatusCode.UNKNOWN), str(error))
        except Exception:
            _logger.exception("%s", handler.__name__)
            await context.abort(_CODES[INTERNAL], "internal error; the server's log tells more.")

    return method


class _Prediction(protos.prediction_service.PredictionServiceServicer):
    def __init__(self, engine: Engine):
        self._engine = engine

    @_method
    async def Predict(self, request, context):  # noqa: N802
        async with self._engine.admit(context.time_remaining()) as deadline:
            return await self._engine.compute(
                functools.partial(_predict, self._engine, request, deadline)
            )

    @_method
    async def GetModelMetadata(self, request, context):  # noqa: N802
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        catalog, spec = self._engine.catalog, request.model_spec
        async with self._engine.admit(context.time_remaining()):
            return await self._engine.compute(
                lambda: metadata.signatures(catalog.find(spec.name, _number(spec)))
            )

    @_method
    async def Classify(self, request, context):  # noqa: N802
        raise ServingError("segmentation has Predict only.", UNIMPLEMENTED)

    Regress = MultiInference = Classify


class _Model(protos.model_service.ModelServiceServicer):
    def __init__(self, engine: Engine):
        self._engine = engine

    @_method
    async def GetModelStatus(self, request, context):  # noqa: N802
        spec = request.model_spec
        return metadata.status(self._engine.catalog, spec.name, _number(spec))

    @_method
    async def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        raise ServingError("the folder says what is served.", UNIMPLEMENTED)


def _number(spec) -> int | None:
    if spec.HasField("version_label"):
        raise invalid(f"Unrecognized servable version label: {spec.version_label}")
    return spec.version.value if spec.HasField("version") else None


def _predict(engine: Engine, request, deadline: float):
    spec = request.model_spec
    version = engine.catalog.find(spec.name, _number(spec))
    name = spec.signature_name or "serving_default"
    signature_of(version, name)
    try:
        inputs = {key: tensors.read(proto) for key, proto in request.inputs.items()}
    except ValueError as error:
        raise invalid(str(error)) from error
    outputs = engine.run(
        version,
        inputs,
        signature=name,
        deadline=deadline,
        outputs=list(request.output_filter) or None,
    )
    response = protos.predict.PredictResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version.number
    response.model_spec.signature_name = name
    for key, array in outputs.items():
        tensors.write(array, response.outputs[key])
    return response
