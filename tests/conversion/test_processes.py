import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert
from kerasseg.pipelines.conversion import processes
from kerasseg.pipelines.errors import ImageFileError, InputError

SIZE = (32, 24)


@pytest.fixture
def tree(tmp_path):
    """A CamVid of 40 training and 8 validation pairs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 8)):
        for kind, shape in (("", (*SIZE, 3)), ("annot", SIZE)):
            folder = tmp_path / "source" / f"{split}{kind}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 11, shape, np.uint8)
                PIL.Image.fromarray(pixels).save(folder / f"0001TP_{index:06}.png")
    return tmp_path / "source"


def run(source, output, **options):
    return convert.run("camvid", source, output, allow_partial=True, workers=2, **options)


def children(process_id=None):
    """Returns the processes that a process has started, and that have not ended."""
    tasks = Path(f"/proc/{process_id or os.getpid()}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def has_ended(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def leftovers(output):
    return list(output.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_processes_end_with_the_one_that_started_them_even_if_it_is_killed(tree, tmp_path):
    program = """if True:
        import sys, time
        from pathlib import Path
        from kerasseg.pipelines import convert

        def wait(done, total):
            print("begun", flush=True)
            time.sleep(600)

        source, output = map(Path, sys.argv[1:])
        convert.run("camvid", source, output, allow_partial=True, workers=2, on_progress=wait)
    """
    output = tmp_path / "output"
    command = [sys.executable, "-c", program, str(tree), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begun\n"
        started = children(parent.pid)
        assert len(started) == 2
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while not all(map(has_ended, started)) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(map(has_ended, started))
    whole = run(tree, tmp_path / "whole")
    assert run(tree, output).fingerprint == whole.fingerprint


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_process_that_is_killed_is_an_error_that_says_so(tree, tmp_path):
    before = children()

    def kill(done, total):
        for process_id in children() - before:
            os.kill(process_id, signal.SIGKILL)

    output = tmp_path / "output"
    with pytest.raises(InputError, match=r"ended with code -9 \(out of memory\?\)"):
        run(tree, output, on_progress=kill)
    assert not children() - before
    assert not leftovers(output)
    whole = run(tree, tmp_path / "whole")
    assert run(tree, output).fingerprint == whole.fingerprint


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_no_process_is_left_when_a_run_is_given_up(tree, tmp_path):
    before = children()

    def give_up(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tree, tmp_path / "output", on_progress=give_up)
    assert not children() - before
    assert not leftovers(tmp_path / "output")


def test_what_goes_wrong_in_a_process_is_raised_here(tree, tmp_path, monkeypatch):
    # The folder that shards go to cannot be written any more once the processes have begun.
    start = processes._Process.__init__

    def remove_folder(process):
        incomplete = tmp_path / "output" / "camvid" / "1.0.0.incomplete"
        if incomplete.is_dir():
            incomplete.rmdir()
        start(process)

    monkeypatch.setattr(processes._Process, "__init__", remove_folder)
    with pytest.raises(InputError, match=r"\.tmp: cannot be written \(No such file or directory\)"):
        run(tree, tmp_path / "output")


def test_an_error_that_cannot_be_sent_is_sent_as_its_text():
    # It is built of two values, but is pickled with one.
    sent = pickle.loads(pickle.dumps(processes._portable(ImageFileError("wrong", "a cause"))))
    assert str(sent) == "ImageFileError: wrong (a cause)"


def test_an_error_arrives_with_its_traceback():
    try:
        {}["missing"]
    except KeyError as error:
        sent = pickle.loads(pickle.dumps(processes._portable(error)))
    assert isinstance(sent, KeyError)
    assert "in test_an_error_arrives_with_its_traceback" in sent.__notes__[0]
