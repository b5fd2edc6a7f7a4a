"""Exports, scored by the code that scores runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

import kerasseg
from kerasseg.pipelines import evaluate, export, inputs, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import exported_network, label_sources, portable
from kerasseg.pipelines.serve import Server


@pytest.fixture(scope="module")
def of_the_run(tiny_run, tmp_path_factory):
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "run")
    return evaluate.run(run)["confusion_matrix"]


@pytest.fixture(scope="module")
def saved(tiny_run, tmp_path_factory):
    return export.run(tiny_run, output=tmp_path_factory.mktemp("saved_models"))


def examples(tiny_data):
    batches = inputs.evaluation_batches(records.load(tiny_data).files("validation"), 1)
    return [(image.numpy(), label[0].numpy()) for image, label in batches]


def nearest_by_formula(labels, height, width):
    """The pixel of the old map in which the centre of each new one lies."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip((height, width), labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


def resize_by_formula(values, height, width):
    """Bilinear, without antialiasing: output pixel i lies at (i + 1/2) old / new - 1/2."""
    for axis, new in ((0, height), (1, width)):
        old = values.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        high = np.minimum(low + 1, old - 1)
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values


@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "openvino"])
def test_an_export_of_any_size_has_the_scores_of_its_run(
    kind, saved, files, openvino_export, of_the_run, tiny_data, tmp_path
):
    path = {
        "savedmodel": saved.parent,
        "openvino": openvino_export,
        "onnx": files["onnx"] / "model.onnx",
    }
    report = evaluate.run(path[kind], data=tiny_data, output=tmp_path)
    np.testing.assert_array_equal(report["confusion_matrix"], of_the_run)
    folder = tmp_path / "evaluation" / "validation"
    stored = json.loads((folder / "metrics.json").read_text())
    assert stored == {k: v for k, v in report.items() if k != "confusion_matrix"}
    assert (folder / "confusion_matrix.csv").is_file()
    assert stored["class_names"] == ["ground", "square", "disc"]
    assert stored["checkpoint"] is None


def test_a_file_of_one_size_is_scored_at_the_images_own_size(
    files, tiny_run, tiny_data, tmp_path, count_by_hand
):
    model = kerasseg.load(tiny_run)
    pairs = []
    for image, label in examples(tiny_data):
        small = resize_by_formula(image[0].astype(np.float64), 32, 32).round()
        found = np.argmax(model(small[np.newaxis].astype(np.float32))[0], -1)
        pairs.append((label, nearest_by_formula(found, *label.shape)))
    report = evaluate.run(files["litert"], data=tiny_data, output=tmp_path)
    np.testing.assert_array_equal(report["confusion_matrix"], count_by_hand(pairs))


def test_probabilities_of_a_file_are_resized_before_a_class_is_chosen():
    """The second pixel has a narrow majority, which its neighbours outvote between the centres."""
    probabilities = np.array([[[0.9, 0.1], [0.45, 0.55], [0.9, 0.1], [0.9, 0.1]]], np.float32)
    answer = {"labels": probabilities.argmax(-1).astype(np.uint8)}
    images = np.zeros((2, 1, 8, 3), np.uint8)

    def predict(answer):
        loaded = portable.Loaded((1, 1, 4, 3), lambda images: answer)
        return label_sources.of_loaded(loaded)(images)

    nearest, chosen = (
        predict({name: value[np.newaxis] for name, value in answers.items()})
        for answers in (answer, {**answer, "probabilities": probabilities})
    )
    assert nearest.tolist() == 2 * [[[0, 0, 1, 1, 0, 0, 0, 0]]]
    expected = resize_by_formula(probabilities.astype(np.float64), 1, 8).argmax(-1)
    assert chosen.tolist() == 2 * [expected.tolist()] == 2 * [[8 * [0]]]
    assert chosen.dtype == nearest.dtype == np.uint8


def test_a_saved_model_of_one_size_resizes_by_itself(sized, tiny_run, tiny_data, tmp_path):
    found = evaluate.run(sized, data=tiny_data, output=tmp_path)["confusion_matrix"]
    assert found.sum() == sum((label != 255).sum() for _, label in examples(tiny_data))


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_server_has_the_scores_of_the_run_that_it_serves(
    protocol, saved, of_the_run, tiny_data, tmp_path, run_cli
):
    with Server(saved.parent.parent, rest_port=0, grpc_port=0) as server:
        address = {"rest": server.rest_address, "grpc": server.grpc_address}[protocol]
        result = run_cli(
            *("evaluate", address, "--data", tiny_data, "--model", "tiny", "--output", tmp_path)
        )
    assert result.exit_code == 0, result.output
    table = (tmp_path / "evaluation/validation/confusion_matrix.csv").read_text().splitlines()
    found = [[int(cell) for cell in line.split(",")[1:]] for line in table[1:]]
    np.testing.assert_array_equal(found, of_the_run)


def test_results_lie_beside_an_export(files, saved, tmp_path, monkeypatch):
    assert evaluate.output_folder(saved, "test", None) == saved / "evaluation" / "test"
    # The folder of a model stands for the newest version in it.
    assert evaluate.output_folder(saved.parent, "test", None) == saved / "evaluation" / "test"
    for path in (files["onnx"], files["onnx"] / "model.onnx"):
        assert evaluate.output_folder(path, "test", None) == files["onnx"] / "evaluation" / "test"
    moved = shutil.copy(files["onnx"] / "model.onnx", tmp_path / "street.onnx")
    assert evaluate.output_folder(moved, "test", None) == tmp_path / "street/evaluation/test"
    folder = evaluate.output_folder("http://here:8501", "test", None)
    assert folder.as_posix() == "here_8501/evaluation/test"


