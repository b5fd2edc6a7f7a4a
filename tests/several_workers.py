"""Trainings of several workers on this machine, each in a process of its own."""

import json
import os
import time

import new_processes

_PROGRAM = """
import json, os, sys
os.environ.update(json.loads(sys.argv[1]))
from kerasseg.pipelines.cli import main
main(sys.argv[2:])
"""


def tf_config(ports, index):
    """Describes the workers on these ports of this machine, as worker `index` is told of them."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}


class Workers:
    """Two processes that run the same `kerasseg` command.

    Args:
        folder: Folder for what they write.
        free_port: The fixture.
        *arguments: The command.
    """

    def __init__(self, folder, free_port, *arguments):
        ports = [free_port(), free_port()]
        self.processes = []
        for index in range(2):
            output = folder / f"worker{index}-{time.monotonic_ns()}"
            output.mkdir(parents=True)
            told = json.dumps({**tf_config(ports, index), "COLUMNS": "200"})
            self.processes.append(
                new_processes.start("-c", _PROGRAM, told, *arguments, output=output)
            )

    def end(self, timeout=120):
        """Waits for the ends; returns the exit codes, and what each worker has written."""
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
        written = [
            "".join((process.output / name).read_text() for name in ("stdout", "stderr"))
            for process in self.processes
        ]
        return codes, written

    def signal(self, index, number):
        """Sends a worker a signal."""
        os.kill(self.processes[index].pid, number)


def wait_for(condition, timeout=120):
    """Waits until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
