"""`kerasseg serve`."""

import gc
import resource
import signal
import sys
import threading

import click

from . import options, startup

_FILES = 16_384  # each connection takes one
_SWITCH = 0.001  # seconds after which a thread lets the loop go on, which many wait for
_port = click.IntRange(0, 65535)


@click.command("serve")
@click.argument("folder", metavar="DIR", type=options.existing_folder)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Name or address of this machine to listen at.",
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
    help="Largest request that is read, in MiB; larger ones are refused.",
)
@click.option(
    "--max-concurrency",
    type=int,
    help="Requests computed at the same time; one per CPU core unless given.",
)
@click.option(
    "--max-waiting",
    type=int,
    default=64,
    show_default=True,
    help="Requests that may wait to be computed; further ones are refused as 'busy'.",
)
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    help="Seconds after which a request that is not answered yet is given up.",
)
@click.option(
    "--max-megapixels",
    type=float,
    default=32,
    show_default=True,
    help="Largest image that is computed, in millions of pixels.",
)
@click.option(
    "--max-crf-megapixels",
    type=float,
    default=4,
    show_default=True,
    help="Largest image for models with a CRF, in millions of pixels; each takes up to 2 GB.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    help="Name that HTTP requests may be sent to, besides this machine's names and addresses, and "
    "whose web pages may send some. Give the option once per name; '*' allows all names.",
)
def command(folder, **arguments) -> None:
    """Serve the SavedModels in DIR (NAME/VERSION/saved_model.pb), until interrupted.

    Speaks TensorFlow Serving's REST API and gRPC PredictionService, and has a page for trying a
    model at the REST address. For a laptop or a test: it has neither encryption nor passwords.
    """
    from .. import serve
    from ..runtime import environment
    from ..serving import c_interface

    _allow_files()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    environment.prepare(for_server=True)
    with startup.held_back_stderr():
        c_interface.load()
    sys.setswitchinterval(_SWITCH)
    server = serve.Server(folder, **arguments).start()
    gc.freeze()  # what is there now stays: garbage need not be looked for in it
    console = options.console()
    for name in server.catalog.names():
        versions = ", ".join(str(version.number) for version in server.catalog.versions(name))
        console.print(f"{name}, versions {versions}", soft_wrap=True)
    console.print(f"serving at {server.rest_address} and {server.grpc_address}", soft_wrap=True)
    console.print("stop with Ctrl-C")
    stop.wait()
    console.print("stopping: requests that are being answered will be")
    server.stop()
    console.print("stopped")


def _allow_files() -> None:
    """Lets this process open more files than the usual 1024, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