def test_a_file_alone_has_the_classes_of_the_dataset(files, of_the_run, tiny_data, tmp_path):
    moved = shutil.copy(files["onnx"] / "model.onnx", tmp_path / "street.onnx")
    report = evaluate.run(moved, data=tiny_data)
    np.testing.assert_array_equal(report["confusion_matrix"], of_the_run)
    assert (tmp_path / "street/evaluation/validation/metrics.json").is_file()


@pytest.mark.parametrize("ending", ["onnx", "tflite", "xml"])
def test_a_file_alone_tells_its_classes(
    ending, files, openvino_export, tiny_data, tmp_path, monkeypatch
):
    folders = {"onnx": files["onnx"], "tflite": files["litert"], "xml": openvino_export}
    for file in folders[ending].glob("model.*"):
        shutil.copy(file, tmp_path)
    dataset = records.load(tiny_data)
    names = ("ground", "square", "ball")
    other = replace(dataset, classes=replace(dataset.classes, names=names))
    monkeypatch.setattr(records, "load", lambda data: other)
    file = tmp_path / f"model.{ending}"
    with pytest.raises(InputError, match=r"class 2: must be disc \(0, 0, 255\), got ball"):
        evaluate.run(file, data=tiny_data)
    with pytest.raises(InputError, match=rf"classes must be left out .* with .*model.{ending}"):
        evaluate.run(file, data=tiny_data, classes="names.txt")


def test_classes_that_nothing_names_are_told_to_be_not_compared(files, tiny_data, tmp_path):
    proto = onnx.load(files["onnx"] / "model.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "model.onnx")
    told = []
    evaluate.run(tmp_path / "model.onnx", data=tiny_data, on_notice=told.append)
    assert "model.onnx: nothing names its classes, so they are not compared with the 3" in told[0]
    told.clear()
    evaluate.run(files["onnx"], data=tiny_data, output=tmp_path, on_notice=told.append)
    assert not told


def test_classes_of_another_dataset_are_refused(files, tiny_data, tmp_path):
    copied = shutil.copytree(files["onnx"], tmp_path / "1")
    meaning = json.loads((copied / "classes.json").read_text())
    meaning["class_names"][2] = "ball"
    (copied / "classes.json").write_text(json.dumps(meaning))
    with pytest.raises(InputError, match=r"class 2: must be ball \(0, 0, 255\), got disc"):
        evaluate.run(copied, data=tiny_data)
    (copied / "classes.json").write_text("{}")
    with pytest.raises(InputError, match=r"classes.json: damaged description of the classes"):
        evaluate.run(copied, data=tiny_data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": None}, "an export needs --data, the converted dataset to score it on"),
        ({"checkpoint": "last"}, "checkpoint must be left out for an export, got 'last'"),
        ({"code": ["a.py"]}, r"code must be left out for an export, got \['a.py'\]"),
        ({"model": "street"}, "model and version must be left out unless a server is asked"),
        ({"classes": "names.txt"}, "classes must be left out for an export with .*classes.json"),
    ],
)
def test_arguments_without_a_meaning_for_an_export_are_refused(
    arguments, message, files, tiny_data
):
    with pytest.raises(InputError, match=message):
        evaluate.run(files["onnx"], **{"data": tiny_data, **arguments})


def test_a_model_of_a_server_is_refused_for_a_run(tiny_run):
    with pytest.raises(InputError, match=r"model must be left out for a run or a \.keras file"):
        evaluate.run(tiny_run, model="street")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", r"model.onnx: cannot be loaded \("),
        ("model.tflite", r"model.tflite: cannot be loaded \("),
        ("model.xml", r"model.xml: its weights must lie beside it as model.bin, got nothing"),
        ("saved_model.pb", r"cannot be loaded \("),
        ("absent.onnx", "absent.onnx: must be an export, got nothing there"),
    ],
)
def test_what_is_no_export_is_a_clear_error(name, message, tiny_data, tmp_path, run_cli):
    path = tmp_path / name
    if name != "absent.onnx":
        path.write_bytes(b"damaged")
    path = tmp_path if name == "saved_model.pb" else path
    result = run_cli("evaluate", path, "--data", tiny_data)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    with pytest.raises(InputError, match=message):
        evaluate.run(path, data=tiny_data)


def test_a_server_that_is_not_there_is_a_clear_error(tiny_data, free_port, monkeypatch):
    monkeypatch.setattr(label_sources, "_RETRIES", 0)
    with pytest.raises(InputError, match="no server answers there"):
        evaluate.run(f"http://127.0.0.1:{free_port()}", data=tiny_data)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((1, 4, 5), 3, np.uint8), "labels must be below 3, the number of classes, got 3"),
        (np.zeros((1, 4, 4), np.uint8), r"labels must be uint8 \(1, 4, 5\), got uint8 \(1, 4, 4\)"),
        (np.zeros((1, 4, 5)), r"labels must be uint8 \(1, 4, 5\), got float64"),
    ],
)
def test_answers_that_are_no_labels_are_refused(labels, message):
    network = exported_network.ExportedNetwork(lambda images: labels, "street.onnx", 3)
    with pytest.raises(Exception, match=r"street\.onnx"):
        network(np.zeros((1, 4, 5, 3), np.float32))
    assert network.failure is not None
    assert str(network.failure).startswith("street.onnx: ")
    with pytest.raises(InputError, match=message):
        raise network.failure


def test_an_error_of_a_runtime_names_the_size_of_the_image(files, tiny_data, monkeypatch):
    def fail(images):
        raise RuntimeError("no memory\nand more")

    monkeypatch.setattr(exported_network, "of_path", lambda path: fail)
    with pytest.raises(InputError, match=r"cannot take an image of \d+ x \d+ pixels \(no memory\)"):
        evaluate.run(files["onnx"], data=tiny_data)
