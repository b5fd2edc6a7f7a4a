"""Programs in processes of their own that have TensorFlow and Keras imported, and nothing of ours.

Importing TensorFlow takes as long as what most programs of the tests do. One process imports it
once; each program runs in a fork of that process, where TensorFlow has started nothing yet. What is
tested by an import itself, or by the variables that TensorFlow reads, needs `subprocess`.
"""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tensorflow", "keras"])


def start(*arguments, output: Path, cwd=None, import_from=None):
    """Starts `python ARGUMENTS`, of the forms FILE ..., -m MODULE ... and -c CODE ...

    Args:
        *arguments: The arguments, as texts, paths and numbers.
        output: Folder for what it writes, `stdout` and `stderr`.
        cwd: The folder that it runs in.
        import_from: A folder to import from before all others, as PYTHONPATH.

    Returns:
        The process, a `multiprocessing.Process`, with the folder as its attribute `output`.
    """
    texts = [str(argument) for argument in arguments]
    process = _processes.Process(target=_run, args=(texts, output, cwd, import_from))
    process.start()
    process.output = output
    return process


def run(*arguments, **options) -> subprocess.CompletedProcess:
    """Runs `python ARGUMENTS` to its end; takes the options of `start`."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        process = start(*arguments, output=output, **options)
        process.join()
        written = [(output / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(arguments, process.exitcode, *written)


def _run(arguments, output, cwd, import_from):
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if cwd:
        os.chdir(cwd)
    if import_from:
        sys.path.insert(0, str(import_from))
        importlib.invalidate_caches()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(arguments[1], {"__name__": "__main__"})
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")
