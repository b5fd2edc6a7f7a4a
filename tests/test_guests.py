"""A network, an encoder and a loss of a user's own, named on the command line."""

import contextlib
import importlib.util
import io
import json
import py_compile
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import keras
import new_processes
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from cli.test_cli import fails

import kerasseg
from kerasseg.pipelines import compare, crf_tune, evaluate, fit, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.evaluations import result_picture
from kerasseg.pipelines.runs import guests, network_files, run_folder, trained_networks
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.serving import saved_model
from kerasseg.pipelines.training import compiled_model

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NETWORK, LOSS, ENCODER = (EXAMPLES / f"{name}.py" for name in ("network", "loss", "encoder"))
SHORT = ("--epochs", "1", "--batch-size", "4", "--crop-size", "32,32")

PLAIN = """
import keras
from keras import layers

def build(*, num_classes, input_shape, filters=4):
    images = keras.Input(input_shape)
    features = layers.Conv2D(filters, 3, padding="same", activation="relu")(images)
    return keras.Model(images, layers.Conv2D(num_classes, 1, dtype="float32")(features))

class NoLoss:
    pass

class Endless(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.max(y_pred) * float("inf")

class Steps(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.cast(keras.ops.argmax(y_pred, -1), "float32")

class Apart(keras.losses.Loss):
    def __init__(self):
        super().__init__(reduction=None)

    def call(self, y_true, y_pred):
        return keras.ops.max(y_pred, -1)

constant = 3
"""


@pytest.fixture
def plain(tmp_path):
    """A file with a network of Keras' own layers, and things that are no network."""
    file = tmp_path / "plain.py"
    file.write_text(PLAIN)
    return file


@contextlib.contextmanager
def forgetting():
    """Lets Keras and Python forget the user's code that the block imports."""
    classes, modules = keras.saving.get_custom_objects(), set(sys.modules)
    before = dict(classes)
    try:
        yield
    finally:
        classes.clear()
        classes.update(before)
        for name in set(sys.modules) - modules:
            if name.startswith("guest_"):
                del sys.modules[name]


@pytest.fixture(autouse=True)
def forgotten():
    """Lets no test see the code that another one has imported."""
    with forgetting():
        yield


@pytest.fixture(scope="module", autouse=True)
def without_a_picture():
    """Draws no pictures of the runs: that takes a while, and needs no code of a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_picture, "write", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def alone(run_cli):
    """Runs the command line where none of the examples' code has been imported before."""

    def run(*arguments):
        with forgetting():
            return run_cli(*arguments)

    return run


@pytest.fixture(scope="module")
def own_run(tiny_data, alone, tmp_path_factory):
    """A run of the examples' network, which has a layer of its own, with the examples' loss."""
    folder = tmp_path_factory.mktemp("own") / "run"
    arguments = [
        *("fit", "--data", tiny_data, "--run", folder, *SHORT),
        *("--model", f"{NETWORK}:build", "--model-option", "filters=4"),
        *("--loss", f"{LOSS}:Focal", "--loss-option", "gamma=1"),
    ]
    result = alone(*arguments)
    assert result.exit_code == 0, result.output
    return folder


def in_new_process(*arguments):
    """Runs the command line in a process of its own."""
    return new_processes.run("-m", "kerasseg", *arguments)


def said(done):
    return " ".join((done.stdout + done.stderr).split())


def test_a_network_and_a_loss_of_ones_own_go_the_whole_road(
    own_run, alone, tiny_data, tmp_path, monkeypatch
):
    # The search itself needs no code of a user.
    monkeypatch.setattr(crf_tune, "_search", lambda start, score: start)
    run = shutil.copytree(own_run, tmp_path / "run")
    image = next(tiny_data.parent.glob("source/images/val/*.png"))
    for command in (
        ("fit", "--resume", "--run", run, "--code", NETWORK, "--code", LOSS),
        ("evaluate", run, "--code", NETWORK),
        ("predict", run, image, "--code", NETWORK, "--output", tmp_path / "out"),
        ("crf-tune", run, "--images", "1", "--iterations", "1", "--code", NETWORK),
        # The copy in the run is as good, if it is named.
        ("export", run, "--code", run / "code" / "model.py", "--output", tmp_path / "served"),
    ):
        result = alone(*command)
        assert result.exit_code == 0, result.output
    # What is served needs no code.
    version = tmp_path / "served" / "run" / "1"
    (answer,) = saved_model.predict_in_clean_process(version, [image.read_bytes()])
    served, predicted = (
        np.asarray(PIL.Image.open(file))
        for file in (io.BytesIO(answer), tmp_path / "out" / image.name)
    )
    assert np.mean(served == predicted) > 0.99


