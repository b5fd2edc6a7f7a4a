"""Exports of a fixed size, and those that take pixels: LiteRT, ONNX and OpenVINO."""

import importlib
import json
import shutil
import sys
from dataclasses import replace

import keras
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from test_contract import NUM_CLASSES, SMALL, SMALL_SIZES, SMALL_VARIANTS, balance_classes

import kerasseg
from kerasseg import adapters, inference, models
from kerasseg.layers import (
    Conv2D,
    CropLike,
    Dense,
    DenseCRF,
    DepthwiseConv2D,
    PadToMultiple,
    ResizeLike,
    UpsampleNearest,
    activations,
    unpooling,
)
from kerasseg.layers.outputs import without_auxiliary
from kerasseg.layers.transformer import MultiHeadAttention, PatchMap, PatchTokens
from kerasseg.pipelines import export
from kerasseg.pipelines.classes import ClassSpace, comparison
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import formats, parity, portable
from kerasseg.pipelines.exports.formats import litert
from kerasseg.pipelines.exports.formats import onnx as export_onnx
from kerasseg.pipelines.runs import crf, run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.server.catalog import Catalog
from kerasseg.pipelines.serving import saved_model


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def resize_by_formula(values, height, width):
    """Bilinear, without antialiasing: output pixel i lies at (i + 1/2) old / new - 1/2."""
    for axis, new in ((0, height), (1, width)):
        old = values.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        high = np.minimum(low + 1, old - 1)
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values


def logits_at_size(model, image, size):
    """What `--size` asks for, of one image."""
    small = resize_by_formula(image.astype(np.float64), *size).astype(np.float32)
    logits = np.asarray(model(small[np.newaxis]))[0]
    return resize_by_formula(logits.astype(np.float64), *image.shape[:2]).astype(np.float32)


def make_run(folder, name, model, count=NUM_CLASSES, **training):
    """A run whose network has the weights that it has."""
    options = TrainingOptions(model=name, **training)
    origin = {"name": "none", "path": "", "fingerprint": ""}
    run_folder.describe(folder, options, comparison.placeholder_classes(count), origin)
    (folder / "checkpoints").mkdir()
    model.save(folder / "checkpoints" / "best.keras")
    return folder


def exported(size=None, *, probabilities=True):
    classes = ClassSpace(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    return formats.Export("model", classes, {}, size, probabilities)


@pytest.fixture
def network(tiny_run):
    return kerasseg.load(tiny_run)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param("unet", "milesial", marks=pytest.mark.slow),
        pytest.param("segnet", "pytorch-semseg", marks=pytest.mark.slow),
    ],
)
def test_files_take_images_smaller_than_the_poolings(name, variant, tmp_path):
    keras.utils.set_random_seed(0)
    model = kerasseg.build(name, num_classes=3, variant=variant, filters=2)
    image = random_images(1, 8, 9)
    balance_classes(model, image)
    export_onnx.write(model, tmp_path, exported())
    litert.write(model, tmp_path, exported((8, 9)))
    batches = {"model.onnx": [image, image[:, :1, :1], image[:, :1]], "model.tflite": [image]}
    for file, images in batches.items():
        answers = portable.predict_in_clean_process(tmp_path / file, images)
        for each, answer in zip(images, answers, strict=True):
            expected = tf.nn.softmax(model(each)).numpy()
            np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_a_tflite_file_takes_one_image_of_the_run_s_crop_size(files, network):
    runner = Interpreter(str(files["litert"] / "model.tflite")).get_signature_runner()
    assert runner.get_input_details()["image"]["shape"].tolist() == [1, 32, 32, 3]
    image = random_images(1, 32, 32)
    answers = runner(image=image)
    assert list(answers) == ["labels"]
    assert answers["labels"].dtype == np.uint8
    assert parity.labels_agree(answers["labels"], network(image).numpy())


