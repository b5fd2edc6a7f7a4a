"""The options of a training run: what `fit` takes, `run.json` records and `--resume` reads back.

Each is declared here, and only here: its name, type, default, help, group and range.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from kerasseg import models

from ..errors import InputError
from . import loss_terms
from .guests import is_named
from .option_fields import (
    Option,
    Range,
    above,
    at_least,
    documented,
    fields_of,
    from_to,
    one_of,
)

AUGMENT = ("none", "standard", "rand")

# Titles in the help of the command line, in its order.
_NETWORK = "Network"
_WEIGHTS = "Initial weights"
_NORMALISATION = "Batch normalisation"
_STEPS = "Steps"
_IMAGES = "Images"
_OPTIMIZER = "Optimizer"
_LOSS = "Loss"
_SAVING = "Evaluation and saved states"
_INPUT = "Input"
_COMPUTATION = "Computation"

_HEIGHT_WIDTH = "HEIGHT,WIDTH"
_SIZE = Range(f"{_HEIGHT_WIDTH} of 8 or more", lambda size: min(size) >= 8)
_FACTORS = Range("MIN,MAX above 0", lambda scale: 0 < scale[0] <= scale[1])
# What a network of no run has is the name of its file.
_MODEL = Range(
    f"one of {', '.join(models.names())}, FILE.py:FUNCTION or package.module:FUNCTION",
    lambda name: name in models.names() or is_named(name) or name.endswith(".keras"),
    tuple(models.names()),
    "FILE.py:FUNCTION",
)
_LOSSES = Range(
    f"a sum such as ce + 0.5*lovasz of {', '.join(loss_terms.CLASSES)}; or FILE.py:CLASS or "
    "package.module:CLASS",
    lambda text: is_named(text) or loss_terms.is_sum(text),
)


@documented
@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides a training run, but for the place of its files.

    A field that is added here is an option of `kerasseg fit` and a key of its recipes, its range is
    checked in all places, and `run.json` records it; those of older releases have its default.

    Raises:
        InputError: If one is out of range.
    """

    model: Annotated[
        str,
        Option(
            "Architecture of the network; or a function of your own in a file, or in a module as "
            "package.module:FUNCTION, that is called with num_classes and input_shape and returns "
            "a Keras model of logits.",
            _NETWORK,
            _MODEL,
        ),
    ] = "deeplabv3plus"
    model_options: Annotated[
        dict[str, Any],
        Option(
            "Argument of the architecture, or of your own function, such as variant=milesial; may "
            "be repeated.",
            _NETWORK,
        ),
    ] = field(default_factory=dict)
    encoder_weights: Annotated[
        str,
        Option(
            "Weights that the encoder starts from: none, imagenet, hub:PRESET, or a file of "
            "ImageNet weights.",
            _WEIGHTS,
        ),
    ] = "none"
    init_from: Annotated[
        str | None,
        Option("Run folder or .keras file whose weights the network starts from.", _WEIGHTS),
    ] = None
    reset_head: Annotated[
        bool,
        Option("Let classifiers start anew where --init-from has other classes.", _WEIGHTS),
    ] = False
    batch_norm: Annotated[
        str,
        Option(
            "What of batch normalisation stays as it is at the start: nothing (train); the moving "
            "statistics of all layers (frozen-statistics); statistics, scale and offset of the "
            "encoder's layers (frozen-encoder) or of all layers (frozen).",
            _NORMALISATION,
            one_of("train", "frozen-statistics", "frozen-encoder", "frozen"),
        ),
    ] = "train"
    batch_norm_momentum: Annotated[
        float,
        Option(
            "Momentum of batch normalisation's moving averages; small batches need more, such as "
            "0.99. Step n uses (1 + n) / (10 + n) as long as that is less.",
            _NORMALISATION,
            from_to(0, 1),
        ),
    ] = 0.9
    epochs: Annotated[
        int, Option("Number of passes over the training split.", _STEPS, at_least(1))
    ] = 50
    batch_size: Annotated[
        int, Option("Number of images per step, over all GPUs together.", _STEPS, at_least(1))
    ] = 8
    image_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Box that whole images are resized to fit, in training and in every later stage; "
            "images keep their size if not given.",
            _IMAGES,
            _SIZE,
            _HEIGHT_WIDTH,
        ),
    ] = None
    crop_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Size of the training crops; --image-size if not given, or else 512,512.",
            _IMAGES,
            _SIZE,
            _HEIGHT_WIDTH,
        ),
    ] = None
    scale: Annotated[
        tuple[float, float],
        Option(
            "Range of the random factor by which training images are resized.",
            _IMAGES,
            _FACTORS,
            "MIN,MAX",
        ),
    ] = (0.5, 2.0)
    flip: Annotated[bool, Option("Mirror training images at random.", _IMAGES)] = True
    augment: Annotated[
        str,
        Option(
            "Random changes of the training images' colours; rand is RandAugment of keras-cv.",
            _IMAGES,
            one_of(*AUGMENT),
        ),
    ] = "standard"
    optimizer: Annotated[
        str,
        Option("Optimizer; the momentum of sgd is 0.9.", _OPTIMIZER, one_of("adamw", "sgd")),
    ] = "adamw"
    learning_rate: Annotated[
        float,
        Option("Highest learning rate; it falls by a poly schedule.", _OPTIMIZER, above(0)),
    ] = 1e-3
    encoder_learning_rate_factor: Annotated[
        float,
        Option(
            "Learning rate and weight decay of the encoder as a share of the other layers', such "
            "as 0.1 with ImageNet weights. 0 keeps its weights; its moving statistics follow "
            "--batch-norm.",
            _OPTIMIZER,
            at_least(0),
        ),
    ] = 1.0
    power: Annotated[
        float, Option("Exponent of the learning rate's poly schedule.", _OPTIMIZER, at_least(0))
    ] = 0.9
    warmup_epochs: Annotated[
        float,
        Option(
            "Number of first epochs over which the learning rate rises.", _OPTIMIZER, at_least(0)
        ),
    ] = 0.0
    weight_decay: Annotated[
        float,
        Option(
            "Decoupled weight decay of the kernels; biases and normalisation have none.",
            _OPTIMIZER,
            at_least(0),
        ),
    ] = 1e-4
    loss: Annotated[
        str,
        Option(
            "Loss of the network: one loss, or a sum of several, each with a factor and arguments "
            "if wanted, as in 'ce + 0.5*lovasz' or 'focal(gamma=3) + dice'. ce is cross-entropy, "
            "ohem cross-entropy of the hardest pixels alone. Or a class of your own, a "
            "keras.losses.Loss that takes labels and logits and ignores label 255.",
            _LOSS,
            _LOSSES,
        ),
    ] = "cross-entropy"
    loss_options: Annotated[
        dict[str, Any],
        Option(
            "Argument of the constructor of a loss of your own, such as gamma=2; may be repeated.",
            _LOSS,
        ),
    ] = field(default_factory=dict)
    auxiliary_weight: Annotated[
        float,
        Option(
            "Weight of the auxiliary head's loss, if the network has such a head.",
            _LOSS,
            at_least(0),
        ),
    ] = 0.4
    class_weights: Annotated[
        str,
        Option(
            "How classes are weighted in ce, focal and ohem: all alike (none), by median frequency "
            "as in SegNet, by its square root, which costs frequent classes less, or in inverse "
            "proportion to their pixels.",
            _LOSS,
            one_of("none", "median-frequency", "sqrt-median-frequency", "inverse-frequency"),
        ),
    ] = "none"
    dice_weight: Annotated[
        float,
        Option(
            "Weight of a Dice loss that is added to --loss: the same as + WEIGHT*dice there.",
            _LOSS,
            at_least(0),
        ),
    ] = 0.0
    evaluate_every: Annotated[
        int, Option("Number of epochs from one evaluation to the next.", _SAVING, at_least(1))
    ] = 1
    keep: Annotated[
        int,
        Option(
            "Number of the newest states of the training that are kept; if one is damaged, "
            "--resume goes on from the one before.",
            _SAVING,
            at_least(1),
        ),
    ] = 2
    cache: Annotated[
        str,
        Option(
            "Where decoded training images are kept: in memory, on disk in the run's folder, or "
            "nowhere (none); auto is memory if they fit into half of what is available.",
            _INPUT,
            one_of("auto", "memory", "disk", "none"),
        ),
    ] = "auto"
    dtype_policy: Annotated[
        str,
        Option(
            "Precision of the computation, as a dtype policy of Keras.",
            _COMPUTATION,
            one_of("float32", "mixed_bfloat16", "mixed_float16"),
        ),
    ] = "float32"
    seed: Annotated[
        int,
        Option(
            "Seed of initial weights, order of the images and augmentation.",
            _COMPUTATION,
            Range("at least 0 and below 2**32", lambda seed: 0 <= seed < 2**32),
        ),
    ] = 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name, declared in fields_of(type(self)).items():
            declared.check(getattr(self, name))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Reads options back from `run.json`, where tuples are lists.

        Raises:
            InputError: If they are not those of this version.
        """
        known = fields_of(cls)
        if stored.keys() - known.keys() or "model" not in stored:
            raise InputError(f"options must be among {', '.join(known)}, got {', '.join(stored)}.")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        return cls(**values)
