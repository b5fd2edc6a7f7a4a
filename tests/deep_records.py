"""Converted datasets of images that are not RGB of 8 bits, written by hand."""

import hashlib
import io
import json

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import tensorflow as tf

from kerasseg.pipelines import records
from kerasseg.pipelines.classes import ClassSpace

CLASSES = ClassSpace(("ground", "field"), ((128, 128, 128), (0, 160, 0)))
SIZES = ((40, 48), (33, 57))


def draw(seed, channels, bits, *, telling, size):
    """Draws two classes that one channel tells, `telling`, and noise in all others.

    Returns:
        uint8 or uint16 (*size, channels), and uint8 (*size), ignored along its upper border.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    center = rng.uniform((8, 8), (size[0] - 8, size[1] - 8))
    label = (np.hypot(y - center[0], x - center[1]) < rng.uniform(8, 14)).astype(np.uint8)
    image = rng.uniform(0, 255, (*size, channels))
    if telling is not None:
        image[..., telling] = 60 + 130 * label + rng.uniform(-10, 10, size)
    label[:2] = 255
    factor, kind = (1, np.uint8) if bits == 8 else (257, np.uint16)
    return (image * factor).astype(kind), label


def encode(image):
    """Encodes a planar PNG: gray, the channels one below the other, and a text that counts them."""
    buffer, text = io.BytesIO(), PIL.PngImagePlugin.PngInfo()
    text.add_text("channels", str(image.shape[-1]))
    planes = PIL.Image.fromarray(np.concatenate(np.moveaxis(image, -1, 0)))
    planes.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def write(folder, channels, bits, *, telling=None, train=12, validation=4):
    """Writes a dataset; its images are `draw(number, ...)`, those of validation from 100 on."""
    folder.mkdir(parents=True)
    splits = {}
    for split, count, first in (("train", train, 0), ("validation", validation, 100)):
        path = folder / f"deep-{split}.tfrecord-00000-of-00001"
        pixels, ignored = np.zeros(2, int), 0
        with path.open("wb") as file:
            writer = records.RecordWriter(file)
            for number in range(first, first + count):
                size = SIZES[bool(number % 3)]
                image, label = draw(number, channels, bits, telling=telling, size=size)
                features = {
                    "image": encode(image),
                    "segmentation_mask": tf.io.encode_png(label[..., np.newaxis]).numpy(),
                    "filename": f"{number}.tif".encode(),
                }
                writer.write(records.encode_example(features))
                pixels += [(label == 0).sum(), (label == 1).sum()]
                ignored += int((label == 255).sum())
        shard = {"file": path.name, "examples": count, "bytes": writer.bytes}
        splits[split] = {
            "examples": count,
            "shards": [{**shard, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}],
            "class_pixels": pixels.tolist(),
            "pixels_with_class": [int(pixels.sum())] * 2,
            "ignored_pixels": ignored,
        }
    manifest = {
        "format": 2,
        "channels": channels,
        "bits": bits,
        "dataset": "deep",
        "class_names": CLASSES.names,
        "colors": CLASSES.colors,
        "classes_fingerprint": CLASSES.fingerprint,
        "fingerprint": f"{channels}{bits}{telling}".zfill(16),
        "how": {"stretch": "0,4095"},
        "splits": splits,
    }
    (folder / records.MANIFEST).write_text(json.dumps(manifest))
    return folder
