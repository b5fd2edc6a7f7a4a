"""Files that would cost memory or time without end are refused, and quickly."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time

import h5py
import hostile_archives
import hostile_hdf5
import hostile_pytorch
import numpy as np
import pytest

from kerasseg.checkpoints import hdf5
from kerasseg.checkpoints.readers import CheckpointError, read

ALL = hostile_pytorch.REFUSALS | hostile_archives.REFUSALS | hostile_hdf5.REFUSALS

# Reads each file; says how, how long it took, and the MB of memory: of this process beyond what
# it had before, and of the largest that it started so far.
PROBE = """
import json, pathlib, re, resource, sys, time
from kerasseg.checkpoints import readers

process = pathlib.Path("/proc/self")

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", (process / "status").read_text())[1]) / 1024

for path in sys.argv[1:]:
    (process / "clear_refs").write_text("5")  # forgets the peak so far
    before, begun, error = peak(), time.monotonic(), None
    try:
        readers.read(path)
    except readers.CheckpointError as raised:
        error = str(raised)
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps([error, time.monotonic() - begun, peak() - before, started]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What the reader does with each file, in a process without TensorFlow."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = {make: make(folder) for make in ALL}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *paths.values()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert not (folder / "executed").exists()
    return dict(zip(paths, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
def test_a_hostile_file_is_refused_in_little_time_and_memory(make, outcomes):
    error, seconds, own, started = outcomes[make]
    assert error is not None
    assert re.search(ALL[make], error), error
    # Alone on a machine 2.5 s at most; the tests share theirs.
    assert seconds < 20
    # Lists fill 70 MB before they are too many; the others take less.
    assert own < 100
    assert started < 150


SPIN = """
import contextlib, sys
from kerasseg.checkpoints import readers

print("reading", flush=True)
while True:
    with contextlib.suppress(readers.CheckpointError):
        readers.read(sys.argv[1])
"""


@pytest.mark.parametrize(
    "make", [hostile_pytorch.nested_tuples_as_key, hostile_hdf5.node_in_itself]
)
def test_control_c_ends_reading(make, tmp_path):
    command = [sys.executable, "-c", SPIN, make(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout.readline() == b"reading\n"
        time.sleep(0.5)
        told, sent = b"", 0
        try:
            while reading.poll() is None and sent < 5:
                reading.send_signal(signal.SIGINT)
                sent += 1
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, told = reading.communicate(timeout=10)
        finally:
            reading.kill()
    # Python drops an exception within a destructor, and says so; nothing else may drop one.
    assert told.count(b"Exception ignored in") == sent - 1
    assert told.endswith(b"KeyboardInterrupt\n")


def test_hdf5_that_takes_for_ever_is_given_up(tmp_path, monkeypatch):
    """As a library does that follows a circle in a file."""
    program = tmp_path / "program.py"
    program.write_text(
        "import runpy\n"
        f"program = runpy.run_path({str(hdf5._PROGRAM)!r})\n"
        "def endless(*_):\n"
        "    while True:\n"
        "        pass\n"
        "program['main'].__globals__['datasets'] = endless\n"
        "program['main']()\n"
    )
    monkeypatch.setattr(hdf5, "_PROGRAM", program)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(3)
    with pytest.raises(CheckpointError, match="at most 2 seconds of processor time"):
        read(tmp_path / "a.h5")
