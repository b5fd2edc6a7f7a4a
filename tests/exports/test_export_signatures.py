"""What the signatures of an export make of real files, through the C++ loader.

What they should is told by Pillow, which decodes the same file, and the network on its pixels.
"""

import io
import struct
import zlib

import keras
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from served_models import decode, encode

from kerasseg import serving
from kerasseg.pipelines.serving import saved_model, tensors
from kerasseg.pipelines.serving.saved_model import SavedModelError

COLORS = np.array([[10, 20, 30], [250, 0, 0], [0, 250, 0], [7, 7, 255]], np.uint8)
OF_FILES = ("serving_default", "overlay_png_bytes", "class_shares")
OF_PIXELS = ("labels", "probabilities")
HEIGHT, WIDTH = 37, 53


@pytest.fixture(scope="module")
def network():
    """A network of one convolution and a bias, which tells all three channels apart."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    kernel = np.array([[5, -3, -2, 0], [-2, 4, -2, 0], [-1, -3, 4, 0]], np.float32) / 255
    outputs = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    model = keras.Model(inputs, outputs)
    weights = np.random.default_rng(0).normal(scale=1e-4, size=(3, 3, 3, 4))
    weights[1, 1] += kernel
    model.set_weights([weights, np.array([0, 0, 0, 0.25])])
    return model


@pytest.fixture(scope="module")
def served(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "1"
    serving.save(network, folder, [tuple(map(int, c)) for c in COLORS], probabilities=True)
    return saved_model.SavedModel(folder)


def picture():
    """Patches of colours, smooth enough for JPEG, and different at every side and corner."""
    coarse = np.random.default_rng(3).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return PIL.Image.fromarray(coarse).resize((WIDTH, HEIGHT), PIL.Image.Resampling.BILINEAR)


def saved(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png(depth, color_type, rows, *, interlace=0):
    """A PNG of a kind that Pillow does not write."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color_type, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_gray_png():
    """16 bits per pixel: the high byte is that of the gray picture, the low one is noise."""
    high = np.asarray(picture().convert("L")).astype(np.uint16)
    low = np.random.default_rng(4).integers(0, 256, high.shape, np.uint16)
    return png(16, 0, [row.astype(">u2").tobytes() for row in (high << 8) + low])


def deep_rgb_png():
    high = np.asarray(picture()).astype(np.uint16)
    return png(16, 2, [row.astype(">u2").tobytes() for row in (high << 8) + 99])


def interlaced_png():
    pixels = np.asarray(picture())
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4))
    passes += ((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx]]
    return png(8, 2, rows, interlace=1)


def transparent():
    image = picture().convert("RGBA")
    ramp = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    image.putalpha(PIL.Image.fromarray(ramp))
    return image


def animated_gif():
    frames = [picture(), PIL.ImageOps.invert(picture())]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


def rotated(format_, orientation, order):
    exif = PIL.Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112], exif[0x0131] = "a camera", orientation, "a program"
    return saved(picture(), format_, exif=exif, **({"quality": 95} if format_ == "JPEG" else {}))


RGB = picture()
FILES = {
    "png": saved(RGB, "PNG"),
    "interlaced png": interlaced_png(),
    "gray png": saved(RGB.convert("L"), "PNG"),
    "gray png of 1 bit": saved(RGB.convert("1"), "PNG"),
    "gray png with alpha": saved(transparent().convert("LA"), "PNG"),
    "rgba png": saved(transparent(), "PNG"),
    "palette png": saved(RGB.quantize(40), "PNG"),
    "palette png of 4 bits": saved(RGB.quantize(9), "PNG", bits=4),
    "palette png with a transparent colour": saved(RGB.quantize(40), "PNG", transparency=3),
    "gray png of 16 bits": deep_gray_png(),
    "rgb png of 16 bits": deep_rgb_png(),
    "jpeg": saved(RGB, "JPEG", quality=95),
    "progressive jpeg": saved(RGB, "JPEG", quality=95, progressive=True, subsampling=2),
    "gray jpeg": saved(RGB.convert("L"), "JPEG", quality=95),
    "cmyk jpeg": saved(RGB.convert("CMYK"), "JPEG", quality=95),
    "bmp": saved(RGB, "BMP"),
    "gray bmp": saved(RGB.convert("L"), "BMP"),
    "rgba bmp": saved(transparent(), "BMP"),
    "gif": saved(RGB, "GIF"),
    "animated gif": animated_gif(),
    **{
        f"{format_} of orientation {number}": rotated(format_, number, order)
        for format_, order in (("JPEG", "<"), ("JPEG", ">"), ("PNG", ">"), ("PNG", "<"))
        for number in ((0, 2, 3, 4, 9) if order == "<" else (1, 5, 6, 7, 8))
    },
}