def test_the_run_s_image_size_is_litert_s_before_its_crop_size(network, tmp_path):
    resized = inference.inference_model(network, (48, 64))
    size = {"image_size": (48, 64), "crop_size": (32, 32)}
    run = make_run(tmp_path / "run", "unet", resized, count=3, **size)
    version = export.run(run, output=tmp_path, format="litert", probabilities=True)
    runner = Interpreter(str(version / "model.tflite")).get_signature_runner()
    image = random_images(1, 48, 64)
    answers, logits = runner(image=image), network(image).numpy()
    assert parity.labels_agree(answers["labels"], logits)
    assert answers["probabilities"].dtype == np.float32
    np.testing.assert_allclose(answers["probabilities"], tf.nn.softmax(logits), atol=1e-5)


def test_an_onnx_file_takes_any_batch_and_size(files, network):
    session = onnxruntime.InferenceSession(files["onnx"] / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    assert session.get_outputs()[0].shape == ["batch", "height", "width"]
    for shape in ((1, 37, 50), (3, 64, 33)):
        image = random_images(*shape)
        labels, probabilities = session.run(["labels", "probabilities"], {"image": image})
        logits = network(image).numpy()
        assert labels.dtype == np.uint8
        assert parity.labels_agree(labels, logits)
        np.testing.assert_allclose(probabilities, tf.nn.softmax(logits), atol=1e-5)


def test_an_openvino_file_takes_any_batch_and_size(openvino_export, network):
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(openvino_export / "model.xml", "CPU", hint)
    assert compiled.input().get_any_name() == "image"
    for shape in ((1, 37, 50), (3, 64, 33)):
        image = random_images(*shape)
        labels = compiled([image])["labels"]
        assert labels.dtype == np.uint8
        assert parity.labels_agree(labels, network(image).numpy())


def test_what_openvino_cannot_read_is_a_clear_error(network, tmp_path, monkeypatch):
    def write_less(model, folder, export):
        (folder / export_onnx.FILE).write_bytes(b"damaged")
        return folder

    monkeypatch.setattr(export_onnx, "write", write_less)
    with pytest.raises(InputError, match=f"{network.name} cannot be converted to OpenVINO: "):
        formats.module("openvino").write(network, tmp_path, exported())
    assert not list(tmp_path.iterdir())


def test_an_openvino_file_says_what_its_labels_mean(openvino_export):
    network = openvino.Core().read_model(openvino_export / "model.xml")
    names = network.get_rt_info(["kerasseg", "class_names"]).astype(str)
    assert json.loads(names) == ["ground", "square", "disc"]
    names = {path.name for path in openvino_export.iterdir()}
    assert names == {"model.xml", "model.bin", "classes.json", "model_card.md", "parity.json"}
    card = (openvino_export / "model_card.md").read_text()
    assert "`model.bin` the weights; both are needed" in card


def test_an_onnx_file_says_what_its_labels_mean(files):
    proto = onnx.load(files["onnx"] / "model.onnx")
    found = {entry.key: entry.value for entry in proto.metadata_props}
    beside = json.loads((files["onnx"] / "classes.json").read_text())
    assert json.loads(found["class_names"]) == ["ground", "square", "disc"]
    assert json.loads(found["colors"]) == [[128, 128, 128], [255, 0, 0], [0, 0, 255]]
    assert found["ignore_label"] == "255"
    assert found["classes_fingerprint"] == beside["classes_fingerprint"] != ""


@pytest.mark.parametrize("form", ["litert", "onnx", "openvino"])
def test_probabilities_are_the_softmax_of_logits_over_the_temperature(form, tmp_path):
    inputs = keras.Input((None, None, 3))
    export_ = replace(exported((8, 9)), temperature=2.5)
    folder = formats.module(form).write(keras.Model(inputs, inputs / 50), tmp_path, export_)
    image = random_images(1, 8, 9)
    answers = formats.module(form).load(folder / formats.module(form).FILE)(image)
    powers = np.exp(image / 50 / 2.5)
    expected = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)


