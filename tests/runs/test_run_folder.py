"""What a run folder must be before a training, and what its description must say."""

import json
import shutil

import pytest

from kerasseg.pipelines import evaluate, fit, list_runs
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import calibration, crf, guests, run_folder

CODE = {"option": "model", "source": "a.py", "name": "b", "file": "code/a.py", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "name",
    [
        *("history.csv", "history.json", "results.png", "confusion_matrix.csv", "crf.json"),
        *("code/model.py", "evaluation/test/metrics.json", "checkpoints/epoch-1-step-0/state"),
        *("tensorboard/events", "tracking.json", "calibration.json", "evaluation_crf.txt"),
    ],
)
def test_a_training_replaces_no_file_of_someone_else(tiny_training, tiny_data, tmp_path, name):
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    there = name.partition("/")[0]
    with pytest.raises(InputError, match=f"must be new or empty, got {there} without run.json"):
        fit.run(tiny_training, tiny_data, tmp_path / "mine")
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "precious"


def test_the_names_that_a_training_would_replace_are_those_that_it_writes(tiny_run):
    written = [path for path in tiny_run.iterdir() if path.name[0] != "."]
    missing = {path.name for path in written if not any(map(path.match, run_folder._WRITTEN))}
    assert missing == {"run.json"}
    assert {crf.FILE, calibration.FILE, guests.FOLDER} <= set(run_folder._WRITTEN)


def test_files_that_a_run_does_not_write_may_be_there(tmp_path):
    for name in ("log.txt", "notes.md", ".gitignore"):
        (tmp_path / name).write_text("mine")
    run_folder.check_new(tmp_path)


@pytest.fixture
def changed(tiny_run, tmp_path):
    """Copies the run with another value in its description."""

    def change(key, value):
        folder = shutil.copytree(tiny_run, tmp_path / "changed")
        content = json.loads((folder / "run.json").read_text())
        content[key] = value
        (folder / "run.json").write_text(json.dumps(content))
        return folder

    return change


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("options", value) for value in ([], None, 3, "x", {}, {"model": 5})),
        *(("dataset", value) for value in (None, {}, 3, {"path": 5}, [1])),
        ("dataset", {"name": "a", "path": 5, "fingerprint": "b"}),
        *(("format", value) for value in (1e308, "x", None, True)),
        *(("class_names", value) for value in ([], "abc", [1, 2, 3], None)),
        *(("ignore_label", value) for value in (0, "255", None)),
        ("colors", [[1, 2]]),
        ("phases", [3]),
        ("code", [{"option": "model"}]),
        (
            "code",
            [{**CODE, "file": "../../x.py"}],
        ),
        ("images", []),
        ("encoder_forms", [3]),
    ],
)
def test_a_description_with_other_values_is_damaged(changed, key, value):
    folder = changed(key, value)
    with pytest.raises(InputError, match=r"run\.json: damaged run description"):
        run_folder.load(folder)
    for command in (evaluate.run, list_runs.run, fit.resume):
        with pytest.raises(InputError, match=r"run\.json: damaged run description"):
            command(folder)


@pytest.mark.parametrize("value", [0, 2, 100])
def test_a_format_of_another_version_is_not_read(changed, value):
    message = rf"format must be 1, which this version of kerasseg reads, got {value}; a newer"
    with pytest.raises(InputError, match=message):
        run_folder.load(changed("format", value))
