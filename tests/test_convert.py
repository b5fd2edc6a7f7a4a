import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerasseg.pipelines import check, convert, records
from kerasseg.pipelines.conversion import shards
from kerasseg.pipelines.datasets import scenes
from kerasseg.pipelines.errors import InputError

TRAIN, VALIDATION = 40, 9
TOTAL = TRAIN + VALIDATION


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_camvid_tree):
    """A tree that makes 5 shards of train, 8 images each, and 2 of validation. Do not change it."""
    return make_camvid_tree(tmp_path_factory.mktemp("many"), train=TRAIN, val=VALIDATION)


@pytest.fixture(scope="module")
def uninterrupted(many, tmp_path_factory):
    """Contents of the files that a conversion of `many` makes."""
    output = tmp_path_factory.mktemp("uninterrupted")
    run(many, output)
    return contents(final_of(output))


def run(source, output, **options):
    return convert.run("camvid", source, output, allow_partial=True, **options)


def final_of(output):
    return output / "camvid" / "1.0.0"


def incomplete_of(output):
    return output / "camvid" / "1.0.0.incomplete"


def contents(folder):
    """Contents of the files, but for the lock and the one that holds times of the source."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "source.npz")
    }


def visible(folder):
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def states(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def finished_shards(incomplete):
    """Names of the shards that are whole: those with a sidecar that lists no problems."""
    return {
        path.stem
        for path in incomplete.glob("*.tfrecord-*.json")
        if not json.loads(path.read_text())["result"]["problems"]
    }


def read_back(files):
    """Reads records with TensorFlow: filename, image's bytes and decoded label of each."""
    features = {
        key: tf.io.FixedLenFeature([], tf.string)
        for key in ("filename", "image", "segmentation_mask")
    }
    rows = []
    for record in tf.data.TFRecordDataset([str(file) for file in files]):
        row = tf.io.parse_single_example(record, features)
        label = tf.io.decode_png(row["segmentation_mask"]).numpy()
        assert label.shape[-1] == 1
        rows.append((row["filename"].numpy().decode(), row["image"].numpy(), label[..., 0]))
    return rows


def raw_label(path):
    with PIL.Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def expected_label(source, filename):
    folder, name = filename.split("/")
    raw = raw_label(source / f"{folder}annot" / name)
    return np.where(raw == 11, 255, raw)


class StopAt:
    """A progress callback that gives up after some examples."""

    def __init__(self, done, error=None):
        self.done, self.error = done, error or RuntimeError("killed")

    def __call__(self, done, total):
        if done >= self.done:
            raise self.error


# What is written


def test_every_image_and_label_comes_back_from_the_records_as_it_was(many, tmp_path):
    dataset = run(many, tmp_path)
    for split, folder, count in (("train", "train", TRAIN), ("validation", "val", VALIDATION)):
        rows = read_back(dataset.files(split))
        assert len(rows) == count
        for filename, image, label in rows:
            assert filename.startswith(f"{folder}/")
            assert image == (many / filename).read_bytes()
            np.testing.assert_array_equal(label, expected_label(many, filename))


def test_the_order_of_the_examples_is_a_permutation(many, tmp_path):
    rows = read_back(run(many, tmp_path).files("train"))
    filenames = [filename for filename, _, _ in rows]
    assert sorted(filenames) == [f"train/0001TP_{index:06}.png" for index in range(TRAIN)]
    assert filenames != sorted(filenames)


