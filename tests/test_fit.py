"""A training from beginning to end: the run folder, what it keeps, and what is refused."""

import dataclasses
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.pipelines import fit, records
from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.training import compiled_model


def test_the_run_folder_describes_itself(tiny_run, tiny_data, tiny_training):
    description = json.loads((tiny_run / "run.json").read_text())
    dataset = records.load(tiny_data)
    assert description["class_names"] == ["ground", "square", "disc"]
    assert description["colors"][1] == [255, 0, 0]
    assert description["dataset"]["fingerprint"] == dataset.fingerprint
    assert description["versions"]["keras"] == keras.__version__
    assert description["parameters"] == kerasseg.load(tiny_run).count_params()
    assert run_folder.load(tiny_run).options == tiny_training


def test_history_has_a_row_an_epoch_with_every_score(tiny_run):
    history = run_folder.history(tiny_run)
    assert [entry["epoch"] for entry in history] == [1, 2]
    for entry in history:
        assert 0 < entry["loss"] < 3
        assert len(entry["class_iou"]) == 3
        present = [iou for iou in entry["class_iou"] if iou is not None]
        assert entry["mean_iou"] == pytest.approx(np.mean(present))
    header, *rows = (tiny_run / "history.csv").read_text().splitlines()
    assert header.split(",")[:2] == ["epoch", "loss"]
    assert header.split(",")[-3:] == ["iou ground", "iou square", "iou disc"]
    assert len(rows) == 2


def test_tensorboard_gets_the_scores_and_the_pictures(tiny_run):
    values = {}
    for file in (tiny_run / "tensorboard").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                values[value.tag, event.step] = value.tensor
    for step, entry in enumerate(run_folder.history(tiny_run), start=1):
        stored = tf.make_ndarray(values["mean_iou", step])
        assert stored == pytest.approx(entry["mean_iou"], rel=1e-6)
        assert ("class_iou/disc", step) in values
    width, height, picture = values["image | truth | prediction", 2].string_val
    sheet = tf.io.decode_png(picture).numpy()
    assert sheet.shape == (int(height), int(width), 3)
    np.testing.assert_array_equal(
        sheet, tf.io.decode_png((tiny_run / "overlays.png").read_bytes()).numpy()
    )


