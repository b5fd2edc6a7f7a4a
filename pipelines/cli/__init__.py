"""The command line: one command a file, its bodies import what they need.

`kerasseg --help` imports no TensorFlow, which alone would take seconds.
"""

import contextlib
import sys
import warnings
from typing import Any

import click

import kerasseg

from ..errors import InputError, printable
from . import (
    bench_serving,
    check,
    client,
    compare,
    convert,
    crf_tune,
    data_service,
    datasets,
    demo,
    doctor,
    evaluate,
    export,
    fit,
    import_weights,
    models,
    predict,
    runs,
    serve,
    stopping,
    streams,
)


class _Group(click.Group):
    """Prints errors that a user can mend without a traceback, and exits with code 1.

    A signal ends a command with its code, 130 or 143, and one line.
    """

    def main(self, *arguments, **options) -> Any:
        """Runs the command line."""
        try:
            with streams.outliving():
                return super().main(*arguments, **options)
        except KeyboardInterrupt as error:  # a second one, while the first is told
            sys.exit(128 + stopping.signal_of(error))

    def make_context(self, *arguments, **options) -> click.Context:
        """Parses the options before the command."""
        with _printable_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context):
        """Parses the rest, and runs the command."""
        with _printable_errors(), stopping.heeded():
            try:
                return super().invoke(ctx)
            finally:
                # What is left would fail after all errors have been told.
                if sys.stdout is not None:
                    sys.stdout.flush()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Lists the commands in the order of use."""
        return list(self.commands)


@contextlib.contextmanager
def _printable_errors():
    """Turns errors into click's, and escapes what names of files and classes hold in them."""
    try:
        yield
    except InputError as error:
        raise click.ClickException(printable(str(error), keep="\n")) from error
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message, keep="\n")
        raise


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kerasseg.__version__, prog_name="kerasseg")
def main() -> None:
    """Semantic segmentation: raw datasets to TFRecords to trained networks to SavedModels."""
    # What it finds odd in a file, and reads all the same; damage is an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")


for _module in (
    demo,
    convert,
    check,
    fit,
    runs,
    evaluate,
    compare,
    crf_tune,
    predict,
    export,
    serve,
    client,
    bench_serving,
    import_weights,
    models,
    datasets,
    data_service,
    doctor,
):
    main.add_command(_module.command)
