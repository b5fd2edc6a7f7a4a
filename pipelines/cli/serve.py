"""`kerasseg serve`."""

import gc
import resource
import signal
import sys
import threading

import click

from . import options, startup

_FILES = 16_384  # each connection takes one
_SWITCH = 0.001  # seconds after which a thread gives way to the event loop
_port = click.IntRange(0, 65535)


@click.command("serve")
@click.argument("folder", metavar="DIR", type=options.existing_folder)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Name or address of this machine to listen on.",
)
@click.option(
    "--rest-port",
    type=_port,
    default=8501,
    show_default=True,
    help="Port of the REST API; 0 takes any free one.",
)
@click.option(
    "--grpc-port",
    type=_port,
    default=8500,
    show_default=True,
    help="Port of gRPC; 0 takes any free one.",
)
@click.option(
    "--max-request-mib",
    type=float,
    default=32,
    show_default=True,
    help="Largest size of a request in MiB; larger requests are refused.",
)
@click.option(
    "--max-concurrency",
    type=int,
    help="Number of requests that are computed at the same time; one per CPU core unless given.",
)
@click.option(
    "--max-waiting",
    type=int,
    default=64,
    show_default=True,
    help="Number of requests that may wait to be computed; further requests are refused as 'busy'.",
)
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    help="Number of seconds after which an unanswered request is given up.",
)
@click.option(
    "--max-megapixels",
    type=float,
    default=32,
    show_default=True,
    help="Largest size of an image in millions of pixels; larger images are refused.",
)
@click.option(
    "--max-crf-megapixels",
    type=float,
    default=4,
    show_default=True,
    help="Largest size of an image in millions of pixels for models with a CRF; each million "
    "takes up to 2 GB.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    help="Name that HTTP requests may be sent to and whose web pages may send requests, besides "
    "this machine's names and addresses. May be repeated; '*' allows all names.",
)
def command(folder, **arguments) -> None:
    """Serve the SavedModels in DIR (NAME/VERSION/saved_model.pb), until interrupted.

    Offers TensorFlow Serving's REST API and gRPC PredictionService, and at the REST address a web
    page for trying a model. For a laptop or a test: there is no encryption and no password.
    """
    from .. import serve
    from ..runtime import environment, interruption
    from ..serving import c_interface

    _allow_files()
    stop = threading.Event()
    for number in interruption.not_ignored():
        signal.signal(number, lambda *_: stop.set())
    environment.prepare(for_server=True)
    with startup.held_back_stderr():
        c_interface.load()
    sys.setswitchinterval(_SWITCH)
    server = serve.Server(folder, **arguments).start()
    gc.freeze()  # these objects stay, so the garbage collector need not look at them
    console = options.console()
    for name in server.catalog.names():
        versions = ", ".join(str(version.number) for version in server.catalog.versions(name))
        console.print(f"{name}, versions {versions}", soft_wrap=True)
    console.print(f"serving at {server.rest_address} and {server.grpc_address}", soft_wrap=True)
    console.print("stop with Ctrl-C")
    stop.wait()
    console.print("stopping after the requests in progress are answered")
    server.stop()
    console.print("stopped")


def _allow_files() -> None:
    """Lets this process open more files than the usual 1024, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
