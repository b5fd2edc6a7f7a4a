import concurrent.futures
import io
import itertools
import json
import shutil
import threading

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import kerasseg
from kerasseg import atomic_files, serving
from kerasseg.pipelines import export, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import parity
from kerasseg.pipelines.exports.formats import savedmodel
from kerasseg.pipelines.serving import saved_model


@pytest.fixture(scope="session")
def version(tiny_run, tmp_path_factory):
    return export.run(tiny_run, output=tmp_path_factory.mktemp("saved_models"))


def encoded(size, format_, mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(buffer, format_)
    return buffer.getvalue()


def decoded(png):
    with PIL.Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def test_the_version_folder_has_the_layout_that_tensorflow_serving_takes(version):
    assert version.name == "1"
    assert version.parent.name == "tiny"
    assert {path.name for path in version.iterdir()} >= {"saved_model.pb", "variables"}
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_what_the_labels_mean_travels_with_the_saved_model(version, tiny_run, tiny_data):
    content = json.loads((version / "assets.extra" / "classes.json").read_text())
    assert content["class_names"] == ["ground", "square", "disc"]
    assert content["colors"] == [[128, 128, 128], [255, 0, 0], [0, 0, 255]]
    assert content["ignore_label"] == 255
    manifest = json.loads((records.load(tiny_data).root / "manifest.json").read_text())
    run = json.loads((tiny_run / "run.json").read_text())
    for described in (content, run):
        assert described["classes_fingerprint"] == manifest["classes_fingerprint"]
        assert described["dataset"]["fingerprint"] == manifest["fingerprint"]


def test_a_full_disk_is_reported_by_its_folder_and_in_the_system_s_words(small_disk, tmp_path):
    # Two layers of 1500 x 1500 weights take 9 MB.
    layers = [keras.layers.Conv2D(count, 1) for count in (1500, 1500, 3)]
    network = keras.Sequential([keras.Input((None, None, 3)), *layers])
    network.save(tmp_path / "wide.keras")
    with pytest.raises(InputError) as refusal:
        export.run(tmp_path / "wide.keras", output=small_disk)
    assert str(refusal.value) == (
        f"{small_disk}/wide: cannot be written (No space left on device)."
    )
    assert list((small_disk / "wide").iterdir()) == []


def test_a_version_that_no_server_can_load_is_not_made(tmp_path):
    (tmp_path / "tiny" / str(2**63 - 1)).mkdir(parents=True)
    writing = tmp_path / "tiny" / "writing"
    writing.mkdir()
    with pytest.raises(InputError, match="versions must be at most 9223372036854775807"):
        export._publish(writing)


def test_the_next_version_is_seen_when_it_is_checked_not_before(tiny_run, tmp_path, monkeypatch):
    checked = []

    def check(model, folder, export):
        checked.append([path.name for path in folder.parent.iterdir()])
        assert (folder / "saved_model.pb").is_file()
        return {}

    monkeypatch.setattr(savedmodel, "check", check)
    (tmp_path / "street" / "4").mkdir(parents=True)
    (tmp_path / "street" / "notes").mkdir()
    # What an export that was killed has left.
    (tmp_path / "street" / ".writing-0123" / "variables").mkdir(parents=True)
    version = export.run(str(tiny_run), output=str(tmp_path), name="street")
    assert version == tmp_path / "street" / "5"
    ((hidden, *others),) = (sorted(names) for names in checked)
    assert hidden.startswith(".")
    assert others == ["4", "notes"]
    assert sorted(path.name for path in version.parent.iterdir()) == ["4", "5", "notes"]


def test_two_exports_at_once_get_versions_of_their_own(tmp_path):
    """Eight threads finish at the same moment, again and again."""
    barrier = threading.Barrier(8)

    def publish(index):
        versions = []
        for round_ in range(5):
            with atomic_files.temporary_folder(tmp_path) as writing:
                (writing / "file").write_text(f"{index} {round_}")
                barrier.wait()
                version = export._publish(writing)
            assert (version / "file").read_text() == f"{index} {round_}"
            versions.append(int(version.name))
        return versions

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(publish, range(8)))
    assert sorted(itertools.chain(*found)) == list(range(1, 41))


