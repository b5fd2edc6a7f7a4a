"""A connection to a server over TensorFlow Serving's REST API."""

import base64
import http.client
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import tensors
from .connections import (
    INVALID_ARGUMENT,
    Layout,
    RequestError,
    Target,
    late,
    unreachable,
)

# gRPC's code for each of HTTP's.
_CODES = {400: 3, 404: 5, 409: 10, 413: 8, 429: 8, 500: 13, 503: 14, 504: 4}
_DTYPES = {f"DT_{name.upper()}": code for code, name in tensors.NAMES.items()} | {
    "DT_FLOAT": 1,
    "DT_DOUBLE": 2,
    "DT_HALF": 19,
}


class RestConnection:
    """A connection to the REST API; see `connections.Connection`.

    Args:
        url: Address of the server.
        timeout: Seconds that a request may take.
    """

    def __init__(self, url: str, timeout: float):
        import requests

        self._url, self._timeout = url, timeout
        self._session = requests.Session()

    def layouts(self, target: Target) -> dict[str, Layout]:
        """Asks for the signatures of a model."""
        answer = self._parse(self._call("GET", f"{_path(target)}/metadata"))
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: Layout(
                    *({key: _DTYPES.get(info["dtype"], 0) for key, info in signature[side].items()}
                      for side in ("inputs", "outputs")),
                    shapes=_shapes(signature["inputs"]),
                )
                for name, signature in signatures.items()
                if not name.startswith("__")
            }  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise self._strange() from error

    def models(self) -> list[str]:
        """Asks for the names of the models; empty if this server does not list them."""
        try:
            found = self._parse(self._call("GET", "/models.json"))["models"]
        except (RequestError, KeyError, TypeError) as error:
            if getattr(error, "retry", False):
                raise
            return []  # TensorFlow Serving does not tell
        return sorted(found)

    def encode(self, target: Target, inputs: Mapping[str, np.ndarray]) -> bytes:
        """Writes a request."""
        columns = {name: _to_json(array) for name, array in inputs.items()}
        request = {"signature_name": target.signature, "inputs": columns}
        return json.dumps(request, separators=(",", ":")).encode()

    def send(self, target: Target, request: bytes) -> bytes:
        """Sends a request and returns the answer."""
        return self._call("POST", f"{_path(target)}:predict", request)

    def decode(self, answer: bytes, layout: Layout) -> dict[str, np.ndarray]:
        """Reads an answer."""
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
        """Closes the connection."""
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
            raise late(self._url, self._timeout, retry=connecting) from error
        except requests.ConnectionError as error:
            raise unreachable(self._url, _innermost(error)) from error
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


def _path(target: Target) -> str:
    name = urllib.parse.quote(target.model, safe="")
    version = "" if target.version is None else f"/versions/{target.version}"
    return f"/v1/models/{name}{version}"


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


def _shapes(inputs: Mapping[str, Any]) -> dict[str, list[int]]:
    """Returns the shapes of inputs, as the answer of a server has them; without unknown ranks."""
    shapes = {name: info.get("tensor_shape", {}) for name, info in inputs.items()}
    return {
        name: [int(dim["size"]) for dim in shape["dim"]]
        for name, shape in shapes.items()
        if shape.get("dim") and not shape.get("unknown_rank")
    }
