"""A loss of your own: the focal loss (Lin et al. 2017), which gives easy pixels less weight.

kerasseg fit --model unet --loss docs/examples/loss.py:Focal --data DATA --run RUN
"""

import keras
from keras import ops

IGNORE_LABEL = 255


class Focal(keras.losses.Loss):
    """Mean of `-(1 - p) ** gamma * log(p)` over the pixels that are not ignored.

    Args:
        gamma: How much less an easy pixel counts; 0 for the cross-entropy.
        **kwargs: Arguments of `keras.losses.Loss`.
    """

    def __init__(self, gamma: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        """Returns the loss.

        Args:
            y_true: Labels (batch, height, width), which Keras has converted to float32.
            y_pred: Logits (batch, height, width, classes).
        """
        labels = ops.cast(y_true, "int32")
        counted = ops.cast(labels != IGNORE_LABEL, "float32")
        chosen = ops.one_hot(ops.where(labels == IGNORE_LABEL, 0, labels), y_pred.shape[-1])
        log_p = ops.sum(chosen * ops.log_softmax(ops.cast(y_pred, "float32")), axis=-1)
        values = -((1 - ops.exp(log_p)) ** self.gamma) * log_p
        return ops.sum(values * counted) / ops.maximum(ops.sum(counted), 1)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "gamma": self.gamma}