def test_a_file_s_folder_says_what_is_in_it_and_how_it_was_checked(files):
    for form, name in (("litert", "model.tflite"), ("onnx", "model.onnx")):
        version = files[form]
        assert version.parent.name == f"tiny-{form}"
        names = {path.name for path in version.iterdir()}
        assert names == {name, "classes.json", "model_card.md", "parity.json"}
        report = json.loads((version / "parity.json").read_text())
        classes = json.loads((version / "classes.json").read_text())
        assert report["format"] == classes["format"] == form
        assert report["pixels"] == sum(np.prod(shape) for shape in report["images"])
        assert 0.999 * report["pixels"] <= report["equal_labels"] <= report["pixels"]
    assert classes["size"] is None
    assert "32 x 32 (height x width)" in (files["litert"] / "model_card.md").read_text()


def test_serve_passes_over_folders_of_files(files, tmp_path):
    for name in ("tiny-litert", "tiny-onnx"):
        shutil.copytree(files["onnx"].parent, tmp_path / name)
    (tmp_path / "tiny" / "1").mkdir(parents=True)
    (tmp_path / "tiny" / "1" / "saved_model.pb").touch()
    assert Catalog(tmp_path).names() == ["tiny"]


def test_an_onnx_file_of_a_size_takes_that_size_only(tiny_run, network, tmp_path):
    version = export.run(tiny_run, output=tmp_path, format="onnx", size=(40, 24))
    session = onnxruntime.InferenceSession(version / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 40, 24, 3]
    assert session.get_outputs()[0].shape == ["batch", 40, 24]
    image = random_images(2, 40, 24)
    (labels,) = session.run(None, {"image": image})
    assert parity.labels_agree(labels, network(image).numpy())


def test_a_saved_model_of_a_size_gives_labels_of_each_image_s_own(sized, network):
    images = [random_images(37, 53), parity.draw_image(64, 31)]
    contents = [parity.encode(image, "PNG") for image in images]
    answers = saved_model.predict_in_clean_process(sized, contents)
    for image, answer in zip(images, answers, strict=True):
        served = tf.io.decode_png(answer)[..., 0].numpy()
        assert parity.labels_agree(served, logits_at_size(network, image, (40, 24)))


@pytest.mark.slow
def test_a_crf_refines_at_the_image_s_own_size(tiny_run, network, tmp_path):
    parameters = crf.CRFParameters(num_iterations=2, theta_alpha=10)
    version = export.run(tiny_run, output=tmp_path, size=(40, 24), crf=parameters)
    image = random_images(37, 53)
    png = saved_model.SavedModel(version).predict(parity.encode(image, "PNG"))
    served = tf.io.decode_png(png)[..., 0].numpy()
    logits = logits_at_size(network, image, (40, 24))
    layer = DenseCRF(num_iterations=2, theta_alpha=10)
    marginals = layer([image[np.newaxis].astype(np.float32), logits[np.newaxis]])[0].numpy()
    assert (served == marginals.argmax(-1)).mean() > 0.999
    assert (served != logits.argmax(-1)).mean() > 0.01


def test_a_saved_model_of_a_size_takes_pixels_of_that_size_only(sized):
    model = saved_model.SavedModel(sized)
    assert model.signatures["labels"].inputs["image"].shape == (None, 40, 24, 3)
    assert model.signatures["labels"].outputs["labels"].shape == (None, 40, 24)
    answers = model.run({"image": random_images(2, 40, 24)}, signature="labels")
    assert answers["labels"].shape == (2, 40, 24)
    with pytest.raises(saved_model.SavedModelError, match="shape of image must be"):
        model.run({"image": random_images(1, 24, 40)}, signature="labels")


