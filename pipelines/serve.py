"""Serving: the SavedModels of a folder, over TensorFlow Serving's REST and gRPC protocols."""

import asyncio
import socket
import threading
from collections.abc import Collection
from pathlib import Path

from .errors import InputError
from .runtime import cores, environment

MIB = 2**20
_GRACE = 5.0  # seconds beyond their own timeout that requests have to end when the server stops


class Server:
    """A server that runs in its own thread from `start` to `stop`.

    It is also a context manager: `with Server(Path("saved_models"), rest_port=0) as server`.

    Args:
        folder: The models, `FOLDER/NAME/VERSION/saved_model.pb`.
        host: Name or address to listen on.
        rest_port: Port for HTTP; 0 for any free one.
        grpc_port: Port for gRPC; 0 for any free one.
        max_request_mib: Largest size of a request in MiB; larger ones are refused.
        max_concurrency: Number of requests computed at the same time; None for one per CPU core.
        max_waiting: Number of requests that may wait to be computed; further ones are refused.
        timeout: Seconds that a request may take.
        max_megapixels: Largest size of an image in millions of pixels; larger ones are refused.
        max_crf_megapixels: Largest size of an image for models with a CRF in millions of pixels,
            each of which takes up to 2 GB.
        allow_hosts: Further names, besides this machine's, that HTTP requests may be sent to and
            whose web pages may send requests; `*` for all. gRPC is not restricted, as web pages
            cannot use it.

    Attributes:
        rest_address: Address of the REST API, such as `http://127.0.0.1:8501`.
        grpc_address: Address of gRPC, such as `grpc://127.0.0.1:8500`.

    Raises:
        InputError: If an argument is out of range, there are no models, or the extra `serving` is
            not installed.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        max_request_mib: float = 32,
        max_concurrency: int | None = None,
        max_waiting: int = 64,
        timeout: float = 60,
        max_megapixels: float = 32,
        max_crf_megapixels: float = 4,
        allow_hosts: Collection[str] = (),
    ):
        environment.prepare(for_server=True)
        try:
            from .server import catalog, engine, hosts, watcher
        except ModuleNotFoundError as error:
            raise _missing(error) from error

        for name, value in (
            ("max_request_mib", max_request_mib),
            ("max_concurrency", 1 if max_concurrency is None else max_concurrency),
            ("timeout", timeout),
            ("max_megapixels", max_megapixels),
            ("max_crf_megapixels", max_crf_megapixels),
        ):
            if not value > 0:  # NaN is not
                raise InputError(f"{name} must be greater than 0, got {value}.")
        if max_request_mib >= 2048:  # what gRPC's limit can hold
            raise InputError(f"max_request_mib must be less than 2048, got {max_request_mib}.")
        if max_waiting < 0:
            raise InputError(f"max_waiting must be at least 0, got {max_waiting}.")
        limits = engine.Limits(
            max_request_bytes=int(max_request_mib * MIB),
            max_concurrency=max_concurrency or cores.count(),
            max_waiting=max_waiting,
            timeout=timeout,
            max_pixels=int(max_megapixels * 1e6),
            max_crf_pixels=int(max_crf_megapixels * 1e6),
        )
        self.catalog = catalog.Catalog(Path(folder))
        self._engine = engine.Engine(self.catalog, limits)
        self._hosts = hosts.Hosts(host, allow_hosts)
        self._watcher = watcher.Watcher(self.catalog)
        self._host, self._ports = host, (rest_port, grpc_port)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    def start(self) -> "Server":
        """Loads each model's highest version and starts to listen.

        Raises:
            InputError: If no model can be loaded, or a port is not free.
        """
        self._watcher.start()
        try:
            self._check_loaded()
            rest = _listen(self._host, self._ports[0])
            started = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(rest, started), name="kerasseg-serve", daemon=True
            )
            self._thread.start()
            started.wait()
            if self._failure is not None:
                self._thread.join()
                rest.close()
                raise self._failure
        except BaseException:
            self._watcher.stop()
            raise
        return self

    def stop(self) -> None:
        """Stops listening and returns when all requests in progress have been answered."""
        if self._thread is None or self._loop is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._engine.close()
        self._watcher.stop()

    def __enter__(self) -> "Server":  # noqa: D105
        return self.start()

    def __exit__(self, *_) -> None:  # noqa: D105
        self.stop()

    def _check_loaded(self) -> None:
        failures = []
        for name in self.catalog.names():
            versions = self.catalog.versions(name)
            if any(version.loaded for version in versions):
                return
            failures += [
                f"version {version.number} of {name} cannot be loaded: {version.failure}"
                for version in versions
            ]
        raise InputError(failures[0])

    def _run(self, rest: socket.socket, started: threading.Event) -> None:
        try:
            asyncio.run(self._serve(rest, started))
        except BaseException as error:  # start() raises it
            self._failure = error
        finally:
            started.set()

    async def _serve(self, rest: socket.socket, started: threading.Event) -> None:
        import uvicorn

        from .server import connection, http, rpc

        self._loop = asyncio.get_running_loop()
        grace = self._engine.limits.timeout + _GRACE
        calls = rpc.server(self._engine)
        port = _bind(calls, self._host, self._ports[1])
        await calls.start()
        config = uvicorn.Config(
            http.application(self._engine, self._hosts),
            lifespan="off",
            log_config=None,
            access_log=False,
            http=connection.Connection,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=int(grace),
        )
        pages = uvicorn.Server(config)
        serving = asyncio.create_task(pages.serve(sockets=[rest]))
        self.rest_address = f"http://{_join(self._host, rest.getsockname()[1])}"
        self.grpc_address = f"grpc://{_join(self._host, port)}"
        while not (pages.started or serving.done()):
            await asyncio.sleep(0.01)
        if serving.done():
            await serving  # raises
        started.set()
        await self._stop.wait()
        pages.should_exit = True
        await asyncio.gather(serving, calls.stop(grace))


def _missing(error: ModuleNotFoundError) -> InputError:
    return InputError(
        f"{error.name} must be installed to serve; run pip install 'kerasseg[serving]'."
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol must be named: asyncio sends small packets at once on such sockets only.
        # Otherwise each answer waits 40 ms for the acknowledgement of its headers.
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise _unusable("rest_port", host, port, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise _unusable("rest_port", host, port, error) from error
    return listening


def _bind(server, host: str, port: int) -> int:
    try:
        return server.add_insecure_port(_join(host, port))
    except RuntimeError as error:
        raise _unusable("grpc_port", host, port, error) from error


def _unusable(name: str, host: str, port: int, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or "it is taken, or not this machine's"
    return InputError(f"{name} must be free, got {_join(host, port)} ({reason}).")


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
