"""Labels that are neither a class nor ignored, in datasets converted without a look at them."""

import dataclasses
import shutil

import numpy as np
import pytest

from kerasseg.pipelines import convert, crf_tune, evaluate, fit
from kerasseg.pipelines.conversion import job
from kerasseg.pipelines.conversion.pairs import Encoding
from kerasseg.pipelines.errors import InputError

CLASSES = "ground 128 128 128\nsquare 255 0 0\ndisc 0 0 255\n"
REMEDY = "got .* other pixels. kerasseg check finds the images"


@pytest.fixture
def data(tmp_path, save_image):
    """A dataset with a label of 9 at some pixels, copied unseen."""
    source = tmp_path / "source"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            label = rng.integers(0, 3, (32, 40)).astype(np.uint8)
            label[:, :5] = 9
            image = rng.integers(0, 256, (32, 40, 3)).astype(np.uint8)
            save_image(source / "images" / split / f"{index}.png", image)
            save_image(source / "labels" / split / f"{index}.png", label)
    (source / "classes.txt").write_text(CLASSES)
    convert.run("folder", source, tmp_path / "data", encoding=Encoding(verify="checksums"))
    return tmp_path / "data"


@pytest.fixture
def run(tiny_run, tmp_path):
    ignored = shutil.ignore_patterns("evaluation", "crf.json")  # of other tests
    return shutil.copytree(tiny_run, tmp_path / "run", ignore=ignored)


def test_training_stops_at_the_first_step_and_names_the_remedy(data, tiny_training, tmp_path):
    options = dataclasses.replace(tiny_training, scale=(1.0, 1.0), crop_size=(32, 40))
    with pytest.raises(
        InputError, match=r"labels must be in \[0, 3\) .* at step 1 .*got 9 in 'images/train/"
    ):
        fit.run(options, data, tmp_path / "new")


def test_evaluation_counts_no_pixel_rather_than_dropping_some(data, run):
    with pytest.raises(InputError, match=rf"\[0, 3\) or 255 \(ignored\), {REMEDY}"):
        evaluate.run(run, data=data)
    assert not (run / "evaluation").exists()


def test_the_search_for_a_crf_drops_no_pixel_either(data, run):
    with pytest.raises(InputError, match=REMEDY):
        crf_tune.run(run, data=data, images=1, num_iterations=1)
    assert not (run / "crf.json").exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_that_is_ignored_in_all_pixels_is_refused_at_the_start(
    tmp_path, save_image, tiny_training, split
):
    source = tmp_path / "source"
    for each in ("train", "val"):
        label = np.full((32, 32), 255 if each == split else 1, np.uint8)
        image = np.full((32, 32, 3), 9 if each == split else 99, np.uint8)
        save_image(source / "images" / each / "a.png", image)
        save_image(source / "labels" / each / "a.png", label)
    (source / "classes.txt").write_text(CLASSES)
    convert.run("folder", source, tmp_path / "data", encoding=Encoding(verify="checksums"))
    options = dataclasses.replace(tiny_training, batch_size=1)
    with pytest.raises(InputError, match=rf"labels of split {split}.* must hold a pixel of some"):
        fit.run(options, tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_is_nothing_to_train_on(tmp_path, save_image, tiny_training, monkeypatch):
    source = tmp_path / "source"
    for split in ("train", "val"):
        save_image(source / "images" / split / "a.png", np.zeros((32, 32, 3), np.uint8))
        save_image(source / "labels" / split / "a.png", np.zeros((32, 32), np.uint8))
    (source / "classes.txt").write_text("cat 10 20 30\n")
    with pytest.raises(InputError, match="at least two, got only cat"):
        convert.run("folder", source, tmp_path / "data")
    monkeypatch.setattr(job, "_refuse_one_class", lambda classes: None)  # as release 0.1
    convert.run("folder", source, tmp_path / "data")
    options = dataclasses.replace(tiny_training, batch_size=1)
    with pytest.raises(InputError, match="at least 2, got 1: the background is a class"):
        fit.run(options, tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()
