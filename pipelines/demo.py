"""The demo: every stage on drawn street scenes, with nothing but this package."""

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import PIL.Image

from kerasseg import visualize

from . import convert, evaluate, export, fit
from .datasets import scenes
from .errors import InputError
from .images import figures
from .runs.training_options import TrainingOptions
from .serving import saved_model

TRAINING = TrainingOptions(
    model="unet",
    model_options={"variant": "milesial", "filters": 16, "depth": 3},
    epochs=13,
    batch_size=8,
    crop_size=scenes.SIZE,
    scale=(0.8, 1.25),
    learning_rate=4e-3,
    warmup_epochs=0.5,
    evaluate_every=4,
)
_MARKER = ".kerasseg-demo"
_PICTURED = 3
_ENLARGEMENT = 2


def run(
    output: Path | str,
    *,
    on_stage: Callable[[str], None] = lambda text: None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[dict[str, Any], Path]:
    """Converts, trains, evaluates, exports and predicts through the SavedModel.

    Args:
        output: Folder to write everything into; replaces an earlier demo there.
        on_stage: Called with a line at the start of each stage.
        extra_callbacks: Keras callbacks of the training.

    Returns:
        The report of `evaluate.run`, and the file of a picture of image, truth and prediction.

    Raises:
        InputError: If the folder holds anything but a demo.
    """
    output = Path(output)
    _clear(output)
    on_stage("1/5 drawing and converting street scenes")
    convert.run("scenes", None, output / "data")
    on_stage(f"2/5 training a U-Net for {TRAINING.epochs} epochs")
    fit.run(TRAINING, output / "data", output / "run", extra_callbacks=extra_callbacks)
    on_stage("3/5 evaluating it on the validation split")
    report = evaluate.run(output / "run")
    on_stage("4/5 exporting a SavedModel and checking it in a separate process")
    version = export.run(output / "run", output=output / "saved_models", name="demo")
    on_stage("5/5 predicting through the SavedModel")
    picture = _predict_and_draw(version, output / "demo.png")
    return report, picture


def _clear(output: Path) -> None:
    if output.exists() and any(output.iterdir()):
        if not (output / _MARKER).exists():
            raise InputError(f"{output}: must be empty or hold an earlier demo; choose --output.")
        shutil.rmtree(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / _MARKER).touch()
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}).") from error


def _predict_and_draw(version: Path, path: Path) -> Path:
    examples = scenes.examples(Path(), "validation")[:_PICTURED]
    pairs = [scenes.read(example) for example in examples]
    answers = saved_model.predict_in_clean_process(version, [image for image, _ in pairs])
    colors = scenes.CLASSES.colors
    rows = []
    for (content, label), answer in zip(pairs, answers, strict=True):
        image, predicted = _decode(content), _decode(answer)
        truth = visualize.overlay(image, label, colors, opacity=0.75)
        prediction = visualize.overlay(image, predicted, colors, opacity=0.75)
        rows.append([_enlarge(picture) for picture in (image, truth, prediction)])
    figures.comparison(rows, ("image", "truth", "prediction"), scenes.CLASSES).save(path)
    return path


def _enlarge(picture: np.ndarray) -> np.ndarray:
    return picture.repeat(_ENLARGEMENT, axis=0).repeat(_ENLARGEMENT, axis=1)


def _decode(content: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(content)))
