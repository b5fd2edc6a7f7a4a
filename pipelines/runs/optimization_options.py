"""Declarations of the options that say how weights follow their gradients."""

from .option_fields import Option, Range, above, at_least, one_of
from .schedule_choices import SCHEDULES

OPTIMIZER = "Optimizer"

_SHARE = Range("above 0 and below 1", lambda share: 0 < share < 1)
_RISING = Range(
    "rising whole numbers above 0",
    lambda epochs: list(epochs) == sorted(set(epochs)) and all(epoch > 0 for epoch in epochs),
)

LEARNING_RATE = Option(
    "Highest learning rate; it falls by --schedule. With auto, a range test before the training "
    "finds one: its curve is kept in the run folder.",
    OPTIMIZER,
    Range("above 0, or auto", lambda rate: rate == "auto" or rate > 0),
)
SCHEDULE = Option(
    "How the learning rate falls: by a power of the remaining steps (poly), like half a cosine, "
    "at single epochs (step), or not at all (constant).",
    OPTIMIZER,
    one_of(*SCHEDULES),
)
POWER = Option("Exponent of the learning rate's poly schedule.", OPTIMIZER, at_least(0))
STEP_EPOCHS = Option(
    "Epochs after which the learning rate of --schedule step falls, such as 30,60.",
    OPTIMIZER,
    _RISING,
    "EPOCH,...",
)
STEP_FACTOR = Option(
    "Factor of the learning rate after each of the epochs of --schedule step.", OPTIMIZER, _SHARE
)
WARMUP_EPOCHS = Option(
    "Number of epochs at the start over which the learning rate rises.", OPTIMIZER, at_least(0)
)

HEAD_LEARNING_RATE_FACTOR = Option(
    "Factor of the learning rate and weight decay of all layers outside the encoder, such as 10 "
    "with ImageNet weights.",
    OPTIMIZER,
    above(0),
)
LAYER_DECAY = Option(
    "Factor such as 0.9 that multiplies the learning rate and weight decay once more for each "
    "layer of a vision transformer, from its last layer to its first. Layers near the image then "
    "learn more slowly. Unless given, all layers learn alike.",
    OPTIMIZER,
    _SHARE,
)
FREEZE = Option(
    "Part of the network that keeps its initial weights and its statistics.",
    OPTIMIZER,
    one_of("none", "encoder"),
)
UNFREEZE_AFTER = Option(
    "Number of epochs after which the part that --freeze names is trained as well. Unless given, "
    "it stays frozen.",
    OPTIMIZER,
    at_least(1),
)
CLIP_NORM = Option(
    "Largest norm of the gradient of all weights together; a longer one is scaled to it. Unless "
    "given, gradients stay as they are.",
    OPTIMIZER,
    above(0),
)
EMA = Option(
    "Decay of an exponential moving average of the weights, such as 0.999. The averaged network is "
    "the one that is evaluated, saved and exported. Step n uses (1 + n) / (10 + n) while this is "
    "smaller.",
    OPTIMIZER,
    _SHARE,
)
