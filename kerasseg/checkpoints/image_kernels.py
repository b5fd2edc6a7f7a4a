"""The kernels that read images, for networks of another number of channels than their weights."""

import keras
import numpy as np

from ..encoders import _first_kernels
from ..layers import preprocessing


class KernelAdapter:
    """Adapts kernels of RGB images to a network of images with another number of channels.

    Args:
        channel_order: "rgb" or "bgr", the order in which the kernels see the colours.

    Attributes:
        adapted: Names of the layers whose kernels were adapted.
    """

    def __init__(self, channel_order: str = "rgb"):
        self.channel_order = channel_order
        self.adapted: list[str] = []

    def fit(self, layer: str, variable: keras.Variable, values: np.ndarray) -> np.ndarray:
        """Adapts values, if they are a kernel of RGB images and the variable is one of others.

        Args:
            layer: Name of the layer.
            variable: The variable that the values are for.
            values: Values in Keras' layout.

        Returns:
            The adapted values, see `kerasseg.encoders._first_kernels.adapt`; other values as they
            are.
        """
        shape = tuple(variable.shape)
        if not _first_kernels.is_adaptable(values.shape, shape):
            return values
        self.adapted.append(layer)
        return _first_kernels.adapt(values, shape[2], self.channel_order)

    def describe(self, model: keras.Model) -> str | None:
        """Describes in a sentence how RGB weights came to a network; None if as they are."""
        channels = model.input_shape[-1]
        if self.adapted:
            return (
                f"{', '.join(self.adapted)}: the RGB kernel was adapted to {channels} channels, "
                "which take the parts of red, green and blue in turn; the parts for a colour add "
                "up to that of the RGB kernel."
            )
        if any(layer.name == "repeat_channels" for layer in model.layers):
            images = "1 channel" if channels == 1 else f"{channels} channels, in turn,"
            return f"RGB weights: the network sees images of {images} as red, green and blue."
        return None


def adapted_backbones(model: keras.Model) -> KernelAdapter:
    """Returns the adapter with the backbones in a network that were adapted when it was built."""
    adapter = KernelAdapter()
    adapter.adapted += [each.name for each in model.layers if getattr(each, "is_adapted", False)]
    return adapter


def order_of_encoder(family) -> str:
    """Returns the order, "rgb" or "bgr", in which the weights of a family see the colours."""
    return preprocessing.PRESETS[family.PREPROCESSING][2]


def order_of_network(model: keras.Model) -> str:
    """Returns the order in which the first kernels of a network see the colours."""
    layers = (each for each in model.layers if isinstance(each, preprocessing.Preprocessing))
    return next((each.channel_order for each in layers), "rgb")