def test_another_seed_gives_another_order_of_the_same_examples(many, tmp_path):
    orders = [
        [row[0] for row in read_back(run(many, tmp_path / str(seed), seed=seed).files("train"))]
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_the_folder_holds_shards_and_five_descriptions_and_nothing_else(many, tmp_path):
    run(many, tmp_path)
    assert {path.name for path in final_of(tmp_path).iterdir()} == {
        *(f"camvid-train.tfrecord-{shard:05}-of-00005" for shard in range(5)),
        *(f"camvid-validation.tfrecord-{shard:05}-of-00002" for shard in range(2)),
        "dataset_info.json",
        "features.json",
        "manifest.json",
        "segmentation_mask.labels.txt",
        "source.npz",
    }
    assert visible(tmp_path / "camvid") == ["1.0.0"]


def test_tensorflow_datasets_loads_the_output(many, tmp_path):
    import tensorflow_datasets as tfds

    run(many, tmp_path)
    splits, info = tfds.load("camvid", data_dir=tmp_path, with_info=True)
    assert set(splits) == {"train", "validation"}
    assert info.splits["train"].num_examples == TRAIN
    assert info.features["segmentation_mask"].names[:3] == ["Sky", "Building", "Pole"]
    assert info.features["segmentation_mask"].num_classes == 11
    rows = list(splits["train"])
    assert len(rows) == TRAIN
    for row in rows:
        filename = row["filename"].numpy().decode()
        with PIL.Image.open(many / filename) as picture:
            np.testing.assert_array_equal(row["image"], np.asarray(picture))
        np.testing.assert_array_equal(
            row["segmentation_mask"][..., 0], expected_label(many, filename)
        )


def test_tensorflow_datasets_gives_pairs_and_slices(many, tmp_path):
    import tensorflow_datasets as tfds

    run(many, tmp_path)
    pairs = tfds.load("camvid", data_dir=tmp_path, split="train[:25%]", as_supervised=True)
    shapes = [(image.shape, label.shape) for image, label in pairs]
    assert len(shapes) == TRAIN // 4
    assert all(
        image[:2] == label[:2] and image[2] == 3 and label[2] == 1 for image, label in shapes
    )


def test_tensorflow_datasets_loads_a_folder_of_png_and_jpeg(folder_tree, tmp_path):
    import tensorflow_datasets as tfds

    convert.run("folder", folder_tree, tmp_path)
    loaded, info = tfds.load("folder", data_dir=tmp_path, split="train", with_info=True)
    rows = {row["filename"].numpy().decode(): row for row in loaded}
    assert info.features["segmentation_mask"].names == ["road", "side walk", "car"]
    assert {name: tuple(row["image"].shape) for name, row in rows.items()} == {
        "images/train/sub/one.jpg": (11, 15, 3),
        "images/train/sub/two.png": (13, 17, 3),
        "images/train/three.png": (15, 19, 3),
    }


def test_features_json_promises_one_image_format_only_where_there_is_one(
    camvid_tree, folder_tree, tmp_path
):
    run(camvid_tree, tmp_path)
    convert.run("folder", folder_tree, tmp_path)
    for dataset, expected in (("camvid", "png"), ("folder", None)):
        content = json.loads((tmp_path / dataset / "1.0.0" / "features.json").read_text())
        features = content["featuresDict"]["features"]
        assert features["image"]["image"].get("encodingFormat") == expected
        assert features["segmentation_mask"]["image"]["encodingFormat"] == "png"


def test_a_folder_of_png_and_jpeg_comes_back_as_it_was(folder_tree, tmp_path):
    dataset = convert.run("folder", folder_tree, tmp_path)
    rows = read_back(dataset.files("train") + dataset.files("validation"))
    assert len(rows) == 6
    for filename, image, label in rows:
        path = folder_tree / filename.replace("images/", "labels/", 1)
        with PIL.Image.open(path.with_suffix(".png")) as picture:
            assert picture.mode == ("P" if "three" in filename else "L")
            np.testing.assert_array_equal(label, np.asarray(picture))
        assert image == (folder_tree / filename).read_bytes()


def test_labels_in_the_colours_of_the_classes_become_class_numbers(folder_tree, tmp_path):
    colors = [(128, 64, 128), (244, 35, 232), (0, 0, 142), (0, 0, 0)]
    path = folder_tree / "labels" / "train" / "three.png"
    numbers = raw_numbers = np.random.default_rng(0).integers(0, 4, (15, 19))
    PIL.Image.fromarray(np.array(colors, np.uint8)[raw_numbers]).save(path)
    rows = read_back(convert.run("folder", folder_tree, tmp_path).files("train"))
    labels = {filename: label for filename, _, label in rows}
    np.testing.assert_array_equal(
        labels["images/train/three.png"], np.where(numbers == 3, 255, numbers)
    )


def test_a_drawn_dataset_needs_no_source(tmp_path, monkeypatch):
    monkeypatch.setitem(scenes.SPLIT_SIZES, "train", 9)
    monkeypatch.setitem(scenes.SPLIT_SIZES, "validation", 2)
    dataset = convert.run("scenes", None, tmp_path)
    rows = {
        filename: (image, label) for filename, image, label in read_back(dataset.files("train"))
    }
    assert len(rows) == 9
    for example in scenes.examples(Path(), "train"):
        image, label = scenes.read(example)
        assert rows[example.filename][0] == image
        np.testing.assert_array_equal(rows[example.filename][1], label)


def test_the_manifest_counts_the_pixels_of_every_class(many, tmp_path):
    dataset = run(many, tmp_path)
    for split, folder in (("train", "train"), ("validation", "val")):
        labels = [raw_label(path) for path in (many / f"{folder}annot").iterdir()]
        counted = dataset.splits[split]
        assert counted.class_pixels == [
            sum(int((label == value).sum()) for label in labels) for value in range(11)
        ]
        assert counted.ignored_pixels == sum(int((label == 11).sum()) for label in labels)
        # Of the images in which a class occurs, all pixels that have a class: of any class.
        assert counted.pixels_with_class == [
            sum(int((label != 11).sum()) for label in labels if (label == value).any())
            for value in range(11)
        ]


def test_images_without_a_class_do_not_count_for_it(make_camvid_tree, tmp_path):
    tree = make_camvid_tree(tmp_path / "tree", train=2, val=1)
    # 13 x 21 = 273 pixels of Sky and Road; 15 x 25 = 375 pixels of Road, of which 25 unlabelled.
    first, second = np.full((13, 21), 3, np.uint8), np.full((15, 25), 3, np.uint8)
    first[0, :4] = 0
    second[0] = 11
    PIL.Image.fromarray(first).save(tree / "trainannot" / "0001TP_000000.png")
    PIL.Image.fromarray(second).save(tree / "trainannot" / "0001TP_000001.png")
    train = run(tree, tmp_path / "output").splits["train"]
    assert train.class_pixels == [4, 0, 0, 269 + 350, 0, 0, 0, 0, 0, 0, 0]
    assert train.pixels_with_class == [273, 0, 0, 273 + 350, 0, 0, 0, 0, 0, 0, 0]
    assert train.ignored_pixels == 25


def test_the_returned_dataset_is_what_load_finds(many, tmp_path):
    dataset = run(many, tmp_path)
    assert dataset.root == final_of(tmp_path)
    assert dataset == records.load(tmp_path)
    assert list(dataset.splits) == ["train", "validation"]
    assert [shard["examples"] for shard in dataset.splits["train"].shards] == [8] * 5


# The same bytes every time


@pytest.mark.parametrize("workers", [1, 4, None])
def test_every_run_writes_the_same_bytes_with_any_number_of_processes(
    many, uninterrupted, tmp_path, workers
):
    run(many, tmp_path, workers=workers)
    assert contents(final_of(tmp_path)) == uninterrupted


def test_progress_counts_every_example_once(many, tmp_path):
    calls = []
    run(many, tmp_path, workers=1, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, TOTAL) for done in range(1, TOTAL + 1)]


