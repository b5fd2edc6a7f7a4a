"""Programs in separate processes do not execute what lies in the working folder."""

import subprocess
import sys
from pathlib import Path

from kerasseg.pipelines import records
from kerasseg.pipelines.runtime import clean_process


def test_a_process_looks_for_modules_where_this_one_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    program = ["-m", "some.module", "x", "3"]
    assert clean_process.command("some.module", Path("x"), 3) == [sys.executable, "-P", *program]
    for here in ("", str(tmp_path)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [here, *sys.path])
            assert clean_process.command("some.module", "x", 3) == [sys.executable, *program]


def test_a_dataset_that_is_converted_where_it_lies_executes_nothing(make_folder_tree, tmp_path):
    source = make_folder_tree(tmp_path / "source")
    trap = f"open({str(tmp_path / 'executed')!r}, 'w').close()"
    for name in ("typing", "numpy", "pickle", "site", "PIL"):
        (source / f"{name}.py").write_text(trap)
    # As the command `kerasseg` does, without looking into the working folder.
    command = [sys.executable, "-P", "-m", "kerasseg", "convert", "--dataset", "folder"]
    options = ["--source", ".", "--output", tmp_path / "data", "--workers", "2"]
    done = subprocess.run(
        [*command, *options], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert records.load(tmp_path / "data" / "folder").splits["train"].examples == 3
    assert not (tmp_path / "executed").exists()
