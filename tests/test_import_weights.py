import json
import re

import keras
import numpy as np
import pytest
import safetensors.numpy
from parity import load

import kerasseg
from kerasseg.checkpoints import semseg
from kerasseg.pipelines import evaluate, export, fit, import_weights
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """SegNet of three classes, a sixteenth as wide, under the names of its PyTorch port."""
    _, tensors, _ = load("segnet_vgg16_c11")
    state = {name: thin(name, values) for name, values in tensors.items()}
    path = tmp_path_factory.mktemp("checkpoints") / "segnet.safetensors"
    safetensors.numpy.save_file(state, path)
    return path


def thin(name, values):
    sides = [max(1, side // 16) if axis < 2 else side for axis, side in enumerate(values.shape)]
    if name.startswith("up1.conv2"):
        sides[0] = 3
    if name.startswith("down1.conv1") and values.ndim == 4:
        sides[1] = 3
    return np.ascontiguousarray(values[tuple(slice(side) for side in sides)])


@pytest.fixture(scope="module")
def imported(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "imported"
    import_weights.run(checkpoint, folder, model="segnet", source="pytorch-semseg")
    return folder


def test_an_imported_run_holds_the_network_with_its_preprocessing(checkpoint, imported):
    model = kerasseg.load(imported)
    layer = model.get_layer("preprocessing")
    assert layer.mean == pytest.approx((123.675, 116.28, 103.53))
    state = safetensors.numpy.load_file(checkpoint)
    kernel = state["down1.conv1.cbr_unit.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("conv1_1").kernel, kernel)
    assert run_folder.load(imported).classes.names == ("class_0", "class_1", "class_2")
    content = json.loads((imported / "run.json").read_text())
    assert content["imported"] == {"file": "segnet.safetensors", "source": "pytorch-semseg"}


def test_evaluate_export_and_fit_take_an_imported_run(imported, tiny_data, tmp_path):
    report = evaluate.run(imported, data=tiny_data)
    assert report["images"] == 5
    assert export.run(imported, output=tmp_path / "served").name == "1"
    options = TrainingOptions(
        model="segnet",
        model_options={"variant": "pytorch-semseg", "filters": 4},
        init_from=str(imported),
        epochs=1,
        batch_size=4,
        crop_size=(32, 32),
        learning_rate=1e-9,
    )
    fit.run(options, tiny_data, tmp_path / "run")
    before, after = kerasseg.load(imported), kerasseg.load(tmp_path / "run")
    np.testing.assert_allclose(
        after.get_layer("conv3_1").kernel, before.get_layer("conv3_1").kernel, atol=1e-6
    )


def test_evaluating_without_a_dataset_says_what_is_missing(imported):
    with pytest.raises(InputError, match="imported need --data"):
        evaluate.run(imported)


def test_another_number_of_classes_needs_reset_head(checkpoint, imported, tmp_path, tiny_data):
    options = {"model": "segnet", "source": "pytorch-semseg", "num_classes": 5}
    with pytest.raises(InputError, match=r"up1\.conv2\.cbr_unit\.0\.weight: must have the shape"):
        import_weights.run(checkpoint, tmp_path / "a", **options)
    import_weights.run(checkpoint, tmp_path / "b", reset_head=True, **options)
    assert kerasseg.load(tmp_path / "b").output_shape[-1] == 5

    training = {
        "model": "segnet",
        "model_options": {"variant": "pytorch-semseg", "filters": 4},
        "init_from": str(tmp_path / "b"),
        "epochs": 1,
        "batch_size": 4,
        "crop_size": (32, 32),
    }
    with pytest.raises(InputError, match=r"logits: must be .*--reset-head"):
        fit.run(TrainingOptions(**training), tiny_data, tmp_path / "c")
    described = fit.run(TrainingOptions(**training, reset_head=True), tiny_data, tmp_path / "d")
    content = json.loads((described.folder / "run.json").read_text())
    assert content["layers_started_anew"] == ["logits"]


def test_a_network_of_another_architecture_cannot_be_started_from(imported, tiny_data, tmp_path):
    options = TrainingOptions(
        model="unet", model_options={"filters": 4}, init_from=str(imported), batch_size=4
    )
    with pytest.raises(InputError, match=r"(?s)weights must fit unet.*down0_1_conv: must be"):
        fit.run(options, tiny_data, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_wrong_checkpoints_are_errors_that_list_the_tensors(checkpoint, tmp_path, run_cli):
    def run(path, model="segnet", source="pytorch-semseg"):
        output = tmp_path / "out"
        result = run_cli(
            "import-weights", path, "--model", model, "--source", source, "--output", output
        )
        assert result.exit_code == 1
        assert not output.exists()
        assert not list(tmp_path.glob("writing-*"))
        return re.sub(r"\s+", " ", result.output)

    state = safetensors.numpy.load_file(checkpoint)
    left_over = {**state, "extra.weight": np.ones(3, np.float32)}
    safetensors.numpy.save_file(left_over, tmp_path / "extra.safetensors")
    assert "extra.weight (3,): no place for it" in run(tmp_path / "extra.safetensors")
    missing = {name: v for name, v in state.items() if name != "down2.conv1.cbr_unit.0.bias"}
    safetensors.numpy.save_file(missing, tmp_path / "missing.safetensors")
    assert "conv2_1/bias (8,): no tensor for it" in run(tmp_path / "missing.safetensors")
    assert "got no tensor 'outc.conv.weight'" in run(checkpoint, "unet", "milesial")
    assert "model must be one of pspnet for source semseg" in run(checkpoint, "unet", "semseg")
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:1000])
    assert "must be a whole .safetensors file" in run(tmp_path / "cut.safetensors")


def test_names_and_colours_come_from_a_file(checkpoint, tmp_path, run_cli):
    (tmp_path / "classes.txt").write_text("road 128 64 128\nsky 70 130 180\ncar 0 0 142\n")
    options = ("--model", "segnet", "--source", "pytorch-semseg")
    places = ("--classes", tmp_path / "classes.txt", "--output", tmp_path / "run")
    assert run_cli("import-weights", checkpoint, *options, *places).exit_code == 0
    assert run_folder.load(tmp_path / "run").classes.names == ("road", "sky", "car")
    (tmp_path / "two.txt").write_text("road\nsky\n")
    places = ("--classes", tmp_path / "two.txt", "--output", tmp_path / "other")
    result = run_cli("import-weights", checkpoint, *options, *places)
    assert "must list the network's 3 classes, got 2" in re.sub(r"\s+", " ", result.output)


def test_a_prefix_of_parallel_training_and_batch_counters_do_not_matter():
    _, tensors, _ = load("pspnet_resnet50_hszhao")
    state = {f"module.{name}": values for name, values in tensors.items()}
    state["module.layer0.1.num_batches_tracked"] = np.array(7)
    from kerasseg.checkpoints import assign

    assert assign.clean(state).keys() == tensors.keys()
    assert semseg.infer(assign.clean(state), "pspnet")["encoder"] == "resnet50"


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        # (mean, std, channel order) that the configurations of the sources give
        ("segmenter_tiny_mask_mmseg", ((127.5,) * 3, (127.5,) * 3, "rgb")),
        ("unet_milesial", ((0.0,) * 3, (255.0,) * 3, "rgb")),
        ("deeplabv1_largefov_vgg16", ((104.00699, 116.66877, 122.67892), (1.0,) * 3, "bgr")),
    ],
)
def test_the_preprocessing_of_the_source_becomes_part_of_the_network(name, preprocessing):
    reference, tensors, _ = load(name)
    model = kerasseg.checkpoints.from_state_dict(
        tensors, source=reference["source"], model=reference["model"], preprocessing="source"
    )
    layer = model.get_layer("preprocessing")
    assert (layer.mean, layer.std, layer.channel_order) == preprocessing


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"source must be one of deeplab-pytorch.*got 'caffe'"):
        kerasseg.checkpoints.from_state_dict({}, source="caffe", model="fcn")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
