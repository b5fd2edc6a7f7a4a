"""`.keras` files of one's own, in the place of a run."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.pipelines import convert, crf_tune, evaluate, export, inputs, predict, records
from kerasseg.pipelines.classes import colors
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import parity
from kerasseg.pipelines.runs import crf
from kerasseg.pipelines.serving import saved_model

CLASSES = "ground 1 2 3\nsquare 4 5 6\ndisc 7 8 9\n"


def network(channels=3, *, activation="softmax", size=(None, None)):
    images = keras.Input((*size, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    scores = keras.layers.Conv2D(channels, 3, padding="same", activation=activation)(scaled)
    return keras.Model(images, scores, name="own")


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """A network that ends in softmax, trained by `model.fit` and saved compiled."""
    keras.utils.set_random_seed(0)
    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(ignore_class=255))
    batches = inputs.evaluation_batches(records.load(tiny_data).files("train"), 4)
    images, labels = next(iter(batches))
    model.fit(images.numpy().astype(np.float32), labels.numpy(), verbose=0)
    path = tmp_path_factory.mktemp("own") / "own.keras"
    model.save(path)
    return path


@pytest.fixture
def own(trained, tmp_path):
    return Path(shutil.copy(trained, tmp_path))


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (31, 45, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.fixture
def class_list(tmp_path):
    (tmp_path / "names.txt").write_text(CLASSES)
    return tmp_path / "names.txt"


def expected_label(file, image):
    model = keras.models.load_model(file)
    pixels = np.asarray(PIL.Image.open(image), np.float32)
    return np.argmax(model(pixels[np.newaxis])[0], -1)


def test_predict_takes_a_file_and_a_class_list(own, image, class_list):
    (written,) = predict.run(own, image, classes=class_list)
    assert written.label == own.parent / "own" / "predictions" / "image.png"
    with PIL.Image.open(written.label) as label:
        np.testing.assert_array_equal(label, expected_label(own, image))
        assert label.getpalette()[:9] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_predict_takes_the_classes_of_a_dataset_or_placeholders(own, image, tiny_data, tmp_path):
    palettes = []
    for options in ({"data": tiny_data}, {}):
        (written,) = predict.run(own, image, output=tmp_path / "out", **options)
        with PIL.Image.open(written.label) as label:
            palettes.append(label.getpalette()[:9])
    assert palettes == [
        [128, 128, 128, 255, 0, 0, 0, 0, 255],
        [channel for index in range(3) for channel in colors.color_of(index)],
    ]


def test_the_command_line_takes_a_file(run_cli, own, image, class_list, tiny_data, tmp_path):
    for arguments, said in (
        (("predict", own, image, "--classes", class_list), "1 image predicted into"),
        (("evaluate", own, "--data", tiny_data), "written to"),
        (("export", own, "--data", tiny_data, "--output", tmp_path), "checked and written to"),
    ):
        result = run_cli(*arguments)
        assert result.exit_code == 0, result.output
        assert said in result.output
    assert (tmp_path / "own" / "1" / "saved_model.pb").is_file()


def test_evaluate_counts_what_the_network_says(own, tiny_data):
    report = evaluate.run(own, data=tiny_data)
    model = keras.models.load_model(own)
    expected = np.zeros((3, 3), np.int64)
    files = records.load(tiny_data).files("validation")
    for images, labels in inputs.evaluation_batches(files, 1):
        prediction, label = np.argmax(model(tf.cast(images, tf.float32))[0], -1), labels[0].numpy()
        np.add.at(expected, (label[label != 255], prediction[label != 255]), 1)
    np.testing.assert_array_equal(report["confusion_matrix"], expected)
    stored = own.parent / "own" / "evaluation" / "validation" / "metrics.json"
    assert json.loads(stored.read_text())["class_names"] == ["ground", "square", "disc"]


def test_evaluate_needs_a_dataset(own):
    with pytest.raises(InputError, match="name a converted one with --data"):
        evaluate.run(own)


def test_an_export_gives_the_network_s_labels_and_probabilities(own, image, class_list, tmp_path):
    version = export.run(own, output=tmp_path, classes=class_list, probabilities=True)
    assert version == tmp_path / "own" / "1"
    facts = json.loads((version / "assets.extra" / "classes.json").read_text())
    assert facts["class_names"] == ["ground", "square", "disc"]
    answer = saved_model.SavedModel(version).predict(image.read_bytes())
    served = tf.io.decode_png(answer)[..., 0]
    np.testing.assert_array_equal(served, expected_label(own, image))
    pixels = np.asarray(PIL.Image.open(image))[np.newaxis]
    signature = tf.saved_model.load(str(version)).signatures["probabilities"]
    given = signature(image=tf.constant(pixels))["probabilities"]
    expected = keras.models.load_model(own)(pixels.astype(np.float32))
    np.testing.assert_allclose(given, expected, atol=1e-4)


@pytest.mark.slow
def test_a_crf_sees_the_probabilities_of_a_softmax(own, tiny_data, image, tmp_path, monkeypatch):
    """Its marginals, with both kernels switched off, are the network's own probabilities."""
    off = crf.CRFParameters(num_iterations=1, bilateral_weight=0, gaussian_weight=0)
    plain, refined = (
        predict.run(own, image, output=tmp_path / str(index), crf=parameters)[0]
        for index, parameters in enumerate((None, off))
    )
    assert plain.label.read_bytes() == refined.label.read_bytes()
    chosen = crf.CRFParameters(num_iterations=1, theta_beta=5)
    monkeypatch.setattr(crf_tune, "_search", lambda start, score: chosen)
    report = crf_tune.run(own, data=tiny_data, images=1, num_iterations=1)
    assert report["network"]["mean_iou"] == pytest.approx(
        evaluate.run(own, data=tiny_data)["mean_iou"]
    )
    assert crf.load(own.parent / "own") == chosen


