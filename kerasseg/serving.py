"""SavedModels for TensorFlow Serving: encoded images in, encoded label maps out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .inference import FoldedNetwork, check_classes_of_labels, label_map, label_of
from .layers import native_operations
from .orientation import upright
from .visualize import Colors

INPUT = "image_bytes"
OUTPUT = "label_png_bytes"  # TF Serving's REST API base64-encodes outputs that end in _bytes


def decode_pixels(content):
    """Decodes an encoded image.

    Args:
        content: String scalar, a PNG, JPEG, BMP or GIF (its first frame).

    Returns:
        uint8 (height, width, 3), RGB, turned upright as its EXIF says.
    """
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    return upright(content, tf.ensure_shape(image, (None, None, 3)))


def decode_image(content):
    """Decodes an encoded image to float32 (height, width, 3); see `decode_pixels`."""
    return tf.cast(decode_pixels(content), tf.float32)


def label_png(model: Callable, content):
    """Predicts the label map of an encoded image, as a PNG of the image's size.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        content: String scalar, an encoded image.

    Returns:
        String scalar, 8-bit gray PNG: the class of each pixel.
    """
    label = label_of(model, decode_image(content))
    return tf.io.encode_png(tf.expand_dims(label, -1), compression=1)


def overlay_png(model: Callable, content, colors, undrawn: Sequence[int] = ()):
    """Predicts an encoded image and draws the classes' colours over it with opacity one half.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        content: String scalar, an encoded image.
        colors: uint8 (classes, 3), RGB.
        undrawn: Classes over which the image stays as it is, such as a background.

    Returns:
        String scalar, RGB PNG of the image's size.
    """
    image = decode_image(content)
    label = tf.cast(label_of(model, image), tf.int32)
    blended = (image + tf.gather(tf.cast(colors, tf.float32), label)) / 2
    for background in undrawn:
        blended = tf.where(tf.expand_dims(label == background, -1), image, blended)
    return tf.io.encode_png(tf.cast(tf.round(blended), tf.uint8), compression=1)


def class_shares(model: Callable, content, num_classes: int):
    """Predicts the share of each class among an encoded image's pixels.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        content: String scalar, an encoded image.
        num_classes: Number of classes.

    Returns:
        float32 (num_classes,), which sums to 1.
    """
    label = tf.reshape(tf.cast(label_of(model, decode_image(content)), tf.int32), (-1,))
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
) -> None:
    """Writes a SavedModel for TensorFlow Serving.

    Its signatures, of which the first three take `image_bytes`, a batch of encoded images of any
    sizes, possibly none, and the others `image`, a batch of uint8 images (batch, height, width, 3):

        serving_default    label_png_bytes: a gray PNG of classes, of each image's own size
        overlay_png_bytes  overlay_png_bytes: a PNG of each image with the classes' colours over it
        class_shares       class_shares: float32 (batch, classes), the share of pixels of each class
        labels             labels: uint8 (batch, height, width)
        probabilities      probabilities: float32 (batch, height, width, classes); if asked for

    Only stock TensorFlow operations are in it, so an unmodified TensorFlow Serving runs it.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        folder: Folder to write.
        colors: (red, green, blue) of each class, in [0, 255].
        probabilities: Whether to add the last signature, whose answers are large.
        size: `(height, width)` of the images that the signatures of `image` take; None for any.
        undrawn: Classes that overlays do not draw, such as a background.
        temperature: Number by which logits are divided before the softmax of the probabilities.

    Raises:
        ValueError: If the model takes images with other channels than red, green and blue, or has
            more classes than an 8-bit label can hold.
    """
    channels = model.input_shape[-1]
    if channels != 3:
        raise ValueError(
            f"model must take images of 3 channels, red, green and blue, got {channels}."
        )
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
    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    def forward(images):
        with native_operations():
            return network(images, trainable, others)

    compute = lambda images, training=False: forward(images)  # noqa: E731
    pixels = tf.TensorSpec((None, *(size or (None, None)), 3), tf.uint8, name="image")
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
    string, shares = tf.TensorSpec((), tf.string), tf.TensorSpec((len(colors),), tf.float32)

    def for_each(name, function, output):
        # One image after another: their sizes differ, and none is resized to fit a batch.
        def serve(image_bytes):
            return {name: tf.map_fn(function, image_bytes, fn_output_signature=output)}

        return serve

    yield "serving_default", for_each(OUTPUT, lambda x: label_png(model, x), string), encoded
    name = "overlay_png_bytes"
    yield name, for_each(name, lambda x: overlay_png(model, x, colors, undrawn), string), encoded
    name = "class_shares"
    yield name, for_each(name, lambda x: class_shares(model, x, len(colors)), shares), encoded
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
    logits = tf.cond(tf.size(image) > 0, lambda: model(tf.cast(image, tf.float32)), lambda: empty)
    return tf.ensure_shape(logits, (*image.shape[:3], num_classes))
