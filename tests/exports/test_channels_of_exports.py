"""Predicting, exporting and asking for images of other channels than RGB of 8 bits."""

import io
import json

import channel_trees
import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerasseg import serving, visualize
from kerasseg.pipelines import export, predict
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import exported_network, label_sources, model_card, own_scores
from kerasseg.pipelines.exports.formats import Export, onnx
from kerasseg.pipelines.images import record_images
from kerasseg.pipelines.images.treatments import Stretch
from kerasseg.pipelines.predictions import tiff_reading
from kerasseg.pipelines.runs.crf import CRFParameters
from kerasseg.pipelines.serving import session
from kerasseg.pipelines.serving.connections import Layout

COLORS = ((90, 60, 30), (0, 90, 220))


def network(channels):
    """Class 1 where the last channel is above the middle; other channels change nothing."""
    images = keras.Input((None, None, channels), name="image")
    layer = keras.layers.Conv2D(2, 1, name="logits")
    model = keras.Model(images, layer(images))
    kernel = np.zeros((1, 1, channels, 2), np.float32)
    kernel[0, 0, -1, 1] = 1
    layer.set_weights([kernel, np.array([127.5, 0], np.float32)])
    return model


def label_of(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A file of a network of four channels, and a folder of images for it."""
    folder = tmp_path_factory.mktemp("four")
    network(4).save(folder / "four.keras")
    channel_trees.write(folder / "images", 4)
    return folder


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory):
    """A SavedModel for four channels of 16 bits."""
    folder = tmp_path_factory.mktemp("deep")
    serving.save(network(4), folder, COLORS, bits=16)
    return tf.saved_model.load(folder).signatures


def test_a_saved_model_takes_planar_pngs_and_pixels_of_16_bits(deep_model):
    pixels, label = channel_trees.pair(4, np.uint16, 1)
    content = tf.constant([record_images.encode(pixels)])
    (answer,) = deep_model["serving_default"](content)["label_png_bytes"].numpy()
    np.testing.assert_array_equal(label_of(answer), label)
    rgba = tf.constant([tf.io.encode_png(pixels).numpy()])
    (answer,) = deep_model["serving_default"](rgba)["label_png_bytes"].numpy()
    np.testing.assert_array_equal(label_of(answer), label)
    image = deep_model["labels"].structured_input_signature[1]["image"]
    assert (image.shape.as_list(), image.dtype) == ([None, None, None, 4], tf.uint16)
    answer = deep_model["labels"](image=pixels[np.newaxis])["labels"].numpy()
    np.testing.assert_array_equal(answer[0], label)
    (drawn,) = deep_model["overlay_png_bytes"](content)["overlay_png_bytes"].numpy()
    expected = visualize.overlay(visualize.rgb(pixels), label, COLORS, 0.5)
    np.testing.assert_allclose(label_of(drawn).astype(int), expected, atol=1)


def test_a_saved_model_refuses_images_of_other_channels(deep_model):
    pixels, _ = channel_trees.pair(3, np.uint8, 1)
    jpeg = io.BytesIO()
    PIL.Image.fromarray(pixels).save(jpeg, "JPEG")
    for content, told in (
        (channel_trees.picture(pixels), "image must have 4 channels"),
        (jpeg.getvalue(), "image must be a PNG"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            deep_model["serving_default"](tf.constant([content]))


@pytest.mark.parametrize("tiff", [False, True])
def test_predictions_see_all_channels(four, tmp_path, tiff):
    found = predict.run(four / "four.keras", four / "images" / "images", output=tmp_path, tiff=tiff)
    for prediction in found:
        name = prediction.image.relative_to(four / "images" / "images").with_suffix(".png")
        expected = label_of((four / "images" / "labels" / name).read_bytes())
        label = np.asarray(PIL.Image.open(prediction.label))
        np.testing.assert_array_equal(label, expected)
        assert prediction.overlay.exists()


def test_predictions_as_a_dataset_keep_the_channels(four, tmp_path):
    pixels, label = channel_trees.pair(4, np.uint16, 3)
    for name in ("a.npy", "b.npy"):
        (tmp_path / name).write_bytes(channel_trees.encode(pixels, ".npy"))
    arguments = {"as_dataset": tmp_path / "tree", "stretch": Stretch(0, 65535)}
    predict.run(four / "four.keras", tmp_path, **arguments)
    seen = np.load(tmp_path / "tree" / "images" / "train" / "b.npy")
    np.testing.assert_array_equal(seen, np.rint(pixels / 257.0))
    found = PIL.Image.open(tmp_path / "tree" / "labels" / "train" / "b.png")
    np.testing.assert_array_equal(np.asarray(found), label)


def test_images_of_other_channels_and_a_crf_are_refused(four, tmp_path):
    pixels, _ = channel_trees.pair(3, np.uint8, 1)
    (tmp_path / "rgb.png").write_bytes(channel_trees.picture(pixels))
    with pytest.raises(predict.PredictionError) as error:
        predict.run(four / "four.keras", tmp_path / "rgb.png", output=tmp_path / "out")
    assert error.value.problems[0].what == "image must have 4 channels, got 3 (PNG, uint8)"
    with pytest.raises(InputError, match="images must be RGB for a CRF"):
        predict.run(
            four / "four.keras", four / "images", output=tmp_path / "out", crf=CRFParameters()
        )


@pytest.mark.parametrize("channels", [1, 12])
def test_rows_of_a_tiff_hold_all_bands_and_bits(tmp_path, channels):
    pixels, _ = channel_trees.pair(channels, np.uint16, 1)
    (tmp_path / "a.tif").write_bytes(channel_trees.encode(pixels, ".tif"))
    with tiff_reading.opened(tmp_path / "a.tif", None, channels, 16) as rows:
        np.testing.assert_array_equal(rows(3, 20), pixels[3:20])
    stretch = Stretch(1000, 50000)
    with tiff_reading.opened(tmp_path / "a.tif", stretch, channels, 16) as rows:
        np.testing.assert_array_equal(rows(0, 24), stretch(pixels, 16))
    with (
        pytest.raises(Exception, match=f"must have 7 channels, got {channels}"),
        tiff_reading.opened(tmp_path / "a.tif", None, 7, 16),
    ):
        pass


@pytest.mark.parametrize("format", ["savedmodel", "litert", "onnx", "openvino"])
def test_every_format_takes_four_channels(four, tmp_path, format):
    size = channel_trees.SIZE if format == "litert" else None
    version = export.run(four / "four.keras", output=tmp_path, format=format, size=size)
    (facts,) = version.rglob("classes.json")
    assert json.loads(facts.read_text())["channels"] == 4
    (card,) = version.rglob("model_card.md")
    assert "4 channels" in card.read_text()
    pixels, label = channel_trees.pair(4, np.uint8, 1)
    found = exported_network.of_path(version)(pixels[np.newaxis])
    np.testing.assert_array_equal(found[0], label)


def test_a_file_of_16_bits_takes_integers_of_both_kinds(tmp_path):
    described = Export("deep", None, {}, None, False, channels=4, bits=16)
    onnx.write(network(4), tmp_path, described)
    loaded = onnx.load(tmp_path / onnx.FILE)
    assert (loaded.shape[-1], loaded.bits) == (4, 16)
    predicted = label_sources.of_loaded(loaded)
    for dtype in (np.uint8, np.uint16):
        pixels, label = channel_trees.pair(4, dtype, 1)
        np.testing.assert_array_equal(predicted(pixels[np.newaxis])[0], label)
    assert "images of 4 channels of any size, uint16 in [0, 65535]" in onnx.describe_input(
        described
    )


def test_images_as_networks_see_them_become_the_integers_of_the_records():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    seen = every.astype(np.float32) / np.float32(257)
    np.testing.assert_array_equal(own_scores.in_integers(seen, 16), every)
    parity = lambda images: (images[..., 0] % 2).astype(np.uint8)  # noqa: E731
    called = exported_network.ExportedNetwork(parity, "it", 2, bits=16)
    labels = called(seen[np.newaxis, ..., np.newaxis]).numpy().argmax(-1)[0]
    np.testing.assert_array_equal(labels, every % 2)


def test_the_client_learns_the_form_of_images_from_a_signature_of_pixels():
    layouts = {
        "serving_default": Layout({"image_bytes": 7}, {}, {"image_bytes": [-1]}),
        "labels": Layout({"image": 17}, {}, {"image": [-1, -1, -1, 4]}),
    }
    assert session._form_of_images(layouts.values()) == (4, 16)
    assert session._form_of_images([layouts["serving_default"]]) == (3, 8)


def test_the_model_card_tells_the_stretch():
    assert "`--stretch 0,4095`" in model_card._describe_stretch("0,4095")[0]
    assert model_card._describe_stretch(None) == []
