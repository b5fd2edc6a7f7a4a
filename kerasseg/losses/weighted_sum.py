"""Several losses, added up."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from .cross_entropy import WeightedMean
from .segmentation_loss import SegmentationLoss, is_weight


@keras.saving.register_keras_serializable(package="kerasseg")
class WeightedSum(SegmentationLoss):
    """A weighted sum of losses, such as `WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])`.

    Args:
        losses: Losses over label maps, each returning a scalar.
        weights: Factor of each, at least 0.

    Input: The input of the losses; each gets the sample weights.
    Output: float32 scalar.

    Raises:
        ValueError: When called, if a loss raises it or does not return a scalar.
    """

    def __init__(
        self,
        losses: Sequence[keras.losses.Loss],
        weights: Sequence[float],
        name: str = "weighted_sum",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if len(losses) != len(weights) or not losses or not all(map(is_weight, weights)):
            raise ValueError(
                "weights must be one number of at least 0 for each loss, "
                f"got {tuple(weights)} for {len(losses)} losses."
            )
        self.losses = list(losses)
        self.weights = [float(weight) for weight in weights]

    def call(self, y_true, y_pred, sample_weight=None):
        """Returns the sum, see `__call__`."""
        total = tf.zeros(())
        for weight, loss in zip(self.weights, self.losses, strict=True):
            value: Any = loss(y_true, _taken(loss, y_pred), sample_weight)
            if value.shape.rank != 0:
                raise ValueError(
                    f"losses must return a scalar, got shape {value.shape} from {loss.name}."
                )
            total += weight * value
        return total

    @property
    def takes_queries(self) -> bool:
        """Whether one of the losses takes the queries of mask classification in training."""
        return any(getattr(loss, "takes_queries", False) for loss in self.losses)

    def normalizer(self, y_true, y_pred) -> Any:
        """Returns the weight of a batch among others that make up a larger one.

        It is that of the first loss that is a mean over pixels, or else of the first loss. All such
        losses with the same class weights have the same one, `OnlineHardExamples` excepted.
        """
        means = [loss for loss in self.losses if isinstance(loss, WeightedMean)]
        first: Any = (means or self.losses)[0]
        return first.normalizer(y_true, y_pred)

    def get_config(self):
        """Returns the constructor's arguments."""
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {**super().get_config(), "losses": losses, "weights": self.weights}

    @classmethod
    def from_config(cls, config):
        """Builds the sum of a configuration."""
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})


def _taken(loss, y_pred):
    """Returns what a loss takes of the outputs of mask classification: all, or the logits."""
    if not isinstance(y_pred, Mapping) or getattr(loss, "takes_queries", False):
        return y_pred
    return y_pred.get("logits", y_pred)