def test_a_link_in_the_place_of_a_temporary_folder_is_not_followed(tiny_run, tmp_path, monkeypatch):
    """A folder called so used to be emptied and written to."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "out" / "tiny").mkdir(parents=True)
    (tmp_path / "out" / "tiny" / "writing-1").symlink_to(tmp_path / "kept")
    monkeypatch.setattr(savedmodel, "check", lambda model, folder, export: {})
    export.run(tiny_run, output=tmp_path / "out")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["file"]


def test_the_c_loader_gives_the_labels_of_the_network(version, tiny_run):
    images = [
        encoded((37, 53), "PNG"),
        encoded((64, 31), "PNG", "L"),
        encoded((20, 20), "PNG", "RGBA"),
        encoded((45, 70), "JPEG"),
        encoded((30, 40), "GIF"),
    ]
    model = kerasseg.load(tiny_run)
    answers = saved_model.predict_in_clean_process(version, images)
    for image, answer in zip(images, answers, strict=True):
        pixels = np.asarray(PIL.Image.open(io.BytesIO(image)).convert("RGB"))
        logits = model(pixels[None].astype(np.float32))[0].numpy()
        label = decoded(answer)
        assert label.shape == logits.shape[:2]
        assert parity.labels_agree(label, logits)
        assert (label == logits.argmax(-1)).mean() > 0.999


def test_a_batch_of_different_sizes_and_an_empty_one_are_answered(version, tiny_run):
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    images = [encoded((37, 53), "PNG"), encoded((20, 31), "JPEG")]
    answers = serve(image_bytes=tf.constant(images))["label_png_bytes"].numpy()
    assert [decoded(answer).shape for answer in answers] == [(37, 53), (20, 31)]
    empty = serve(image_bytes=tf.zeros((0,), tf.string))["label_png_bytes"]
    assert empty.shape == (0,)


def test_corrupt_bytes_are_refused_and_the_model_continues(version):
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        serve(image_bytes=tf.constant([b"no image"]))
    assert decoded(
        serve(image_bytes=tf.constant([encoded((9, 9), "PNG")]))["label_png_bytes"][0].numpy()
    ).shape == (9, 9)


def test_the_graph_holds_no_python_function(version):
    content = (version / "saved_model.pb").read_bytes()
    assert b"PyFunc" not in content


def test_each_weight_is_stored_once(version, tiny_run):
    stored = sum(path.stat().st_size for path in (version / "variables").glob("*.data-*"))
    weights = sum(weight.nbytes for weight in kerasseg.load(tiny_run).get_weights())
    assert weights <= stored < 1.2 * weights


def test_an_export_that_fails_its_check_leaves_no_version(tiny_run, tmp_path, monkeypatch):
    blank = [encoded((61, 83), "PNG", "L"), encoded((97, 64), "PNG", "L")]
    monkeypatch.setattr(saved_model, "predict_in_clean_process", lambda folder, images: blank)
    with pytest.raises(InputError, match="tiny: labels differ from the network's; nothing was"):
        export.run(tiny_run, output=tmp_path)
    assert list((tmp_path / "tiny").iterdir()) == []


@pytest.mark.slow
def test_a_tf_module_that_holds_the_model_fails_in_the_c_loader(tiny_run, tmp_path):
    """The way of saving that this project must not take: it would pass a check in Python."""
    model = kerasseg.load(tiny_run)

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name=serving.INPUT)])
        def __call__(self, image_bytes):
            fn = lambda content: serving.label_png(self.model, content)  # noqa: E731
            return {serving.OUTPUT: tf.map_fn(fn, image_bytes, fn_output_signature=tf.string)}

    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures=module.__call__)
    image = encoded((24, 24), "PNG")
    in_python = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert decoded(in_python(tf.constant([image]))[serving.OUTPUT][0].numpy()).shape == (24, 24)
    with pytest.raises(InputError, match="does not run in a separate process"):
        saved_model.predict_in_clean_process(tmp_path, [image])


@pytest.mark.slow
def test_a_network_of_mixed_precision_passes_its_check(tiny_run, tmp_path):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = kerasseg.build("segnet", num_classes=3, filters=4)
    finally:
        keras.config.set_dtype_policy("float32")
    run = shutil.copytree(tiny_run, tmp_path / "run")
    model.save(run / "checkpoints" / "best.keras")
    assert export.run(run, output=tmp_path / "served").name == "1"


def test_labels_agree_but_for_ties():
    logits = np.array([[[1.0, 2.0], [3.0, 3.0 + 1e-5], [5.0, 4.0]]])
    assert parity.labels_agree(np.array([[1, 0, 0]]), logits)
    assert not parity.labels_agree(np.array([[0, 0, 0]]), logits)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "two words"])
def test_names_that_are_no_folder_name_are_refused(tiny_run, tmp_path, name):
    if name:
        with pytest.raises(InputError, match="name must be letters"):
            export.run(tiny_run, output=tmp_path, name=name)
    assert not (tmp_path.parent / "up").exists()


def test_an_output_that_cannot_be_written_is_a_clear_error(tiny_run, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot be written"):
        export.run(tiny_run, output=tmp_path / "out")


@pytest.mark.parametrize("name", ["served [1]", "served\\1"])
def test_a_folder_that_tensorflow_reads_as_a_pattern_is_refused(tiny_run, tmp_path, name):
    with pytest.raises(InputError, match=r"must have no \[ and no \\ in its path, .*load"):
        export.run(tiny_run, output=tmp_path / name)
    assert not list(tmp_path.glob("*/*/*"))


def test_a_folder_without_a_saved_model_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="does not run in a separate process"):
        saved_model.predict_in_clean_process(tmp_path, [b""])


def test_a_saved_model_is_for_images_of_16_channels_and_labels_of_8_bits_at_most(tmp_path):
    network = keras.Sequential([keras.Input((None, None, 17)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="channels must be a whole number from 1 to 16, got 17"):
        serving.save(network, tmp_path / "1", [(0, 0, 0)] * 2)
    network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(300, 1)])
    with pytest.raises(ValueError, match="at most 255 classes, got 300"):
        serving.save(network, tmp_path / "1", [(0, 0, 0)] * 300)
    assert not (tmp_path / "1").exists()
    # What was refused leaves nothing behind that training in the same process would trip over.
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        tf.Variable(0.0)
