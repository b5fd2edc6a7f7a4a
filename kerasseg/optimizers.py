"""Optimizers that train a pretrained encoder at a lower rate than the layers upon it."""

from typing import Any

import keras


class _EncoderFactor:
    """Mixed into Keras' optimizers: scales the learning rate of the encoder's variables."""

    def _read_factor(self, encoder_factor: float) -> None:
        if encoder_factor < 0:
            raise ValueError(f"encoder_factor must be at least 0, got {encoder_factor}.")
        self.encoder_factor = encoder_factor

    def build(self, variables):
        """Makes the optimizer's state, and notes which variables are the encoder's."""
        self._factors = [
            self.encoder_factor if variable.path.startswith("encoder_") else 1.0
            for variable in variables
        ]
        super().build(variables)  # pyright: ignore[reportAttributeAccessIssue]

    def update_step(self, gradient, variable, learning_rate):
        """Updates a variable at its own rate."""
        this: Any = self
        factor = self._factors[this._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)  # pyright: ignore

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()  # pyright: ignore[reportAttributeAccessIssue]
        return {**config, "encoder_factor": self.encoder_factor}


@keras.saving.register_keras_serializable(package="kerasseg")
class AdamW(_EncoderFactor, keras.optimizers.AdamW):  # pyright: ignore
    """AdamW, with a learning rate of its own for the encoder.

    Args:
        encoder_factor: Learning rate of the layers whose names begin with `encoder_`, as a share of
            that of all others. The decoupled weight decay is not scaled.
        **kwargs: Arguments of `keras.optimizers.AdamW`.

    Reference:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
        https://arxiv.org/abs/1711.05101
    """

    def __init__(self, *args, encoder_factor: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self._read_factor(encoder_factor)


@keras.saving.register_keras_serializable(package="kerasseg")
class SGD(_EncoderFactor, keras.optimizers.SGD):
    """Gradient descent with momentum, with a learning rate of its own for the encoder.

    DeepLab and PSPNet are trained so: their encoders at a tenth of the rate of the layers upon it.

    Args:
        encoder_factor: Learning rate of the layers whose names begin with `encoder_`, as a share of
            that of all others. The decoupled weight decay is not scaled.
        **kwargs: Arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, *args, encoder_factor: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self._read_factor(encoder_factor)
