import csv
import json
import shutil

import numpy as np
import pytest

import kerasseg
from kerasseg.pipelines import evaluate, inputs, records
from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.views import View, seen


@pytest.fixture
def run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_the_scores_are_those_of_a_confusion_matrix_counted_by_hand(run, tiny_data):
    model = kerasseg.load(run)
    expected = np.zeros((3, 3), np.int64)
    files = records.load(tiny_data).files("validation")
    for images, labels in inputs.evaluation_batches(files, 1):
        prediction, label = np.argmax(model(images)[0], -1), labels[0].numpy()
        np.add.at(expected, (label[label != 255], prediction[label != 255]), 1)
    report = evaluate.run(run)
    np.testing.assert_array_equal(report["confusion_matrix"], expected)
    correct, rows, columns = np.diag(expected), expected.sum(1), expected.sum(0)
    iou = correct / (rows + columns - correct)
    assert report["mean_iou"] == pytest.approx(np.nanmean(iou))
    assert report["pixel_accuracy"] == pytest.approx(correct.sum() / expected.sum())


def test_the_files_say_what_the_report_says(run):
    calls = []
    report = evaluate.run(run, on_progress=lambda *numbers: calls.append(numbers))
    assert calls == [(done, report["images"]) for done in range(1, report["images"] + 1)]
    folder = run / "evaluation" / "validation"
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored == {k: v for k, v in report.items() if k != "confusion_matrix"}
    header, *rows = csv.reader((folder / "confusion_matrix.csv").read_text().splitlines())
    assert header[1:] == [row[0] for row in rows] == ["ground", "square", "disc"]
    np.testing.assert_array_equal(
        np.array([row[1:] for row in rows], int), report["confusion_matrix"]
    )


def test_the_scores_of_a_view_are_those_of_its_predictions(run, tiny_data, run_cli):
    done = run_cli("evaluate", run, "--window", "24,32", "--stride", "16,20", "--flip")
    assert done.exit_code == 0, done.output
    folder = run / "evaluation" / "validation_windows_scales"
    assert f"written to {folder}" in done.output
    view = View((24, 32), (16, 20), flip=True)
    model, expected = seen(kerasseg.load(run), view), np.zeros((3, 3), np.int64)
    for images, labels in inputs.evaluation_batches(records.load(tiny_data).files("validation"), 1):
        prediction, label = np.argmax(model(images)[0], -1), labels[0].numpy()
        np.add.at(expected, (label[label != 255], prediction[label != 255]), 1)
    _, *rows = csv.reader((folder / "confusion_matrix.csv").read_text().splitlines())
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], int), expected)
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored["view"] == json.loads(json.dumps(view.facts()))
    assert evaluate.run(run)["view"] is None


@pytest.fixture(scope="module")
def scores(tiny_run, tmp_path_factory):
    """The scores with batches of two."""
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "run")
    return evaluate.run(run, batch_size=2)


# Batches of one, batches that are not full, and one batch of a part of which a replica has none.
@pytest.mark.parametrize(("batch_size", "replicas"), [(1, 1), (8, 1), (1, 2), (3, 2)])
def test_the_batch_size_and_the_replicas_change_nothing(
    run, scores, batch_size, replicas, two_cpus
):
    found = evaluate.run(run, batch_size=batch_size, devices=two_cpus[:replicas])
    np.testing.assert_array_equal(found["confusion_matrix"], scores["confusion_matrix"])
    assert found["intervals"] == scores["intervals"]
    assert found["class_boundary_iou"] == scores["class_boundary_iou"]
    assert found["image_mean_iou"] == scores["image_mean_iou"]
    assert found["object_sizes"]["small"]["recall"] == pytest.approx(
        scores["object_sizes"]["small"]["recall"]
    )
    error = scores["expected_calibration_error"]
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-6)


