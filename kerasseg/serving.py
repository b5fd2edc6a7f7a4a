"""SavedModels for TensorFlow Serving: encoded images in, encoded label maps out."""

from pathlib import Path

import keras
import tensorflow as tf

from .inference import label_of

INPUT = "image_bytes"
OUTPUT = "label_png_bytes"  # TF Serving's REST API base64-encodes outputs that end in _bytes


def decode_image(content):
    """Decodes an encoded image.

    Args:
        content: String scalar, a PNG, JPEG, BMP or GIF (its first frame).

    Returns:
        float32 (height, width, 3), RGB in [0, 255].
    """
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    return tf.cast(tf.ensure_shape(image, (None, None, 3)), tf.float32)


def label_png(model: keras.Model, content):
    """Predicts the label map of an encoded image, as a PNG of the image's size.

    Args:
        model: From images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        content: String scalar, an encoded image.

    Returns:
        String scalar, 8-bit gray PNG: the class of each pixel.
    """
    label = label_of(model, decode_image(content))
    return tf.io.encode_png(tf.expand_dims(label, -1), compression=1)


def save(model: keras.Model, folder: Path | str) -> None:
    """Writes a SavedModel with the signature `serving_default`.

    It maps `image_bytes`, a batch of encoded images of any sizes (possibly none), to
    `label_png_bytes`, a PNG label map of each image's own size. Only stock TensorFlow operations
    are in it, so an unmodified TensorFlow Serving runs it.

    Args:
        model: From images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        folder: Where to write.
    """

    def serve(image_bytes):
        # One image after another: their sizes differ, and none is resized to fit a batch.
        labels = tf.map_fn(
            lambda content: label_png(model, content),
            image_bytes,
            fn_output_signature=tf.TensorSpec((), tf.string),
        )
        return {OUTPUT: labels}

    # ExportArchive, not tf.saved_model.save on a tf.Module that holds the model: that loads in
    # Python, and in TensorFlow Serving fails to find its variables.
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default", serve, input_signature=[tf.TensorSpec((None,), tf.string, name=INPUT)]
    )
    archive.write_out(str(folder), verbose=False)  # pyright: ignore[reportAttributeAccessIssue]
