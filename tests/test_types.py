"""What a type checker tells a user of the package, as it is installed here and from a wheel."""

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A line that must have an error ends in `# wrong`; no other may have one.
PROGRAM = """\
from pathlib import Path

import keras

import kerasseg
import kerasseg.pipelines
import kerasseg.pipelines.convert
from kerasseg.models import unet
from kerasseg.pipelines import fit

model: keras.Model = kerasseg.build("unet", num_classes=3, variant="mmseg", auxiliary=True)
model = kerasseg.models.build("deeplabv3plus", num_classes=3, atrous_rates=(6, 12))
model = unet.build(num_classes=3)
model = kerasseg.models.segnet.build(num_classes=3)
for name in kerasseg.models.names():
    model = kerasseg.models.builder(name)(num_classes=3)
def own_features(images, *, output_stride: int = 32) -> dict:
    return {32: images}


model = kerasseg.build("deeplabv3", num_classes=3, encoder=own_features)
model = kerasseg.models.pspnet.build(num_classes=3, encoder=own_features, auxiliary=False)
kerasseg.encoders.names(kerasseg.models.pspnet.NEEDS)
kerasseg.load("runs/street")
kerasseg.losses.CrossEntropy([1.0, 2.0])
kerasseg.layers.PadToLeast(32)
kerasseg.encoders.resnet.NAMES
kerasseg.checkpoints.mmseg.MODELS
kerasseg.pipelines.evaluate.run(Path("runs/street"))
kerasseg.pipelines.datasets.cityscapes.submission_ids
kerasseg.pipelines.convert.run("scenes", None, Path("data"))
kerasseg.pipelines.exports.parity.draw_image(8, 8)
kerasseg.pipelines.images.png.SIGNATURE
fit.run

kerasseg.build("unet", num_clases=3)  # wrong
kerasseg.models.build("unet", num_clases=3)  # wrong
kerasseg.build("unet", num_classes="3")  # wrong
kerasseg.build("segnet", num_classes=3, encoder="resnet50")  # wrong
kerasseg.build("unet")  # wrong
kerasseg.build("unett", num_classes=3)  # wrong
kerasseg.build("pspnet", num_classes=3, encoder=50)  # wrong
kerasseg.build("segmenter", num_classes=3, encoder=own_features)  # wrong
kerasseg.build("pspnet", num_classes=3, input_shape=(64, 64))  # wrong
unet.build(num_classes=3, filter=8)  # wrong
kerasseg.biuld("unet", num_classes=3)  # wrong
kerasseg.models.unett  # wrong
kerasseg.pipelines.fitt  # wrong
kerasseg.pipelines.conversion.pear  # wrong
kerasseg.pipelines.convert.run("scenes", None)  # wrong
"""


def lines_with_errors(folder, python):
    """Runs pyright on the program in a folder of its own; returns messages by line number."""
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", str(python)]
    run = subprocess.run(
        [*command, "program.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    found = json.loads(run.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1: each["message"] for each in found}


def assert_only_the_wrong_lines_have_errors(errors):
    lines = PROGRAM.splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert set(errors) == wrong, {number: errors.get(number) for number in set(errors) ^ wrong}


def test_pyright_finds_mistakes_in_a_program_of_a_user_and_nothing_else(tmp_path):
    assert_only_the_wrong_lines_have_errors(lines_with_errors(tmp_path, sys.executable))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy: setuptools leaves its own files beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    copy.mkdir()
    for name in ("kerasseg", "pipelines", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", folder, copy], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    expected = {
        ("kerasseg" / path.relative_to(ROOT) if top == "pipelines" else path.relative_to(ROOT))
        for top in ("kerasseg", "pipelines")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if ".dist-info" not in name.parts[0]} == expected


@pytest.mark.slow
def test_an_installed_wheel_is_typed_and_runs(wheel, tmp_path):
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", wheel], check=True, capture_output=True)
    # The requirements of this environment; not what its own .pth files add, this checkout.
    others = [path for path in sys.path if path.endswith("-packages")]
    (site / "requirements.pth").write_text("\n".join(others))
    code = (
        "import kerasseg, importlib.resources as resources\n"
        f"assert kerasseg.__file__.startswith({str(site)!r}), kerasseg.__file__\n"
        "kerasseg.pipelines.convert.run, kerasseg.models.names()\n"
        "kerasseg.build('unet', num_classes=2, filters=2)\n"
        "assert (resources.files('kerasseg.pipelines') / 'recipes' / 'camvid-unet.toml').is_file()"
    )
    subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "user").mkdir()
    assert_only_the_wrong_lines_have_errors(lines_with_errors(tmp_path / "user", python))
