"""Layer normalisation of an encoder's features, as heads of OpenMMLab and others need it."""

from ..layers import LayerNormalization


def normalize_features(found: dict, epsilon: float) -> dict:
    """Normalises the features of each stride.

    The names of these layers do not begin with `encoder_`: ImageNet's networks do not have them, so
    they are trained with the head, from the start.

    Args:
        found: `{stride: features}`.
        epsilon: Epsilon of the layer normalisation.

    Returns:
        `{stride: features}`, normalised over their channels.
    """
    return {
        stride: LayerNormalization(epsilon=epsilon, name=f"feature_norm{stride}")(features)
        for stride, features in found.items()
    }