def test_the_run_records_a_copy_of_the_code_and_its_hash(own_run):
    recorded = json.loads((own_run / "run.json").read_text())["code"]
    assert [(entry["option"], entry["name"]) for entry in recorded] == [
        ("model", "build"),
        ("loss", "Focal"),
    ]
    for entry, file in zip(recorded, (NETWORK, LOSS), strict=True):
        assert (own_run / entry["file"]).read_bytes() == file.read_bytes()
        assert entry["sha256"] == guests._hash(file.read_bytes())


@pytest.mark.parametrize(
    "command",
    [["evaluate"], ["predict", "IMAGE"], ["export"], ["crf-tune"], ["fit", "--resume", "--run"]],
    ids=lambda command: command[0],
)
def test_code_of_a_run_is_not_executed_unless_it_is_named(
    own_run, alone, tiny_data, tmp_path, command
):
    run = shutil.copytree(own_run, tmp_path / "run")
    mark = tmp_path / "executed"
    for file in (run / "code").iterdir():
        file.write_text(f"open({str(mark)!r}, 'w')\n" + file.read_text())
    image = next(tiny_data.parent.glob("source/images/val/*.png"))
    first, *rest = command
    images = [image] if rest == ["IMAGE"] else []
    option = [part for part in rest if part != "IMAGE"]
    named = "Code is executed only if it is named: read it, then give it with --code"
    fails(alone(first, *option, run, *images), named)
    # Nor if it is named, now that it is no longer what the run was trained with.
    changed = [part for file in (run / "code").iterdir() for part in ("--code", file)]
    done = alone(first, *option, run, *images, *changed)
    fails(done, "must be the code that", "It was not executed.")
    assert not mark.exists()


