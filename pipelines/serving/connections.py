"""Connections to a server that speaks TensorFlow Serving's REST API or gRPC. No TensorFlow.

A connection is used in three steps, so that each can be timed: `encode` a request, `send` it, and
`decode` the answer.
"""

import base64
import http.client
import json
import random
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import InputError
from . import tensors

INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 4, 8, 14
# gRPC's code for each of HTTP's.
_CODES = {400: 3, 404: 5, 409: 10, 413: 8, 429: 8, 500: 13, 503: 14, 504: 4}
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0  # seconds between two attempts
_DTYPES = {f"DT_{name.upper()}": code for code, name in tensors.NAMES.items()} | {
    "DT_FLOAT": 1,
    "DT_DOUBLE": 2,
    "DT_HALF": 19,
}
_Result = TypeVar("_Result")


class RequestError(InputError):
    """A request failed.

    Attributes:
        code: gRPC's code: 3 if the request is wrong, 14 if the server cannot be reached.
        retry: Whether the same request may succeed later.
    """

    def __init__(self, message: str, code: int, *, retry: bool = False):
        super().__init__(message)
        self.code = code
        self.retry = retry


@dataclass(frozen=True)
class Target:
    """The model, version and signature that a request is for.

    Attributes:
        model: Name of the model.
        version: Number of the version; None for the server's choice.
        signature: Name of the signature.
    """

    model: str
    version: int | None = None
    signature: str = "serving_default"


@dataclass(frozen=True)
class Layout:
    """Names of a signature's inputs and outputs, with TensorFlow's numbers of their dtypes."""

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


