import gc
import math
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click.testing
import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import cli, convert
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.runtime import environment

# As the commands do, before TensorFlow is imported.
environment.prepare()
# Where the tests run in the background of a shell or under nohup, what they start would ignore
# Ctrl-C and SIGHUP as well.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

CLASSES_TXT = """\
# Three classes, one with a space in its name.

road 128 64 128
side walk 244,35,232
car 0, 0, 142
ignore 0 0 0
"""


def random_image(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def random_label(seed, size, values):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size)


def save(path: Path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def save_palette(path: Path, indices):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.fromarray(indices, "L")
    # The classes' colours, which a decoder to gray turns into other numbers.
    picture.putpalette([128, 64, 128, 244, 35, 232, 0, 0, 142] + [77, 88, 99] * 253)
    assert picture.mode == "P"
    picture.save(path)


def build_camvid_tree(root: Path, *, train=5, val=3, test=0) -> Path:
    """Writes SegNet's layout; every image has a size of its own, both sides odd."""
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            size, name = (13 + 2 * index, 21 + 4 * index), f"0001TP_{index:06}.png"
            seed = sum(map(ord, split)) + index
            save(root / split / name, random_image(seed, size))
            save(root / f"{split}annot" / name, random_label(seed, size, range(12)))
    return root


def build_folder_tree(root: Path) -> Path:
    """Writes the folder layout, with PNG and JPEG, subfolders, and gray and palette labels."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text(CLASSES_TXT)
    for split, seed in (("train", 0), ("val", 10)):
        for index, name in enumerate(("sub/one.jpg", "sub/two.png", "three.png")):
            size = (11 + 2 * index, 15 + 2 * index)
            save(root / "images" / split / name, random_image(seed + index, size))
            label = random_label(seed + index, size, (0, 1, 2, 255))
            path = (root / "labels" / split / name).with_suffix(".png")
            (save_palette if name == "three.png" else save)(path, label)
    return root


@pytest.fixture(scope="session")
def make_camvid_tree():
    return build_camvid_tree


@pytest.fixture(scope="session")
def make_folder_tree():
    return build_folder_tree


@pytest.fixture
def camvid_tree(tmp_path) -> Path:
    return build_camvid_tree(tmp_path / "camvid")


@pytest.fixture
def folder_tree(tmp_path) -> Path:
    return build_folder_tree(tmp_path / "folder")


@pytest.fixture(scope="session")
def run_cli():
    """Runs `kerasseg ARGUMENTS`; the result has exit_code, output, stdout and stderr."""

    def run(*arguments):
        runner = click.testing.CliRunner(env={"COLUMNS": "120"})
        return runner.invoke(cli.main, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB; skips the test where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("must be root to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def free_port():
    """Finds a port on which no one listens: `free_port()`."""

    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            return listening.getsockname()[1]

    return find


def pytest_configure(config):
    """Splits the CPU into two logical devices, which must precede TensorFlow's first operation."""
    if getattr(config.option, "dist", "no") != "no":
        return  # this process hands the tests out to others
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for name in ("stateless_truncated_normal", "stateless_uniform"):
        setattr(tf.random, name, drawing_few(getattr(tf.random, name)))
    # What imports leave behind stays; looking through it again and again takes time.
    gc.collect()
    gc.freeze()


# A prime number, so that no two filters of a kernel get the same values.
MOST_DRAWN = 65537


def drawing_few(draw):
    """Repeats the values of large initial weights: drawing all takes longer than all else does."""
    import tensorflow as tf

    def draw_few(shape, *arguments, **options):
        # Initial weights are drawn eagerly; graphs draw what dropout needs.
        if not tf.executing_eagerly() or math.prod(shape) <= MOST_DRAWN:
            return draw(shape, *arguments, **options)
        few = draw((MOST_DRAWN,), *arguments, **options)
        times = -(-math.prod(shape) // MOST_DRAWN)
        return tf.reshape(tf.tile(few, [times])[: math.prod(shape)], shape)

    return draw_few


@pytest.fixture(autouse=True)
def usual_precision():
    """Takes back the dtype policy of a training, which is one of the whole process."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def untried(monkeypatch):
    """Servers load versions without trying each in a process before."""
    from kerasseg.pipelines.server import trial

    monkeypatch.setattr(trial.Trials, "run", lambda self, folder: None)


@pytest.fixture
def two_cpus() -> list[str]:
    """Two devices that stand in for two GPUs."""
    return ["CPU:0", "CPU:1"]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """A converted dataset of three classes: bright squares and dark discs on a gray ground."""
    root = tmp_path_factory.mktemp("tiny")
    source = root / "source"
    (source / "images").mkdir(parents=True)
    (source / "classes.txt").write_text("ground 128 128 128\nsquare 255 0 0\ndisc 0 0 255\n")
    for split, count in (("train", 12), ("val", 5)):
        for index in range(count):
            # Two sizes, so that validation has batches of different shape and ragged ones.
            size = (40, 48) if index % 3 else (33, 57)
            image, label = draw_shapes(index + (100 if split == "val" else 0), size)
            save(source / "images" / split / f"{index:02}.png", image)
            save(source / "labels" / split / f"{index:02}.png", label)
    convert.run("folder", source, root / "data")
    return root / "data"


def draw_shapes(seed, size):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    label = np.zeros(size, np.uint8)
    for class_, shape in ((1, "square"), (2, "disc")):
        center, radius = rng.uniform((8, 8), (size[0] - 8, size[1] - 8)), rng.uniform(5, 9)
        dy, dx = np.abs(y - center[0]), np.abs(x - center[1])
        inside = np.maximum(dy, dx) < radius if shape == "square" else np.hypot(dy, dx) < radius
        label[inside] = class_
    colors = np.array([[120, 120, 120], [230, 200, 60], [40, 60, 150]])
    image = colors[label] + rng.normal(scale=10, size=(*size, 3))
    label[:2] = 255  # a border that is ignored
    return image.clip(0, 255).astype(np.uint8), label


TINY_TRAINING = TrainingOptions(
    model="unet",
    model_options={"variant": "milesial", "filters": 4, "depth": 2},
    epochs=2,
    batch_size=4,
    crop_size=(32, 32),
    learning_rate=3e-3,
)


@pytest.fixture(scope="session")
def tiny_training() -> TrainingOptions:
    """Options of a training of a second."""
    return TINY_TRAINING


@pytest.fixture(scope="session")
def tiny_run(tiny_data, tmp_path_factory) -> Path:
    """A finished run; tests that change it copy it first."""
    from kerasseg.pipelines import fit

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fit.run(TINY_TRAINING, tiny_data, folder)
    return folder


@pytest.fixture(scope="session")
def save_image():
    """Saves pixels as an image file, making its folder: `save_image(path, pixels, **options)`."""
    return save