def test_the_interval_of_a_score_holds_the_score(scores):
    bounds = scores["intervals"]
    everything = [
        (scores["mean_iou"], bounds["mean_iou"]),
        *zip(scores["class_iou"], bounds["class_iou"], strict=True),
    ]
    assert all(low <= score <= high for score, (low, high) in everything)
    assert any(low < high for _, (low, high) in everything)


def test_a_class_that_no_label_has_is_listed(run, tiny_data, tmp_path):
    report = evaluate.run(run, split="train")
    assert report["absent_classes"] == []


def test_a_dataset_of_other_classes_is_refused_with_the_difference(run, tiny_data, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "data")
    manifest = next((tmp_path / "data").rglob("manifest.json"))
    content = json.loads(manifest.read_text())
    content["class_names"] = ["ground", "square", "ball"]
    classes = ClassSpace(("ground", "square", "ball"), tuple(map(tuple, content["colors"])))
    manifest.write_text(json.dumps({**content, "classes_fingerprint": classes.fingerprint}))
    message = r"class 2: must be disc \(0, 0, 255\), got ball \(0, 0, 255\)"
    with pytest.raises(InputError, match=message):
        evaluate.run(run, data=tmp_path / "data")


@pytest.mark.parametrize(
    ("break_run", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "must be a run folder, got no run.json"),
        (lambda run: (run / "run.json").write_text("{"), "damaged run description"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "epochs were finished; was it removed"),
        (
            lambda run: (run / "checkpoints/best.keras").unlink(),
            "best.keras: must be there, as the",
        ),
        (
            lambda run: (
                (run / "checkpoints/best.keras").unlink() or (run / "history.json").write_text("{")
            ),
            "history.json: damaged history",
        ),
        (lambda run: (run / "checkpoints/best.keras").write_text("x"), "cannot be loaded"),
    ],
)
def test_a_damaged_run_is_a_clear_error(run, break_run, message):
    break_run(run)
    with pytest.raises(InputError, match=message):
        evaluate.run(run)


def test_a_record_with_a_wrong_byte_is_a_clear_error(run, tiny_data, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "data")
    shard = next((tmp_path / "data").rglob("*validation*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"{shard.name}: a record is damaged .* with --overwrite"):
        evaluate.run(run, data=tmp_path / "data")


def test_an_unknown_split_lists_the_known_ones(run):
    with pytest.raises(InputError, match=r"train, validation, got 'test'"):
        evaluate.run(run, split="test")


def test_a_batch_size_of_zero_is_refused(run):
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        evaluate.run(run, batch_size=0)


def test_the_report_is_a_page_with_the_scores_of_the_files(run_cli, run, tmp_path):
    file = tmp_path / "report.html"
    result = run_cli("evaluate", run, "--report", file)
    assert result.exit_code == 0, result.output
    assert f"written to {file}" in result.output
    stored = json.loads((run / "evaluation" / "validation" / "metrics.json").read_text())
    page = file.read_text()
    assert f"mean IoU {100 * stored['mean_iou']:.1f} %" in page
    assert "<h2>Training</h2>" in page
    for index in range(5):  # all images of the split, some best and some worst
        assert page.count("errors (mean IoU") == 5
        assert f"{index:02}.png" in page
    assert run_cli("evaluate", run, "--report", file).exit_code == 0  # replaces an earlier one


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.html", "must be a new file or an earlier report"),
        ("absent/report.html", "no folder"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    run, tmp_path, monkeypatch, name, message
):
    (tmp_path / "notes.html").write_text("<html>my notes</html>")
    monkeypatch.setattr(inputs, "evaluation_batches", None)
    with pytest.raises(InputError, match=message):
        evaluate.run(run, report=tmp_path / name)


def test_a_file_without_a_run_has_a_report_too(run, tiny_data, tmp_path):
    file = tmp_path / "own.keras"
    shutil.copy(run / "checkpoints" / "best.keras", file)
    evaluate.run(file, data=tiny_data, report=tmp_path / "report.html")
    assert "<h2>Training</h2>" not in (tmp_path / "report.html").read_text()
