"""Draws classes with colours, true label maps, and the PNG files that programs make of them."""

import struct
import zlib

import numpy as np

from kerasseg.pipelines.classes import ClassSpace, Description


def encode(pixels, bits, color_type, palette=b""):
    """Writes a PNG of any kind; rows are not filtered."""
    rows = pixels.reshape(len(pixels), -1)
    if bits < 8:
        places = np.unpackbits(rows[..., None], axis=-1)[..., 8 - bits :].reshape(len(rows), -1)
        rows = np.packbits(places, axis=-1)
    filtered = np.insert(rows, 0, 0, axis=1).tobytes()

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), bits, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else [])]
    chunks += [(b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def draw_colors(rng, count):
    """Draws colours that differ: any, few and alike, gray, or such as palettes have."""
    kind = rng.randrange(4)
    colors = set()
    while len(colors) < count:
        if kind == 0:
            colors.add(tuple(rng.randrange(256) for _ in range(3)))
        elif kind == 1:
            colors.add(tuple(rng.randrange(4) for _ in range(3)))
        elif kind == 2:
            colors.add((rng.randrange(256),) * 3)
        else:
            colors.add(tuple(rng.choice((0, 64, 128, 192, 255)) for _ in range(3)))
    return rng.sample(sorted(colors), count)


def draw_case(rng):
    """Draws classes and the files that a program may have written of true label maps."""
    count = rng.choice((2, 3, 4, rng.randint(2, 16), rng.randint(2, 60)))
    colors = draw_colors(rng, count + 1)
    ignored = rng.random() < 0.4
    table = np.zeros((256, 3), np.uint8)
    table[:count], table[255] = colors[:count], colors[count]
    present = [*range(count), *([255] if ignored else [])]
    files = []
    for _ in range(rng.randint(1, 3)):
        used = rng.sample(present, rng.randint(1, len(present)))
        size = rng.randint(1, 9), rng.randint(1, 9)
        truth = np.array(rng.choices(used, k=size[0] * size[1]), np.uint8).reshape(size)
        files.append((truth, encode_truth(rng, truth, table, present)))
    raw_colors = {color: label for label, color in enumerate(colors[:count])}
    if ignored:
        raw_colors[colors[count]] = 255
    names = tuple(rng.choice(("background", "thing")) if i == 0 else f"c{i}" for i in range(count))
    values = {**{label: label for label in range(count)}, 255: 255}
    space = ClassSpace(names, tuple(colors[:count]))
    return Description(space, values, raw_colors, labels_are="either"), files


def encode_truth(rng, truth, table, present):
    """Encodes a label as numbers or in colours, with its palette in any order and of any depth."""
    kind = rng.choice(("gray", "gray palette", "palette", "palette", "palette", "rgb", "rgba"))
    if kind == "gray":
        return encode(truth, 8, 0)
    if kind == "gray palette":
        return encode(truth, 8, 3, bytes(value for value in range(256) for _ in range(3)))
    if kind in ("rgb", "rgba"):
        pixels = table[truth]
        if kind == "rgba":
            pixels = np.concatenate([pixels, np.full((*truth.shape, 1), 255, np.uint8)], axis=-1)
        return encode(pixels, 8, 6 if kind == "rgba" else 2)
    order = np.unique(truth).tolist() if rng.random() < 0.5 else list(present)
    rng.shuffle(order)
    bits = rng.choice([bits for bits in (1, 2, 4, 8) if len(order) <= 2**bits])
    numbers = np.zeros(256, np.uint8)
    numbers[order] = np.arange(len(order))
    palette = table[order].tobytes() + rng.randbytes(3 * rng.randint(0, 2**bits - len(order)))
    return encode(numbers[truth], bits, 3, palette)
