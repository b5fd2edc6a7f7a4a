"""Draws folders of images and labels: true label maps as programs save them, and lists of classes.

Whatever is drawn, the truth of each label is known. A conversion must give it, or refuse.
"""

import io
import json

import fuzz_pictures
import numpy as np
import PIL.Image
from drawn_labels import draw_colors

IGNORED = 255
# Formats of class lists: the name of the file, and whether it holds colours, and values.
LISTS = {
    "lines": ("classes.txt", True, False),
    "hexadecimal": ("classes.txt", True, False),
    "values": ("classes.txt", True, True),
    "json": ("classes.json", True, False),
    "json, values": ("classes.json", True, True),
    "csv": ("classes.csv", True, False),
    "csv, values": ("classes.csv", True, True),
    "gimp": ("classes.gpl", True, False),
    "cvat": ("labelmap.txt", True, False),
    "python": ("classes.py", True, False),
    "pbtxt": ("label_map.pbtxt", False, True),
    "names": ("classes.txt", False, False),
}
KINDS = (
    *("gray", "gray 16", "gray alpha", "gray palette", "gray as RGB", "own palette"),
    *("palette", "palette", "palette", "palette", "rgb", "rgba"),
)
OTHER_FORMATS = ("TIFF", "BMP", "WEBP", "GIF", "JPEG")


class Classes:
    """Classes by number, 255 for ignored: names, colours and values in label files."""

    def __init__(self, rng):
        self.list = rng.choice(list(LISTS))
        self.file, self.colored, with_values = LISTS[self.list]
        count = rng.choice((2, 3, 4, rng.randint(2, 16), rng.randint(2, 60), rng.randint(200, 254)))
        colors = draw_colors(rng, min(count, 60) + 1) if count < 60 else draw_many(rng, count + 1)
        count = len(colors) - 1
        self.labels = [*range(count), *([IGNORED] if rng.random() < 0.4 else [])]
        self.colors = dict(zip([*range(count), IGNORED], colors, strict=True))
        self.values = {label: label for label in self.labels}
        if with_values:
            most = rng.choice((count + 1, 255, 65536)) if count < 200 else rng.choice((256, 65536))
            # 255 is ignored in any case.
            free = [value for value in range(max(most, count + 2)) if value != IGNORED]
            drawn = sorted(rng.sample(free, count + 1))
            self.values = dict(zip([*range(count), IGNORED], drawn, strict=True))
            if self.list == "pbtxt" or rng.random() < 0.5:
                self.values[IGNORED] = IGNORED
        first = rng.choice(("background", "thing"))
        self.names = {label: f"c{label}" if label else first for label in range(count)}
        self.names[IGNORED] = "ignore"

    def write(self):
        """Returns the text of the list."""
        rows = [(self.names[n], *self.colors[n], self.values[n]) for n in self.labels]
        if self.list in ("names", "pbtxt"):
            rows = [row for row in rows if row[0] != "ignore"]
        if self.list == "json":
            return json.dumps({name: color for name, *color, _ in rows})
        if self.list == "json, values":
            return json.dumps([{"id": v, "name": n, "color": c} for n, *c, v in rows])
        if self.list == "python":
            names, colors = [n for n, *_ in rows], [tuple(c) for _, *c, _ in rows]
            return f"METAINFO = dict(classes={tuple(names)!r}, palette={colors!r})\n"
        form = {
            "lines": "{0} {1} {2} {3}",
            "hexadecimal": "{0} #{1:02x}{2:02x}{3:02x}",
            "values": "{4}: {0} {1} {2} {3}",
            "csv": "{0},{1},{2},{3}",
            "csv, values": "{4};{0};#{1:02x}{2:02x}{3:02x}",
            "gimp": "{1:3} {2:3} {3:3}\t{0}",
            "cvat": "{0}:{1},{2},{3}::",
            "pbtxt": "item {{ id: {4} name: '{0}' }}",
            "names": "{0}",
        }[self.list]
        head = {
            "csv": ["name,r,g,b"],
            "csv, values": ["id;name;color"],
            "gimp": ["GIMP Palette", "Name: drawn", "#"],
            "cvat": ["# label:color_rgb:parts:actions"],
        }
        lines = [*head.get(self.list, ()), *(form.format(*row) for row in rows)]
        return "\n".join(lines) + "\n"


def draw_many(rng, count):
    """Draws many colours that differ."""
    return [(code >> 16, code >> 8 & 255, code & 255) for code in rng.sample(range(2**24), count)]


