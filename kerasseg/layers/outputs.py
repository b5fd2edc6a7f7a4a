"""The outputs of a network: its logits, and an auxiliary head that counts in training only."""

import dataclasses
from typing import Any, ClassVar

import keras

from .resize import CropLike, PadToMultiple, ResizeLike

_MAIN = "logits"
_AUXILIARY_WEIGHT = 0.4  # of PSPNet's paper, section 4.2


@dataclasses.dataclass
class _Compiled:
    """The arguments of `compile`, hidden from Keras, which would track their losses and metrics."""

    arguments: dict[str, Any]
    main: tuple[Any, float]
    auxiliary_losses: dict[str, tuple[keras.losses.Loss, float]]


@keras.saving.register_keras_serializable(package="kerasseg")
class SegmentationModel(keras.Model):
    """A functional model with auxiliary heads.

    Called for training it returns `{"logits": ..., "auxiliary": ...}`, the auxiliary head's logits
    being for a second loss; otherwise the logits alone. Its weights are those of all heads.

    `compile` and `fit` are used as for a model with one output. The loss of training is that of the
    logits and 0.4 times that of the auxiliary head, with the same labels and sample weights;
    evaluation has the loss of the logits. Metrics are those of the logits, under their own names.

    Input: images (batch, height, width, 3).
    Output: float32 logits (batch, height, width, num_classes).
    """

    # Factors of the heads' losses; other heads have that of the auxiliary head.
    _WEIGHTS: ClassVar[dict[str, float]] = {_MAIN: 1.0}
    _compiled = _Compiled({}, (None, 1.0), {})

    def call(self, inputs, training=None, mask=None):
        """Returns the logits; in training those of all heads, by name."""
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training else outputs[_MAIN]

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        **kwargs,
    ):
        """Configures training, see `keras.Model.compile`.

        Args:
            optimizer: Optimizer, or its name or configuration, as in Keras.
            loss: One loss for all heads; or one per head by name, such as
                `{"logits": ..., "auxiliary": ...}`, where a head that is left out has no loss.
            loss_weights: Factor of all losses; or one per head by name, such as
                `{"auxiliary": 0.4}`. Heads that are not named have 1 for the logits and 0.4 for
                others.
            metrics: Metrics of the logits; a dict may name "logits" only.
            weighted_metrics: Metrics of the logits that use sample weights; a dict may name
                "logits" only.
            **kwargs: Further arguments of `keras.Model.compile`.

        Raises:
            ValueError: If a dict names a head that does not exist, or the losses or their weights
                are a list, whose order would be unknown.
        """
        arguments = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        losses, weights = self._read_losses(loss, loss_weights)
        self._compiled = _Compiled(
            arguments,
            (losses[_MAIN] and _as_loss(losses[_MAIN]), weights[_MAIN]),
            {
                head: (_as_loss(losses[head]), weights[head])
                for head in losses
                if head != _MAIN and losses[head] is not None
            },
        )
        super().compile(
            optimizer,
            losses[_MAIN],
            weights[_MAIN],
            metrics=_metrics_of_logits(metrics),
            weighted_metrics=_metrics_of_logits(weighted_metrics),
            **kwargs,
        )

    def _read_losses(self, loss, loss_weights) -> tuple[dict[str, Any], dict[str, float]]:
        """Returns a loss, or None, and its weight for each head."""
        heads: Any = self.output
        for name, value in (("loss", loss), ("loss_weights", loss_weights)):
            if isinstance(value, (list, tuple)) or not set(_as_dict(value)) <= set(heads):
                raise ValueError(
                    f"{name} must be one for all heads, or a dict of some of "
                    f"{', '.join(sorted(heads))}, got {value!r}."
                )
        if isinstance(loss, dict) and _MAIN not in loss:
            raise ValueError(f"loss must have {_MAIN}, got {', '.join(loss)}.")
        losses = {head: loss.get(head) if isinstance(loss, dict) else loss for head in heads}
        weights = {head: self._WEIGHTS.get(head, _AUXILIARY_WEIGHT) for head in heads}
        if isinstance(loss_weights, dict):
            weights |= {head: float(weight) for head, weight in loss_weights.items()}
        elif loss_weights is not None:
            weights = {head: loss_weights * weight for head, weight in weights.items()}
        return losses, weights

    def get_compile_config(self):
        """Returns the arguments of `compile` for `compile_from_config`."""
        arguments: Any = keras.saving.serialize_keras_object(self._compiled.arguments)
        return {**super().get_compile_config(), **arguments} if self.compiled else {}

    def compile_from_config(self, config):
        """Compiles with a configuration and makes the optimizer's variables."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the loss of the logits, and in training those of auxiliary heads as well."""
        outputs = _as_dict(y_pred) or {_MAIN: y_pred}
        total = super().compute_loss(
            x, of_head(_MAIN, y), outputs[_MAIN], of_head(_MAIN, sample_weight), training
        )
        for head, (loss, weight) in self._compiled.auxiliary_losses.items():
            if head in outputs:
                value: Any = loss(of_head(head, y), outputs[head], of_head(head, sample_weight))
                total += weight * value
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the metrics with the logits."""
        return super().compute_metrics(
            x, of_head(_MAIN, y), of_head(_MAIN, y_pred), of_head(_MAIN, sample_weight)
        )


class _FunctionLoss(keras.losses.Loss):
    """A function of labels and logits, averaged as Keras does."""

    def __init__(self, function):
        super().__init__(name=getattr(function, "__name__", "loss"))
        self._function = function

    def call(self, y_true, y_pred):
        return self._function(y_true, y_pred)


def _as_loss(identifier) -> keras.losses.Loss:
    loss: Any = keras.losses.get(identifier)
    return loss if isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)


def _as_dict(value) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def of_head(head: str, value) -> Any:
    """Returns the part of labels, weights or outputs that belongs to a head."""
    return value.get(head, value[_MAIN]) if isinstance(value, dict) else value


def _metrics_of_logits(metrics):
    if not isinstance(metrics, dict):
        return metrics
    if not set(metrics) <= {_MAIN}:
        raise ValueError(f"metrics must be of {_MAIN} alone, got {', '.join(metrics)}.")
    found = metrics.get(_MAIN)
    return found if found is None or isinstance(found, (list, tuple)) else [found]


def pad_for_aligned_corners(images, output_stride: int):
    """Pads images so that features lie on pixels; with aligned corners other sizes shift them.

    DeepLab's and PSPNet's authors train and test at such sizes only (513, 473), padding images with
    their mean, which is zero once they are normalised.

    Args:
        images: Normalised images `(batch, height, width, 3)`.
        output_stride: Output stride of the encoder.

    Returns:
        Images whose sides are k * output_stride + 1.
    """
    return PadToMultiple(output_stride, extra=1, name="pad_corners")(images)


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
    kind: type[SegmentationModel] = SegmentationModel,
):
    """Makes a model of an input and its logits.

    Args:
        images: The model's input.
        logits: Float32 logits at the decoder's stride.
        auxiliary: Float32 logits of the auxiliary head, or of several heads by name, or None.
        resize_logits: Whether to resize all logits to the size of the images.
        align_corners: Whether the resizing aligns the corners.
        name: Name of the model.
        padded: Result of `pad_for_aligned_corners`, whose padding is cut off the logits; None if it
            was not called.
        stride: Stride of the logits before resizing, needed with padding.
        auxiliary_stride: Stride of the auxiliary heads' logits before resizing, needed with
            padding.
        kind: Class of a model with auxiliary heads.

    Returns:
        A `keras.Model`, or a model of the class `kind` if there is an auxiliary head.
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
    heads = auxiliary if isinstance(auxiliary, dict) else {"auxiliary": auxiliary}
    heads = {head: finish(of_it, head, auxiliary_stride) for head, of_it in heads.items()}
    return kind(images, {_MAIN: logits, **heads}, name=name)


def without_auxiliary(model: keras.Model) -> keras.Model:
    """Returns the model without its auxiliary head, with shared weights; other models unchanged."""
    if not isinstance(model, SegmentationModel):
        return model
    outputs: Any = model.output
    return keras.Model(model.inputs[0], outputs["logits"], name=model.name)
