"""Declarations of the options that say how weights follow their gradients."""

from .option_fields import Option, Range

OPTIMIZER = "Optimizer"

_SHARE = Range("above 0 and below 1", lambda share: 0 < share < 1)

EMA = Option(
    "Decay of an exponential moving average of the weights, such as 0.999. The averaged network is "
    "the one that is evaluated, saved and exported. Step n uses (1 + n) / (10 + n) while this is "
    "smaller.",
    OPTIMIZER,
    _SHARE,
)