@pytest.mark.parametrize(
    "changed", [{"code": []}, {"code": None}, {"model": "unet"}], ids=["none", "no key", "model"]
)
def test_a_run_that_hides_its_code_is_damaged(own_run, tmp_path, changed):
    run = shutil.copytree(own_run, tmp_path / "run")
    described = json.loads((run / "run.json").read_text())
    if "model" in changed:
        described["options"]["model"] = "unet"
    else:
        described["code"] = changed["code"]
        described = {name: value for name, value in described.items() if value is not None}
    (run / "run.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"run.json must record the code of"):
        fit.resume(run, code=[str(NETWORK), str(LOSS)])


def test_an_encoder_of_ones_own_trains_under_a_decoder_of_the_project(alone, tiny_data, tmp_path):
    run = tmp_path / "run"
    result = alone(
        *("fit", "--data", tiny_data, "--run", run, *SHORT, "--output-stride", "16"),
        *("--model", "deeplabv3plus", "--model-option", "filters=8"),
        *("--encoder", f"{ENCODER}:features", "--encoder-learning-rate-factor", "0.5"),
        *("--batch-norm", "frozen-encoder"),
    )
    assert result.exit_code == 0, result.output
    model = kerasseg.load(run)
    assert model.get_layer("encoder_features").get_layer("conv5").dilation_rate == (2, 2)
    # The layers are of Keras and kerasseg: no code is needed to load them.
    result = alone("evaluate", run)
    assert result.exit_code == 0, result.output
    (recorded,) = run_folder.load(run).code
    assert recorded["option"] == "encoder"


def test_options_of_the_encoder_reach_one_of_ones_own(tiny_data):
    options = replace(
        options_of("pspnet", encoder=f"{ENCODER}:features", output_stride=32, filters=8),
        encoder_learning_rate_factor=0.5,
        batch_norm="frozen-encoder",
    )
    model = compiled_model.build(
        options, records.load(tiny_data), tf.distribute.get_strategy(), guests.load(options)
    )
    encoder = model.get_layer("encoder_features")
    assert not any(layer.trainable for layer in encoder.layers if layer.name.startswith("bn"))
    model.optimizer.build(model.trainable_variables)
    slowed = [
        variable.path
        for variable, factor in zip(
            model.trainable_variables, model.optimizer._factors, strict=True
        )
        if factor == 0.5
    ]
    assert slowed == [f"encoder_features/conv{index}/kernel" for index in range(1, 6)]


@pytest.mark.parametrize("model", ["fcn", "pspnet", "pan", "refinenet", "deeplab", "deeplabv3"])
def test_decoders_take_a_function_as_their_encoder(model):
    features = guests.load(options_of(model, encoder=f"{ENCODER}:features"))["encoder"].value
    built = kerasseg.models.builder(model)(num_classes=3, encoder=features)
    assert built(np.zeros((1, 45, 67, 3), np.float32)).shape == (1, 45, 67, 3)


def options_of(model="unet", loss="cross-entropy", **model_options):
    return TrainingOptions(
        model=model,
        loss=loss,
        model_options=model_options,
        epochs=1,
        batch_size=4,
        crop_size=(32, 32),
    )


def test_an_architecture_with_an_encoder_of_its_own_takes_no_other(plain):
    with pytest.raises(ValueError, match=r"encoder must be one of vit_tiny.* got 'build'"):
        kerasseg.models.builder("segmenter")(
            num_classes=3, encoder=guests.load(options_of(f"{plain}:build"))["model"].value
        )


def test_a_network_of_standard_layers_needs_no_code_but_to_go_on(
    run_cli, plain, tiny_data, tmp_path
):
    run = tmp_path / "run"
    result = run_cli("fit", "--model", f"{plain}:build", "--data", tiny_data, "--run", run, *SHORT)
    assert result.exit_code == 0, result.output
    plain.unlink()
    assert run_cli("evaluate", run).exit_code == 0
    fails(run_cli("fit", "--resume", "--run", run), f"{run}: needs code to continue.")
    assert run_cli("fit", "--resume", "--run", run, "--code", run / "code/model.py").exit_code == 0


def test_a_module_that_python_finds_may_be_named(run_cli, tiny_data, tmp_path, monkeypatch):
    package = tmp_path / "mynetworks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "plain.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    arguments = ("--data", tiny_data, "--run", run, *SHORT)
    keras_loss = ("--loss", "keras.losses:SparseCategoricalCrossentropy")
    given = ("--loss-option", "from_logits=true", "--loss-option", "ignore_class=255")
    result = run_cli("fit", "--model", "mynetworks.plain:build", *keras_loss, *given, *arguments)
    assert result.exit_code == 0, result.output
    assert (run / "code" / "model.py").read_text() == PLAIN
    again = ("--code", "mynetworks.plain", "--code", "keras.losses")
    assert run_cli("fit", "--resume", "--run", run, *again).exit_code == 0


def test_the_bytes_of_the_hash_are_executed_and_no_compiled_file(tmp_path, monkeypatch):
    (tmp_path / "compiled_elsewhere.py").write_text(PLAIN)
    other = tmp_path / "other.txt"
    other.write_text("raise SystemExit('a compiled file was executed')")
    py_compile.compile(
        str(other),
        importlib.util.cache_from_source(str(tmp_path / "compiled_elsewhere.py")),
        # Python's own import does not look whether it is of this source.
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    monkeypatch.syspath_prepend(tmp_path)
    with forgetting():
        assert len(guests.allow(["compiled_elsewhere"], None, tmp_path)) == 1
        assert sys.modules["compiled_elsewhere"].constant == 3


def test_packages_around_a_module_with_another_hash_are_not_executed(tmp_path, monkeypatch):
    package = tmp_path / "around"
    (package / "deeper").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('executed')")
    (package / "network.py").write_text(PLAIN)
    (package / "deeper" / "network.py").write_text(PLAIN)  # in a folder without __init__.py
    monkeypatch.syspath_prepend(tmp_path)
    entry = {
        "option": "model",
        "source": "around.network",
        "name": "build",
        "file": "code/model.py",
    }
    for module in ("around.network", "around.deeper.network"):
        with pytest.raises(InputError, match=r"got another SHA-256 .* It was not executed"):
            guests.allow([module], [{**entry, "sha256": "0" * 64}], tmp_path)
        with pytest.raises(InputError, match=r"cannot be imported \(SystemExit: executed"):
            guests.allow([module], None, tmp_path)
    with pytest.raises(InputError, match="or a module that Python finds"):
        guests.allow(["around.absent.network"], None, tmp_path)


def test_a_package_and_its_module_are_imported_as_python_does_it(tmp_path, monkeypatch):
    package = tmp_path / "whole"
    package.mkdir()
    (package / "__init__.py").write_text("from .parts import width\n" + PLAIN)
    (package / "parts.py").write_text("width = 5")
    (package / "network.py").write_text("from . import width\nfrom .parts import width as same")
    monkeypatch.syspath_prepend(tmp_path)
    with forgetting():
        guests.allow(["whole.network", "whole"], None, tmp_path)
        found = sys.modules["whole"]
        assert found.network is sys.modules["whole.network"]
        assert found.network.width == found.network.same == 5
        assert found.__path__ == [str(package)]


def test_a_recipe_executes_no_code(run_cli, tiny_data, tmp_path, plain):
    marker = tmp_path / "executed"
    with plain.open("a") as file:
        file.write(f"open({str(marker)!r}, 'w').close()")
    recipe, place = tmp_path / "own.toml", ("--data", tiny_data, "--run", tmp_path / "run")
    named = {
        f"model = '{plain}:build'": "model",
        f"encoder = '{plain}:build'": "encoder",
        f"model-option = ['encoder={plain}:build']": "encoder",
        f"loss = '{plain}:build'": "loss",
    }
    for line, option in named.items():
        recipe.write_text(f"{line}\nbatch-size = 4")
        for command in (("fit", *place), ("plan", *place[:2])):
            result = run_cli(*command, "--recipe", recipe)
            assert result.exit_code == 2
            assert f"--{option} must be on the command line for your own code, got" in " ".join(
                result.output.split()
            )
    assert not marker.exists()
    assert not (tmp_path / "run").exists()
    # What the command line names is executed, whatever the recipe says.
    recipe.write_text("model = 'absent.py:build'\nbatch-size = 4\nepochs = 1\ncrop-size = [32, 32]")
    with forgetting():
        result = run_cli("fit", *place, "--recipe", recipe, "--model", f"{plain}:build")
    assert result.exit_code == 0, result.output
    assert marker.exists()


@pytest.mark.slow
def test_two_replicas_train_with_a_loss_of_ones_own(tiny_data, tmp_path, two_cpus):
    options = replace(
        options_of(f"{NETWORK}:build", f"{LOSS}:Focal", filters=4), augment="none", flip=False
    )
    losses = []
    for index, devices in enumerate((two_cpus[:1], two_cpus)):
        run = fit.run(options, tiny_data, tmp_path / str(index), devices=devices)
        losses.append(run_folder.history(run.folder)[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(
    "size", [(), pytest.param(("--image-size", "32,48"), marks=pytest.mark.slow)]
)
def test_the_networks_of_a_run_need_no_loss(alone, tiny_data, tmp_path, size):
    run = tmp_path / "run"
    loss = ("--loss", f"{LOSS}:Focal", "--loss-option", "gamma=1")
    unet = ("--model", "unet", "--model-option", "filters=4")
    result = alone("fit", "--data", tiny_data, "--run", run, *SHORT, *unet, *loss, *size)
    assert result.exit_code == 0, result.output
    with forgetting():
        # With what `compile` has set, if it was saved.
        model = keras.models.load_model(run / "checkpoints" / "last.keras")
    assert not model.compiled
    assert alone("evaluate", run).exit_code == 0


def test_the_focal_loss_of_gamma_0_is_the_cross_entropy():
    focal = guests.load(options_of(loss=f"{LOSS}:Focal"))["loss"].value
    random = np.random.default_rng(0)
    labels = random.choice([0, 1, 2, 255], (2, 5, 7)).astype(np.uint8)
    logits = random.normal(size=(2, 5, 7, 3)).astype(np.float32)
    expected = kerasseg.losses.CrossEntropy()(labels, logits)
    np.testing.assert_allclose(focal(gamma=0)(labels, logits), expected, rtol=1e-5)
    # All of one probability: (1 - 1/3)^2 log 3.
    even = focal(gamma=2)(labels, np.zeros_like(logits))
    np.testing.assert_allclose(even, (2 / 3) ** 2 * np.log(3), rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "model", "message"),
    [
        (None, "build", "net.py: cannot be read (No such file or directory)"),
        ("x = 1", "build", "model must be in {file}, got 'build'; it defines nothing"),
        (PLAIN, "biuld", "got 'biuld'; it defines build, NoLoss, Endless, Steps, Apart."),
        (PLAIN, "constant", "net.py:constant, which is of type int"),
        ("1 / 0", "build", "cannot be imported (ZeroDivisionError: division by zero, in line 1)"),
        ("x = (", "build", "cannot be imported (SyntaxError: '(' was never closed (net.py"),
        ("import absent_module", "build", "No module named 'absent_module', in line 1"),
        ("raise SystemExit(3)", "build", "cannot be imported (SystemExit: 3, in line 1)"),
        ("def build(**given):\n    return 3", "build", "must be a Keras model, got int"),
        ("def build(num_classes):\n    ...", "build", "unexpected keyword argument 'input_shape'"),
        ("def build(**given):\n    1 / 0", "build", "division by zero, in line 2"),
        ("def build(**given):\n    raise SystemExit(0)", "build", "(SystemExit: 0, in line 2)"),
        (PLAIN.replace("num_classes, 1", "7, 1"), "build", "num_classes channels, 3, got 7"),
        (PLAIN.replace("keras.Input(input_shape)", "keras.Input((None, None, 1))"), "build",
         "for images of 3 channels, got one of 1"),
        (PLAIN.replace("keras.Input(input_shape)", "keras.Input((32, 32, 3))"), "build",
         "input must have the input_shape that is given"),
        (PLAIN.replace('1, dtype="float32"', '1, activation="softmax"'), "build",
         "output must be logits, got probabilities"),
        (PLAIN.replace('1, dtype="float32"', '1, dtype="float16"'), "build",
         "output must be float32 under every dtype policy, got float16"),
        (PLAIN.replace('3, padding="same"', '3, padding="valid"'), "build",
         "output must have the size of the image, 97 x 131, got 95 x 129"),
        (PLAIN.replace("(images)\n    return", "(layers.Lambda(lambda x: x)(images))\n    return"),
         "build", "must return a network that Keras can save and load"),
        (f"{PLAIN}\ndef frozen(**given):\n    model = build(**given)\n    model.trainable = False\n"
         "    return model", "frozen", "must have weights that are trained, got 4 of 4 frozen"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_network_of_ones_own_is_said(
    run_cli, tiny_data, tmp_path, content, model, message
):
    file = tmp_path / "net.py"
    if content is not None:
        file.write_text(content)
    place = ("--data", tiny_data, "--run", tmp_path / "run")
    result = run_cli("fit", "--model", f"{file}:{model}", *place, *SHORT)
    fails(result, message.format(file=file))
    assert not (tmp_path / "run").exists()


def test_a_layer_that_fails_on_unknown_sizes_is_found_before_the_training(
    run_cli, tiny_data, tmp_path
):
    file = tmp_path / "net.py"
    resized = "(layers.UpSampling2D(1, interpolation='bilinear')(features)))"
    file.write_text(PLAIN.replace("(features))", resized))
    place = ("--data", tiny_data, "--run", tmp_path / "run")
    result = run_cli("fit", "--model", f"{file}:build", *place, *SHORT)
    fails(result, "must take images of sizes that are not known yet", "UpSampling2D.call()")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder-weights", "imagenet"], "encoder_weights must be none with"),
        (["--encoder-learning-rate-factor", "0.1"], "has no layer whose name begins with encoder_"),
        (["--batch-norm", "frozen-encoder"], "has no layer whose name begins with encoder_"),
        (["--model-option", "depth=3"], "unexpected keyword argument 'depth'"),
        (["--loss-option", "gamma=2"], "loss_options must be left out without your own loss"),
        (["--loss", "FILE:NoLoss"], "NoLoss must be a keras.losses.Loss class, got <class"),
        (["--loss", "FILE:build"], "build must be a keras.losses.Loss class, got <function"),
        (["--loss", "FILE:Lost"], "loss must be in"),
        (["--loss", f"{LOSS}:Focal", "--dice-weight", "1"], "dice_weight must be 0 with"),
        (
            ["--loss", f"{LOSS}:Focal", "--class-weights", "median-frequency"],
            "class_weights must be none with",
        ),
        (["--loss", f"{LOSS}:Focal", "--loss-option", "a=1"], "Focal cannot be made with a=1"),
        (
            ["--loss", "keras.losses:SparseCategoricalCrossentropy"],
            "must take labels (2, 5, 7), some of them 255 (ignored), and logits (2, 5, 7, 3)",
        ),
        (["--loss", "FILE:Endless"], "must give one finite number for labels in [0, 3) and 255"),
        (["--loss", "FILE:Steps"], "must change with the logits, got a gradient of zero"),
        (["--loss", "FILE:Apart"], "which is ignored, got [["),
        (["--loss", "absent.module:Loss"], "absent.module: must be a Python file"),
        (["--loss", "absent:Loss"], "absent: must be a Python file whose name ends in .py"),
    ],
)
def test_options_that_do_not_go_with_code_of_ones_own_are_refused(
    run_cli, plain, tiny_data, tmp_path, arguments, message
):
    given = [part.replace("FILE", str(plain)) for part in arguments]
    place = ("--data", tiny_data, "--run", tmp_path / "run")
    fails(run_cli("fit", "--model", f"{plain}:build", *given, *place, *SHORT), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "def features(images, output_stride):\n    return 3",
            "must return a dict of the features",
        ),
        ("def features(images, output_stride):\n    return {4: images}", "8, 16, 32, got 4"),
        ("def features(images, output_stride):\n    1 / 0", "ZeroDivisionError: division by zero"),
        (
            "def features(images, output_stride):\n"
            "    return {stride: images for stride in (4, 8, 16, 32)}",
            "features of 16 x 24 for stride 4 at output_stride=32 and images of 64 x 96, got",
        ),
    ],
)
def test_what_is_wrong_with_an_encoder_of_ones_own_is_said(
    run_cli, tiny_data, tmp_path, content, message
):
    (tmp_path / "enc.py").write_text(content)
    place = ("--data", tiny_data, "--run", tmp_path / "run")
    arguments = ("--model", "refinenet", "--encoder", f"{tmp_path / 'enc.py'}:features")
    fails(run_cli("fit", *arguments, *place, *SHORT), message)


def test_frozen_statistics_need_the_layer_of_kerasseg(run_cli, plain, tiny_data, tmp_path):
    plain.write_text(PLAIN.replace("(features))", "(layers.BatchNormalization()(features)))"))
    place = ("--data", tiny_data, "--run", tmp_path / "run")
    arguments = ("--model", f"{plain}:build", "--batch-norm", "frozen-statistics")
    fails(run_cli("fit", *arguments, *place, *SHORT), "batch_norm must not be frozen-statistics")


def test_batch_normalisation_of_keras_follows_the_options(plain, tiny_data):
    plain.write_text(PLAIN.replace("(features))", "(layers.BatchNormalization()(features)))"))
    options = replace(options_of(f"{plain}:build"), batch_norm="frozen", batch_norm_momentum=0.7)
    model = compiled_model.build(
        options, records.load(tiny_data), tf.distribute.get_strategy(), guests.load(options)
    )
    (layer,) = (la for la in model.layers if isinstance(la, keras.layers.BatchNormalization))
    assert (layer.trainable, layer.momentum) == (False, 0.7)


def test_a_layer_that_was_frozen_stays_so(plain, tiny_data):
    frozen = "(layers.BatchNormalization(trainable=False)(features)))"
    plain.write_text(PLAIN.replace("(features))", frozen))
    options = options_of(f"{plain}:build")
    model = compiled_model.build(
        options, records.load(tiny_data), tf.distribute.get_strategy(), guests.load(options)
    )
    assert [v.path for v in model.trainable_variables if "batch_norm" in v.path] == []


def test_a_network_that_is_all_encoder_needs_a_learning_rate(run_cli, plain, tiny_data, tmp_path):
    named = "name='encoder_a', activation"
    text = PLAIN.replace("activation", named).replace('1, dtype="float32"', '1, name="encoder_b"')
    plain.write_text(text)
    place = ("--data", tiny_data, "--run", tmp_path / "run")
    arguments = ("--model", f"{plain}:build", "--encoder-learning-rate-factor", "0")
    fails(run_cli("fit", *arguments, *place, *SHORT), "network must have weights that are trained")
    assert not (tmp_path / "run").exists()


def test_code_is_refused_where_there_is_nothing_for_it(run_cli, tiny_run, tmp_path, plain):
    place = ("--model", "unet", "--data", tmp_path, "--run", tmp_path / "run")
    fails(
        run_cli("fit", *place, "--code", plain), "--code must be given with --resume only", code=2
    )
    for command in (("evaluate", tiny_run), ("fit", "--resume", "--run", tiny_run)):
        fails(run_cli(*command, "--code", plain), "code must be left out for")


def test_a_keras_file_of_no_run_may_need_code(own_run, alone, tiny_data, tmp_path):
    file = Path(shutil.copy(own_run / "checkpoints" / "best.keras", tmp_path / "own.keras"))
    done = in_new_process("evaluate", file, "--data", tiny_data)
    assert done.returncode == 1
    assert "needs the class ChannelAttention, which is not registered" in said(done)
    done = in_new_process("evaluate", file, "--data", tiny_data, "--code", NETWORK)
    assert done.returncode == 0, said(done)
    fails(alone("evaluate", own_run / "checkpoints" / "best.keras"), "give it with --code")


def test_an_interrupted_run_says_how_to_go_on_with_its_code(
    run_cli, plain, tiny_data, tmp_path, monkeypatch
):
    def interrupted(options, data, folder, **more):
        folder.mkdir()
        (folder / "run.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "run", interrupted)
    run = tmp_path / "run"
    result = run_cli("fit", "--model", f"{plain}:build", "--data", tiny_data, "--run", run)
    fails(result, f"'kerasseg fit --resume --run {run} --code {plain}' continues.", code=130)


def test_a_class_that_no_one_registered_is_found_under_its_name(own_run, tiny_data):
    report = evaluate.run(own_run, code=[str(NETWORK)])
    assert report["class_names"] == ["ground", "square", "disc"]
    with pytest.raises(InputError, match="must be the code that"):
        evaluate.run(own_run, code=[str(LOSS), str(ENCODER)])


def test_code_is_given_to_the_compared_network_that_needs_it(own_run, tiny_run, tiny_data, plain):
    own, file = str(NETWORK), own_run / "checkpoints" / "best.keras"
    for pair in ((own_run, tiny_run), (tiny_run, own_run)):
        report = compare.run(*pair, code=[own])
        assert report["images"] == 5
    assert compare.run(own_run, file, code=[own])["scores"]["mean_iou"]["gain"] == 0
    with pytest.raises(InputError, match=r"plain\.py: must be code that .* or .* was trained with"):
        compare.run(own_run, tiny_run, code=[own, str(plain)])


def test_code_is_divided_among_networks(own_run, tiny_run, plain, tmp_path):
    (tmp_path / "alone.keras").touch()
    paths = (own_run, tiny_run, tmp_path / "alone.keras")
    code = [str(NETWORK), str(plain)]
    # A file without a run may need any code.
    assert trained_networks.divide_code(paths, code) == [code[:1], [], code]
    assert trained_networks.divide_code(paths, []) == [[], [], []]


def test_code_that_is_still_missing_is_named(own_run, monkeypatch):
    def fail(run, checkpoint):
        raise InputError("cannot be loaded.")

    monkeypatch.setattr(network_files, "load", fail)
    with pytest.raises(InputError, match=r"loaded\. It was trained with .*model network\.py:build"):
        evaluate.run(own_run, code=[str(LOSS)])
    with pytest.raises(InputError, match=r"cannot be loaded\.$"):
        evaluate.run(own_run, code=[str(NETWORK)])


def test_a_name_with_a_colon_is_not_always_ones_own():
    own = {"encoder": f"{ENCODER}:features"}
    assert list(guests._named_in(options_of("pspnet", **own))) == ["encoder"]
    for encoder in ("hub:resnet_50_imagenet", "mobilenetv2:0.5", "resnet50"):
        assert not guests._named_in(options_of("pspnet", encoder=encoder))


def test_the_examples_are_in_their_guide():
    text = (EXAMPLES.parent / "guides" / "own-code.md").read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f"{file.name}:" in text
