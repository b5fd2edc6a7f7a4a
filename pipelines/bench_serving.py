"""Measures a server: latency, throughput and bytes, for each signature and number of clients."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from .errors import ImageFileError, InputError
from .images import given_images
from .runtime.report_files import check_writable, write_text
from .serving import connections
from .serving.connections import RequestError, Target
from .serving.session import Session, inputs, open_connection

_JSON_START = b'{\n "url": '  # of every result


@dataclass(frozen=True)
class Row:
    """A measurement of one signature with one number of clients.

    Attributes:
        signature: Name of the signature.
        clients: Number of clients that sent at the same time, each over its own connection.
        requests: Number of requests that were answered.
        errors: Number of requests that were not answered.
        p50_ms: Median latency in milliseconds; None if no request was answered.
        p90_ms: 90th percentile of the latency in milliseconds, or None.
        p99_ms: 99th percentile of the latency in milliseconds, or None.
        requests_per_second: Answers per second to all clients together.
        request_bytes: Size of one request's content.
        response_bytes: Size of one answer's content.
    """

    signature: str
    clients: int
    requests: int
    errors: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    requests_per_second: float
    request_bytes: int
    response_bytes: int


def run(
    url: str,
    image: Path | str,
    *,
    model: str | None = None,
    version: int | None = None,
    signatures: Sequence[str] = (),
    clients: Sequence[int] = (1, 4, 16),
    requests: int = 100,
    timeout: float = 60,
    json_file: Path | str | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Measures a server.

    Each client sends the same image again and again, and waits for each answer before it sends the
    next request. The latency does not include encoding the request and decoding the answer.
    Requests that the server refuses are counted and not sent again.

    Args:
        url: `http(s)://HOST:PORT` for REST, `grpc(s)://HOST:PORT` for gRPC.
        image: The image to send.
        model: Name of the model; may be None if the server lists its models and has only one.
        version: Version of the model; None for the server's choice.
        signatures: Names of the signatures to measure; empty for all that take an image.
        clients: Numbers of clients to measure with.
        requests: Number of requests per measurement, of all clients together.
        timeout: Seconds that a request may take.
        json_file: File to write the result into; None for no file.
        on_row: Called with each row as soon as it is measured.

    Returns:
        A row for each signature and number of clients.

    Raises:
        InputError: If an argument cannot be used, or the server does not answer.
    """
    if requests < 1 or not clients or min(clients) < 1:
        raise InputError(f"requests and clients must be at least 1, got {requests}, {clients}.")
    image = Path(image)
    if json_file is not None:
        check_writable(Path(json_file), _JSON_START)
    with open_connection(url, timeout) as connection:
        session = Session(connection, retries=3)
        name = model or session.only_model(url)
        chosen = signatures or _usable(session, connection, Target(name, version))
        rows = []
        for signature in chosen:
            target = Target(name, version, signature)
            inputs = _inputs(session.layout(target), image)
            body = connection.encode(target, inputs)
            answer = connections.with_retries(lambda: connection.send(target, body), 3)  # noqa: B023
            for count in clients:
                row = _measure(url, timeout, target, body, len(answer), count, requests)
                rows.append(row)
                on_row(row)
    if json_file is not None:
        _write(Path(json_file), url, image, name, version, rows)
    return rows


def _inputs(layout: connections.Layout, image: Path) -> dict[str, np.ndarray]:
    try:
        return inputs(layout, given_images.read(image, None, layout.channels, layout.bits))
    except ImageFileError as error:
        raise InputError(f"{image}: {error}") from error


def _usable(session: Session, connection, target: Target) -> list[str]:
    found = []
    for name in sorted(connection.layouts(target)):
        try:
            session.layout(Target(target.model, target.version, name))
        except RequestError:
            continue
        found.append(name)
    return found


def _measure(
    url: str, timeout: float, target: Target, body: bytes, size: int, clients: int, requests: int
) -> Row:
    latencies: list[float] = []
    errors: list[RequestError] = []
    tickets = itertools.count()  # its next() is atomic
    start = threading.Barrier(clients + 1)

    def ask() -> None:
        with open_connection(url, timeout) as connection:
            try:  # opens the connection
                connection.send(target, body)
            except RequestError as error:
                errors.append(error)
            start.wait()
            while next(tickets) < requests:
                begun = time.perf_counter()
                try:
                    connection.send(target, body)
                except RequestError as error:
                    errors.append(error)
                else:
                    latencies.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    return Row(
        target.signature,
        clients,
        len(latencies),
        len(errors),
        *percentiles(latencies),
        len(latencies) / seconds,
        len(body),
        size,
    )


def percentiles(latencies: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Returns the 50th, 90th and 99th percentile of seconds, in milliseconds.

    Each is one of the measured latencies: the smallest that 50, 90 or 99 of 100 do not exceed.
    """
    if not latencies:
        return None, None, None
    found = np.percentile(latencies, (50, 90, 99), method="inverted_cdf")
    p50, p90, p99 = (float(1000 * seconds) for seconds in found)
    return p50, p90, p99


def _write(
    file: Path, url: str, image: Path, model: str, version: int | None, rows: list[Row]
) -> None:
    with PIL.Image.open(image) as opened:
        size = opened.size
    content = {
        "url": url,
        "model": model,
        "version": version,
        "image": {"width": size[0], "height": size[1], "bytes": image.stat().st_size},
        "rows": [asdict(row) for row in rows],
    }
    write_text(file, json.dumps(content, indent=1) + "\n")