def test_a_network_of_one_size_is_exported_at_that_size(image, tmp_path):
    path = tmp_path / "fixed.keras"
    network(activation=None, size=(24, 32)).save(path)
    with pytest.raises(InputError, match="size must be 24,32, the only one that the network takes"):
        export.run(path, output=tmp_path, size=(16, 16))
    logits = kerasseg.load(path)(np.asarray(PIL.Image.open(image), np.float32)[np.newaxis])
    for size in (None, (24, 32)):
        version = export.run(path, output=tmp_path, size=size)
        answer = saved_model.SavedModel(version).predict(image.read_bytes())
        label = tf.io.decode_png(answer)[..., 0].numpy()
        assert parity.labels_agree(label, np.asarray(logits)[0])


def test_a_litert_file_has_the_only_size_of_its_network(tmp_path):
    pytest.importorskip("ai_edge_litert")
    network(activation=None, size=(24, 32)).save(tmp_path / "fixed.keras")
    version = export.run(tmp_path / "fixed.keras", output=tmp_path, format="litert")
    assert json.loads((version / "classes.json").read_text())["size"] == [24, 32]


def test_a_file_of_a_run_knows_its_classes(tiny_run, image, class_list, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (of_run,) = predict.run(run, image)
    (of_file,) = predict.run(run / "checkpoints" / "best.keras", image, output=tmp_path / "out")
    assert of_file.label.read_bytes() == of_run.label.read_bytes()
    report = evaluate.run(run / "checkpoints" / "last.keras")
    assert report["class_names"] == ["ground", "square", "disc"]
    assert (run / "evaluation" / "validation" / "metrics.json").is_file()
    for path in (run, run / "checkpoints" / "best.keras"):
        with pytest.raises(InputError, match="classes must be left out for a run"):
            predict.run(path, image, classes=class_list)


@keras.saving.register_keras_serializable(package="tests")
class LargeOnly(keras.layers.Layer):
    """Fails at images that are less than 32 pixels high."""

    def call(self, images):
        """Returns the images."""
        with tf.control_dependencies([tf.debugging.assert_greater(tf.shape(images)[1], 31)]):
            return tf.identity(images)

    def compute_output_shape(self, input_shape):
        """Returns the same shape."""
        return input_shape


def test_images_that_a_network_cannot_take_are_listed(image, tiny_data, tmp_path):
    model = network()
    path = tmp_path / "large.keras"
    keras.Model(model.input, model(LargeOnly()(model.input))).save(path)
    PIL.Image.new("RGB", (32, 48)).save(tmp_path / "large.png")
    images = [image, tmp_path / "large.png"]
    with pytest.raises(predict.PredictionError) as caught:
        predict.run(path, images, output=tmp_path / "out")
    (problem,) = caught.value.problems
    assert problem.file == str(image)
    assert problem.what == "the network cannot take 31 x 45 pixels"
    assert (tmp_path / "out" / "large.png").is_file()


def test_a_file_without_its_run_can_be_moved(tiny_run, image, tmp_path):
    shutil.copy(tiny_run / "checkpoints" / "best.keras", tmp_path / "moved.keras")
    (written,) = predict.run(tmp_path / "moved.keras", image)
    (of_run,) = predict.run(tiny_run, image, output=tmp_path / "out")
    with PIL.Image.open(written.label) as label, PIL.Image.open(of_run.label) as expected:
        np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize("stage", [predict.run, evaluate.run, export.run])
def test_another_number_of_classes_is_refused(stage, image, class_list, tiny_data, tmp_path):
    network(4).save(tmp_path / "four.keras")
    arguments = [image] if stage is predict.run else []
    told = (
        [{"data": tiny_data}]
        if stage is evaluate.run
        else [{"data": tiny_data}, {"classes": class_list}]
    )
    for options in told:
        with pytest.raises(InputError, match=r"must tell the 3 classes of the .* apart, got a .*4"):
            stage(tmp_path / "four.keras", *arguments, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"four.keras", "image.png", "names.txt"}


def test_a_run_whose_network_has_other_classes_is_refused(tiny_run, image, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    network(4).save(run / "checkpoints" / "best.keras")
    with pytest.raises(InputError, match="must tell the 3 classes of its run apart"):
        predict.run(run, image)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("classifier.keras", r"classifier.keras: output must be \(None, height, width, num_cl"),
        ("many.keras", r"many.keras: number of classes must be in \[1, 255\], got 300"),
        ("broken.keras", r"broken.keras: must be a .keras file, got another format"),
        ("nothing.keras", r"nothing.keras: must be a run folder or a .keras file, got nothing"),
        ("n" * 300, r"nnn: must be a run folder or a .keras file, got nothing there"),
        ("empty", r"empty: must be a run folder, got no run.json; make one with 'kerasseg fit'"),
        ("m.h5", r"m.h5: must be a run folder or a .keras file, got another file"),
    ],
)
def test_what_is_no_network_is_a_clear_error(run_cli, image, tmp_path, name, message):
    images = keras.Input((8, 8, 3))
    dense = keras.layers.Dense(3)(keras.layers.Flatten()(images))
    keras.Model(images, dense).save(tmp_path / "classifier.keras")
    network(300).save(tmp_path / "many.keras")
    (tmp_path / "broken.keras").write_text("no archive")
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.h5").write_text("another format")
    with pytest.raises(InputError, match=message):
        predict.run(tmp_path / name, image)
    result = run_cli("predict", tmp_path / name, image)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_a_split_whose_images_a_network_cannot_take_is_a_clear_error(tmp_path, make_folder_tree):
    data = convert.run("folder", make_folder_tree(tmp_path / "source"), tmp_path / "data").root
    model = network()
    keras.Model(model.input, model(LargeOnly()(model.input))).save(tmp_path / "large.keras")
    with pytest.raises(InputError, match="cannot take the images of split validation"):
        evaluate.run(tmp_path / "large.keras", data=data)
