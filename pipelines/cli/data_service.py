"""`kerasseg data-service`."""

import os
import sys
import threading

import click

from . import options, startup

_PORT = 5000


@click.command("data-service")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes any free one. Unless given, 5000, or any free one with "
    "--dispatcher.",
)
@click.option(
    "--dispatcher",
    metavar="HOST:PORT",
    help="Dispatcher that this worker joins; unless given, a new dispatcher is started together "
    "with the worker.",
)
@click.option(
    "--host",
    default="localhost",
    show_default=True,
    help="Name or address under which other machines can reach this one.",
)
def command(port, dispatcher, host) -> None:
    """Make training batches for 'kerasseg fit --data-service', until interrupted.

    Without --dispatcher, a dispatcher and a worker are started. Workers on further machines join
    the dispatcher; they must find the converted dataset at the same path.
    """
    startup.load_tensorflow()
    from ..inputs import service

    if port is None:
        port = 0 if dispatcher else _PORT
    servers = service.start(port=port, host=host, dispatcher=dispatcher)
    console = options.console()
    kind = "worker of" if dispatcher else "dispatcher and worker at"
    console.print(f"{kind} {servers.dispatcher}; stop with Ctrl-C", soft_wrap=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopped")
        sys.stdout.flush()
        # TensorFlow's servers take up to a minute to stop: the threads that tune a dataset's
        # parallelism sleep that long.
        os._exit(0)