def test_the_size_is_written_beside_the_saved_model(sized):
    classes = json.loads((sized / "assets.extra" / "classes.json").read_text())
    parity_ = json.loads((sized / "parity.json").read_text())
    assert classes["size"] == parity_["size"] == [40, 24]
    card = (sized / "assets.extra" / "model_card.md").read_text()
    assert "which the network sees resized to 40 x 24 (height x width)" in card
    assert "at native resolution, not at the size above:" in card


def test_the_size_takes_the_place_of_the_run_s_image_size(network):
    image = random_images(37, 53)
    resized = inference.inference_model(network, (64, 80))
    logits = adapters.at_size(resized, (24, 40))(image[np.newaxis])[0].numpy()
    expected = logits_at_size(network, image, (24, 40))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_networks_of_mixed_precision_are_exported_in_float32(form, tmp_path):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = kerasseg.build("unet", num_classes=3, variant="milesial", filters=4, depth=2)
    finally:
        keras.config.set_dtype_policy("float32")
    run = make_run(tmp_path / "run", "unet", model, count=3)
    version = export.run(run, output=tmp_path, format=form, size=(32, 32))
    plain = kerasseg.build("unet", num_classes=3, variant="milesial", filters=4, depth=2)
    plain.set_weights(model.get_weights())
    image = random_images(1, 32, 32)
    (file,) = version.glob("model.*")
    (answer,) = portable.predict_in_clean_process(file, [image])
    assert parity.labels_agree(answer["labels"], plain(image).numpy())


def test_what_tf2onnx_alone_gets_wrong_is_right(tmp_path):
    """Remainders and quotients of negative sizes, SAME with dilation, and GELU."""
    inputs = keras.Input((None, None, 3))
    padded = PadToMultiple(8, 1)(inputs)  # by -size modulo 8
    features = Conv2D(6, 3, padding="symmetric", dilation_rate=3)(padded)
    features = keras.layers.Activation("gelu")(features * 0.02)
    halved = CropLike(0, 2)(features[:, ::2, ::2], inputs)  # to -(-size // 2)
    model = keras.Model(inputs, ResizeLike()(halved, inputs))
    export_onnx.write(model, tmp_path, exported())
    batches = [random_images(2, *size) for size in ((17, 24), (33, 41), (30, 15))]
    answers = portable.predict_in_clean_process(tmp_path / "model.onnx", batches)
    for batch, answer in zip(batches, answers, strict=True):
        expected = tf.nn.softmax(model(batch.astype(np.float32)))
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_convolutions_are_not_transposed_one_by_one(tmp_path):
    """One transposition at the start, whatever constants are added between two convolutions."""
    inputs = features = keras.Input((None, None, 3))
    for filters in (4, 1, 4):
        features = Conv2D(filters, 3, use_bias=False)(features) + 3
        features = 5 + keras.layers.ReLU(6)(features) * features
    model = keras.Model(inputs, Conv2D(2, 1)(features))
    file = export_onnx.write(model, tmp_path, exported()) / export_onnx.FILE
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("Transpose") <= 2
    image = random_images(1, 8, 9)
    (answer,) = portable.predict_in_clean_process(file, [image])
    expected = tf.nn.softmax(model(image.astype(np.float32)))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_what_openvino_reads_wrongly_in_other_forms_is_right(tmp_path):
    """Squares of equal pixels, dilated depthwise convolutions, heads after a layer without bias."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    features = DepthwiseConv2D(3, dilation_rate=2)(PadToMultiple(8)(inputs) / 255)
    features = DepthwiseConv2D(3, dilation_rate=3, padding="same")(features)
    patches = Conv2D(12, 3, strides=2)(features)
    attended = MultiHeadAttention(3)(Dense(36, use_bias=False)(PatchTokens((4, 4))(patches)))
    logits = Conv2D(3, 1)(UpsampleNearest(2)(PatchMap()(attended, patches)))
    model = keras.Model(inputs, CropLike(0)(logits, inputs))
    batches = [random_images(2, *size) for size in ((17, 24), (33, 41), (1, 1))]
    for form in map(formats.module, ("onnx", "openvino")):
        run = form.load(form.write(model, tmp_path, exported()) / form.FILE)
        for batch in batches:
            expected = tf.nn.softmax(model(batch.astype(np.float32)))
            np.testing.assert_allclose(run(batch)["probabilities"], expected, atol=1e-5)


def test_gelu_is_one_operation_of_litert(tmp_path):
    """The converter knows GELU by TensorFlow's own form; it has no operation for `erf`."""
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Activation(activations.gelu)(inputs * 0.02 - 2))
    file = litert.write(model, tmp_path, exported((8, 9))) / litert.FILE
    names = [operation["op_name"] for operation in Interpreter(str(file))._get_ops_details()]
    assert "GELU" in names
    image = random_images(1, 8, 9)
    (answer,) = portable.predict_in_clean_process(file, [image])
    expected = tf.nn.softmax(model(image.astype(np.float32)))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_segnet_s_pooling_and_unpooling_are_the_same_in_litert(padding, tmp_path):
    inputs = keras.Input((None, None, 3))
    pooled, indices = unpooling.MaxPoolingWithIndices(padding)(inputs)
    model = keras.Model(inputs, unpooling.MaxUnpooling()(pooled + 1, indices, inputs))
    file = litert.write(model, tmp_path, exported((9, 14))) / litert.FILE
    image = random_images(1, 9, 14) // 32 * 8  # equal values: the first of a window must win
    (answer,) = portable.predict_in_clean_process(file, [image])
    expected = tf.nn.softmax(model(image.astype(np.float32)))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)


