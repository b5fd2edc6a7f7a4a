"""Trainings on images that are not RGB of 8 bits."""

import dataclasses
import json
import signal

import deep_records
import keras
import new_processes
import numpy as np
import PIL.Image
import pytest
from run_ends import At, assert_same_end, signalled

import kerasseg
from kerasseg.pipelines import crf_tune, evaluate, fit, records
from kerasseg.pipelines.errors import InputError, Interrupted
from kerasseg.pipelines.evaluations import result_picture
from kerasseg.pipelines.runs import crf, initial_weights, run_folder, trained_networks
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import compiled_model
from kerasseg.pipelines.training.data_checks import check

NETWORK = """
import keras
from keras import layers

def build(*, num_classes, input_shape):
    images = keras.Input(input_shape)
    print("takes", input_shape)
    return keras.Model(images, layers.Conv2D(num_classes, 1, dtype="float32")(images))

def of_rgb(*, num_classes, input_shape):
    return build(num_classes=num_classes, input_shape=(None, None, 3))
"""
OPTIONS = TrainingOptions(
    model="unet",
    model_options={"variant": "milesial", "filters": 4, "depth": 1},
    epochs=6,
    batch_size=4,
    crop_size=(32, 32),
    learning_rate=2e-2,
    evaluate_every=6,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of 4 channels and 16 bits, whose last channel alone tells the classes."""
    return deep_records.write(tmp_path_factory.mktemp("deep") / "4", 4, 16, telling=3)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return fit.run(OPTIONS, data, tmp_path_factory.mktemp("runs") / "run").folder


@pytest.mark.slow
def test_a_training_learns_what_the_fourth_channel_alone_tells(run, data, tmp_path):
    assert run_folder.history(run)[-1]["mean_iou"] > 0.9
    report = tmp_path / "report.html"
    scores = evaluate.run(run, report=report, output=tmp_path)
    assert scores["mean_iou"] == pytest.approx(run_folder.history(run)[-1]["mean_iou"])
    assert "Worst" in report.read_text()
    # The network sees nothing of the classes where this channel is another one.
    model = kerasseg.load(run)
    image, label = deep_records.draw(100, 4, 16, telling=3, size=deep_records.SIZES[1])
    values = image.astype(np.float32) / 257
    both = model(np.stack([values, values[..., [3, 0, 1, 2]]])).numpy().argmax(-1)
    labelled = label != 255
    right = (both == label)[:, labelled].mean(-1)
    assert right[0] > 0.95
    assert right[1] < 0.9


def test_a_training_without_the_channel_learns_nothing(tmp_path):
    data = deep_records.write(tmp_path / "data", 4, 16, telling=None)
    run = fit.run(OPTIONS, data, tmp_path / "run").folder
    assert run_folder.history(run)[-1]["mean_iou"] < 0.6


def test_the_run_says_what_its_images_are_and_its_pictures_show_the_first_channels(run):
    described = run_folder.load(run)
    assert (described.channels, described.bits, described.stretch) == (4, 16, "0,4095")
    content = json.loads((run / "run.json").read_text())
    assert content["images"] == {"channels": 4, "bits": 16, "stretch": "0,4095"}
    assert "channels" not in content["options"]
    sheet = np.asarray(PIL.Image.open(run / "overlays.png"))

    image, _ = deep_records.draw(101, 4, 16, telling=3, size=deep_records.SIZES[1])
    shown = image[..., :3] // 257
    rows = range(0, len(sheet) - len(shown) + 1)
    height, width = shown.shape[:2]
    assert any((sheet[top : top + height, :width] == shown).all() for top in rows)
    result_picture.write(run)


def test_runs_on_rgb_images_of_8_bits_record_nothing_new(tiny_run):
    content = json.loads((tiny_run / "run.json").read_text())
    assert "images" not in content
    assert "channels" not in content["options"]


@pytest.mark.slow
def test_a_resumed_training_ends_as_the_one_that_was_not_interrupted(run, data, tmp_path):
    with pytest.raises(Interrupted):
        fit.run(
            OPTIONS, data, tmp_path / "run", extra_callbacks=[At(2, 1, signalled(signal.SIGTERM))]
        )
    fit.resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", run)


def test_a_run_is_not_resumed_or_scored_on_images_of_other_channels(run, tmp_path):
    other = deep_records.write(tmp_path / "data", 2, 16, train=4)
    message = "channels of the images must be 4, as of those that .* was trained on, got 2"
    for use in (fit.resume, evaluate.run):
        with pytest.raises(InputError, match=message):
            use(run, data=other)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_fresh_process_loads_a_network_of_other_channels(channels, tmp_path):
    keras.utils.set_random_seed(0)
    options = OPTIONS.model_options
    model = kerasseg.build("unet", num_classes=2, input_shape=(None, None, channels), **options)
    model.save(tmp_path / "network.keras")
    image = np.random.default_rng(0).uniform(0, 255, (1, 9, 7, channels)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    code = (
        "import kerasseg, numpy; model = kerasseg.load('network.keras'); "
        "numpy.save('logits.npy', model(numpy.load('image.npy')))"
    )
    done = new_processes.run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), model(image), atol=1e-5)
    described, _ = trained_networks.load(tmp_path / "network.keras")
    assert described.channels == channels


def test_mixed_precision_normalises_in_float32(data):
    options = dataclasses.replace(OPTIONS, dtype_policy="mixed_bfloat16")
    try:
        strategy = fit.assembly.team.Team(keras_strategy()).strategy
        model = compiled_model.build(options, records.load(data), strategy)
        assert model(np.zeros((1, 9, 8, 4), np.float32)).dtype == "float32"
        layer = model.get_layer("preprocessing")
        assert layer(np.full((1, 1, 1, 4), 200.25, np.float32)).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


def keras_strategy():
    import tensorflow as tf

    return tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 3}, "channels must be 4, the number of the dataset, got 3"),
        ({"channels": 0}, "channels must be a whole number from 1 to 16, got 0"),
        ({"channels": 17}, "channels must be a whole number from 1 to 16, got 17"),
        ({"augment": "rand"}, "augment must be none or standard for images of 4 channels and 16"),
    ],
)
def test_options_that_do_not_fit_the_images_are_refused(data, changes, message):
    with pytest.raises(InputError, match=message):
        check(dataclasses.replace(OPTIONS, **changes), records.load(data))


def test_the_number_of_channels_may_be_given(data):
    check(dataclasses.replace(OPTIONS, channels=4), records.load(data))


def test_the_fully_connected_crf_is_for_rgb_images(run):
    message = "images must be RGB for a CRF, which compares their colours, got images of 4 channels"
    with pytest.raises(InputError, match=message):
        evaluate.run(run, crf=crf.CRFParameters())
    with pytest.raises(InputError, match=message):
        crf_tune.run(run)


def test_the_user_s_own_network_gets_the_shape_of_the_images(data, tmp_path, capsys):
    (tmp_path / "network.py").write_text(NETWORK)
    options = dataclasses.replace(
        OPTIONS, model=f"{tmp_path}/network.py:build", model_options={}, epochs=1, evaluate_every=1
    )
    made = fit.run(options, data, tmp_path / "run")
    assert "takes (None, None, 4)" in capsys.readouterr().out
    assert kerasseg.load(made.folder).input_shape == (None, None, None, 4)
    options = dataclasses.replace(options, model=f"{tmp_path}/network.py:of_rgb")
    with pytest.raises(InputError, match="for images of 4 channels, got one of 3"):
        fit.run(options, data, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_network_of_rgb_images_gives_its_weights_and_this_is_said(
    tiny_run, run, data, tmp_path, capsys
):
    options = dataclasses.replace(OPTIONS, init_from=str(tiny_run), reset_head=True)
    options = dataclasses.replace(options, model_options={**OPTIONS.model_options, "depth": 2})
    dataset = records.load(data)
    shape, given = (None, None, 4), options.model_options
    model = kerasseg.build("unet", num_classes=2, input_shape=shape, **given)
    loaded = initial_weights.load(model, options, dataset)
    assert "was adapted to 4 channels" in loaded["adapted_kernels"]
    assert loaded["adapted_kernels"] in capsys.readouterr().err
    model = kerasseg.build("unet", num_classes=2, input_shape=(None, None, 2), **given)
    options = dataclasses.replace(options, init_from=str(run))
    with pytest.raises(InputError, match="must be a network of images of 2 channels, as the data"):
        initial_weights.load(model, options, dataset)
