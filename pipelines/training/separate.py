"""Work on a training that is done in a process of its own, which keeps nothing of it."""

import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kerasseg import atomic_files

from .. import records
from ..errors import InputError
from ..runs import guests, initial_weights, run_folder
from ..runs.training_options import TrainingOptions
from ..runtime import clean_process
from ..runtime.devices import local_strategy
from ..runtime.interruption import Stop
from ..workers.team import Team
from . import compiled_model
from .epochs import Parts, Training

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


@contextlib.contextmanager
def prepared(
    options: TrainingOptions, dataset: records.Dataset
) -> Iterator[tuple[Training, Parts]]:
    """Yields a training that is ready to begin, and its parts; its run folder is removed again.

    Args:
        options: Options of the training, which is in this process alone.
        dataset: The converted dataset.

    Raises:
        InputError: If the training cannot be run with these options on this dataset.
    """
    alone = Team(local_strategy(options.strategy))
    model = compiled_model.build(options, dataset, alone.strategy, guests.load(options))
    compiled_model.check_encoder(model, options)
    initial_weights.load(model, options, dataset)
    with tempfile.TemporaryDirectory() as folder:
        described = run_folder.create(Path(folder, "run"), options, dataset)
        training = Training(described, dataset, model, alone, Stop(), None, ())
        with training.prepared() as parts:
            yield training, parts
