"""The encoder that a training's network has."""

import inspect

import kerasseg
from kerasseg import models

from .training_options import TrainingOptions


def name_of(options: TrainingOptions) -> str | None:
    """Returns the name of the encoder, given or the architecture's default.

    Args:
        options: Options of the training.

    Returns:
        A name such as "resnet50", or what names the user's own function; None for a network that
        has no choice of encoder.
    """
    if given := options.model_options.get("encoder"):
        return given
    if options.model not in models.names():
        return None
    option = inspect.signature(kerasseg.models.builder(options.model)).parameters.get("encoder")
    return None if option is None else option.default