def draw_source(rng, root):
    """Writes a folder dataset.

    Returns:
        The options of its conversion; the truth by filename; and the size of each image.
    """
    classes = Classes(rng)
    root.mkdir()
    (root / classes.file).write_text(classes.write())
    truths, sizes = {}, {}
    for split, files in (("train", rng.randint(1, 3)), ("validation", 1)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(files):
            used = rng.sample(classes.labels, rng.randint(1, len(classes.labels)))
            size = rng.choice(((1, 1), (rng.randint(1, 9), rng.randint(1, 30))))
            truth = np.array(rng.choices(used, k=size[0] * size[1]), np.uint8).reshape(size)
            content, ending = draw_label(rng, truth, classes)
            (root / "labels" / split / f"{index}{ending}").write_bytes(content)
            if rng.random() < 0.02:
                size = rng.choice((size[::-1], (size[0] + 1, size[1])))
            name = draw_image(rng, root / "images" / split, index, size)
            truths[f"images/{split}/{name}"], sizes[f"images/{split}/{name}"] = truth, size
    return {"palette": root / classes.file}, truths, sizes


def draw_image(rng, folder, index, size):
    """Writes a photograph of a size; returns its name."""
    pixels = np.frombuffer(rng.randbytes(size[0] * size[1] * 3), np.uint8).reshape(*size, 3)
    name = f"{index}{rng.choice(('.png', '.png', '.jpg', '.bmp'))}"
    PIL.Image.fromarray(pixels).save(folder / name)
    return name


def draw_label(rng, truth, classes):
    """Encodes a label in one of the ways of programs; returns the file and its ending."""
    kind = rng.choice(KINDS)
    numbers = np.zeros(256, np.uint16)
    for label, value in classes.values.items():
        numbers[label] = value
    values = numbers[truth]
    if not classes.colored and kind in ("palette", "rgb", "rgba"):
        kind = "gray"
    if kind.startswith("gray") or kind == "own palette":
        return draw_numbers(rng, kind, values, truth, classes)
    if kind == "palette" and len(np.unique(truth)) <= 256:
        return draw_palette(rng, truth, classes)
    table = np.zeros((256, 3), np.uint8)
    table[list(classes.colors)] = list(classes.colors.values())
    pixels = table[truth]
    if kind == "rgba":
        alpha = np.full((*truth.shape, 1), 255, np.uint8)
        if rng.random() < 0.1:
            alpha[0, 0] = 0
        return save(rng, np.concatenate([pixels, alpha], axis=-1), 8, 6)
    return save(rng, pixels, 8, 2)


def draw_numbers(rng, kind, values, truth, classes):
    """Encodes the numbers of classes."""
    most = int(values.max())
    known = {*classes.colors.values()}
    if most > 255 or kind == "gray 16":
        return save(rng, values[..., None], 16, 0)
    if kind == "gray alpha":
        return save(rng, np.stack([values, np.full_like(values, 255)], axis=-1), 8, 4)
    if kind == "gray as RGB" and not all((v, v, v) in known for v in np.unique(values).tolist()):
        return save(rng, values[..., None].repeat(3, -1), 8, 2)
    bits = rng.choice([bits for bits in (1, 2, 4, 8, 8, 8) if most < 2**bits])
    if kind == "gray palette":
        # Black alone is no scale: it may be the colour of any class.
        bits, entries = max(bits, 2), max(most + 1, rng.choice((2, 2**bits)))
        scale = bytes(value for value in range(entries) for _ in range(3))
        return save(rng, values[..., None], bits, 3, scale)
    if kind == "own palette":  # the numbers count: its colours are the classes' own, or of none
        own = {classes.values[n]: c for n, c in classes.colors.items() if n in classes.values}
        palette = [draw_foreign(rng, known) for _ in range(most + 1)]
        for value in np.unique(values).tolist():
            if value in own and rng.random() < 0.8 and classes.colored:
                palette[value] = own[value]
        return save(rng, values[..., None], bits, 3, bytes(c for color in palette for c in color))
    return save(rng, values[..., None], bits, 0)


def draw_foreign(rng, known):
    """Draws a colour that is of no class."""
    while (color := tuple(rng.randbytes(3))) in known:
        pass
    return color


def draw_palette(rng, truth, classes):
    """Encodes a label by its colours: entries in any order, some twice, some of no class."""
    present = np.unique(truth).tolist() if rng.random() < 0.5 else list(classes.labels)
    entries = list(present)
    if rng.random() < 0.3:
        entries += rng.choices(present, k=rng.randint(1, len(present)))
    entries = entries[:256] if len(present) <= 256 else entries
    entries += [None] * rng.randint(0, max(0, min(256 - len(entries), 9)))
    rng.shuffle(entries)
    if rng.random() < 0.5:  # in the order of the classes
        entries.sort(key=lambda label: 256 if label is None else label)
    places = {label: [i for i, e in enumerate(entries) if e == label] for label in present}
    indices = np.array([rng.choice(places[label]) for label in truth.flat], np.uint16)
    palette = b"".join(
        rng.randbytes(3) if label is None else bytes(classes.colors[label]) for label in entries
    )
    bits = rng.choice([bits for bits in (1, 2, 4, 8) if len(entries) <= 2**bits])
    return save(rng, indices.reshape(*truth.shape, 1), bits, 3, palette)


def save(rng, samples, bits, color, palette=b""):
    """Writes a PNG, filtered and interlaced by chance; seldom a file of another format."""
    extra = [(b"PLTE", palette)] if palette else []
    if color == 3 and rng.random() < 0.1:
        extra.append((b"tRNS", rng.randbytes(rng.randint(1, len(palette) // 3))))
    content = fuzz_pictures.write(
        samples, bits, color, rng, interlace=rng.random() < 0.3, extra=extra
    )
    if rng.random() < 0.97:
        return content, ".png"
    picture, buffer = PIL.Image.open(io.BytesIO(content)), io.BytesIO()
    picture.info.clear()  # of the transparency of palettes, on which Pillow warns
    name = rng.choice(OTHER_FORMATS)
    try:
        picture.save(buffer, name, lossless=True)
    except (OSError, ValueError):  # a mode that the format lacks
        picture.convert("RGB").save(buffer, name, lossless=True)
    ending = rng.choice((".png", f".{name.lower()}"))
    return buffer.getvalue(), ending
