"""`kerasseg bench-serving`."""

import click

from . import options


class _Counts(click.ParamType):
    """Whole numbers separated by commas, any number of them."""

    name = "N,N,..."

    def convert(self, value, param, ctx) -> tuple[int, ...]:
        """Parses the text; defaults are tuples already."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"must be whole numbers from 1 on, as in 1,4,16, got {value!r}.", param, ctx)
        return tuple(map(int, parts))


@click.command("bench-serving")
@click.argument("url")
@click.option(
    "--image",
    type=options.existing_file,
    required=True,
    help="Image file that every request sends.",
)
@options.served_model_options
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    help="Signature of the SavedModel to measure; all that take an image unless given. May be "
    "repeated.",
)
@click.option(
    "--clients",
    type=_Counts(),
    default=(1, 4, 16),
    help="Numbers of clients that send at the same time; each number is measured. 1,4,16 unless "
    "given.",
)
@click.option(
    "--requests",
    type=int,
    default=100,
    show_default=True,
    help="Number of requests per measurement, of all clients together.",
)
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    help="Seconds to wait for the answer to a request.",
)
@click.option(
    "--json",
    "json_file",
    type=options.file,
    help="File to write the measurements into, as JSON.",
)
def command(url, image, json_file, **arguments) -> None:
    """Measure the server at URL: latency, throughput and bytes of each signature.

    URL is http://HOST:PORT for REST, grpc://HOST:PORT for gRPC.
    """
    import itertools
    from pathlib import Path

    from .. import bench_serving

    rows = bench_serving.run(
        url, image, json_file=None if json_file is None else Path(json_file), **arguments
    )
    columns = (
        *("clients", "p50 ms", "p90 ms", "p99 ms"),
        *("per s", "bytes out", "bytes in", "errors"),
    )

    def milliseconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    for signature, group in itertools.groupby(rows, key=lambda row: row.signature):
        options.print_table(
            columns,
            [
                (
                    str(row.clients),
                    *map(milliseconds, (row.p50_ms, row.p90_ms, row.p99_ms)),
                    *(f"{row.requests_per_second:.1f}", f"{row.request_bytes:,}"),
                    *(f"{row.response_bytes:,}", str(row.errors)),
                )
                for row in group
            ],
            title=signature,
        )
