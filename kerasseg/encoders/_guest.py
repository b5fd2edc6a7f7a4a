"""An encoder that the user wrote, which architectures use like one of the families."""

from collections.abc import Callable
from typing import Any

import keras

# Size of an image that is divisible by every stride.
_TRIAL = (64, 96)


class GuestFamily:
    """A family of encoders that consists of a function of images.

    Args:
        function: `function(images, output_stride=32)` takes normalised images
            `(batch, height, width, 3)` as a Keras tensor. It returns `{stride: features}` for all
            strides that the architecture needs; further strides are not used. Features of strides
            beyond `output_stride` (8, 16 or 32) keep the resolution of `output_stride`, and their
            convolutions are dilated instead; a function that cannot dilate raises a ValueError.
            The attribute `PREPROCESSING` of the function, one of
            `kerasseg.layers.preprocessing.PRESETS`, says how images are normalised; "imagenet"
            if there is no such attribute. The function itself loads weights, if it has any.
        strides: Strides of the features that the architecture needs.
    """

    NAMES = ()
    TAKES_ARGUMENT = False
    __name__ = "guest"

    def __init__(self, function: Callable[..., dict], strides: tuple[int, ...]):
        self._function = function
        self._strides = strides
        self._name = getattr(function, "__name__", type(function).__name__)
        self.PREPROCESSING = getattr(function, "PREPROCESSING", "imagenet")

    def features(self, images, name: Any, *, output_stride: int = 32) -> dict:
        """Applies the function as a nested model, whose name begins with `encoder_`.

        Args:
            images: Normalised images `(batch, height, width, 3)`.
            name: The function itself, which architectures pass here; not used.
            output_stride: 8, 16 or 32.

        Returns:
            `{stride: features}`, as from the other families.

        Raises:
            ValueError: If the function fails, or does not return the features that it must return.
        """
        inputs = keras.Input(images.shape[1:])
        try:
            # Optimizers recognise the encoder's variables by this beginning of their paths.
            with keras.name_scope(f"encoder_{self._name}"):
                found = self._function(inputs, output_stride=output_stride)
        except Exception as error:  # it may raise anything
            raise ValueError(
                f"encoder {self._name} cannot be called with images and "
                f"output_stride={output_stride} ({type(error).__name__}: {error})."
            ) from error
        if not isinstance(found, dict) or not set(self._strides) <= set(found):
            got = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise ValueError(
                f"encoder {self._name} must return a dict of the features of the strides "
                f"{', '.join(map(str, self._strides))}, got {got}."
            )
        strides = sorted(found)
        outputs = [found[stride] for stride in strides]
        encoder = keras.Model(inputs, outputs, name=f"encoder_{self._name}")
        self._check_sizes(encoder, strides, output_stride)
        return dict(zip(strides, encoder(images), strict=True))

    def _check_sizes(self, encoder: keras.Model, strides: list[int], output_stride: int) -> None:
        shapes: Any = encoder.compute_output_shape((1, *_TRIAL, encoder.input_shape[-1]))
        for stride, shape in zip(strides, shapes, strict=True):
            wanted = tuple(side // min(stride, output_stride) for side in _TRIAL)
            if tuple(shape[1:3]) != wanted:
                raise ValueError(
                    f"encoder {self._name} must return features of {wanted[0]} x {wanted[1]} for "
                    f"stride {stride} at output_stride={output_stride} and images of {_TRIAL[0]} x "
                    f"{_TRIAL[1]}, got the shape {tuple(shape)}."
                )
