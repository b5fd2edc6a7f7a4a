"""Work on a training that is done in a process of its own, which keeps nothing of it."""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasseg import atomic_files

from ..errors import InputError
from ..runs.training_options import TrainingOptions
from ..runtime import clean_process

Work = Callable[[TrainingOptions, Path, float], Any]


def run(module: str, options: TrainingOptions, data: Path) -> dict[str, Any]:
    """Lets a module do its work in a process of its own.

    Args:
        module: Full name of the module, which runs as a program and calls `answer`.
        options: Options of the training.
        data: Folder of the converted dataset.

    Returns:
        The fields of what the work returned.

    Raises:
        InputError: If the work raised one.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder, "asked.json"), Path(folder, "told.json")
        content = {"options": dataclasses.asdict(options), "begun": time.time()}
        atomic_files.write_json(asked, content)
        clean_process.run(module, data, asked, told)
        answer = json.loads(told.read_text(encoding="utf-8"))
    if "error" in answer:
        raise InputError(answer["error"])
    return answer


def answer(work: Work, data: str, asked: str, told: str) -> None:
    """Does the work in this process, and writes what it returns or why it cannot be done.

    Args:
        work: Function of the options, the folder of the dataset and the time at which it was asked;
            returns a dataclass.
        data: Folder of the converted dataset.
        asked: File that `run` has written.
        told: File to write.
    """
    content = json.loads(Path(asked).read_text(encoding="utf-8"))
    options = TrainingOptions.from_json(content["options"])
    try:
        answered: dict[str, Any] = dataclasses.asdict(work(options, Path(data), content["begun"]))
    except InputError as error:
        answered = {"error": str(error)}
    Path(told).write_text(json.dumps(answered), encoding="utf-8")
