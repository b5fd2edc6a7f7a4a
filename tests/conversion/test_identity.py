"""Converting again: nothing done where nothing has changed, and else what has."""

import os
import shutil
import time

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert, records
from kerasseg.pipelines.conversion.pairs import Encoding
from kerasseg.pipelines.errors import InputError

NOTHING_DONE = "already converted, nothing done"


@pytest.fixture
def tree(tmp_path, make_folder_tree):
    return make_folder_tree(tmp_path / "tree")


def run(source, output, dataset="folder", **options):
    """Converts; returns what was remarked."""
    remarks = []
    convert.run(dataset, source, output, on_remark=remarks.append, **options)
    return remarks


def refusal(source, output, **options):
    with pytest.raises(InputError, match=r"another conversion.*or give --overwrite") as refused:
        run(source, output, **options)
    return str(refused.value).partition("differs in: ")[2].partition(". Choose")[0]


def state(output):
    """Contents and times of all files of a conversion."""
    files = [path for path in output.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def save_plain(path, value):
    """Saves a label of one value without compression: of the same size for any value."""
    PIL.Image.fromarray(np.full((13, 17), value, np.uint8)).save(path, compress_level=0)


def test_again_nothing_is_done_and_nothing_touched(tree, tmp_path):
    assert run(tree, tmp_path / "out") == []
    before = state(tmp_path / "out")
    assert run(tree, tmp_path / "out") == [NOTHING_DONE]
    assert state(tmp_path / "out") == before


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_label_that_changed_at_the_same_size_is_noticed(tree, tmp_path, keep_time):
    path = tree / "labels/train/sub/two.png"
    save_plain(path, 1)
    run(tree, tmp_path / "out")
    old = path.stat()
    time.sleep(0.02)  # more than the clock's step
    save_plain(path, 2)
    if keep_time:
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    before = state(tmp_path / "out")
    assert refusal(tree, tmp_path / "out") == "1 with a changed label (images/train/sub/two.png)"
    assert state(tmp_path / "out") == before
    run(tree, tmp_path / "out", overwrite=True)
    assert convert.run("folder", tree, tmp_path / "out").splits["train"].class_pixels[2] >= 13 * 17


def test_an_image_that_changed_at_the_same_size_is_noticed(tree, tmp_path):
    path = tree / "images/train/sub/two.png"
    for value in (1, 2):
        pixels = np.full((13, 17, 3), value, np.uint8)
        PIL.Image.fromarray(pixels).save(path, compress_level=0)
        if value == 1:
            run(tree, tmp_path / "out")
    assert refusal(tree, tmp_path / "out") == "1 with a changed image (images/train/sub/two.png)"


def test_a_copy_of_the_tree_whose_times_differ_is_the_same(tree, tmp_path):
    run(tree, tmp_path / "out")
    copy = shutil.copytree(tree, tmp_path / "copy", copy_function=shutil.copyfile)
    compared = []
    found = run(copy, tmp_path / "out", on_progress=lambda *call: compared.append(call))
    assert found == [NOTHING_DONE]
    assert compared[-1] == (6, 6)


def test_all_that_differs_is_named_by_kind(tree, tmp_path):
    for index in range(5):
        for kind, ending in (("images", "png"), ("labels", "png")):
            source = tree / kind / "val/three.png"
            shutil.copy(source, source.with_name(f"extra{index}.{ending}"))
    run(tree, tmp_path / "out")
    for kind in ("images", "labels"):
        for index in range(4):
            (tree / kind / f"val/extra{index}.png").unlink()
        shutil.copy(tree / kind / "train/three.png", tree / kind / "train/new.png")
    label = tree / "labels/train/sub/one.png"
    PIL.Image.fromarray(np.zeros((11, 15), np.uint8)).save(label)
    assert refusal(tree, tmp_path / "out") == (
        "1 added (images/train/new.png); 4 removed (images/val/extra0.png, images/val/extra1.png, "
        "images/val/extra2.png, ...); 1 with a changed label (images/train/sub/one.jpg)"
    )


def test_an_image_that_moved_to_another_list_is_named(tmp_path, save_image):
    for name in "abcd":
        save_image(tmp_path / f"t/images/{name}.png", np.zeros((5, 7, 3), np.uint8))
        save_image(tmp_path / f"t/labels/{name}.png", np.eye(5, 7, dtype=np.uint8))
    (tmp_path / "t/classes.txt").write_text("x\ny\n")
    (tmp_path / "t/train.txt").write_text("a\nb\nc\n")
    (tmp_path / "t/val.txt").write_text("d\n")
    run(tmp_path / "t", tmp_path / "out")
    (tmp_path / "t/train.txt").write_text("a\nb\n")
    (tmp_path / "t/val.txt").write_text("d\nc\n")
    assert refusal(tmp_path / "t", tmp_path / "out") == "1 in another split (images/c.png)"


def test_options_that_differ_are_named_with_both_values(tree, tmp_path):
    for path in tree.glob("labels/*/three.png"):  # has a palette, whose colours no map changes
        with PIL.Image.open(path) as label:
            values = np.asarray(label)
        PIL.Image.fromarray(values).save(path)
    run(tree, tmp_path / "out", class_map="2:1,1:1,0:0,255:255")
    assert refusal(tree, tmp_path / "out") == "--map: 2:1,1:1,0:0,255:255 before, none now"
    encoding = Encoding(max_side=9)
    assert "--max-side: none before, 9 now" in refusal(tree, tmp_path / "out", encoding=encoding)
    assert refusal(
        tree, tmp_path / "out", class_map="2:1,1:1,0:0,255:255", seed=3
    ) == "--seed: 0 before, 3 now"  # fmt: skip


def test_classes_that_changed_in_their_file_are_noticed(tree, tmp_path):
    run(tree, tmp_path / "out")
    path = tree / "classes.txt"
    path.write_text(path.read_text().replace("car", "bus"))
    assert refusal(tree, tmp_path / "out") == "what the values of labels mean"


def test_an_option_that_changes_nothing_is_no_other_conversion(tree, tmp_path):
    run(tree, tmp_path / "out")
    assert run(tree, tmp_path / "out", palette=tree / "classes.txt") == [NOTHING_DONE]


def test_a_damaged_file_about_the_source_is_refused_with_the_remedy(tree, tmp_path):
    run(tree, tmp_path / "out")
    path = tmp_path / "out/folder/1.0.0/source.npz"
    content = path.read_bytes()
    for damaged in (content[:-30], b"", content[:200] + b"\xff" * 40 + content[240:]):
        path.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"source\.npz: must be undamaged to tell.*--overwrite"
        ):
            run(tree, tmp_path / "out")


