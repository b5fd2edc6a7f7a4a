import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines.datasets import scenes
from kerasseg.pipelines.scenery import canvas, scene
from kerasseg.pipelines.scenery.scene import draw

ROOT = Path()


def test_a_seed_always_gives_the_same_bytes():
    for first, second in zip(draw(3, (64, 96)), draw(3, (64, 96)), strict=True):
        assert first.tobytes() == second.tobytes()


def test_different_seeds_give_different_images_and_labels():
    (image, label), (other_image, other_label) = draw(3, (64, 96)), draw(4, (64, 96))
    assert (image != other_image).any()
    assert (label != other_label).any()


def test_labels_are_the_nine_classes_and_a_few_scenes_show_all_of_them():
    labels = [draw(seed, scenes.SIZE)[1] for seed in range(4)]
    assert set(np.unique(labels).tolist()) == set(range(9))


def test_the_names_of_the_classes_are_in_the_order_in_which_they_are_painted():
    assert [getattr(canvas, name.upper()) for name in scenes.CLASSES.names] == list(range(9))


@pytest.mark.parametrize("size", [(63, 96), (64, 95)])
def test_a_size_that_is_too_small_is_refused_by_name(size):
    with pytest.raises(ValueError, match=rf"size must be at least .*{size[0]}, {size[1]}"):
        draw(0, size)


def test_an_odd_size_gives_an_image_and_a_label_of_that_size():
    image, label = draw(0, (101, 157))
    assert image.shape == (101, 157, 3)
    assert label.shape == (101, 157)
    assert image.dtype == label.dtype == np.uint8


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_lists_the_promised_number_of_scenes(split):
    assert len(scenes.examples(ROOT, split)) == scenes.describe(ROOT).split_sizes.get(split, 0)


def test_every_filename_is_unique():
    names = [example.filename for split in ("train", "validation") for example in listed(split)]
    assert len(set(names)) == len(names) == 280


def test_train_and_validation_share_no_image(monkeypatch):
    # The seed decides the image, so it is enough that no two examples draw the same seed.
    seeds = []

    def remember(seed, size):
        seeds.append(seed)
        return np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)

    monkeypatch.setattr(scene, "draw", remember)
    for example in listed("train") + listed("validation"):
        scenes.read(example)
    assert len(set(seeds)) == len(seeds) == 280


def test_the_first_scenes_of_train_and_validation_differ():
    train, validation = (scenes.read(listed(split)[0])[0] for split in ("train", "validation"))
    assert train != validation


def test_read_gives_a_png_of_the_size_of_its_label():
    content, label = scenes.read(listed("validation")[-1])
    with PIL.Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert image.size == label.shape[::-1] == scenes.SIZE[::-1]


def listed(split):
    return scenes.examples(ROOT, split)
