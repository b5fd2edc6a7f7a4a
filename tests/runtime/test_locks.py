import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runtime import locks

HOLD = (
    "import sys, time, pathlib\n"
    "from kerasseg.pipelines.runtime import locks\n"
    "with locks.exclusive(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)"
)


def hold(folder):
    with locks.exclusive(folder):
        pass


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"got process {holder.pid} on "):
            hold(tmp_path / "run")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    hold(tmp_path / "run")


def test_a_holder_that_has_not_written_its_name_yet_is_waited_for(tmp_path):
    with (tmp_path / locks.FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        later = threading.Timer(0.2, lambda: print("process 12 on host", file=file, flush=True))
        later.start()
        with pytest.raises(InputError, match="got process 12 on host"):
            hold(tmp_path)
        later.join()


def test_a_folder_is_free_again_after_the_block(tmp_path):
    for _ in range(2):
        with locks.exclusive(tmp_path / "new"), pytest.raises(InputError, match="not be in use"):
            hold(tmp_path / "new")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        hold(tmp_path / "file" / "run")
