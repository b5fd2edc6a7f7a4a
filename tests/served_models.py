"""SavedModels with the signatures of an export, whose answers NumPy can tell; for several tests."""

import atexit
import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL.Image
import requests
import tensorflow as tf

from kerasseg.pipelines.exports import warmup_requests

COLORS = [[200, 30, 30], [30, 200, 30], [30, 30, 200]]
_BYTES = tf.TensorSpec((None,), tf.string, name="image_bytes")
_PIXELS = tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")


def expected_label(pixels, offset=0):
    return ((pixels.argmax(-1) + offset) % 3).astype(np.uint8)


class Brightest(tf.Module):
    """A pixel's class is its brightest channel, plus an offset, which is a variable."""

    def __init__(self, offset, ballast):
        super().__init__()
        self.offset = tf.Variable(offset, dtype=tf.int64)
        self.ballast = tf.Variable(np.random.default_rng(0).random(ballast, np.float32))

    def label(self, image):
        offset = self.offset + tf.cast(tf.size(self.ballast.read_value()), tf.int64) * 0
        return tf.cast((tf.argmax(image, -1) + offset) % 3, tf.uint8)

    def each(self, fn, contents, dtype, shape=()):
        def decode(content):
            image = tf.io.decode_image(content, 3, expand_animations=False)
            return fn(self.label(tf.ensure_shape(image, (None, None, 3))))

        return tf.map_fn(decode, contents, fn_output_signature=tf.TensorSpec(shape, dtype))

    @tf.function(input_signature=[_BYTES])
    def serving_default(self, image_bytes):
        encode = lambda label: tf.io.encode_png(label[..., None])  # noqa: E731
        return {"label_png_bytes": self.each(encode, image_bytes, tf.string)}

    @tf.function(input_signature=[_BYTES])
    def overlay_png_bytes(self, image_bytes):
        colors = tf.constant(COLORS, tf.uint8)
        paint = lambda label: tf.io.encode_png(tf.gather(colors, tf.cast(label, tf.int32)))  # noqa: E731
        return {"overlay_png_bytes": self.each(paint, image_bytes, tf.string)}

    @tf.function(input_signature=[_BYTES])
    def class_shares(self, image_bytes):
        share = lambda label: tf.reduce_mean(tf.one_hot(label, 3), (0, 1))  # noqa: E731
        return {"class_shares": self.each(share, image_bytes, tf.float32, (3,))}

    @tf.function(input_signature=[_PIXELS])
    def labels(self, image):
        return {"labels": self.label(image)}

    @tf.function(input_signature=[_PIXELS])
    def probabilities(self, image):
        return {"probabilities": tf.cast(image, tf.float32) / 256}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float64, name="seconds")])
    def slow(self, seconds):
        one = tf.data.Dataset.from_tensors(0)
        # The only operation that waits without taking a CPU.
        late = tf.raw_ops.SleepDataset(
            input_dataset=tf.data.experimental.to_variant(one),
            sleep_microseconds=tf.cast(1e6 * tf.reduce_sum(seconds), tf.int64),
            output_types=[tf.int32],
            output_shapes=[()],
        )
        # Of one element: at the end it would wait once more.
        waited = tf.data.experimental.from_variant(late, one.element_spec).take(1)
        with tf.control_dependencies([waited.reduce(0, lambda _, element: element)]):
            ended = tf.timestamp()
        return {"waited": seconds, "ended": tf.fill(tf.shape(seconds), ended)}


@functools.cache
def _build(offset, ballast):
    folder = Path(tempfile.mkdtemp(prefix="kerasseg-served-"))
    atexit.register(shutil.rmtree, folder)
    module = Brightest(offset, ballast)
    names = ("serving_default", "overlay_png_bytes", "class_shares", "labels", "probabilities")
    signatures = {name: getattr(module, name) for name in (*names, "slow")}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "assets.extra").mkdir()
    content = {"class_names": ["red", "green", "blue"], "colors": COLORS, "ignore_label": 255}
    (folder / "assets.extra" / "classes.json").write_text(json.dumps(content))
    warmup_requests.write(
        folder / "assets.extra" / warmup_requests.FILE, "street", encode(random_pixels(0))
    )
    return folder


def write_version(folder, offset=0, *, ballast=1):
    """Writes a version whose labels have an offset, with so many weights that do nothing."""
    return shutil.copytree(_build(offset, ballast), folder)


def write_models(root):
    """Writes street, in versions 2 and 11, and street-crf; offsets 0, 1 and 2."""
    write_version(root / "street" / "2", 0)
    write_version(root / "street" / "11", 1)
    write_version(root / "street-crf" / "1", 2)
    (root / "notes").mkdir()
    (root / "street" / "writing-12").mkdir()
    return root


def state_of_version(rest, name, number):
    """Asks a server for a version's state, None if it has none, and what is the matter with it."""
    url = f"{rest}/v1/models/{name}/versions/{number}"
    answer = requests.get(url, timeout=10)
    if answer.status_code == 404:
        return None, ""
    (found,) = answer.json()["model_version_status"]
    assert found["version"] == str(number)
    return found["state"], found["status"]["error_message"]


def wait_until_available(rest, name, number, seconds=120):
    end = time.monotonic() + seconds
    while (state := state_of_version(rest, name, number)) != ("AVAILABLE", ""):
        assert time.monotonic() < end, state
        time.sleep(0.05)


def random_pixels(seed, size=(23, 31)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def encode(pixels, format_="PNG"):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


def decode(png):
    with PIL.Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


@contextlib.contextmanager
def serving_process(folder, *options):
    """`kerasseg serve` in a process of its own; `said` is its output until it serves."""
    command = [sys.executable, "-m", "kerasseg", "serve", folder, "--rest-port", "0"]
    with subprocess.Popen(
        [*command, "--grpc-port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            process.said = ""
            while "stop with" not in process.said:
                line = process.stdout.readline()
                assert line, process.stderr.read()
                process.said += line
            yield process
        finally:
            process.kill()
