"""What commands print: tables on a terminal, and one record a line for machines."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines.cli import tables

LONG = "images/train/" + "a very long name with spaces " * 8 + "[bold]:car:.png"


@pytest.fixture
def bad_tree(folder_tree, save_image):
    """A tree with an image of a very long name that has no label."""
    save_image(folder_tree / LONG, np.zeros((4, 4, 3), np.uint8))
    return folder_tree


def test_records_are_lines_of_columns_between_tabs_where_there_is_no_terminal(capsys):
    rows = [(LONG, "1"), ("b", "22")]
    tables.print_table(("file", "pixels"), rows, title="a title")
    assert capsys.readouterr().out.splitlines() == [
        "a title",
        "file\tpixels",
        f"{LONG}\t1",
        "b\t22",
    ]


def test_what_is_printed_besides_is_neither_wrapped_nor_read_as_markup(capsys):
    tables.console().print(LONG)
    assert capsys.readouterr().out == f"{LONG}\n"


def test_control_characters_are_escaped(capsys):
    tables.print_table(("file",), [("a\x1b[31mb\tc\nd\udcdf",)])
    assert capsys.readouterr().out.splitlines()[1] == r"a\x1b[31mb\tc\nd\udcdf"


@pytest.mark.parametrize("command", ["convert", "check"])
def test_the_names_of_bad_files_are_whole_in_a_pipe(bad_tree, tmp_path, command):
    arguments = ["check", bad_tree]
    if command == "convert":
        arguments = ["convert", "--dataset", "folder", "--source", bad_tree, "--output", tmp_path]
    finished = subprocess.run(
        [sys.executable, "-m", "kerasseg", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert finished.returncode == 1
    (line,) = [line for line in finished.stdout.splitlines() if "label is missing" in line]
    cells = [cell for cell in line.split("\t") if cell not in ("error", "")]
    stem = LONG if command == "convert" else LONG.replace("images", "labels", 1)
    assert cells == [stem, "label is missing", "no label file of this name"]


def test_on_a_terminal_tables_are_set_in_columns(bad_tree):
    main, other = pty.openpty()
    command = [sys.executable, "-m", "kerasseg", "check", str(bad_tree)]
    environment = {**os.environ, "COLUMNS": "90", "TERM": "dumb"}
    with subprocess.Popen(command, stdout=other, stderr=other, env=environment) as process:
        os.close(other)
        shown = b""
        try:
            while part := os.read(main, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 1
    os.close(main)
    text = shown.decode()
    assert "\t" not in text
    assert "────" in text
    assert all(len(line) <= 90 for line in text.splitlines())


def test_the_bad_pairs_of_a_conversion_are_written_as_json(bad_tree, tmp_path, run_cli):
    file = tmp_path / "bad.json"
    command = ("convert", "--dataset", "folder", "--source", bad_tree, "--output", tmp_path / "o")
    assert run_cli(*command, "--json", file).exit_code == 1
    content = json.loads(file.read_text())
    assert (content["dataset"], content["errors"], content["splits"]) == ("folder", 1, {})
    assert content["findings"] == [
        {"file": LONG, "what": "label is missing", "cause": "no label file of this name"}
    ]
    (bad_tree / LONG).unlink()
    (bad_tree / "README").write_text("")
    assert run_cli(*command, "--json", file).exit_code == 0
    content = json.loads(file.read_text())
    assert (content["errors"], content["findings"]) == (0, [])
    assert content["splits"]["train"]["examples"] == 3
    assert content["notes"] == ["1 passed over (neither images nor labels): README"]
    kept = run_cli(*command, "--json", bad_tree / "classes.txt")
    assert kept.exit_code == 1
    assert "must be a new file or an earlier report" in kept.stderr
    refused = run_cli(*command, "--json", tmp_path / "no" / "file.json")
    assert refused.exit_code == 1
    assert "cannot be written" in refused.stderr


def test_names_in_errors_cannot_steer_the_terminal(run_cli, folder_tree, tmp_path):
    PIL.Image.new("RGB", (3, 3)).save(folder_tree / "images/train/x\x1b[31m.png")
    (folder_tree / "images/train/x\x1b[31m.jpg").write_bytes(b"")
    result = run_cli(
        "convert", "--dataset", "folder", "--source", folder_tree, "--output", tmp_path
    )
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert r"x\x1b[31m.png" in result.stderr


def test_a_file_gets_no_bar_and_no_colours_where_colours_are_forced(folder_tree, tmp_path):
    """As notebooks force them."""
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", "folder"]
    done = subprocess.run(
        [*command, "--source", str(folder_tree), "--output", str(tmp_path / "out")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.startswith("train: 3 images")


@pytest.mark.parametrize("arguments", [("datasets",), ("--help",)])
def test_output_that_cannot_be_written_is_reported_in_a_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kerasseg", *arguments],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: output cannot be written (No space left on device).\n"


def test_a_closed_output_is_no_error(folder_tree):
    command = f"exec {sys.executable} -m kerasseg check '{folder_tree}' >&-"
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_a_minute_stands_for_the_bar_where_there_is_no_terminal(capsys, monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr(tables, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    with tables.progress_bar("predicting a\nb") as bar:
        # The fourth begins another pass over the same images, the last ends it.
        for clock["now"], done in ((60, 1), (90, 2), (130, 3), (140, 1), (200, 2), (260, 4)):
            bar(done, 4)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "predicting a\\nb: 25%, 3 min left",
        "predicting a\\nb: 75%, 43 s left",
        "predicting a\\nb: 50%, 60 s left",
    ]
