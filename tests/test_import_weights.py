import json
import re
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from openmmlab import state as openmmlab_state
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


def test_evaluate_and_export_take_an_imported_run(imported, tiny_data, tmp_path):
    report = evaluate.run(imported, data=tiny_data)
    assert report["images"] == 5
    assert export.run(imported, output=tmp_path / "served").name == "1"


def test_evaluating_without_a_dataset_says_what_is_missing(imported):
    with pytest.raises(
        InputError,
        match="imported: has no dataset of its training; name a converted one with --data",
    ):
        evaluate.run(imported)


def test_another_number_of_classes_needs_reset_head_to_import_and_to_train(
    checkpoint, tmp_path, tiny_data
):
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
        "learning_rate": 1e-9,
    }
    with pytest.raises(InputError, match=r"logits: must be .*--reset-head"):
        fit.run(TrainingOptions(**training), tiny_data, tmp_path / "c")
    described = fit.run(TrainingOptions(**training, reset_head=True), tiny_data, tmp_path / "d")
    content = json.loads((described.folder / "run.json").read_text())
    assert content["layers_started_anew"] == ["logits"]
    before, after = kerasseg.load(tmp_path / "b"), kerasseg.load(tmp_path / "d")
    np.testing.assert_allclose(
        after.get_layer("conv3_1").kernel, before.get_layer("conv3_1").kernel, atol=1e-6
    )


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


OPTIONS = ("--model", "segnet", "--source", "pytorch-semseg")


def words(result):
    return re.sub(r"\s+", " ", result.output)


def save(path, *states):
    """Saves states; a pair is one with a prefix."""
    merged = {}
    for prefix, state in states:
        merged |= {f"{prefix}{name}": values for name, values in state.items()}
    safetensors.numpy.save_file(merged, path)
    return path