def test_resuming_a_finished_run_changes_nothing(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    before = (tmp_path / "run/history.json").read_bytes()
    fit.resume(tmp_path / "run")
    assert (tmp_path / "run/history.json").read_bytes() == before


def test_median_frequency_weights_follow_their_formula():
    split = records.Split("train", 3, [], [60, 30, 10, 0], [100, 60, 100, 0], 7)
    # Frequencies .6, .5, .1; their median is .5; class 3 never occurs.
    expected = [0.5 / 0.6, 1.0, 5.0, 0.0]
    assert fit.median_frequency_weights(split) == pytest.approx(expected)


def test_class_weights_reach_the_loss(tiny_data, tiny_training):
    dataset = records.load(tiny_data)
    expected = fit.median_frequency_weights(dataset.splits["train"])
    assert max(expected) > 2 * min(expected)
    for choice, weights in (("median-frequency", pytest.approx(expected)), ("none", None)):
        options = dataclasses.replace(tiny_training, class_weights=choice)
        model = compiled_model.build(options, dataset, tf.distribute.get_strategy())
        assert model.loss.class_weights == weights


def test_a_diverging_run_stops_with_an_error_and_keeps_its_state(
    tiny_data, tiny_training, tmp_path
):
    options = dataclasses.replace(tiny_training, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(InputError, match=r"loss must be finite, got (nan|inf)"):
        fit.run(options, tiny_data, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, or auto, got 0.0"),
        ({"scale": (2.0, 1.0)}, r"scale must be MIN,MAX above 0, got \(2.0, 1.0\)"),
        ({"crop_size": (4, 32)}, r"crop_size must be HEIGHT,WIDTH from 8 to 16384, got \(4, 32\)"),
        ({"optimizer": "lion"}, "optimizer must be one of adamw, sgd, got 'lion'"),
        ({"augment": "auto"}, "augment must be one of none, standard, rand, got 'auto'"),
    ],
)
def test_options_out_of_range_are_refused_with_the_value(tiny_training, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(tiny_training, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 13}, "batch_size must be at most the 12 training images, got 13"),
        ({"model": "yolo"}, r"model must be one of ddrnet, .*got 'yolo'"),
        ({"model_options": {"filtres": 8}}, "got 'filtres'"),
        ({"model_options": {"filters": "many"}}, "filters"),
        ({"model_options": {"variant": "best"}}, "got 'best'"),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(
    tiny_data, tiny_training, tmp_path, change, message
):
    with pytest.raises(InputError, match=message):
        fit.run(dataclasses.replace(tiny_training, **change), tiny_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["learning_rate", "power", "weight_decay", "warmup_epochs"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_without_end_are_refused(tiny_training, name, value):
    with pytest.raises(InputError, match=rf"{name} must be finite, got"):
        replace(tiny_training, **{name: value})


def test_a_folder_with_a_run_is_not_overwritten(tiny_run, tiny_data, tiny_training):
    before = (tiny_run / "run.json").read_bytes()
    with pytest.raises(InputError, match=r"holds a run already; give --resume"):
        fit.run(tiny_training, tiny_data, tiny_run)
    assert (tiny_run / "run.json").read_bytes() == before


def test_a_shard_cut_short_is_found_before_training(tiny_data, tiny_training, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "data")
    shard = next((tmp_path / "data").rglob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"{shard.name}: must have \d+ bytes.*convert"):
        fit.run(tiny_training, tmp_path / "data", tmp_path / "run")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_a_labelled_pixel_is_found_before_training(
    tiny_data, tiny_training, tmp_path, split
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    manifest = data / "folder" / "1.0.0" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["splits"][split]["class_pixels"] = [0, 0, 0]
    manifest.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"labels of split {split} must hold a pixel of some"):
        fit.run(tiny_training, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_resumes_on_its_own_records_only(tiny_run, tiny_data, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    shutil.copytree(tiny_data, tmp_path / "data")
    manifest = next((tmp_path / "data").rglob("manifest.json"))
    manifest.write_text(manifest.read_text().replace('\n "fingerprint": "', '\n "fingerprint": "0'))
    with pytest.raises(InputError, match="must be the records that"):
        fit.resume(tmp_path / "run", data=tmp_path / "data")


def change_manifest(data, tmp_path, change):
    """Copies a dataset and changes its manifest; returns the copy's folder."""
    copied = shutil.copytree(data, tmp_path / "changed")
    path = next(copied.rglob("manifest.json"))
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return copied


def forget_counts(manifest):
    """Makes a manifest what --verify checksums makes of it."""
    for split in manifest["splits"].values():
        split |= {"class_pixels": [], "pixels_with_class": [], "ignored_pixels": 0}


def test_weights_of_as_many_other_classes_are_taken_without_their_classifier_only(
    tiny_run, tiny_data, tiny_training, tmp_path
):
    def rename(manifest):
        manifest["class_names"] = ["ground", "square", "ring"]
        colors = tuple(map(tuple, manifest["colors"]))
        space = ClassSpace(tuple(manifest["class_names"]), colors)
        manifest["classes_fingerprint"] = space.fingerprint

    data = change_manifest(tiny_data, tmp_path, rename)
    options = replace(tiny_training, init_from=str(tiny_run), epochs=1)
    with pytest.raises(InputError, match=r"class 2: must be ring .* got disc") as refusal:
        fit.run(options, data, tmp_path / "run")
    assert "--reset-head" in str(refusal.value)
    assert not (tmp_path / "run").exists()
    fit.run(replace(options, reset_head=True), data, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["layers_started_anew"] == ["logits"]


@pytest.fixture(scope="module")
def uncounted(tiny_data, tmp_path_factory):
    """The tiny dataset as if its labels had not been counted."""
    return change_manifest(tiny_data, tmp_path_factory.mktemp("uncounted"), forget_counts)


@pytest.fixture(scope="module")
def uncounted_run(uncounted, tiny_training, tmp_path_factory):
    """A run on it, of three epochs, for which auto would cache; every second one is evaluated."""
    options = replace(tiny_training, epochs=3, evaluate_every=2)
    return fit.run(options, uncounted, tmp_path_factory.mktemp("runs") / "run")


def test_evaluation_can_be_rarer_and_the_last_epoch_always_has_one(uncounted_run):
    history = run_folder.history(uncounted_run.folder)
    assert ["mean_iou" in entry for entry in history] == [False, True, True]


def test_class_weights_want_a_dataset_whose_labels_were_counted(
    uncounted, uncounted_run, tiny_training, tmp_path
):
    options = replace(tiny_training, class_weights="median-frequency", epochs=1)
    with pytest.raises(InputError, match=r"class_weights must be none .* --verify checksums"):
        fit.run(options, uncounted, tmp_path / "run")
    assert uncounted_run.options.class_weights == "none"


def test_a_dataset_whose_pixels_were_not_counted_is_not_cached(
    uncounted, uncounted_run, tiny_training, tmp_path
):
    with pytest.raises(InputError, match=r"cache must be none .* got 'memory'"):
        fit.run(replace(tiny_training, cache="memory"), uncounted, tmp_path / "memory")
    assert uncounted_run.options.cache == "auto"


@pytest.mark.slow
def test_few_steps_with_a_high_momentum_have_averages_to_evaluate_by(
    tiny_data, tiny_training, tmp_path
):
    """Else 48 steps of 0.99 would leave 0.62 of the zeros and ones at the beginning.

    With a momentum of 0.9 throughout mean_iou is 0.88 here, with 0.99 throughout it is 0.35.
    """
    options = replace(
        tiny_training,
        epochs=8,
        batch_size=2,
        evaluate_every=8,
        learning_rate=1e-2,
        warmup_epochs=0.5,
        augment="none",
        scale=(1.0, 1.0),
        batch_norm_momentum=0.99,
    )
    run = fit.run(options, tiny_data, tmp_path / "run")
    assert run_folder.history(run.folder)[-1]["mean_iou"] > 0.8
