"""Folders of images of any number of channels, of which the last one alone tells the classes."""

import io

import numpy as np
import PIL.Image
import tifffile

from kerasseg.pipelines.images import png

SIZE = (24, 32)


def pair(channels, dtype, seed, size=SIZE):
    """Returns pixels and label: class 1, a square, is bright in the last channel."""
    random = np.random.default_rng(seed)
    most = np.iinfo(dtype).max
    label = np.zeros(size, np.uint8)
    top, left = random.integers(0, size[0] // 2), random.integers(0, size[1] // 2)
    label[top : top + size[0] // 2, left : left + size[1] // 2] = 1
    pixels = random.integers(0, most, (*size, channels), dtype)
    pixels[..., -1] = np.where(label == 1, most - most // 8, most // 8)
    return pixels, label


def encode(pixels, ending):
    """Encodes pixels as .npy or as a TIFF of bands."""
    buffer = io.BytesIO()
    if ending == ".npy":
        np.save(buffer, pixels)
    else:
        kind = {} if pixels.shape[-1] == 1 else {"planarconfig": "contig"}
        tifffile.imwrite(buffer, np.squeeze(pixels), photometric="minisblack", **kind)
    return buffer.getvalue()


def write(root, channels, dtype=np.uint8, ending=".tif", images=2):
    """Writes a folder for `kerasseg convert --dataset folder`; returns the pixels by file name."""
    (root / "classes.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("ground 90 60 30\nwater 0 90 220\n")
    every = {}
    for number, split in enumerate(("train", "validation")):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(images):
            pixels, label = pair(channels, dtype, 100 * number + index)
            name = f"images/{split}/tile {index}{ending}"
            (root / name).write_bytes(encode(pixels, ending))
            (root / "labels" / split / f"tile {index}.png").write_bytes(png.encode(label))
            every[name] = pixels
    return every


def picture(pixels):
    """Encodes (height, width, 3) uint8 as PNG, by Pillow."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