def test_progress_of_several_processes_rises_to_the_number_of_examples(many, tmp_path):
    calls = []
    run(many, tmp_path, workers=4, on_progress=lambda *call: calls.append(call))
    assert calls == [(done, TOTAL) for done in sorted({done for done, _ in calls})]
    assert calls[-1] == (TOTAL, TOTAL)


def test_nothing_has_the_final_name_before_all_is_done(many, tmp_path):
    seen = []
    run(many, tmp_path, on_progress=lambda *_: seen.append(final_of(tmp_path).exists()))
    assert seen == [False] * TOTAL
    assert final_of(tmp_path).is_dir()


# Interrupted and gone on with


@pytest.mark.parametrize("done", [1, 8, 9, 20, TOTAL])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_conversion_that_was_stopped_continues_to_the_same_bytes(
    many, uninterrupted, tmp_path, done, workers
):
    with pytest.raises(RuntimeError, match="killed"):
        run(many, tmp_path, workers=workers, on_progress=StopAt(done))
    assert not final_of(tmp_path).exists()
    with pytest.raises(InputError):
        records.load(tmp_path)
    assert not list(incomplete_of(tmp_path).glob("*.tmp"))
    finished = finished_shards(incomplete_of(tmp_path))
    if workers == 1:
        # Shards of 8 examples one after another; in `done` examples, the last is still open.
        assert len(finished) == {1: 0, 8: 0, 9: 1, 20: 2, TOTAL: 6}[done]
    before = states(incomplete_of(tmp_path))

    run(many, tmp_path)
    assert contents(final_of(tmp_path)) == uninterrupted
    after = states(final_of(tmp_path))
    kept = {name for name in after if after[name] == before.get(name)}
    assert kept == finished
    assert not incomplete_of(tmp_path).exists()


