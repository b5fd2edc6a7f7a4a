"""The command line. Each command has a file, and its function imports the modules that it needs.

`kerasseg --help` does not import TensorFlow, which would take seconds.
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
    calibrate,
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
    forecast,
    import_weights,
    list_checkpoints,
    list_runs,
    models,
    predict,
    recipes,
    serve,
    stopping,
    streams,
)


class _Group(click.Group):
    """Prints errors that a user can correct without a traceback, and exits with code 1.

    If a signal ends a command, one line says so, and the exit code is 128 plus the signal's number.
    """

    def main(self, *arguments, **options) -> Any:
        """Runs the command line."""
        try:
            with streams.outliving():
                return super().main(*arguments, **options)
        except KeyboardInterrupt as error:  # a second one, while the first is reported
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
                # Later, output that cannot be written would be an error that nobody reports.
                if sys.stdout is not None:
                    sys.stdout.flush()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Lists the commands in the order of use."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes what each command does as a whole sentence, which click would cut."""
        rows = [(name, command.get_short_help_str(1000)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@contextlib.contextmanager
def _printable_errors():
    """Turns errors into those of click, and escapes names of files and classes in them."""
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
    # Pillow warns about odd files that it can read; damaged files are errors.
    warnings.filterwarnings("ignore", module=r"PIL\.")


for _module in (
    demo,
    convert,
    check,
    recipes,
    forecast,
    fit,
    list_runs,
    evaluate,
    compare,
    crf_tune,
    calibrate,
    predict,
    export,
    serve,
    client,
    bench_serving,
    list_checkpoints,
    import_weights,
    models,
    datasets,
    data_service,
    doctor,
):
    main.add_command(_module.command)