def test_a_conversion_without_that_file_is_compared_by_names_and_sizes(tree, tmp_path):
    # As release 0.1 left it; a change at the same size cannot be seen then.
    run(tree, tmp_path / "out")
    (tmp_path / "out/folder/1.0.0/source.npz").unlink()
    for path in tree.rglob("*.png"):
        os.utime(path)
    assert run(tree, tmp_path / "out") == [NOTHING_DONE]
    (tree / "images/train/three.png").write_bytes(b"")
    assert refusal(tree, tmp_path / "out") == (
        "names or sizes of files, or what the values of labels mean"
    )


def test_drawn_scenes_are_known_again(tmp_path, monkeypatch):
    from kerasseg.pipelines.datasets import scenes

    monkeypatch.setattr(scenes, "SPLIT_SIZES", {"train": 9, "validation": 2})
    run(None, tmp_path, "scenes")
    assert run(None, tmp_path, "scenes") == [NOTHING_DONE]


def test_a_name_of_ones_own_names_folder_records_and_dataset(tree, tmp_path):
    assert run(tree, tmp_path, name="my_streets") == []
    assert run(tree, tmp_path, name="my_streets") == [NOTHING_DONE]
    dataset = records.load(tmp_path)
    assert dataset.root == tmp_path / "my_streets" / "1.0.0"
    assert dataset.name == "my_streets"
    assert all(name.startswith("my_streets-train.tfrecord") for name in map(
        os.path.basename, dataset.files("train")
    ))  # fmt: skip
    import tensorflow_datasets as tfds

    assert len(list(tfds.load("my_streets", data_dir=tmp_path, split="train"))) == 3


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "1a", "a-b", "ä", "a b"])
def test_a_name_that_is_no_folder_of_tensorflow_datasets_is_refused(tree, tmp_path, name):
    with pytest.raises(InputError, match="name must be lower-case letters"):
        run(tree, tmp_path / "out", name=name)
    assert not (tmp_path / "out").exists()


def test_labels_that_are_all_ignored_in_train_or_validation_are_refused(tree, tmp_path):
    for path in (tree / "labels/val").rglob("*.png"):
        with PIL.Image.open(path) as picture:
            size = picture.size
        PIL.Image.new("L", size, 255).save(path)
    with pytest.raises(InputError, match=r"split validation must hold a pixel of some class"):
        run(tree, tmp_path / "out")
    with pytest.raises(InputError):
        records.load(tmp_path / "out")