def test_a_conversion_that_was_killed_continues_to_the_same_bytes(many, uninterrupted, tmp_path):
    program = """if True:
        import sys, time
        from pathlib import Path
        from kerasseg.pipelines import convert

        def wait(done, total):
            if done == 20:
                print("at 20", flush=True)
                time.sleep(600)

        source, output = map(Path, sys.argv[1:])
        convert.run("camvid", source, output, allow_partial=True, workers=1, on_progress=wait)
    """
    command = [sys.executable, "-c", program, str(many), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at 20\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(finished_shards(incomplete_of(tmp_path))) == 2
    assert list(incomplete_of(tmp_path).glob("*.tmp")), "the kill must have come amid a shard"
    before = states(incomplete_of(tmp_path))

    done = []
    run(many, tmp_path, workers=1, on_progress=lambda *call: done.append(call))
    assert done[:3] == [(8, TOTAL), (16, TOTAL), (17, TOTAL)]
    assert contents(final_of(tmp_path)) == uninterrupted
    after = states(final_of(tmp_path))
    assert len([name for name in after if after[name] == before.get(name)]) == 2


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt, KeyboardInterrupt), (ValueError, ValueError), (OSError, InputError)],
)
@pytest.mark.parametrize("failing", [16, 20])
def test_an_error_of_the_progress_callback_comes_through_also_where_shards_are_kept(
    many, tmp_path, error, raised, failing
):
    with pytest.raises(RuntimeError):
        run(many, tmp_path, workers=1, on_progress=StopAt(20))

    # At 16 the second shard that is kept is being counted, at 20 a shard is being written.
    def fail_once(done, total):
        if done == failing:
            raise error("from the callback")

    with pytest.raises(raised, match="from the callback"):
        run(many, tmp_path, workers=1, on_progress=fail_once)
    assert not final_of(tmp_path).exists()


def truncate(shard):
    shard.write_bytes(shard.read_bytes()[:-1])


def flip_a_byte(shard):
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def damage_sidecar(shard):
    sidecar = shard.with_name(f"{shard.name}.json")
    sidecar.write_text(sidecar.read_text()[:-10])


def empty_sidecar(shard):
    shard.with_name(f"{shard.name}.json").write_text("{}")


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_byte, Path.unlink, damage_sidecar, empty_sidecar]
)
def test_a_damaged_shard_of_an_earlier_run_is_written_again(many, uninterrupted, tmp_path, damage):
    with pytest.raises(RuntimeError):
        run(many, tmp_path, workers=1, on_progress=StopAt(30))
    before = states(incomplete_of(tmp_path))
    shards = sorted(finished_shards(incomplete_of(tmp_path)))
    assert len(shards) == 3
    damage(incomplete_of(tmp_path) / shards[1])

    run(many, tmp_path)
    assert contents(final_of(tmp_path)) == uninterrupted
    after = states(final_of(tmp_path))
    assert after[shards[1]] != before[shards[1]]
    assert [after[shards[i]] == before[shards[i]] for i in (0, 2)] == [True, True]


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_source_file_that_changed_between_two_runs_is_converted_again(many, tmp_path, kind):
    source = shutil.copytree(many, tmp_path / "source")
    with pytest.raises(RuntimeError):
        run(source, tmp_path, workers=1, on_progress=StopAt(30))
    first, second = sorted(finished_shards(incomplete_of(tmp_path)))[:2]
    before = states(incomplete_of(tmp_path))
    filename = read_back([incomplete_of(tmp_path) / first])[3][0]
    changed = source / (filename if kind == "image" else filename.replace("/", "annot/"))
    with PIL.Image.open(changed) as picture:
        turned = np.asarray(picture)[:, ::-1]
    PIL.Image.fromarray(turned).save(changed)

    dataset = run(source, tmp_path)
    after = states(final_of(tmp_path))
    assert after[first] != before[first]
    assert after[second] == before[second]
    _, image, label = next(row for row in read_back(dataset.files("train")) if row[0] == filename)
    assert image == (source / filename).read_bytes()
    np.testing.assert_array_equal(label, expected_label(source, filename))
    assert contents(final_of(tmp_path)) == converted_anew(source, tmp_path / "anew")


