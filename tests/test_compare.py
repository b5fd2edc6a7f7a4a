import dataclasses
import json
import shutil

import keras
import pytest

from kerasseg.pipelines import check, compare, evaluate, fit
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder


@pytest.fixture(scope="module")
def longer(tiny_training, tiny_data, tmp_path_factory):
    """A run of another learning rate and encoder depth."""
    options = dataclasses.replace(
        tiny_training,
        epochs=1,
        learning_rate=0.02,
        model_options={**tiny_training.model_options, "depth": 1},
    )
    return fit.run(options, tiny_data, tmp_path_factory.mktemp("longer") / "run").folder


def test_scores_are_those_of_evaluate_and_options_those_that_differ(tiny_run, longer, run_cli):
    calls = []
    report = compare.run(tiny_run, longer, on_image=lambda *counts: calls.append(counts))
    alone = [evaluate.run(run, batch_size=1) for run in (tiny_run, longer)]
    for name, found in report["scores"].items():
        assert [found["first"], found["second"]] == [each[name] for each in alone], name
        assert found["gain"] == pytest.approx(found["second"] - found["first"], abs=1e-12)
        low, high = found["interval"]
        assert low <= found["gain"] <= high
    for index, found in enumerate(report["classes"].values()):
        assert [found["first"], found["second"]] == [each["class_iou"][index] for each in alone]
    assert report["options"]["epochs"] == [2, 1]
    assert report["options"]["learning_rate"][1] == 0.02
    assert report["options"]["model_option depth"][1] == 1
    assert "seed" not in report["options"]
    assert calls == [(image, 5) for image in range(1, 6)]
    result = run_cli("compare", tiny_run, longer)
    assert result.exit_code == 0, result.output
    assert "learning_rate\t0.003\t0.02" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("mean_iou"))
    assert line.split("\t")[1] == f"{alone[0]['mean_iou']:.4f}"
    as_json = run_cli("compare", tiny_run, longer, "--json")
    assert json.loads(as_json.stdout) == json.loads(json.dumps(report))


def test_a_network_gains_nothing_on_itself(tiny_run):
    report = compare.run(tiny_run, tiny_run / "checkpoints/best.keras")
    assert report["options"] == {}
    for found in (*report["scores"].values(), *report["classes"].values()):
        assert found["gain"] == 0
        assert found["interval"] == [0, 0]


def test_other_classes_are_refused(tiny_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    description = json.loads((other / "run.json").read_text())
    description["class_names"][1] = "box"
    (other / "run.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"other: must have the classes of .*\n.*class 1"):
        compare.run(tiny_run, other)


def test_classes_of_other_colours_are_the_same_classes(tiny_run, tiny_data, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    content = json.loads((run / "run.json").read_text())
    content["colors"] = [[9, 8, 7], [6, 5, 4], [3, 2, 1]]
    (run / "run.json").write_text(json.dumps(content))
    assert compare.run(tiny_run, run)["images"] == 5
    assert evaluate.run(run)["mean_iou"] == evaluate.run(tiny_run, output=tmp_path)["mean_iou"]
    assert check.run(tiny_data, network=run).suspects is not None
    options = dataclasses.replace(run_folder.load(tiny_run).options, epochs=1, init_from=str(run))
    started = fit.run(options, tiny_data, tmp_path / "started").folder
    assert not json.loads((started / "run.json").read_text()).get("layers_started_anew")


def test_files_are_compared_on_a_dataset(tiny_run, tiny_data, tmp_path):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(3, 1)(images))
    model.save(tmp_path / "own.keras")
    report = compare.run(tmp_path / "own.keras", tmp_path / "own.keras", data=tiny_data)
    assert report["images"] == 5
    expected = evaluate.run(tmp_path / "own.keras", data=tiny_data)["mean_iou"]
    assert report["scores"]["mean_iou"]["second"] == expected
