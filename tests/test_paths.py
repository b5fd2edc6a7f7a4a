"""Every path may be a string, in each function behind a command."""

import dataclasses
import importlib
import inspect
import pkgutil
import shutil
import types
import typing
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
from served_models import write_version

import kerasseg
from kerasseg import pipelines
from kerasseg.pipelines import (
    bench_serving,
    check,
    client,
    convert,
    crf_tune,
    demo,
    evaluate,
    export,
    fit,
    import_weights,
    predict,
    serve,
)
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.run_folder import Run


def functions():
    """Finds the public functions and classes of the files that are commands."""
    for module in pkgutil.iter_modules(pipelines.__path__):
        if not module.ispkg and module.name != "errors":
            loaded = importlib.import_module(f"{pipelines.__name__}.{module.name}")
            for name, value in vars(loaded).items():
                is_own = getattr(value, "__module__", "") == loaded.__name__
                if is_own and not name.startswith("_") and isinstance(value, types.FunctionType):
                    yield pytest.param(value, id=f"{module.name}.{name}")
                elif value is serve.Server:
                    yield pytest.param(value.__init__, id=f"{module.name}.{name}")


@pytest.mark.parametrize("function", list(functions()))
def test_everything_that_takes_a_path_takes_a_string(function):
    hints = typing.get_type_hints(function)
    for name in inspect.signature(function).parameters:
        kinds = list(parts_of(hints.get(name)))
        assert Path not in kinds or str in kinds, f"{name}: {hints[name]}"


def parts_of(hint):
    yield hint
    for part in typing.get_args(hint):
        yield from parts_of(part)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Names a file of the current folder by a string; all other tests use Paths."""
    monkeypatch.chdir(tmp_path)
    return str


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")


def test_convert_and_check(path, folder_tree, tmp_path):
    (tmp_path / "map.toml").write_text('[map]\n"side walk" = "road"\ncar = "car"\nroad = "road"\n')
    arguments = {"class_map": path("map.toml"), "palette": path("folder/classes.txt")}
    dataset = convert.run("folder", path("folder"), path("data"), **arguments)
    assert dataset.classes.names == ("road", "car")
    assert check.run(path("folder"), "folder", **arguments).classes == dataset.classes
    assert check.run(path("data")).is_converted


def test_fit_and_resume(path, tiny_data, tiny_training, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "data")
    options = dataclasses.replace(tiny_training, epochs=1)
    assert isinstance(fit.run(options, path("data"), path("run")), Run)
    assert fit.resume(path("run"), data=path("data")).folder == Path("run")


@pytest.mark.slow
def test_what_follows_a_training(path, tiny_run, tiny_data, image, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    shutil.copytree(tiny_data, tmp_path / "data")
    evaluate.run(path("run"), data=path("data"))
    assert (tmp_path / "run" / "evaluation" / "validation" / "metrics.json").is_file()
    (written,) = predict.run(path("run"), [path("a.png")])
    assert written.label == Path("run", "predictions", "a.png")
    (written,) = predict.run(path("run"), path("a.png"), output=path("out"))
    assert written.label == Path("out", "a.png")
    assert export.run(path("run"), output=path("served")) == Path("served", "run", "1")


def test_a_model_file_and_a_class_list(path, image, tmp_path):
    model = kerasseg.build("unet", num_classes=2, variant="milesial", filters=4, depth=1)
    model.save(tmp_path / "m.keras")
    (tmp_path / "names.txt").write_text("ground\ncar\n")
    assert kerasseg.load(path("m.keras")).output_shape[-1] == 2
    (written,) = predict.run(path("m.keras"), path("a.png"), classes=path("names.txt"))
    assert written.label == Path("m", "predictions", "a.png")


@pytest.mark.slow
def test_crf_tune(path, tiny_run, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(crf_tune, "_search", lambda start, score: start)
    shutil.copytree(tiny_run, tmp_path / "run")
    shutil.copytree(tiny_data, tmp_path / "data")
    crf_tune.run(path("run"), data=path("data"), images=1, num_iterations=1)
    assert (tmp_path / "run" / "crf.json").is_file()


def test_serve_client_and_bench_serving(path, image, tmp_path):
    pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
    write_version(tmp_path / "served" / "street" / "1")
    with serve.Server(path("served"), rest_port=0, grpc_port=0) as server:
        for images in (path("a.png"), [path("a.png")]):
            (answer,) = client.run(server.rest_address, images, output=path("out"))
            assert answer.files == (Path("out", "a.png"),)
        options = {"signatures": ["labels"], "clients": [1], "requests": 1}
        bench_serving.run(
            server.rest_address, path("a.png"), json_file=path("bench.json"), **options
        )
    assert (tmp_path / "bench.json").is_file()


def test_import_weights(path, tmp_path, monkeypatch):
    model = kerasseg.build("unet", num_classes=2, variant="milesial", filters=4, depth=1)
    monkeypatch.setattr(
        import_weights.checkpoints, "from_state_dict", lambda state, **options: model
    )
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, tmp_path / "w.safetensors")
    (tmp_path / "names.txt").write_text("ground\ncar\n")
    described = import_weights.run(
        path("w.safetensors"),
        path("runs/new"),
        model="unet",
        source="milesial",
        classes=path("names.txt"),
    )
    assert described.folder == Path("runs", "new")
    assert described.classes.names == ("ground", "car")


def test_demo(path, image):
    with pytest.raises(InputError, match="must be empty or hold an earlier demo"):
        demo.run(path("."))