def converted_anew(source, output):
    run(source, output)
    return contents(final_of(output))


def test_shards_of_a_source_that_has_grown_are_not_left_behind(make_camvid_tree, tmp_path):
    tree = make_camvid_tree(tmp_path / "tree", train=20, val=1)
    with pytest.raises(RuntimeError):
        run(tree, tmp_path, workers=1, on_progress=StopAt(15))
    assert finished_shards(incomplete_of(tmp_path)) == {
        f"camvid-train.tfrecord-{shard:05}-of-00003" for shard in (0, 1)
    }
    make_camvid_tree(tree, train=30, val=1)
    run(tree, tmp_path)
    assert contents(final_of(tmp_path)) == converted_anew(tree, tmp_path / "anew")


# Bad pairs


def spoil(tree):
    """Makes six of the pairs bad, each in a way of its own; returns what is said about them."""
    train, annot = tree / "train", tree / "trainannot"
    (annot / "0001TP_000000.png").unlink()
    (train / "0001TP_000001.png").unlink()
    image = train / "0001TP_000002.png"
    image.write_bytes(image.read_bytes()[:-20])
    PIL.Image.fromarray(np.zeros((9, 7), np.uint8)).save(annot / "0001TP_000003.png")
    label = np.zeros((21, 37), np.uint8)
    label[0, :5] = 200
    PIL.Image.fromarray(label).save(annot / "0001TP_000004.png")
    (tree / "valannot" / "0001TP_000000.png").write_text("not an image")
    return {
        "train/0001TP_000000.png": "label is missing",
        "train/0001TP_000001.png": "image is missing",
        "train/0001TP_000002.png": "PNG is cut short",
        "train/0001TP_000003.png": "label must have the image's size 19x33, got 9x7",
        "train/0001TP_000004.png": "label values must be 0 to 11, got 200 (5 pixels)",
        "val/0001TP_000000.png": "label must be a PNG, TIFF or BMP, got a file that begins with "
        "b'not '",
    }


def test_all_bad_pairs_are_reported_together_and_nothing_is_published(many, tmp_path):
    tree = shutil.copytree(many, tmp_path / "tree")
    expected = spoil(tree)
    with pytest.raises(convert.ConversionError, match="6 of the pairs") as refusal:
        run(tree, tmp_path)
    problems = refusal.value.problems
    assert [(problem.file, problem.what) for problem in problems] == sorted(expected.items())
    assert all(problem.cause for problem in problems)
    assert not final_of(tmp_path).exists()
    with pytest.raises(InputError):
        records.load(tmp_path)


def test_the_good_shards_are_kept_while_the_bad_pairs_are_corrected(many, uninterrupted, tmp_path):
    tree = shutil.copytree(many, tmp_path / "tree")
    path = tree / "trainannot" / "0001TP_000007.png"
    good = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(convert.ConversionError):
        run(tree, tmp_path)
    before = states(incomplete_of(tmp_path))
    assert len(finished_shards(incomplete_of(tmp_path))) == 6
    path.write_bytes(good)
    run(tree, tmp_path)
    assert contents(final_of(tmp_path)) == uninterrupted
    after = states(final_of(tmp_path))
    assert sum(after[name] == before.get(name) for name in after) == 6


def test_a_finished_conversion_is_untouched_by_one_that_fails(many, tmp_path):
    tree = shutil.copytree(many, tmp_path / "tree")
    run(tree, tmp_path)
    before = contents(final_of(tmp_path))
    spoil(tree)
    with pytest.raises(convert.ConversionError):
        run(tree, tmp_path, overwrite=True)
    assert contents(final_of(tmp_path)) == before
    assert records.load(tmp_path).root == final_of(tmp_path)