def test_operations_that_the_formats_lack_are_named(tmp_path):
    inputs = keras.Input((None, None, 3))
    sort = keras.layers.Lambda(
        lambda x: x * tf.cast(tf.searchsorted([[1.0, 2.0]], [[tf.reduce_max(x)]])[0, 0], x.dtype),
        output_shape=(None, None, 3),
    )
    model = keras.Model(inputs, sort(inputs), name="sorter")
    asked = exported((8, 8), probabilities=False)
    with pytest.raises(InputError, match="sorter cannot be converted to LiteRT: it has LowerBound"):
        litert.write(model, tmp_path, asked)
    with pytest.raises(InputError, match="sorter cannot be converted to ONNX: it has LowerBound"):
        export_onnx.write(model, tmp_path, asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["litert", "onnx", "openvino"])
@pytest.mark.parametrize("name", models.names())
def test_every_architecture_passes_its_check(name, form, tmp_path):
    for variant in importlib.import_module(f"kerasseg.models.{name}").VARIANTS:
        keras.utils.set_random_seed(0)
        options = {"variant": variant, **SMALL_VARIANTS.get((name, variant), SMALL[name])}
        model = kerasseg.build(name, num_classes=NUM_CLASSES, **options)
        balance_classes(without_auxiliary(model), parity.draw_image(61, 83)[np.newaxis])
        run = make_run(tmp_path / variant, name, model, crop_size=(61, 83))
        version = export.run(run, output=tmp_path, format=form)
        sizes = [(61, 83)] if form == "litert" else [(61, 83), *SMALL_SIZES]
        batches = [parity.draw_image(*size)[np.newaxis] for size in sizes]
        file = version / formats.module(form).FILE
        answers = portable.predict_in_clean_process(file, batches)
        for batch, answer in zip(batches, answers, strict=True):
            assert parity.labels_agree(answer["labels"], without_auxiliary(model)(batch).numpy())
        # What is the same everywhere would prove little.
        assert len(np.unique(answers[0]["labels"])) > 1


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_an_export_that_fails_its_check_leaves_no_version(form, tiny_run, tmp_path, monkeypatch):
    def answer_ones(file, batches):
        return [{"labels": np.ones(batch.shape[:3], np.uint8)} for batch in batches]

    monkeypatch.setattr(portable, "predict_in_clean_process", answer_ones)
    with pytest.raises(InputError, match="labels differ from the network's; nothing was exported"):
        export.run(tiny_run, output=tmp_path, format=form, size=(40, 40))
    assert list((tmp_path / f"tiny-{form}").iterdir()) == []