class Connection(Protocol):
    """The interface of both kinds of connection; each method raises RequestError."""

    def layouts(self, target: Target) -> dict[str, Layout]:
        """Asks for the signatures of a model."""
        ...

    def models(self) -> list[str]:
        """Asks for the names of the models; empty if this server does not list them."""
        ...

    def encode(self, target: Target, inputs: Mapping[str, np.ndarray]) -> bytes:
        """Writes a request."""
        ...

    def send(self, target: Target, request: bytes) -> bytes:
        """Sends a request and returns the answer."""
        ...

    def decode(self, answer: bytes, layout: Layout) -> dict[str, np.ndarray]:
        """Reads an answer."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


def connect(url: str, *, timeout: float = 60) -> Connection:
    """Makes a connection; it is opened with the first request.

    Args:
        url: `http://HOST:PORT` or `https://` for REST, `grpc://HOST:PORT` or `grpcs://` for gRPC.
        timeout: Seconds that a request may take.

    Raises:
        InputError: If it is not such an address.
    """
    if timeout <= 0:
        raise InputError(f"timeout must be greater than 0, got {timeout}.")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        rpc = parts.scheme in ("grpc", "grpcs") and port and not parts.path.strip("/")
        known = parts.hostname and (rpc or parts.scheme in ("http", "https"))
    except ValueError:  # of the port
        parts, known, rpc = None, False, False
    if parts is None or not known:
        raise InputError(f"url must be http://HOST:PORT or grpc://HOST:PORT, got {url!r}.")
    if rpc:
        return _Grpc(parts.netloc, timeout, secure=parts.scheme == "grpcs")
    return _Rest(url.rstrip("/"), timeout)


def with_retries(call: Callable[[], _Result], retries: int) -> _Result:
    """Repeats a call that failed for a temporary reason, waiting longer each time."""
    for attempt in range(retries):
        try:
            return call()
        except RequestError as error:
            if not error.retry:
                raise
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
        time.sleep(wait * random.uniform(0.5, 1))  # clients must not all try again at the same time
    return call()


class _Rest:
    def __init__(self, url: str, timeout: float):
        import requests

        self._url, self._timeout = url, timeout
        self._session = requests.Session()

    def layouts(self, target: Target) -> dict[str, Layout]:
        answer = self._parse(self._call("GET", f"{_path(target)}/metadata"))
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: Layout(
                    *({key: _DTYPES.get(info["dtype"], 0) for key, info in signature[side].items()}
                      for side in ("inputs", "outputs"))
                )
                for name, signature in signatures.items()
                if not name.startswith("__")
            }  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise self._strange() from error

    def models(self) -> list[str]:
        try:
            found = self._parse(self._call("GET", "/models.json"))["models"]
        except (RequestError, KeyError, TypeError) as error:
            if getattr(error, "retry", False):
                raise
            return []  # TensorFlow Serving does not tell
        return sorted(found)

    def encode(self, target: Target, inputs: Mapping[str, np.ndarray]) -> bytes:
        columns = {name: _to_json(array) for name, array in inputs.items()}
        request = {"signature_name": target.signature, "inputs": columns}
        return json.dumps(request, separators=(",", ":")).encode()

    def send(self, target: Target, request: bytes) -> bytes:
        return self._call("POST", f"{_path(target)}:predict", request)

    def decode(self, answer: bytes, layout: Layout) -> dict[str, np.ndarray]:
        outputs: Any = self._parse(answer).get("outputs")
        if len(layout.outputs) == 1:
            outputs = dict.fromkeys(layout.outputs, outputs)
        try:
            return {
                name: _from_json(outputs[name], dtype) for name, dtype in layout.outputs.items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange() from error

    def close(self) -> None:
        self._session.close()

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        import requests

        try:
            answer = self._session.request(
                method,
                self._url + path,
                data=body,
                headers={"Content-Type": "application/json"} if body else {},
                timeout=(min(self._timeout, 10), self._timeout),
                allow_redirects=False,
            )
        except requests.Timeout as error:
            connecting = isinstance(error, requests.ConnectTimeout)
            raise _late(self._url, self._timeout, retry=connecting) from error
        except requests.ConnectionError as error:
            raise _unreachable(self._url, _innermost(error)) from error
        except requests.RequestException as error:
            raise RequestError(f"{self._url}: {error}", INVALID_ARGUMENT) from error
        if answer.status_code != 200:
            raise self._refusal(answer)
        return answer.content

    def _refusal(self, answer) -> RequestError:
        try:
            message = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            message = f"HTTP {answer.status_code} {answer.reason}"
        code = _CODES.get(answer.status_code, 2)
        return RequestError(
            f"{self._url}: {message}", code, retry=answer.status_code in (429, 502, 503)
        )

    def _parse(self, answer: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except ValueError as error:
            raise self._strange() from error
        if not isinstance(parsed, dict):
            raise self._strange()
        return parsed

    def _strange(self) -> RequestError:
        return RequestError(
            f"{self._url}: must be answered by TensorFlow Serving, got another answer; is it the "
            "port of REST?",
            2,
        )


class _Grpc:
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
            )
            for name, signature in sorted(signatures.items())
            if not name.startswith("__")
        }

    def models(self) -> list[str]:
        return []

    def encode(self, target: Target, inputs: Mapping[str, np.ndarray]) -> bytes:
        request = self._messages.PredictRequest()
        _fill_spec(request.model_spec, target)
        request.model_spec.signature_name = target.signature
        for name, array in inputs.items():
            tensors.write(array, request.inputs[name])
        return request.SerializeToString()

    def send(self, target: Target, request: bytes) -> bytes:
        return self._call(self._messages.PREDICT, request)

    def decode(self, answer: bytes, layout: Layout) -> dict[str, np.ndarray]:
        response = self._messages.PredictResponse.FromString(answer)
        return {name: tensors.read(response.outputs[name]) for name in layout.outputs}

    def close(self) -> None:
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
            return _unreachable(url, details)
        if code == DEADLINE_EXCEEDED:
            return _late(url, self._timeout)
        full = code == RESOURCE_EXHAUSTED and "larger than max" not in details
        return RequestError(f"{url}: {details}", code, retry=full)


def _path(target: Target) -> str:
    name = urllib.parse.quote(target.model, safe="")
    version = "" if target.version is None else f"/versions/{target.version}"
    return f"/v1/models/{name}{version}"


def _fill_spec(spec, target: Target) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version


def _late(url: str, timeout: float, *, retry: bool = False) -> RequestError:
    return RequestError(f"{url}: no answer within {timeout:g} s.", DEADLINE_EXCEEDED, retry=retry)


def _unreachable(url: str, reason: str) -> RequestError:
    return RequestError(
        f"{url}: no server answers there ({reason}); is the address right, and 'kerasseg serve' or "
        "TensorFlow Serving running?",
        UNAVAILABLE,
        retry=True,
    )


def _innermost(error: BaseException) -> str:
    while (cause := error.__context__ or error.__cause__) is not None:
        error = cause
    if isinstance(error, http.client.BadStatusLine):
        return "the server does not speak HTTP"
    return str(error)


def _to_json(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    return [{"b64": base64.b64encode(content).decode()} for content in array]


def _from_json(values: Any, dtype: int) -> np.ndarray:
    if dtype != tensors.STRING:
        return np.array(values, tensors.DTYPES[dtype])
    return tensors.strings(base64.b64decode(value["b64"]) for value in values)
