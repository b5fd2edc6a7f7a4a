import io
import shutil

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines.classes import ClassSpace, colors
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.evaluations import result_picture

HISTORY = [
    {"epoch": 1, "loss": 1.0, "learning_rate": 0.1, "mean_iou": None},
    {"epoch": 2, "loss": 0.5, "learning_rate": 0.05, "mean_iou": 0.5, "pixel_accuracy": 0.6},
]


def draw(names, history=HISTORY):
    classes = ClassSpace(tuple(names), colors.complete(tuple(names), {}))
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 100, (len(names), len(names)))
    matrix[-1] = matrix[:, -1] = 0  # a class that never occurs
    predictions = np.full((60, 180, 3), (10, 200, 30), np.uint8)
    png = result_picture.draw(history, matrix, predictions, classes, "a title with $ and _")
    with PIL.Image.open(io.BytesIO(png)) as picture:
        return np.array(picture.convert("RGB"))


def test_the_picture_shows_the_predictions_and_the_colors_of_the_classes():
    picture = draw(["road", "sky", "never"])
    assert picture.shape[1] == 1600
    predictions = (picture == (10, 200, 30)).all(-1)
    assert predictions.sum() > 100_000
    for color in colors.complete(("road", "sky", "never"), {})[:2]:
        assert (picture == color).all(-1).sum() > 1000, color  # its bar


@pytest.mark.parametrize(
    "names",
    [["a", "$x_{1}$"], ["道路", "неБО", "_underscored"], [f"class {i}" for i in range(150)]],
    ids=["formula", "scripts", "many"],
)
def test_any_names_can_be_drawn(names):
    assert draw(names).std() > 0


def test_a_history_of_an_older_release_has_no_learning_rate():
    assert draw(["a", "b"], [{"epoch": 1, "loss": 1.0}]).std() > 0


def test_a_run_is_drawn_from_its_files(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    assert result_picture.write(run) == run / "results.png"
    with PIL.Image.open(run / "results.png") as picture:
        assert picture.width == 1600
    (run / "confusion_matrix.csv").write_text("label,a\na,1\n")
    with pytest.raises(InputError, match="damaged results"):
        result_picture.write(run)
    (run / "confusion_matrix.csv").unlink()
    assert result_picture.write(run) is None
