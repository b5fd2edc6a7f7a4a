"""Executes notebooks anew and keeps their outputs: python docs/execute.py NOTEBOOK ...

Each runs in an empty folder. What programs write to the standard error is left out, since it tells
of the machine and not of the subject; so are second copies of pictures.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

_MINUTES = 30  # for a cell


def execute(path: Path) -> nbformat.NotebookNode:
    """Executes a notebook from its first cell to its last, and returns it.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    # Commands in cells are those of the environment that runs this.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = nbclient.NotebookClient(notebook, timeout=60 * _MINUTES, resources=resources)
        client.execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = _tidy(cell.outputs)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    return notebook


def _tidy(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Joins what was printed piece by piece, and leaves out what readers do not need."""
    kept = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
            continue
        output.get("data", {}).pop("image/jpeg", None)
        kept.append(output)
    return kept


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        nbformat.write(execute(Path(argument)), argument)