def pixels_of(content):
    """As Pillow shows the file."""
    with PIL.Image.open(io.BytesIO(content)) as image:
        if image.mode.startswith("I"):  # of which Pillow would clip what is above 255
            gray = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(gray[..., None], 3, axis=-1)
        return np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))


def run_network(network, pixels):
    return network(pixels[np.newaxis].astype(np.float32))[0].numpy()


def ask(served, signature, *contents):
    inputs = {serving.INPUT: tensors.strings(contents)}
    ((_, output),) = served.run(inputs, signature=signature).items()
    return output


def open_rgb(content):
    with PIL.Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(int)


def test_every_kind_of_file_is_answered_as_pillow_shows_it(served, network):
    contents = list(FILES.values())
    labels, overlays, shares = (ask(served, signature, *contents) for signature in OF_FILES)
    for kind, content, label, overlay, share in zip(
        FILES, contents, map(decode, labels), map(open_rgb, overlays), shares, strict=True
    ):
        pixels = pixels_of(content)
        expected = run_network(network, pixels).argmax(-1)
        assert label.shape == pixels.shape[:2], kind
        # Decoders of JPEG round differently, and so a few pixels between two classes.
        tolerance = 0.03 if content.startswith(b"\xff\xd8") else 0
        assert (label != expected).mean() <= tolerance, kind
        assert len(np.unique(label)) > 1, kind
        blended = (pixels.astype(int) + COLORS[label]) / 2
        assert np.abs(overlay - blended).max() <= (8 if tolerance else 0.5), kind
        counts = np.bincount(label.ravel(), minlength=len(COLORS))
        np.testing.assert_allclose(share, counts / label.size, atol=1e-6, err_msg=kind)


def test_the_picture_tells_orientations_channels_and_inversion_apart(network):
    # So that an answer to another picture than that of the file would fail the test above.
    pixels = np.asarray(RGB)
    label = run_network(network, pixels).argmax(-1)
    square = slice(0, HEIGHT)
    for other in (pixels[..., ::-1], 255 - pixels, pixels[::-1], pixels[:, ::-1]):
        assert (run_network(network, other).argmax(-1) != label).mean() > 0.2
    flipped = run_network(network, pixels[square, square].swapaxes(0, 1)).argmax(-1)
    assert (flipped != label[square, square]).mean() > 0.2


