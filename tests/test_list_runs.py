import json
import shutil
from pathlib import Path

import pytest

from kerasseg.pipelines import list_runs
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runtime import locks


def change(run, **options):
    """Changes options in the description of a run."""
    path = run / "run.json"
    description = json.loads(path.read_text())
    description["options"] |= options
    path.write_text(json.dumps(description))


@pytest.fixture
def runs(tiny_run, tmp_path):
    """Three runs: a finished one, one that was stopped after an epoch, and one ended early."""
    for name in ("b/finished", "a/stopped", "early"):
        shutil.copytree(tiny_run, tmp_path / "runs" / name)
    stopped = tmp_path / "runs/a/stopped"
    (stopped / "history.json").write_text(json.dumps(run_folder.history(tiny_run)[:1]))
    change(stopped, learning_rate=0.5, crop_size=[16, 24])
    change(tmp_path / "runs/early", epochs=9, early_stop=1, monitor="pixel_accuracy")
    epochs = [{"epoch": 1, "loss": 1.0, "pixel_accuracy": 0.9, "seconds": 90.0}]
    epochs.append({"epoch": 2, "loss": 0.5, "pixel_accuracy": 0.8, "seconds": 30.0})
    (tmp_path / "runs/early/history.json").write_text(json.dumps(epochs))
    return tmp_path / "runs"


def test_each_run_is_described(runs, tiny_run):
    stopped, finished, early = list_runs.run(runs)
    assert [each["run"] for each in (stopped, finished, early)] == [
        "a/stopped",
        "b/finished",
        "early",
    ]
    best = max(entry["mean_iou"] for entry in run_folder.history(tiny_run))
    assert (finished["status"], finished["epochs"], finished["score"]) == ("finished", 2, best)
    assert (stopped["status"], stopped["epochs"], stopped["epochs_planned"]) == ("stopped", 1, 2)
    assert (early["status"], early["score"], early["best_epoch"]) == ("ended early", 0.9, 1)
    assert (early["loss"], early["seconds"], early["monitor"]) == (0.5, 120, "pixel_accuracy")
    assert stopped["options"]["learning_rate"] == 0.5
    assert stopped["options"]["crop_size"] == [16, 24]
    assert stopped["options"].keys() == finished["options"].keys()
    assert "seed" not in stopped["options"]


def test_a_run_is_in_training_while_a_process_holds_it(runs):
    with locks.exclusive(runs / "a/stopped"):
        assert list_runs.run(runs)[0]["status"] == "training"
    assert list_runs.run(runs)[0]["status"] == "stopped"
    # A killed process leaves its name in the file.
    (runs / "a/stopped/.lock").write_text("process 1 on host")
    assert list_runs.run(runs)[0]["status"] == "stopped"


def test_the_command_sorts(runs, run_cli):
    result = run_cli("runs", runs, "--sort", "score")
    assert result.exit_code == 0, result.output
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header[:4] == ["run", "model", "status", "epochs"]
    assert "learning_rate" in header
    assert [row[header.index("monitor")] for row in rows] == [
        "mean_iou",
        "mean_iou",
        "pixel_accuracy",
    ]
    best, second, _ = [float(row[header.index("score")]) for row in rows]
    assert best >= second
    # The other score is higher, and of another kind.
    assert rows[2][header.index("run")] == "early"
    assert rows[2][header.index("minutes")] == "2.0"
    by_rate = run_cli("runs", runs, "--sort", "learning_rate", "--json")
    assert [each["run"] for each in json.loads(by_rate.stdout)][-1] == "a/stopped"


def test_the_option_loss_and_the_loss_of_the_last_epoch_have_columns_of_their_own(runs, run_cli):
    change(runs / "early", loss="lovasz", schedule="step", step_epochs=[3])
    result = run_cli("runs", runs, "--sort", "loss option")
    assert result.exit_code == 0, result.output
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header.count("loss") == 1
    assert [row[header.index("loss option")] for row in rows][-1] == "lovasz"
    assert rows[0][header.index("step_epochs")] == "-"
    early = rows[-1]
    assert (early[0], early[header.index("loss")]) == ("early", "0.5000")


@pytest.mark.parametrize("sort", ["scor", "seed"])
def test_an_unknown_column_is_refused(runs, run_cli, sort):
    result = run_cli("runs", runs, "--sort", sort)
    assert result.exit_code == 2
    assert "must be one of run, model, status" in result.output
    assert f"got {sort!r}" in result.output


def test_a_folder_without_runs_is_refused(tmp_path, run_cli):
    with pytest.raises(InputError, match=r"must hold a run, got no run\.json"):
        list_runs.run(tmp_path)
    result = run_cli("runs", tmp_path / "none")
    assert result.exit_code == 1
    assert "must be a folder with runs, got no such folder" in result.output


def test_a_damaged_run_does_not_hide_the_others(runs, run_cli, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(runs, folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{")
    result = run_cli("runs", folder)
    assert result.exit_code == 1
    for run in list_runs.run(runs):
        assert f"{run['run']}\t" in result.stdout
    assert f"{folder / 'broken' / 'run.json'}: damaged run description" in result.stderr
    with pytest.raises(InputError, match="damaged run description"):
        list_runs.run(folder)
    alone = run_cli("runs", folder / "broken")
    assert alone.exit_code == 1
    assert "damaged run description" in alone.stderr


def test_a_run_of_release_0_1_and_a_single_run_are_listed(tmp_path):
    release = tmp_path / "old"
    shutil.copytree(Path(__file__).parent / "release_0_1/run", release)
    (only,) = list_runs.run(release)
    assert only["run"] == "."
    assert only["seconds"] is None
    assert only["options"] == {}
