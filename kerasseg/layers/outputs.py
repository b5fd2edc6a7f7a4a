"""How a network ends: its logits, and an auxiliary head that counts in training only."""

from typing import Any

import keras

from .resize import CropLike, PadToMultiple, ResizeLike


@keras.saving.register_keras_serializable(package="kerasseg")
class SegmentationModel(keras.Model):
    """A functional model with an auxiliary head.

    Called for training it returns `{"logits": ..., "auxiliary": ...}`, the auxiliary head's logits
    being for a second loss; otherwise the logits alone. Its weights are those of both heads.

    Input: images (batch, height, width, 3).
    Output: float32 logits (batch, height, width, num_classes).
    """

    def call(self, inputs, training=None, mask=None):
        """Returns the logits; in training those of both heads, by name."""
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training else outputs["logits"]

    def set_auxiliary_loss(self, loss, weight: float) -> None:
        """Sets what the auxiliary head adds to the loss of training; nothing if never called.

        Args:
            loss: A function of label and logits.
            weight: Factor of its value (0.4 in PSPNet's paper).
        """
        self._auxiliary_loss = loss
        self._auxiliary_weight = weight

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the loss of the logits, and in training that of the auxiliary head as well."""
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        total = super().compute_loss(x, y, y_pred["logits"], sample_weight, training)
        if getattr(self, "_auxiliary_loss", None) is None:
            return total
        return total + self._auxiliary_weight * self._auxiliary_loss(y, y_pred["auxiliary"])


def pad_for_aligned_corners(images, output_stride: int):
    """Pads images so that features lie on pixels: with aligned corners at other sizes they drift.

    DeepLab's and PSPNet's authors train and test at such sizes only (513, 473), padding images with
    their mean, which is zero once they are normalised.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        output_stride: Of the encoder.

    Returns:
        Images of sides k * output_stride + 1.
    """
    return PadToMultiple(output_stride, extra=1, name="encoder_pad")(images)


def end(
    images,
    logits,
    auxiliary=None,
    *,
    resize_logits: bool,
    align_corners: bool,
    name: str,
    padded=None,
    stride: int = 1,
    auxiliary_stride: int = 1,
):
    """Makes a model of an input and its logits.

    Args:
        images: The model's input.
        logits: Float32 logits at the decoder's stride.
        auxiliary: Float32 logits of the auxiliary head, or None.
        resize_logits: Whether to resize both to the size of the images.
        align_corners: Of that resizing.
        name: Of the model.
        padded: What `pad_for_aligned_corners` made of the images; the logits of the padding are cut
            off. None if it was not called.
        stride: Of the logits before resizing, if there is padding.
        auxiliary_stride: Of the auxiliary head's.

    Returns:
        A `keras.Model`, or a `SegmentationModel` if there is an auxiliary head.
    """

    def finish(features, head: str, stride: int):
        if resize_logits:
            resize = ResizeLike(align_corners, dtype="float32", name=f"resize_{head}")
            features, stride = resize(features, images if padded is None else padded), 1
        if padded is None:
            return features
        return CropLike(0, stride, dtype="float32", name=f"crop_{head}")(features, images)

    logits = finish(logits, "logits", stride)
    if auxiliary is None:
        return keras.Model(images, logits, name=name)
    heads = {"logits": logits, "auxiliary": finish(auxiliary, "auxiliary", auxiliary_stride)}
    return SegmentationModel(images, heads, name=name)


def without_auxiliary(model: keras.Model) -> keras.Model:
    """Returns the model without its auxiliary head, sharing its weights; others as they are."""
    if not isinstance(model, SegmentationModel):
        return model
    outputs: Any = model.output
    return keras.Model(model.inputs[0], outputs["logits"], name=model.name)