def test_pixels_are_answered_in_batches(served, network):
    pixels = np.stack([np.asarray(RGB), 255 - np.asarray(RGB)])
    logits = np.stack([run_network(network, each) for each in pixels])
    labels = served.run({"image": pixels}, signature="labels")["labels"]
    assert (labels.dtype, labels.shape) == (np.uint8, (2, HEIGHT, WIDTH))
    np.testing.assert_array_equal(labels, logits.argmax(-1))
    exponents = np.exp(logits.astype(np.float64))
    expected = exponents / exponents.sum(-1, keepdims=True)
    given = served.run({"image": pixels}, signature="probabilities")["probabilities"]
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 4001), (3001, 1), (2, 3)])
def test_the_smallest_and_the_narrowest_images_are_answered(served, network, size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    expected = run_network(network, pixels).argmax(-1)
    assert (decode(ask(served, "serving_default", encode(pixels))[0]) == expected).all()
    assert open_rgb(ask(served, "overlay_png_bytes", encode(pixels))[0]).shape == pixels.shape
    (share,) = ask(served, "class_shares", encode(pixels))
    np.testing.assert_allclose(share, np.bincount(expected.ravel(), minlength=4) / expected.size)
    assert (served.run({"image": pixels[None]}, signature="labels")["labels"] == expected).all()


def test_an_empty_batch_has_an_empty_answer(served):
    for signature in OF_FILES:
        assert ask(served, signature).shape[0] == 0
    for size in ((4, 5), (0, 0)):
        empty = np.zeros((0, *size, 3), np.uint8)
        assert served.run({"image": empty}, signature="labels")["labels"].shape == (0, *size)
        answer = served.run({"image": empty}, signature="probabilities")["probabilities"]
        assert answer.shape == (0, *size, len(COLORS))


def test_images_without_pixels_have_answers_without(served):
    for shape in ((2, 0, 5), (1, 5, 0), (1, 0, 0)):
        image = np.zeros((*shape, 3), np.uint8)
        assert served.run({"image": image}, signature="labels")["labels"].shape == shape


JPEG, PNG = FILES["jpeg"], FILES["png"]
BROKEN = {
    "no bytes": b"",
    "text": b"no image",
    "half a png": PNG[: len(PNG) // 2],
    "half a jpeg": JPEG[: len(JPEG) // 2],
    "a jpeg's first bytes": JPEG[:30],
    "a png's first bytes": PNG[:20],
    "half a gif": FILES["gif"][:700],
    "half a bmp": FILES["bmp"][:1000],
    "a tiff": saved(RGB, "TIFF"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_image_is_refused_and_the_model_continues(served, kind):
    for signature in OF_FILES:
        with pytest.raises(SavedModelError) as raised:
            ask(served, signature, PNG, BROKEN[kind])
        assert raised.value.code == saved_model.INVALID_ARGUMENT
        assert len(ask(served, signature, PNG)) == 1


def test_damaged_exif_leaves_an_image_as_it_is(served):
    rng, content = np.random.default_rng(0), rotated("PNG", 6, "<")
    start = content.index(b"eXIf") + 4
    length = int.from_bytes(content[start - 8 : start - 4], "big")
    sideways = {(HEIGHT, WIDTH), (WIDTH, HEIGHT)}
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(start + 4, start + length, 3):
            damaged[at] = rng.integers(0, 256)
        crc = zlib.crc32(damaged[start - 4 : start + length])
        damaged[start + length : start + length + 4] = crc.to_bytes(4, "big")
        (answer,) = ask(served, "serving_default", bytes(damaged))
        assert decode(answer).shape in sideways
    for cut in (4, 6, 8, 9, 10, 20):  # EXIF that ends too early
        body = content[start : start + cut]
        chunk = len(body).to_bytes(4, "big") + b"eXIf" + body
        chunk += zlib.crc32(b"eXIf" + body).to_bytes(4, "big")
        damaged = content[: start - 8] + chunk + content[start + length + 4 :]
        assert decode(ask(served, "serving_default", damaged)[0]).shape == (HEIGHT, WIDTH)


def test_overlays_leave_the_classes_that_are_to_stay_undrawn(network):
    pixels = np.asarray(picture(), np.float32)
    label = np.argmax(network(pixels[None])[0], axis=-1)
    content = encode(pixels.astype(np.uint8))
    overlay = open_rgb(serving.overlay_png(network, content, COLORS, undrawn=[1, 3]).numpy())
    expected = np.where(np.isin(label, [1, 3])[..., None], pixels, (pixels + COLORS[label]) / 2)
    assert len(np.unique(label)) == 4
    assert np.abs(overlay - expected).max() <= 0.5
