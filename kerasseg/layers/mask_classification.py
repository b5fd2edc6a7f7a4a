"""A functional model that finds segments: for each query a mask and a class."""

from typing import Any

import keras

from .outputs import SegmentationModel

_MAIN = "logits"


@keras.saving.register_keras_serializable(package="kerasseg")
class MaskClassificationModel(SegmentationModel):
    """A functional model whose logits are made of queries, each with a mask and a class.

    Called for training it returns, by name, the `logits` and what each query says: `class_queries`,
    logits (batch, queries, num_classes + 1), the last class meaning that a query has found nothing,
    and `masks_queries`, logits of masks (batch, height / 4, width / 4, queries), rounded up. For
    the deep supervision of the blocks before the last one there are `class_queries_1` and so on.
    Otherwise it returns the logits alone.

    `compile` and `fit` are used as for a model with one output. The loss is one for the logits;
    `losses.MaskClassification` takes the queries instead in training.

    Input: images (batch, height, width, 3).
    Output: float32 logits (batch, height, width, num_classes).
    """

    def compile(self, optimizer="rmsprop", loss=None, *args, **kwargs):
        """Configures training, see `keras.Model.compile`."""
        # Segments are matched with queries on the host.
        self.supports_jit = not getattr(_of_logits(loss), "takes_queries", False)
        super().compile(optimizer, loss, *args, **kwargs)

    def _read_losses(self, loss, loss_weights) -> tuple[dict[str, Any], dict[str, float]]:
        for name, value in (("loss", loss), ("loss_weights", loss_weights)):
            if isinstance(value, (list, tuple)) or set(_as_dict(value)) - {_MAIN}:
                raise ValueError(f"{name} must be one, that of the logits, got {value!r}.")
        weight = _of_logits(loss_weights)
        return {_MAIN: _of_logits(loss)}, {_MAIN: 1.0 if weight is None else float(weight)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the loss; in training that of the queries, if the loss takes them."""
        loss, weight = self._compiled.main
        if isinstance(y_pred, dict) and getattr(loss, "takes_queries", False):
            return weight * loss(y, y_pred, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def _as_dict(value) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _of_logits(value) -> Any:
    return value.get(_MAIN) if isinstance(value, dict) else value
