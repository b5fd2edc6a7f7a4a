"""TensorFlow Serving's REST API over HTTP, and the page."""

import asyncio
import functools
import logging
import re
from importlib import resources
from typing import Any

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..classes.colors import is_background
from . import body, metadata
from .body import Bodies
from .engine import Engine
from .hosts import Hosts
from .prediction import Prediction
from .refusals import ServingError, invalid
from .versions import Version, read_classes

_logger = logging.getLogger(__name__)
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18}))?"
_PREDICT = re.compile(_MODEL + r":(?P<method>predict|classify|regress)")
_DESCRIBE = re.compile(_MODEL + r"(?P<metadata>/metadata)?")
_CLOSED = 499  # the client is gone: nobody reads it
_TOO_SLOW = 408
_LONGEST = 1000  # characters of a message
_HEADERS = {
    # The page and its scripts are one file; it shows pictures that it makes itself.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src 'self' blob: data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


def application(engine: Engine, hosts: Hosts):
    """Makes the ASGI application."""
    return _Meant(_routes(engine), hosts)


class _Meant:
    """Refuses requests that are meant for another server, or could be read in two ways.

    If one tells the length of its body twice, what follows would be the next request to one reader,
    such as a proxy in front, and a part of this one to another.
    """

    def __init__(self, application: Starlette, hosts: Hosts):
        self._application = application
        self._hosts = hosts

    async def __call__(self, scope, receive, send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        if names >= {b"content-length", b"transfer-encoding"}:
            message = "Request must have Content-Length or Transfer-Encoding, got both."
            refusal = _failure(message, 400, close=True)
        elif message := self._hosts.refusal(scope):
            refusal = _failure(message[:_LONGEST], 403)
        else:
            refusal = self._application
        await refusal(scope, receive, send)


def _routes(engine: Engine) -> Starlette:
    predict = functools.partial(_predict, bodies=Bodies(engine.limits.max_request_bytes))
    return Starlette(
        routes=[
            Route("/", _answer(engine, _page)),
            Route("/models.json", _answer(engine, _models)),
            Route("/v1/{rest:path}", _answer(engine, _describe), methods=["GET"]),
            Route("/v1/{rest:path}", _answer(engine, predict), methods=["POST"]),
        ],
        exception_handlers={404: _malformed, 405: _malformed},
    )


def _answer(engine: Engine, handler):
    """Makes an endpoint whose failures are JSON, in TensorFlow Serving's form."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(engine, request=request)
        except ServingError as error:
            return _failure(str(error), error.http)
        except ClientDisconnect:
            return Response(status_code=_CLOSED)
        except Exception:
            _logger.exception("%s", request.url.path)
            return _failure("internal error; the server's log tells more.", 500)

    return endpoint


def _failure(message: str, status: int, *, close: bool = False) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    if close or status == _TOO_SLOW:
        headers["Connection"] = "close"
    return JSONResponse({"error": message}, status, headers)


async def _malformed(request: Request, error: Any) -> Response:
    return _failure(f"Malformed request: {request.method} {request.url.path}", error.status_code)


async def _page(engine: Engine, request: Request) -> Response:
    page = resources.files("kerasseg.pipelines.server").joinpath("page.html").read_bytes()
    return Response(page, media_type="text/html", headers=_HEADERS)


async def _models(engine: Engine, request: Request) -> Response:
    """Lists the models, which TensorFlow Serving has no address for."""

    def describe(version: Version) -> dict[str, Any]:
        loaded = version.loaded
        classes = loaded.classes if loaded else read_classes(version.folder)
        keys = ("class_names", "colors", "ignore_label", "crf")
        described = {key: classes[key] for key in keys if key in classes}
        if is_background(next(iter(classes.get("class_names", ())), "")):
            described["undrawn"] = [0]
        return {"version": str(version.number), **described}

    def work():
        catalog = engine.catalog
        return {
            name: [describe(version) for version in catalog.usable(name)]
            for name in catalog.names()
        }

    return JSONResponse({"models": await asyncio.to_thread(work)})


def _parse_path(pattern: re.Pattern, request: Request) -> re.Match:
    # The path as it was sent: an encoded slash must not become one.
    path = request.scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "replace")
    match = pattern.fullmatch(path)
    if not match:
        raise invalid(f"Malformed request: {request.method} {path}")
    return match


def _number(match: re.Match) -> int | None:
    return None if match["version"] is None else int(match["version"])


async def _describe(engine: Engine, request: Request) -> Response:
    match = _parse_path(_DESCRIBE, request)
    name, number = match["name"], _number(match)
    if match["metadata"]:
        async with engine.in_time():
            await engine.load(name, number)
            with engine.places.take():
                found = await engine.computing.do(
                    functools.partial(metadata.signatures, engine.catalog, name, number)
                )
    else:
        found = metadata.status(engine.catalog, name, number)
    options: Any = {
        "preserving_proto_field_name": True,
        "always_print_fields_with_no_presence": True,
    }
    described = json_format.MessageToDict(found, **options)
    for content in described.get("metadata", {}).values():
        del content["@type"]  # TensorFlow Serving does not say it
    return JSONResponse(described)


async def _predict(engine: Engine, request: Request, bodies: Bodies) -> Response:
    match = _parse_path(_PREDICT, request)
    if match["method"] != "predict":
        raise invalid(f"{match['method']} must be predict: segmentation has no other method.")
    async with engine.in_time() as deadline:
        content = await _receive(engine, request, bodies, match)
        # Only what has come whole takes a place: a slow sender takes none from the others.
        with engine.places.take():
            encoding = request.headers.get("content-encoding", "identity").lower()
            prediction = Prediction(engine, match["name"], _number(match), deadline)
            work = prediction.answer(content, encoding)
            del content
            return Response(await _while_connected(request, work), media_type="application/json")


async def _receive(engine: Engine, request: Request, bodies: Bodies, match: re.Match) -> bytearray:
    try:
        await engine.load(match["name"], _number(match))
        return await bodies.read(request)
    except ServingError as error:
        if error.http != _TOO_SLOW:
            await body.drain(request)
        raise


async def _while_connected(request: Request, work) -> bytes:
    """Waits for work, but no longer than the client does."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()
        del answer, gone, work  # a task holds its error, and that this frame


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
