"""Exports in float16 and int8, and the scores that every quantised export tells."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

import kerasseg
from kerasseg.pipelines import evaluate, export, inputs, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import own_scores, training_images
from kerasseg.pipelines.exports.formats import onnx as export_onnx


@pytest.fixture(scope="module")
def int8_litert(tiny_run, tmp_path_factory, run_cli):
    """The folder of an int8 LiteRT export, and what the command printed."""
    output = tmp_path_factory.mktemp("quantized")
    result = run_cli(
        *("export", tiny_run, "--output", output, "--format", "litert", "--quantize", "int8"),
        *("--size", "40,48", "--tolerance", "0.2"),
    )
    assert result.exit_code == 0, result.output
    return output / "tiny-litert-int8" / "1", result.output


@pytest.fixture(scope="module")
def int8_onnx(tiny_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("quantized")
    return export.run(tiny_run, output=output, format="onnx", quantize="int8", tolerance=0.2)


def report_of(version):
    return json.loads((version / "parity.json").read_text())["scores"]


def test_an_int8_file_computes_convolutions_in_integers_from_uint8_to_uint8(int8_litert):
    interpreter = Interpreter(str(int8_litert[0] / "model.tflite"))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"], given["dtype"]) == (np.uint8, np.uint8)
    assert taken["shape"].tolist() == [1, 40, 48, 3]
    kinds = {
        detail["index"]: (detail["dtype"], len(detail["quantization_parameters"]["scales"]))
        for detail in interpreter.get_tensor_details()
    }
    convolutions = [op for op in interpreter._get_ops_details() if op["op_name"] == "CONV_2D"]
    assert convolutions
    for op in convolutions:
        features, kernel, bias = (kinds[index] for index in op["inputs"])
        assert (features[0], kernel[0], bias[0]) == (np.int8, np.int8, np.int32)
        assert kinds[op["outputs"][0]][0] == np.int8
    # One scale for each output channel.
    assert max(kinds[op["inputs"][1]][1] for op in convolutions) > 1


def test_a_quantised_export_tells_its_own_score_beside_the_network_s(
    int8_litert, tiny_data, tmp_path
):
    version, printed = int8_litert
    told = report_of(version)
    assert (told["split"], told["images"]) == ("validation", 5)
    scored = evaluate.run(version, data=tiny_data, output=tmp_path)
    assert told["export"]["mean_iou"] == scored["mean_iou"]
    assert told["export"]["bytes"] == (version / "model.tflite").stat().st_size
    lines = {line.split("\t")[0]: line.split("\t") for line in printed.splitlines()}
    for which in ("network", "export"):
        found = told[which]
        assert found["milliseconds_per_image"] > 0
        cells = [f"{found['mean_iou']:.4f}", str(found["bytes"])]
        assert [lines[which][1].ljust(6, "0"), lines[which][2]] == cells
    card = (version / "model_card.md").read_text()
    assert "weights and most activations are 8-bit integers" in card
    assert f"| this export | {scored['mean_iou']:.4f} | {told['export']['bytes']:,} |" in card


def test_the_network_is_scored_at_the_size_of_the_export(
    int8_litert, tiny_run, tiny_data, count_by_hand
):
    """Images of 40 x 48 are neither resized nor their labels, so that all is plain there."""
    model, told = kerasseg.load(tiny_run), report_of(int8_litert[0])
    predict = own_scores._loaded(model, (40, 48), False)
    pairs, of_size = [], 0
    for image, label in inputs.evaluation_batches(records.load(tiny_data).files("validation"), 1):
        if image.shape[1:3] == (40, 48):
            expected = np.argmax(model(image)[0], -1)
            np.testing.assert_array_equal(predict(image.numpy())["labels"][0], expected)
            pairs.append((label[0].numpy(), expected))
            of_size += 1
    assert 0 < of_size < 5
    assert told["network"]["bytes"] == 4 * model.count_params()
    assert count_by_hand(pairs).sum() > 0


def test_a_loss_above_the_tolerance_is_an_error_and_nothing_is_exported(
    tiny_run, tmp_path, monkeypatch, run_cli
):
    # Ranges from black images alone cut off nearly everything.
    black = np.zeros((1, 32, 32, 3), np.uint8)
    monkeypatch.setattr(training_images, "draw", lambda dataset, count, size: iter([black]))
    command = ("export", tiny_run, "--output", tmp_path, "--format", "litert")
    result = run_cli(*command, "--quantize", "int8")
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "tiny-litert-int8: mean_iou on validation must be at least 0." in said
    assert "less the tolerance 0.01, got 0." in said
    assert "nothing was exported" in said
    assert list((tmp_path / "tiny-litert-int8").iterdir()) == []


@pytest.mark.parametrize(("loss", "refused"), [(0.0099, False), (0.0101, True)])
def test_the_tolerance_is_the_largest_loss(loss, refused):
    report = {"split": "validation", "network": {"mean_iou": 0.7}}
    report["export"] = {"mean_iou": 0.7 - loss}
    if refused:
        with pytest.raises(InputError, match=r"at least 0.7000, .* 0.01, got 0.6899"):
            own_scores.refuse_loss(report, 0.01, "street")
    else:
        own_scores.refuse_loss(report, 0.01, "street")


def test_a_float16_file_has_half_the_bytes_and_the_same_scores(
    tiny_run, files, tiny_data, tmp_path, run_cli
):
    version = export.run(tiny_run, output=tmp_path, format="litert", quantize="float16")
    told = report_of(version)
    assert abs(told["export"]["mean_iou"] - told["network"]["mean_iou"]) < 1e-3
    interpreter = Interpreter(str(version / "model.tflite"))
    stored = [d for d in interpreter.get_tensor_details() if d["dtype"] == np.float16]
    sizes = sum(int(np.prod(detail["shape"])) for detail in stored)
    # All kernels; biases, which may stay in float32, are few.
    assert sizes > 0.9 * kerasseg.load(tiny_run).count_params()


def test_an_int8_onnx_file_has_integers_around_its_convolutions(int8_onnx, tiny_data, tmp_path):
    proto = onnx.load(int8_onnx / "model.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(export_onnx.operations(proto))
    makers = {output: node for node in proto.graph.node for output in node.output}
    constants = {each.name: each for each in proto.graph.initializer}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        kernel = makers[node.input[1]]
        assert kernel.op_type == "DequantizeLinear"
        values, scales = (constants[name] for name in kernel.input[:2])
        assert values.data_type == onnx.TensorProto.INT8
        assert list(scales.dims) == [values.dims[0]]  # one per output channel
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    names = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(names["class_names"]) == ["ground", "square", "disc"]
    assert names["quantize"] == "int8"
    told = report_of(int8_onnx)
    scored = evaluate.run(int8_onnx, data=tiny_data, output=tmp_path)
    assert told["export"]["mean_iou"] == scored["mean_iou"]


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_openvino_s_files_are_quantised_too(quantize, tiny_run, openvino_export, tmp_path):
    version = export.run(
        tiny_run, output=tmp_path, format="openvino", quantize=quantize, tolerance=0.2
    )
    assert version.parent.name == f"tiny-openvino-{quantize}"
    told = report_of(version)
    plain = (openvino_export / "model.bin").stat().st_size
    assert (version / "model.bin").stat().st_size < 0.6 * plain
    if quantize == "float16":
        assert abs(told["export"]["mean_iou"] - told["network"]["mean_iou"]) < 1e-3


@pytest.mark.slow
def test_an_export_that_is_not_quantised_is_scored_if_asked(tiny_run, tiny_data, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    version = export.run(run, output=tmp_path, format="onnx", score=True)
    told = report_of(version)
    assert told["export"]["mean_iou"] == told["network"]["mean_iou"]
    assert told["network"]["mean_iou"] == evaluate.run(run)["mean_iou"]


@pytest.mark.slow
def test_an_openvino_file_is_scored_where_the_dataset_is(
    tiny_run, openvino_export, run_cli, tmp_path
):
    told = report_of(openvino_export)
    assert told["export"]["mean_iou"] == told["network"]["mean_iou"]
    assert told["network"]["mean_iou"] == evaluate.run(tiny_run)["mean_iou"]
    run = shutil.copytree(tiny_run, tmp_path / "moved")
    description = json.loads((run / "run.json").read_text())
    description["dataset"]["path"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(description))
    command = ("export", run, "--format", "openvino", "--output", tmp_path)
    result = run_cli(*command)
    assert result.exit_code == 0, result.output
    assert "not scored: no dataset of the training is there" in result.output
    assert "scores" not in json.loads((tmp_path / "moved-openvino/1/parity.json").read_text())
    assert f"{tmp_path / 'gone'}" in run_cli(*command, "--score").output
    assert "not scored" not in run_cli(*command, "--no-score").output


def test_calibration_takes_the_same_training_images_each_time(tiny_data):
    dataset = records.load(tiny_data)
    trained = {
        image[0].numpy().tobytes()
        for image, _ in inputs.evaluation_batches(dataset.files("train"), 1)
    }
    assert len(trained) == 12
    drawn = [list(training_images.draw(dataset, 5, None)) for _ in range(2)]
    assert [image.tobytes() for image in drawn[0]] == [image.tobytes() for image in drawn[1]]
    assert len({image.tobytes() for image in drawn[0]}) == 5
    for image in drawn[0]:
        assert image.dtype == np.uint8
        assert image.shape[0] == 1
        assert image[0].tobytes() in trained
    assert len(list(training_images.draw(dataset, 100, (8, 9)))) == 12
    assert {image.shape for image in training_images.draw(dataset, 3, (8, 9))} == {(1, 8, 9, 3)}


def test_a_keras_file_needs_data_to_be_quantised(tiny_run, tmp_path):
    moved = shutil.copy(tiny_run / "checkpoints" / "best.keras", tmp_path / "moved.keras")
    with pytest.raises(InputError, match="data must be given for moved, got none"):
        export.run(moved, output=tmp_path, format="onnx", quantize="int8")
    assert {path.name for path in tmp_path.iterdir()} == {"moved.keras"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize": "int8"}, "quantize must be left out for savedmodel, got 'int8'"),
        (
            {"quantize": "int8", "format": "onnx", "calibration_images": 0},
            "calibration_images must be at least 1, got 0",
        ),
        ({"score": True, "tolerance": -0.1}, "tolerance must be at least 0, got -0.1"),
        (
            {"calibration_images": 3},
            "calibration_images must be left out unless quantize is int8, got 3",
        ),
        ({"tolerance": 0.5}, "tolerance must be left out without quantize or score, got 0.5"),
        (
            {"quantize": "int8", "format": "onnx", "score": False},
            "score must be left out with quantize, got False",
        ),
        ({"name": ""}, "name must be letters, digits, '.', '_' or '-', got ''"),
    ],
)
def test_python_s_arguments_are_checked_too(arguments, message, tiny_run, tmp_path):
    with pytest.raises(InputError, match=message):
        export.run(tiny_run, output=tmp_path / "out", **arguments)


def test_a_damaged_dataset_is_named(tiny_run, tiny_data, tmp_path):
    dataset = records.load(tiny_data)
    lacking = replace(dataset, splits={"validation": dataset.splits["validation"]})
    with pytest.raises(InputError, match="split must be one of validation, got 'train'"):
        list(training_images.draw(lacking, 3, None))
