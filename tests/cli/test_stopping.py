"""Signals that end a command, and output that nobody reads any more."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerasseg.pipelines import (
    check,
    cli,
    client,
    convert,
    crf_tune,
    demo,
    evaluate,
    export,
    fit,
    predict,
)
from kerasseg.pipelines.cli import startup, streams

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
COMMANDS = {
    "convert": (convert, ["--dataset", "scenes"], "; the same command continues with data/scenes."),
    "check": (check, ["."], "; nothing was written."),
    "fit": (fit, ["--data", "data", "--run", "absent"], "; nothing was written."),
    "evaluate": (evaluate, ["http://localhost:1", "--data", "data"], "."),
    "crf-tune": (crf_tune, ["absent"], "."),
    "predict": (predict, ["absent", "a.png"], "; the images so far are written."),
    "export": (export, ["absent"], "."),
    "demo": (demo, [], "; the next demo starts from the beginning."),
    "client": (client, ["http://localhost:1", "a.png"], "; the answers so far are written."),
}


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_every_command_with_one_line_and_its_exit_code(
    run_cli, monkeypatch, command, number
):
    module, arguments, then = COMMANDS[command]
    monkeypatch.setattr(module, "run", lambda *_, **__: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    done = run_cli(command, *arguments)
    assert done.exit_code == CODES[number], done.output
    assert done.stderr == f"Error: interrupted{then}\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", CODES)
def test_a_signal_that_a_library_turns_into_an_error_of_its_own_is_reported_as_a_signal(
    run_cli, monkeypatch, number
):
    def load():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr(startup, "load_tensorflow", load)
    done = run_cli("evaluate", "absent")
    assert (done.exit_code, done.stderr) == (CODES[number], "Error: interrupted.\n")


def test_ctrl_c_while_tensorflow_is_imported_leaves_no_traceback():
    command = [sys.executable, "-m", "kerasseg", "evaluate", "absent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while b"tensorflow" not in maps.read_bytes():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
    assert (process.returncode, *said) == (130, b"", b"Error: interrupted.\n")


def pipe_without_a_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")  # noqa: PTH123


@pytest.fixture
def unread(monkeypatch):
    """Makes the standard output a pipe that nobody reads."""
    stream = pipe_without_a_reader()
    for name in ("stdout", "__stdout__"):
        monkeypatch.setattr(sys, name, stream)
    yield
    stream.close()


def test_what_nobody_reads_is_dropped(unread):
    before = sys.stdout
    with streams.outliving():
        print("a" * 10**6, flush=True)
        print("b", flush=True)
    assert sys.stdout is before


def test_what_a_closed_terminal_would_show_is_dropped(monkeypatch):
    terminal, descriptor = os.openpty()
    stream = open(descriptor, "w")  # noqa: PTH123, SIM115
    for name in ("stdout", "__stdout__"):
        monkeypatch.setattr(sys, name, stream)
    with streams.outliving():
        print("a", flush=True)
        os.close(terminal)
        print("b", flush=True)
        print("c", flush=True)
    stream.close()


def test_streams_that_are_no_files_stay_as_they_are(monkeypatch):
    stream = io.StringIO()
    for name in ("stdout", "__stdout__"):
        monkeypatch.setattr(sys, name, stream)
    with streams.outliving():
        assert sys.stdout is stream
        print("a")
    assert stream.getvalue() == "a\n"


def test_a_training_whose_output_nobody_reads_continues_to_its_end(unread, tiny_data, tmp_path):
    network = ["--model", "unet", "--model-option", "filters=2", "--model-option", "depth=1"]
    sizes = ["--model-option", "variant=milesial", "--batch-size", "4", "--crop-size", "32,32"]
    places = ["--data", str(tiny_data), "--run", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        cli.main.main(["fit", *network, *sizes, "--epochs", "2", *places])
    assert not ended.value.code
    epochs = re.findall(r"(?m)^\d+", (tmp_path / "run" / "history.csv").read_text())
    assert epochs == ["1", "2"]


def test_a_command_whose_output_and_errors_nobody_reads_ends_well():
    command = [sys.executable, "-m", "kerasseg", "datasets"]
    with pipe_without_a_reader() as unread:
        done = subprocess.run(command, stdout=unread, stderr=unread, check=False)
    assert done.returncode == 0