@pytest.mark.parametrize("prefix", ["model.", "module.net."])
def test_a_prefix_that_makes_all_fit_is_removed_and_said(
    prefix, checkpoint, imported, tmp_path, run_cli
):
    state = safetensors.numpy.load_file(checkpoint)
    path = save(tmp_path / "a.safetensors", (prefix, state))
    result = run_cli("import-weights", path, *OPTIONS, "--output", tmp_path / "run")
    assert result.exit_code == 0
    assert f"prefix '{prefix}' was removed from all names" in words(result)
    for ours, theirs in zip(
        kerasseg.load(tmp_path / "run").get_weights(),
        kerasseg.load(imported).get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert prefix in content["imported"]["tensors"]


def test_what_training_code_keeps_beside_the_network_is_left_out_and_said(
    checkpoint, tmp_path, run_cli
):
    state = safetensors.numpy.load_file(checkpoint)
    loss = {"criterion.weight": np.ones(3, np.float32)}
    path = save(tmp_path / "a.safetensors", ("model.", state), ("", loss))
    result = run_cli("import-weights", path, *OPTIONS, "--output", tmp_path / "run")
    assert result.exit_code == 0
    assert "'model.' was removed, tensors without it were left out: criterion.weight" in words(
        result
    )


def test_of_two_networks_the_user_says_which(checkpoint, tmp_path, run_cli):
    state = safetensors.numpy.load_file(checkpoint)
    other = {name: values + 1 for name, values in state.items()}
    path = save(tmp_path / "a.safetensors", ("student.", state), ("teacher.", other))
    result = run_cli("import-weights", path, *OPTIONS, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "names begin with 'student.' or 'teacher.'. Say which (--prefix" in words(result)
    assert not (tmp_path / "run").exists()
    given = ("--prefix", "teacher.", "--output", tmp_path / "run")
    assert run_cli("import-weights", path, *OPTIONS, *given).exit_code == 0
    kernel = kerasseg.load(tmp_path / "run").get_layer("conv1_1").kernel
    expected = other["down1.conv1.cbr_unit.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_weights_that_are_not_finite_need_to_be_allowed(checkpoint, tmp_path, run_cli):
    state = safetensors.numpy.load_file(checkpoint)
    state["down2.conv1.cbr_unit.0.bias"][3:5] = np.nan, np.inf
    path = save(tmp_path / "a.safetensors", ("", state))
    given = ("import-weights", path, *OPTIONS, "--output", tmp_path / "run")
    result = run_cli(*given)
    assert result.exit_code == 1
    assert "down2.conv1.cbr_unit.0.bias: 2 of 8 values --allow-non-finite" in words(result)
    assert not (tmp_path / "run").exists()
    assert run_cli(*given, "--allow-non-finite").exit_code == 0
    loaded = kerasseg.load(tmp_path / "run").get_layer("conv2_1").bias.numpy()
    assert np.isfinite(loaded).sum() == 6


def test_a_number_beyond_float32_is_not_finite(checkpoint):
    state = safetensors.numpy.load_file(checkpoint)
    state["down2.conv1.cbr_unit.0.bias"] = np.full(8, 1e300)
    with pytest.raises(ValueError, match=r"down2\.conv1\.cbr_unit\.0\.bias: 8 of 8 values"):
        kerasseg.checkpoints.from_state_dict(state, source="pytorch-semseg", model="segnet")


def test_a_training_does_not_begin_with_weights_that_are_not_finite(
    checkpoint, tmp_path, tiny_data
):
    state = safetensors.numpy.load_file(checkpoint)
    state["up3.conv1.cbr_unit.1.bias"][:] = np.nan
    path = save(tmp_path / "a.safetensors", ("", state))
    source = {"model": "segnet", "source": "pytorch-semseg"}
    import_weights.run(path, tmp_path / "nan", allow_non_finite=True, **source)
    options = TrainingOptions(
        model="segnet",
        model_options={"variant": "pytorch-semseg", "filters": 4},
        init_from=str(tmp_path / "nan"),
        batch_size=4,
        crop_size=(32, 32),
    )
    with pytest.raises(InputError, match=r"NaN or infinity:\s+conv3_\d_D_bn/beta: \d+ of \d+"):
        fit.run(options, tiny_data, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_keras_file_whose_weights_lie_elsewhere_is_not_started_from(
    imported, tmp_path, tiny_data
):
    """Its weights are an HDF5 file that refers to values in another file."""
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_dataset("a", (16,), "u1", external=[("/etc/passwd", 0, 16)])
    hostile = tmp_path / "hostile.keras"
    with (
        zipfile.ZipFile(imported / "checkpoints" / "best.keras") as honest,
        zipfile.ZipFile(hostile, "w") as archive,
    ):
        archive.writestr("config.json", honest.read("config.json"))
        archive.writestr("metadata.json", honest.read("metadata.json"))
        archive.write(tmp_path / "weights.h5", "model.weights.h5")
    options = TrainingOptions(
        model="segnet", init_from=str(hostile), batch_size=4, crop_size=(32, 32)
    )
    with pytest.raises(InputError, match=r"hostile\.keras: .*other files: they were not read"):
        fit.run(options, tiny_data, tmp_path / "run")


def test_a_classifier_that_gets_random_weights_may_be_anything(checkpoint, tmp_path):
    state = safetensors.numpy.load_file(checkpoint)
    state["up1.conv2.cbr_unit.0.weight"][:] = np.nan
    model = kerasseg.checkpoints.from_state_dict(
        state, source="pytorch-semseg", model="segnet", num_classes=5, reset_head=True
    )
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def test_sizes_that_the_tensors_do_not_have_themselves_take_no_memory():
    """The first tensor says how wide the network is: the others would take 58 GB."""
    state = {
        "inc.double_conv.0.weight": np.zeros((20_000, 3, 3, 3), np.float32),
        "outc.conv.weight": np.zeros((2, 20_000, 1, 1), np.float32),
    }
    process = Path("/proc/self")

    def peak():
        return int(re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())[1]) / 1024

    (process / "clear_refs").write_text("5")  # forgets the peak so far
    before = peak()
    with pytest.raises(ValueError, match=r"down1_1_conv/kernel .*: no tensor for it"):
        kerasseg.checkpoints.from_state_dict(state, source="milesial", model="unet")
    assert peak() - before < 200


def test_a_tensor_of_another_number_of_dimensions_is_an_error():
    state = {"outc.conv.weight": np.zeros(()), "inc.double_conv.0.weight": np.zeros(3)}
    with pytest.raises(ValueError, match="got a tensor of another number of dimensions"):
        kerasseg.checkpoints.from_state_dict(state, source="milesial", model="unet")


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


@pytest.fixture(scope="module")
def openmmlab_fcn(tmp_path_factory):
    """FCN of three classes on a narrow MobileNetV2, under OpenMMLab's names."""
    backbone = {"type": "MobileNetV2", "widen_factor": 0.25}
    head = {"type": "FCNHead", "in_channels": 80, "channels": 8}
    tensors = openmmlab_state(backbone, {**head, "num_convs": 2, "concat_input": True}, None, 3)
    path = tmp_path_factory.mktemp("checkpoints") / "fcn.safetensors"
    safetensors.numpy.save_file({name: values.copy() for name, values in tensors.items()}, path)
    return path


def test_what_tensors_do_not_tell_is_asked_for_and_never_a_default(
    openmmlab_fcn, tmp_path, run_cli
):
    def run(*told):
        given = [part for each in told for part in ("--model-option", each)]
        places = ("--output", tmp_path / "run")
        command = ("import-weights", openmmlab_fcn, "--model", "fcn", "--source", "mmseg")
        return run_cli(*command, *given, *places)

    result = run()
    assert result.exit_code == 1
    assert (
        "fcn.safetensors: the tensors do not tell all of the network. Give what the configuration "
        "that it was trained with says: --model-option output_stride=8, 16 or 32 --model-option "
        "align_corners=true or false"
    ) in words(result)
    # At this stride there is one question more.
    result = run("output_stride=16", "align_corners=true")
    assert "says: --model-option head_dilation=1 or 6" in words(result)
    assert not (tmp_path / "run").exists()
    told = ("output_stride=16", "align_corners=true", "head_dilation=6", "preprocessing=tf")
    assert run(*told).exit_code == 0
    model = kerasseg.load(tmp_path / "run")
    assert model.get_layer("head2_conv").dilation_rate == (6, 6)
    assert model.get_layer("resize_logits").align_corners
    assert model.get_layer("preprocessing").mean == (127.5,) * 3
    # Python's default is the usual form.
    state = safetensors.numpy.load_file(openmmlab_fcn)
    model = kerasseg.checkpoints.from_state_dict(state, source="mmseg", model="fcn")
    assert model.get_layer("head2_conv").dilation_rate == (1, 1)


@pytest.mark.parametrize(
    ("source", "model", "missing"),
    [
        ("smp", "deeplabv3plus", {"output_stride", "atrous_rates"}),
        ("smp", "pan", {"output_stride"}),
        ("deeplab-pytorch", "deeplabv3", {"output_stride"}),
        ("deeplab-pytorch", "deeplab", set()),
        ("torchvision", "deeplabv3", set()),  # which it builds in one form only
    ],
)
def test_each_source_says_what_its_tensors_do_not_tell(source, model, missing):
    module = kerasseg.checkpoints.source_module(source)
    assert set(kerasseg.checkpoints.untold.untold(module, model, {})) == missing
    known = dict.fromkeys(missing, 16)
    assert kerasseg.checkpoints.untold.untold(module, model, known) == {}


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"source must be one of deeplab-pytorch.*got 'caffe'"):
        kerasseg.checkpoints.from_state_dict({}, source="caffe", model="fcn")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
