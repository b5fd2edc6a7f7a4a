"""The scale of a residual branch."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="kerasseg")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel of a residual branch by a learned factor.

    Args:
        initial: What the factors are at first. Small ones, such as 1e-6, let deep networks begin
            as nearly the identity.

    Input and output: (..., channels).

    Reference:
        Touvron et al., Going deeper with Image Transformers, ICCV 2021.
        https://arxiv.org/abs/2103.17239
    """

    def __init__(self, initial: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        """Makes the factors."""
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial),
        )

    def call(self, features):
        """Returns the scaled features."""
        return features * tf.cast(self.gamma, features.dtype)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "initial": self.initial}
