"""A connection to a server over TensorFlow Serving's gRPC API."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import tensors
from .connections import (
    DEADLINE_EXCEEDED,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    Layout,
    RequestError,
    Target,
    late,
    unreachable,
)


class GrpcConnection:
    """A connection to gRPC; see `connections.Connection`.

    Args:
        address: HOST:PORT of the server.
        timeout: Seconds that a request may take.
        secure: Whether the connection is encrypted.
    """

    def __init__(self, address: str, timeout: float, *, secure: bool):
        import grpc

        from . import messages

        self._messages = messages
        self._address, self._timeout = address, timeout
        # gRPC's own limit for answers is 4 MiB, which a label map may exceed.
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A separate channel per connection, as a benchmark uses several connections.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if secure:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address, options)

    def layouts(self, target: Target) -> dict[str, Layout]:
        """Asks for the signatures of a model."""
        request = self._messages.MetadataRequest(metadata_field=["signature_def"])
        _fill_spec(request.model_spec, target)
        content = self._call(self._messages.METADATA, request.SerializeToString())
        answer = self._messages.MetadataResponse.FromString(content)
        packed = answer.metadata["signature_def"].value
        signatures = self._messages.SignatureDefMap.FromString(packed).signature_def
        return {
            name: Layout(
                {key: info.dtype for key, info in sorted(signature.inputs.items())},
                {key: info.dtype for key, info in sorted(signature.outputs.items())},
                {
                    key: [dim.size for dim in info.tensor_shape.dim]
                    for key, info in sorted(signature.inputs.items())
                },
            )
            for name, signature in sorted(signatures.items())
            if not name.startswith("__")
        }

    def models(self) -> list[str]:
        """Asks for the names of the models; empty if this server does not list them."""
        return []

    def encode(self, target: Target, inputs: Mapping[str, np.ndarray]) -> bytes:
        """Writes a request."""
        request = self._messages.PredictRequest()
        _fill_spec(request.model_spec, target)
        request.model_spec.signature_name = target.signature
        for name, array in inputs.items():
            tensors.write(array, request.inputs[name])
        return request.SerializeToString()

    def send(self, target: Target, request: bytes) -> bytes:
        """Sends a request and returns the answer."""
        return self._call(self._messages.PREDICT, request)

    def decode(self, answer: bytes, layout: Layout) -> dict[str, np.ndarray]:
        """Reads an answer."""
        response = self._messages.PredictResponse.FromString(answer)
        return {name: tensors.read(response.outputs[name]) for name in layout.outputs}

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _call(self, method: str, request: bytes) -> bytes:
        import grpc

        try:
            return self._channel.unary_unary(method)(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Any) -> RequestError:
        code, details = error.code().value[0], error.details()
        url = f"grpc://{self._address}"
        if code == UNAVAILABLE:
            return unreachable(url, details)
        if code == DEADLINE_EXCEEDED:
            return late(url, self._timeout)
        full = code == RESOURCE_EXHAUSTED and "larger than max" not in details
        return RequestError(f"{url}: {details}", code, retry=full)


def _fill_spec(spec, target: Target) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
