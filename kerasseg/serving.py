"""SavedModels for TensorFlow Serving: encoded images in, encoded label maps out.

Images of other channels or bits than RGB of 8 bits are encoded as `encoded_images` describes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import encoded_images
from .channels import check, is_default
from .inference import FoldedNetwork, check_classes_of_labels, label_map, label_of
from .layers import native_operations
from .orientation import upright
from .visualize import Colors

INPUT = "image_bytes"
OUTPUT = "label_png_bytes"  # TF Serving's REST API base64-encodes outputs that end in _bytes


def decode_pixels(content, channels: int = 3, bits: int = 8):
    """Decodes an encoded image.

    Args:
        content: String scalar. For RGB of 8 bits a PNG, JPEG, BMP or GIF (its first frame);
            otherwise a PNG, see `encoded_images.decode`.
        channels: Number of channels, 1 to 16.
        bits: Bits of a channel, 8 or 16.

    Returns:
        uint8, or uint16 for 16 bits: (height, width, channels). RGB of 8 bits is turned upright as
        its EXIF says.
    """
    image = encoded_images.decode(content, channels, bits)
    return upright(content, image) if is_default(channels, bits) else image


def decode_image(content, channels: int = 3, bits: int = 8):
    """Decodes an encoded image to float32 in [0, 255]; see `decode_pixels`."""
    return encoded_images.to_float(decode_pixels(content, channels, bits))


def label_png(model: Callable, content, channels: int = 3, bits: int = 8):
    """Predicts the label map of an encoded image, as a PNG of the image's size.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        content: String scalar, an encoded image, see `decode_pixels`.
        channels: Number of channels of the image.
        bits: Bits of a channel.

    Returns:
        String scalar, 8-bit gray PNG: the class of each pixel.
    """
    label = label_of(model, decode_image(content, channels, bits))
    return tf.io.encode_png(tf.expand_dims(label, -1), compression=1)


def overlay_png(
    model: Callable,
    content,
    colors,
    undrawn: Sequence[int] = (),
    channels: int = 3,
    bits: int = 8,
):
    """Predicts an encoded image and draws the classes' colours over it with opacity one half.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        content: String scalar, an encoded image, see `decode_pixels`.
        colors: uint8 (classes, 3), RGB.
        undrawn: Classes over which the image stays as it is, such as a background.
        channels: Number of channels of the image; the first three are shown as RGB, or the first of
            one or two as gray.
        bits: Bits of a channel.

    Returns:
        String scalar, RGB PNG of the image's size.
    """
    image: Any = decode_image(content, channels, bits)
    label = tf.cast(label_of(model, image), tf.int32)
    if not is_default(channels, bits):
        shown = image[..., :3] if channels > 2 else tf.repeat(image[..., :1], 3, -1)
        image = tf.floor(shown)
    blended = (image + tf.gather(tf.cast(colors, tf.float32), label)) / 2
    for background in undrawn:
        blended = tf.where(tf.expand_dims(label == background, -1), image, blended)
    return tf.io.encode_png(tf.cast(tf.round(blended), tf.uint8), compression=1)


def class_shares(model: Callable, content, num_classes: int, channels: int = 3, bits: int = 8):
    """Predicts the share of each class among an encoded image's pixels.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        content: String scalar, an encoded image, see `decode_pixels`.
        num_classes: Number of classes.
        channels: Number of channels of the image.
        bits: Bits of a channel.

    Returns:
        float32 (num_classes,), which sums to 1.
    """
    label = label_of(model, decode_image(content, channels, bits))
    label = tf.reshape(tf.cast(label, tf.int32), (-1,))
    counts = tf.math.unsorted_segment_sum(tf.ones_like(label), label, num_classes)
    return tf.cast(counts, tf.float32) / tf.cast(tf.size(label), tf.float32)


def softmax(logits, temperature: float = 1.0):
    """Computes probabilities.

    Args:
        logits: (..., classes).
        temperature: Number by which logits are divided before softmax: calibration fits one.

    Returns:
        Of the shape of the logits.
    """
    return tf.nn.softmax(logits if temperature == 1 else logits / temperature)


def save(
    model: keras.Model,
    folder: Path | str,
    colors: Colors,
    *,
    probabilities: bool = False,
    size: tuple[int, int] | None = None,
    undrawn: Sequence[int] = (),
    temperature: float = 1.0,
    bits: int = 8,
) -> None:
    """Writes a SavedModel for TensorFlow Serving.

    Its signatures, of which the first three take `image_bytes`, a batch of encoded images of any
    sizes, possibly none (see `decode_pixels`), and the others `image`, a batch of images (batch,
    height, width, channels), uint8, or uint16 for 16 bits:

        serving_default    label_png_bytes: a gray PNG of classes, of each image's own size
        overlay_png_bytes  overlay_png_bytes: a PNG of each image with the classes' colours over it
        class_shares       class_shares: float32 (batch, classes), the share of pixels of each class
        labels             labels: uint8 (batch, height, width)
        probabilities      probabilities: float32 (batch, height, width, classes); if asked for

    Only stock TensorFlow operations are in it, so an unmodified TensorFlow Serving runs it.

    Args:
        model: Model from images (batch, height, width, channels) in [0, 255] to logits of that
            size.
        folder: Folder to write.
        colors: (red, green, blue) of each class, in [0, 255].
        probabilities: Whether to add the last signature, whose answers are large.
        size: `(height, width)` of the images that the signatures of `image` take; None for any.
        undrawn: Classes that overlays do not draw, such as a background.
        temperature: Number by which logits are divided before the softmax of the probabilities.
        bits: Bits of a channel of the images, 8 or 16.

    Raises:
        ValueError: If the model takes images of more than 16 channels, or has more classes than an
            8-bit label can hold.
    """
    channels = model.input_shape[-1]
    check(channels, bits)
    # Before anything is traced: if an error ends the tracing of TensorFlow's `map_fn`, the process
    # can no longer enter a strategy.
    check_classes_of_labels(model.output_shape[-1])
    network = FoldedNetwork(model)
    trainable, others = (
        [tf.Variable(tf.constant(value), trainable=False) for value in values]
        for values in (network.trainable, network.others)
    )
    # Only the variables: if a tf.Module holds the Keras model, Python finds its variables but
    # TensorFlow Serving does not; and Keras' ExportArchive stores each of them twice.
    variables = tf.train.Checkpoint(network=[*trainable, *others])

    # One function for all signatures, so that the network is traced, and stored, once.
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, channels), tf.float32)])
    def forward(images):
        with native_operations():
            return network(images, trainable, others)

    compute = lambda images, training=False: forward(images)  # noqa: E731
    kind = tf.uint8 if bits == 8 else tf.uint16
    pixels = tf.TensorSpec((None, *(size or (None, None)), channels), kind, name="image")
    palette = np.asarray(colors, np.uint8)
    signatures = {
        name: tf.function(serve, input_signature=[signature], autograph=False)
        for name, serve, signature in _endpoints(
            compute, palette, undrawn, pixels, temperature if probabilities else None
        )
    }
    tf.saved_model.save(variables, str(folder), signatures=signatures)


def _endpoints(
    model: Callable,
    colors: np.ndarray,
    undrawn: Sequence[int],
    pixels: tf.TensorSpec,
    temperature: float | None,
):
    """Yields name, function and input of each signature; probabilities only at a temperature."""
    encoded = tf.TensorSpec((None,), tf.string, name=INPUT)
    channels: Any = pixels.shape[-1]
    form = channels, 8 if pixels.dtype == tf.uint8 else 16
    string, shares = tf.TensorSpec((), tf.string), tf.TensorSpec((len(colors),), tf.float32)

    def for_each(name, function, output):
        # One image after another: their sizes differ, and none is resized to fit a batch.
        def serve(image_bytes):
            return {name: tf.map_fn(function, image_bytes, fn_output_signature=output)}

        return serve

    yield "serving_default", for_each(OUTPUT, lambda x: label_png(model, x, *form), string), encoded
    name = "overlay_png_bytes"
    yield (
        name,
        for_each(name, lambda x: overlay_png(model, x, colors, undrawn, *form), string),
        encoded,
    )
    name = "class_shares"
    yield (
        name,
        for_each(name, lambda x: class_shares(model, x, len(colors), *form), shares),
        encoded,
    )
    yield "labels", lambda image: {"labels": label_map(_logits(model, image, len(colors)))}, pixels
    if temperature is not None:
        yield (
            "probabilities",
            lambda image: {
                "probabilities": softmax(_logits(model, image, len(colors)), temperature)
            },
            pixels,
        )


def _logits(model: Callable, image, num_classes: int):
    """Computes the logits of a batch or of images that may be empty: oneDNN crashes on those."""
    empty = tf.zeros((*tf.unstack(tf.shape(image)[:3]), num_classes))
    logits = tf.cond(
        tf.size(image) > 0, lambda: model(encoded_images.to_float(image)), lambda: empty
    )
    return tf.ensure_shape(logits, (*image.shape[:3], num_classes))