def test_probabilities_that_differ_fail_the_check(network):
    image = parity.draw_image(32, 40)[np.newaxis]
    logits = network(image).numpy()
    answers = tf.nn.softmax(logits).numpy()
    comparison = parity.Comparison(network)
    assert comparison.agrees(image, logits.argmax(-1), answers)
    assert not comparison.agrees(image, logits.argmax(-1), answers[..., ::-1])
    assert comparison.counts() == {"pixels": 1280, "equal_labels": 1280}


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "model.xml"])
def test_a_damaged_file_is_a_clear_error(name, tmp_path):
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match="does not run in a separate process"):
        portable.predict_in_clean_process(tmp_path / name, [random_images(1, 8, 8)])


@pytest.mark.parametrize(
    ("form", "missing", "command"),
    [
        ("onnx", "tf2onnx", "kerasseg[onnx]"),
        ("litert", "ai_edge_litert", "kerasseg[litert]"),
        ("openvino", "openvino", "kerasseg[openvino]"),
    ],
)
def test_a_missing_extra_is_named_with_its_command(
    form, missing, command, tiny_run, tmp_path, monkeypatch, run_cli
):
    monkeypatch.setitem(sys.modules, missing, None)
    result = run_cli("export", tiny_run, "--output", tmp_path / "out", "--format", form)
    assert result.exit_code == 1
    assert f"{missing} must be installed" in result.output
    assert f"pip install '{command}'" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--format", "torch"],
            2,
            "'torch' is not one of 'savedmodel', 'litert', 'onnx', 'openvino'",
        ),
        (["--size", "40"], 2, "must be HEIGHT,WIDTH in whole numbers, got '40'"),
        (["--size", "4x5"], 2, "must be HEIGHT,WIDTH in whole numbers, got '4x5'"),
        (["--size", "0,40"], 1, "size must be HEIGHT,WIDTH from 1 to 8192, got (0, 40)"),
        (["--size", "40,9000"], 1, "size must be HEIGHT,WIDTH from 1 to 8192, got (40, 9000)"),
        (["--crf", "--format", "litert"], 1, "format must be savedmodel for a CRF, got 'litert'"),
        (["--crf", "--format", "onnx"], 1, "format must be savedmodel for a CRF, got 'onnx'"),
        (["--quantize", "int4"], 2, "'int4' is not one of 'float16', 'int8'"),
        (["--quantize", "int8"], 1, "quantize must be left out for savedmodel, got 'int8'"),
        (
            ["--quantize", "float16", "--format", "onnx"],
            1,
            "quantize must be int8 for onnx, got 'float16'",
        ),
        (["--calibration-images", "0"], 2, "0 is not in the range x>=1"),
        (["--tolerance", "-1"], 2, "-1.0 is not in the range x>=0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, code, message, tiny_run, tmp_path, run_cli):
    result = run_cli("export", tiny_run, "--output", tmp_path / "out", *options)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_python_s_arguments_are_checked_too(tiny_run, tmp_path):
    with pytest.raises(
        InputError, match="format must be one of savedmodel, litert, onnx, openvino, got 'x'"
    ):
        export.run(tiny_run, output=tmp_path, format="x")


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_an_output_that_cannot_be_written_is_a_clear_error(form, tiny_run, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot be written"):
        export.run(tiny_run, output=tmp_path / "out", format=form)


def test_litert_asks_for_a_size_where_the_run_has_none(network, tmp_path):
    run = make_run(tmp_path / "run", "unet", network, count=3)
    with pytest.raises(
        InputError, match="must have been trained with an image size or a crop size"
    ):
        export.run(run, output=tmp_path / "out", format="litert")
