"""Trees, files and findings of the tests of `kerasseg check`."""

import struct
import zlib

import numpy as np
import PIL.Image

NAMES = ("sub/one", "sub/two", "three")


def image_path(tree, name="three.png", split="train"):
    return tree / "images" / split / name


def label_path(tree, name="three", split="train"):
    return tree / "labels" / split / f"{name}.png"


def read_pixels(path):
    with PIL.Image.open(path) as picture:
        return np.asarray(picture)


def save_as(path, pixels, mode=None, **options):
    picture = PIL.Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(path, **options)


def shorten(path, length=-40):
    path.write_bytes(path.read_bytes()[:length])


def write_png(path, header, rows):
    """Writes a PNG of any kind: Pillow cannot write all that others do."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def found(report, severity=None):
    return [f for f in report.findings if severity in (None, f.severity)]


def the_only_finding(report):
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def by_kind(report):
    return {(f.kind, f.file): f for f in report.findings}


def save_label(tree, change, **options):
    path = label_path(tree)
    save_as(path, change(read_pixels(path)), **options)


def paint(color):
    colors = np.array([(128, 64, 128), (244, 35, 232), (0, 0, 142)], np.uint8)

    def change(label):
        picture = colors[label % 3]
        picture[0, :4] = color
        return picture

    return change