def test_a_rotated_image_is_refused_because_its_label_is_not_rotated(folder_tree, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    path = folder_tree / "images" / "train" / "sub" / "one.jpg"
    PIL.Image.new("RGB", (15, 11)).save(path, exif=exif)
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("folder", folder_tree, tmp_path)
    (problem,) = refusal.value.problems
    assert problem.file == "images/train/sub/one.jpg"
    assert "rotated by its EXIF" in problem.what


def test_black_and_white_masks_are_refused_though_255_is_the_ignored_label(folder_tree, tmp_path):
    for path in (folder_tree / "labels").rglob("*.png"):
        with PIL.Image.open(path) as picture:
            mask = np.where(np.asarray(picture) == 1, 255, 0).astype(np.uint8)
        PIL.Image.fromarray(mask).save(path)
    with pytest.raises(InputError, match=r"got only road in all.*--map 255:1"):
        convert.run("folder", folder_tree, tmp_path)
    with pytest.raises(InputError, match="must hold a converted dataset"):
        records.load(tmp_path)


@pytest.mark.parametrize(("value", "name"), [(0, "road"), (2, "car")])
def test_labels_of_one_class_alone_are_refused(folder_tree, tmp_path, value, name):
    for path in (folder_tree / "labels").rglob("*.png"):
        with PIL.Image.open(path) as picture:
            size = picture.size
        PIL.Image.new("L", size, value).save(path)
    with pytest.raises(InputError, match=f"more than one class, got only {name} in all of them"):
        convert.run("folder", folder_tree, tmp_path)
    assert "one class" in [f.kind for f in check.run(folder_tree, "folder").findings]


# Finished, and run again


def test_a_second_run_returns_the_finished_conversion_and_changes_nothing(many, tmp_path):
    first = run(many, tmp_path)
    before, files = states(final_of(tmp_path)), contents(tmp_path)
    second = run(many, tmp_path, on_progress=StopAt(0))
    assert second == first
    assert states(final_of(tmp_path)) == before
    assert contents(tmp_path) == files


def test_another_source_into_the_same_output_is_refused_and_overwrite_replaces_it(
    many, uninterrupted, camvid_tree, tmp_path
):
    output = tmp_path / "output"
    run(camvid_tree, output)
    before = contents(output)
    with pytest.raises(InputError, match=r"camvid, 11 classes, 8 examples.*give --overwrite"):
        run(many, output)
    assert contents(output) == before
    run(many, output, overwrite=True)
    assert contents(final_of(output)) == uninterrupted
    assert visible(output / "camvid") == ["1.0.0"]


def test_two_datasets_go_into_one_output_side_by_side(camvid_tree, folder_tree, tmp_path):
    output = tmp_path / "output"
    run(camvid_tree, output)
    convert.run("folder", folder_tree, output)
    assert records.load(output / "camvid").name == "camvid"
    assert records.load(output / "folder").name == "folder"


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_a_damaged_finished_conversion_is_not_returned_and_overwrite_replaces_it(
    many, uninterrupted, tmp_path, damage
):
    run(many, tmp_path)
    damage(final_of(tmp_path) / "camvid-train.tfrecord-00002-of-00005")
    with pytest.raises(InputError, match=r"-00002-of-00005: .*--overwrite"):
        run(many, tmp_path)
    run(many, tmp_path, overwrite=True)
    assert contents(final_of(tmp_path)) == uninterrupted


def test_overwrite_works_where_an_earlier_one_was_killed_while_deleting(
    many, uninterrupted, tmp_path
):
    run(many, tmp_path)
    leftover = final_of(tmp_path).with_name("1.0.0.replaced")
    shutil.copytree(final_of(tmp_path), leftover)
    run(many, tmp_path, overwrite=True)
    assert contents(final_of(tmp_path)) == uninterrupted
    assert not leftover.exists()


def test_a_run_killed_between_its_two_renames_is_finished_by_the_next(
    many, uninterrupted, tmp_path
):
    run(many, tmp_path)
    final_of(tmp_path).rename(final_of(tmp_path).with_name("1.0.0.replaced"))
    run(many, tmp_path)
    assert contents(final_of(tmp_path)) == uninterrupted
    assert visible(tmp_path / "camvid") == ["1.0.0"]


# Sources and outputs that cannot be used


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"one of .*camvid, .*folder.*got 'imagenet'"):
        convert.run("imagenet", tmp_path, tmp_path)


def test_a_missing_source_folder_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        run(tmp_path / "nowhere", tmp_path)
    with pytest.raises(InputError, match="camvid must have a source folder, got none"):
        run(None, tmp_path)


