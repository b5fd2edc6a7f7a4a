"""Every architecture from a run folder to a client: exported, served, asked in three ways."""

import importlib
import inspect
import re

import grpc
import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from served_models import decode, serving_process, wait_until_available, write_version
from test_contract import NUM_CLASSES, SMALL, SMALL_VARIANTS, balance_classes

import kerasseg
from kerasseg import models
from kerasseg.layers.outputs import without_auxiliary
from kerasseg.pipelines import export
from kerasseg.pipelines.classes import comparison
from kerasseg.pipelines.runs import crf, run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

pytestmark = pytest.mark.slow
# Odd sizes, which no stride divides; darker to one side, or an untrained network sees one class.
SIZES = {"wide.png": (45, 62), "tall.jpg": (83, 37), "one_line.png": (1, 71)}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
        pixels = noise * np.linspace(0, 1, width)[:, None]
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server, which each architecture's export joins while it runs."""
    folder = tmp_path_factory.mktemp("served")
    write_version(folder / "first" / "1")
    with serving_process(folder) as process:
        rest, rpc = re.findall(r"serving at (http://\S+) and (grpc://\S+)", process.said)[0]
        yield folder, rest, rpc


@pytest.fixture(scope="module")
def hub_preset(tmp_path_factory):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    folder = tmp_path_factory.mktemp("presets") / "small"
    backbone.save_to_preset(folder)
    return folder


def small_options(name):
    build = importlib.import_module(f"kerasseg.models.{name}").build
    variant = inspect.signature(build).parameters["variant"].default
    return SMALL_VARIANTS.get((name, variant), SMALL[name])


def make_run(folder, name, options, images):
    """A run whose network has the weights it begins with."""
    keras.utils.set_random_seed(0)
    model = without_auxiliary(kerasseg.build(name, num_classes=NUM_CLASSES, **options))
    pixels = np.asarray(PIL.Image.open(images / "wide.png"), np.float32)
    balance_classes(model, pixels[np.newaxis])
    origin = {"name": "none", "path": "", "fingerprint": ""}
    training = TrainingOptions(model=name, model_options=options)
    run_folder.describe(folder, training, comparison.placeholder_classes(NUM_CLASSES), origin)
    (folder / "checkpoints").mkdir()
    model.save(folder / "checkpoints" / "best.keras")
    return folder


def ask_with_the_official_stub(address, name, contents):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(contents))
    with grpc.insecure_channel(address.removeprefix("grpc://")) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=120)
    return tf.make_ndarray(response.outputs["label_png_bytes"])


@pytest.mark.parametrize("case", [*models.names(), "hub", "crf"])
def test_what_clients_read_is_what_predict_writes(case, server, images, tmp_path, run_cli, request):
    folder, rest, rpc = server
    name = {"hub": "pspnet", "crf": "deeplabv3plus"}.get(case, case)
    options = small_options(name)
    if case == "hub":
        options = {**options, "encoder": f"hub:{request.getfixturevalue('hub_preset')}"}
    run = make_run(tmp_path / case, name, options, images)
    parameters = crf.CRFParameters() if case == "crf" else None
    version = export.run(run, output=folder, name=case, crf=parameters)
    wait_until_available(rest, case, 1)

    flags = ["--crf"] if parameters else []
    commands = {
        "predict": ("predict", run, images, *flags),
        "rest": ("client", rest, images, "--model", case, "--overlay"),
        "grpc": ("client", rpc, images, "--model", case, "--overlay"),
    }
    for output, command in commands.items():
        result = run_cli(*command, "--output", tmp_path / output)
        assert result.exit_code == 0, result.output
    contents = [(images / image).read_bytes() for image in SIZES]
    answers = ask_with_the_official_stub(rpc, case, contents)

    seen = set()
    for (image, size), answer in zip(SIZES.items(), answers, strict=True):
        label = decode(answer)
        assert label.shape == size
        file = f"{image.partition('.')[0]}.png"
        for client in ("rest", "grpc"):
            np.testing.assert_array_equal(decode((tmp_path / client / file).read_bytes()), label)
        with PIL.Image.open(tmp_path / "predict" / file) as predicted:
            # The graphs differ, and so may a pixel whose two best logits tie but for rounding.
            assert (np.asarray(predicted) != label).sum() <= 1e-3 * label.size
        seen |= set(np.unique(label))
    assert len(seen) > 1
    assert (version / "parity.json").is_file()
