"""The options of a training run: what `fit` takes, `run.json` records and `--resume` reads back.

Apart from `fit` so that the command line can show their defaults without loading TensorFlow.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Self

from ..errors import InputError

AUGMENT = ("none", "standard", "rand")
OPTIMIZERS = ("adamw", "sgd")
CLASS_WEIGHTS = ("none", "median-frequency", "sqrt-median-frequency")
BATCH_NORM = ("train", "frozen-statistics", "frozen-encoder", "frozen")
CACHE = ("auto", "memory", "disk", "none")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")

_CHOICES = {
    "augment": AUGMENT,
    "optimizer": OPTIMIZERS,
    "class_weights": CLASS_WEIGHTS,
    "batch_norm": BATCH_NORM,
    "cache": CACHE,
    "dtype_policy": DTYPE_POLICIES,
}


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides a training run, but for the place of its files.

    Attributes:
        model: Architecture, one of `kerasseg.models.names()`.
        model_options: Further arguments of the architecture's `build`.
        encoder_weights: "none", "imagenet", "hub:PRESET", or a file of ImageNet weights for the
            encoder.
        init_from: Run folder or `.keras` file whose weights the network starts from; None for none.
        reset_head: Whether classifiers for another number of classes may start anew then.
        batch_norm: "train"; "frozen-statistics" to keep the moving statistics of all batch
            normalisation as they are at the start and train its scale and offset; "frozen-encoder"
            or "frozen" (all) to keep scale and offset as well.
        batch_norm_momentum: Share of the moving averages of batch normalisation that a step keeps,
            in [0, 1). Small batches want more of it (0.99). The first steps keep less, so that few
            steps do: (1 + n) / (10 + n) after n steps, until that is more.
        auxiliary_weight: Weight of the auxiliary head's loss, if the network has one.
        epochs: Number of passes over the training split.
        batch_size: Number of images a step, over all replicas together.
        image_size: `(height, width)` of the box within which the network sees a whole image, here
            and in every later stage; None for images as they are.
        crop_size: `(height, width)` of the training crops; None for `image_size`, or 512 x 512.
        scale: Range of the random scale on top of it.
        flip: Whether to mirror at random.
        augment: Colour policy, one of `AUGMENT`.
        optimizer: "adamw" or "sgd" (momentum 0.9).
        learning_rate: Peak of the poly schedule.
        encoder_learning_rate_factor: Learning rate of the encoder, and with it its weight decay, as
            a share of that of the layers upon it; 0.1 in DeepLab's and PSPNet's trainings from
            ImageNet weights. 0 leaves its weights as they are, but not the moving statistics of
            its batch normalisation, see `batch_norm`.
        power: Exponent of the poly schedule.
        warmup_epochs: Number of first epochs over which the learning rate rises.
        weight_decay: Decoupled decay of the kernels; biases and normalisation have none.
        class_weights: "none", "median-frequency" (SegNet), or the square root of those, which
            helps rare classes at less cost to the others.
        dice_weight: Weight of the Dice loss that is added to the cross-entropy.
        evaluate_every: Number of epochs from one evaluation to the next.
        cache: "memory" keeps the training split decoded in memory, "auto" does if it fits into half
            of what is available, "disk" keeps it in the run's folder while the training lasts; what
            the network sees is the same.
        dtype_policy: Keras' policy of computation, one of `DTYPE_POLICIES`.
        seed: Of initial weights, order and augmentation.
        keep: Number of newest states of the training that are kept, at least 1: if one is damaged,
            the training goes on from the one before.

    Raises:
        InputError: If one is out of range.
    """

    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    encoder_weights: str = "none"
    init_from: str | None = None
    reset_head: bool = False
    batch_norm: str = "train"
    batch_norm_momentum: float = 0.9
    auxiliary_weight: float = 0.4
    epochs: int = 50
    batch_size: int = 8
    image_size: tuple[int, int] | None = None
    crop_size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    augment: str = "standard"
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    encoder_learning_rate_factor: float = 1.0
    power: float = 0.9
    warmup_epochs: float = 0.0
    weight_decay: float = 1e-4
    class_weights: str = "none"
    dice_weight: float = 0.0
    evaluate_every: int = 1
    cache: str = "auto"
    dtype_policy: str = "float32"
    seed: int = 0
    keep: int = 2

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for option in fields(self):
            value = getattr(self, option.name)
            check_option(option.name, is_finite(value), "finite", value)
        check_option("seed", self.seed < 2**32, "below 2**32", self.seed)
        for name in ("epochs", "batch_size", "evaluate_every", "keep"):
            check_option(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in (
            "power",
            "warmup_epochs",
            "weight_decay",
            "auxiliary_weight",
            "dice_weight",
            "encoder_learning_rate_factor",
            "seed",
        ):
            check_option(name, getattr(self, name) >= 0, "at least 0", getattr(self, name))
        momentum = self.batch_norm_momentum
        check_option("batch_norm_momentum", 0 <= momentum < 1, "in [0, 1)", momentum)
        check_option("learning_rate", self.learning_rate > 0, "above 0", self.learning_rate)
        check_option("scale", 0 < self.scale[0] <= self.scale[1], "MIN,MAX above 0", self.scale)
        for name in ("image_size", "crop_size"):
            size = getattr(self, name)
            check_option(name, size is None or min(size) >= 8, "HEIGHT,WIDTH of 8 or more", size)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            check_option(name, value in choices, f"one of {', '.join(choices)}", value)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Reads options back from `run.json`, where tuples are lists.

        Raises:
            InputError: If they are not those of this version.
        """
        known = {option.name for option in fields(cls)}
        if stored.keys() - known or "model" not in stored:
            raise InputError(f"options must be among {', '.join(known)}, got {', '.join(stored)}.")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        return cls(**values)


def is_finite(value: Any) -> bool:
    """Tells whether no number in a value is infinite, none at all, or whole and above 63 bits."""
    if isinstance(value, tuple | list):
        return all(map(is_finite, value))
    return math.isfinite(value) if isinstance(value, float) else not _is_huge(value)


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def check_option(name: str, condition: bool, requirement: str, received: Any) -> None:
    """Raises `InputError` unless the condition on an option holds."""
    if not condition:
        raise InputError(f"{name} must be {requirement}, got {received!r}.")