@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("val", "validation")])
def test_an_empty_split_is_refused_by_name(camvid_tree, tmp_path, split, name):
    for folder in (split, f"{split}annot"):
        for path in (camvid_tree / folder).iterdir():
            path.unlink()
    with pytest.raises(InputError, match=rf"camvid: split {name} must have images, got none"):
        run(camvid_tree, tmp_path)


def test_a_split_of_unofficial_size_is_refused_unless_it_is_allowed(camvid_tree, tmp_path):
    message = r"split train must have 367 images, got 5; --allow-partial"
    with pytest.raises(InputError, match=message):
        convert.run("camvid", camvid_tree, tmp_path / "output")
    assert not (tmp_path / "output").exists()
    dataset = convert.run("camvid", camvid_tree, tmp_path / "output", allow_partial=True)
    assert dataset.splits["train"].examples == 5


def test_a_file_name_in_another_encoding_is_refused_by_its_bytes(folder_tree, tmp_path):
    source = folder_tree / "images" / "train" / "three.png"
    try:
        source.rename(source.with_name(os.fsdecode(b"stra\xdfe.png")))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(InputError, match=r"stra\\udcdfe\.png': file names must be UTF-8"):
        convert.run("folder", folder_tree, tmp_path / "output")


@pytest.mark.parametrize("place", ["output", "output/camvid", "output/camvid/1.0.0.incomplete"])
def test_a_file_in_the_place_of_the_output_folder_is_refused_by_name(camvid_tree, tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(InputError, match=rf"{place}.*: cannot be written"):
        run(camvid_tree, tmp_path / "output")
    assert (tmp_path / place).read_text() == "mine"


def test_a_full_disk_is_reported_by_the_folder_and_the_reason(camvid_tree, tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=r"1\.0\.0: cannot be written \(No space left"):
        run(camvid_tree, tmp_path)
    assert not list(incomplete_of(tmp_path).glob("*.tmp"))


def test_a_test_split_is_converted_where_there_is_one(make_camvid_tree, tmp_path):
    tree = make_camvid_tree(tmp_path / "tree", train=2, val=2, test=3)
    dataset = run(tree, tmp_path / "output")
    assert {name: split.examples for name, split in dataset.splits.items()} == {
        "train": 2,
        "validation": 2,
        "test": 3,
    }


# One shard by itself


def test_a_shard_with_a_bad_pair_leaves_no_file(camvid_tree, tmp_path):
    module = convert.datasets.module("camvid")
    examples = tuple(module.examples(camvid_tree, "train"))
    Path(examples[2].label).write_bytes(b"")
    description = module.describe(camvid_tree)
    path = tmp_path / "shard"
    result = shards.convert_shard(shards.ShardSpec("camvid", description, examples, path))
    assert [problem.file for problem in result.problems] == ["train/0001TP_000002.png"]
    assert list(tmp_path.glob("shard*")) == []


def test_the_labels_in_a_record_are_gray_pngs_of_8_bits(camvid_tree, tmp_path):
    dataset = run(camvid_tree, tmp_path / "output")
    for record in tf.data.TFRecordDataset(dataset.files("train")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        assert sorted(features) == ["filename", "image", "segmentation_mask"]
        content = features["segmentation_mask"].bytes_list.value[0]
        with PIL.Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.mode) == ("PNG", "L")


def test_converting_loads_no_tensorflow(camvid_tree, tmp_path):
    program = """if True:
        import json, sys
        from pathlib import Path
        from kerasseg.pipelines import convert

        source, output = map(Path, sys.argv[1:])
        convert.run("camvid", source, output, allow_partial=True)
        print(json.dumps([name.partition(".")[0] for name in sys.modules]))
    """
    command = [sys.executable, "-c", program, str(camvid_tree), str(tmp_path / "output")]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded = set(json.loads(finished.stdout))
    assert {"kerasseg", "PIL", "numpy"} <= loaded
    assert loaded.isdisjoint({"tensorflow", "keras", "tensorflow_datasets", "keras_cv", "click"})


def test_a_folder_of_the_final_name_that_is_no_dataset_is_refused(camvid_tree, tmp_path):
    (tmp_path / "out/camvid/1.0.0").mkdir(parents=True)
    with pytest.raises(InputError, match=r"must be a converted dataset or not exist.*--overwrite"):
        convert.run("camvid", camvid_tree, tmp_path / "out", allow_partial=True)
