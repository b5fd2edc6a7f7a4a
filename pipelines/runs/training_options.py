"""The options of a training run: what `fit` takes, `run.json` records and `--resume` reads back.

Each is declared here, and only here: its name, type, default, help, group and range. What a long
section declares is in a file of its own, such as `optimization_options`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from kerasseg import models, scores
from kerasseg.channels import MAX_CHANNELS

from ..errors import InputError
from . import class_weighting, intervals, loss_terms, option_combinations
from . import optimization_options as optimization
from .guests import is_named
from .option_fields import (
    Option,
    Range,
    at_least,
    documented,
    fields_of,
    from_to,
    one_of,
)

AUGMENT = ("none", "standard", "rand")
STRATEGIES = ("auto", "one", "mirrored", "multi-worker")

# Titles in the help of the command line, in its order.
_NETWORK = "Network"
_WEIGHTS = "Initial weights"
_NORMALISATION = "Batch normalisation"
_STEPS = "Steps"
_IMAGES = "Images"
_OPTIMIZER = optimization.OPTIMIZER
_LOSS = "Loss"
_SAVING = "Evaluation and saved states"
_INPUT = "Input"
_COMPUTATION = "Computation"

_HEIGHT_WIDTH = "HEIGHT,WIDTH"
_SIZE = Range(
    f"{_HEIGHT_WIDTH} from 8 to 16384", lambda size: min(size) >= 8 and max(size) <= 16384
)
_FACTORS = Range("MIN,MAX above 0", lambda scale: 0 < scale[0] <= scale[1])
# What a network of no run has is the name of its file.
_MODEL = Range(
    f"one of {', '.join(models.names())}, FILE.py:FUNCTION or package.module:FUNCTION",
    lambda name: name in models.names() or is_named(name) or name.endswith(".keras"),
    tuple(models.names()),
    "FILE.py:FUNCTION",
)


def _is_loss(text: str) -> bool:
    if text == loss_terms.AUTO or is_named(text):
        return True
    try:
        return bool(loss_terms.parse(text))
    except ValueError as error:  # it tells which term is wrong
        raise InputError(str(error)) from error


_LOSSES = Range(loss_terms.WORDS, _is_loss)
_CLASS_WEIGHTS = Range(
    f"one of {', '.join(class_weighting.METHODS)}, effective-number(beta=B) with B in [0, 1), or a "
    "file of weights",
    class_weighting.is_valid,
    class_weighting.METHODS,
    "FILE",
    # Of numbers in brackets the check of the range tells what is wrong.
    lambda text: class_weighting.is_valid(text) or "(" in text,
)


@documented
@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides a training run, except for the place of its files.

    A new field becomes an option of `kerasseg fit` and a key of its recipes. Its range is checked
    everywhere, and `run.json` records it. Runs of older releases have its default.

    Raises:
        InputError: If a value is out of range or without effect.
    """

    model: Annotated[
        str,
        Option(
            "Architecture of the network, or your own function in a file, or in a module as "
            "package.module:FUNCTION. The function takes num_classes and input_shape and returns "
            "a Keras model of logits.",
            _NETWORK,
            _MODEL,
        ),
    ] = "deeplabv3plus"
    model_options: Annotated[
        dict[str, Any],
        Option(
            "Argument of the architecture or of your own function, such as variant=milesial, or "
            "atrous_rates=6,12,18 for several numbers. May be repeated.",
            _NETWORK,
        ),
    ] = field(default_factory=dict)
    channels: Annotated[
        int | None,
        Option(
            "Number of channels of the images that the network takes, which must be the number of "
            "the dataset's. Unless given, it is that number.",
            _NETWORK,
            Range(
                f"a whole number from 1 to {MAX_CHANNELS}",
                lambda channels: 1 <= channels <= MAX_CHANNELS,
            ),
        ),
    ] = None
    encoder_weights: Annotated[
        str,
        Option(
            "Initial weights of the encoder: none, imagenet, hub:PRESET, or a file with ImageNet "
            "weights. Kernels of RGB images are adapted to images of other channels.",
            _WEIGHTS,
        ),
    ] = "none"
    init_from: Annotated[
        str | None,
        Option(
            "Run folder or .keras file that holds the initial weights of the network.", _WEIGHTS
        ),
    ] = None
    reset_head: Annotated[
        bool,
        Option(
            "Give the classifiers random weights if --init-from has different classes.", _WEIGHTS
        ),
    ] = False
    batch_norm: Annotated[
        str,
        Option(
            "How the network is normalised. train: batch normalisation over the batch on all "
            "GPUs. frozen-statistics: it uses its initial moving statistics instead of the "
            "batch's. frozen-encoder: also its scale and offset stay as they are, in the encoder. "
            "frozen: the same in the whole network. sync: as train, and batch normalisation "
            "layers of Keras in your own network use the batch on all GPUs, too. group: group "
            "normalisation replaces batch normalisation.",
            _NORMALISATION,
            one_of("train", "frozen-statistics", "frozen-encoder", "frozen", "sync", "group"),
        ),
    ] = "train"
    batch_norm_momentum: Annotated[
        float,
        Option(
            "Momentum of batch normalisation's moving averages; small batches need more, such as "
            "0.99. Step n uses (1 + n) / (10 + n) while this is smaller.",
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
    accumulate: Annotated[
        int,
        Option(
            "Number of batches of --batch-size images whose gradients make one step of the "
            "optimizer. With the losses ce and focal the gradient is that of one large batch; "
            "losses of whole regions, such as dice and lovasz, see each batch by itself.",
            _STEPS,
            at_least(1),
        ),
    ] = 1
    image_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Box that whole images are resized to fit, in training and in every later stage. "
            "Unless given, images keep their size.",
            _IMAGES,
            _SIZE,
            _HEIGHT_WIDTH,
        ),
    ] = None
    crop_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Size of the training crops. Unless given, --image-size, or 512,512 without it.",
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
            "Random changes of the training images' colours; of images that are not RGB, standard "
            "changes brightness and contrast only. rand is RandAugment from keras-cv, for RGB "
            "images of 8 bits.",
            _IMAGES,
            one_of(*AUGMENT),
        ),
    ] = "standard"
    optimizer: Annotated[
        str,
        Option("Optimizer; the momentum of sgd is 0.9.", _OPTIMIZER, one_of("adamw", "sgd")),
    ] = "adamw"
    learning_rate: Annotated[float | Literal["auto"], optimization.LEARNING_RATE] = 1e-3
    encoder_learning_rate_factor: Annotated[
        float,
        Option(
            "Factor of the encoder's learning rate and weight decay, such as 0.1 with ImageNet "
            "weights. With 0 the encoder keeps its weights; its moving statistics follow "
            "--batch-norm.",
            _OPTIMIZER,
            at_least(0),
        ),
    ] = 1.0
    head_learning_rate_factor: Annotated[float, optimization.HEAD_LEARNING_RATE_FACTOR] = 1.0
    layer_decay: Annotated[float | None, optimization.LAYER_DECAY] = None
    schedule: Annotated[str, optimization.SCHEDULE] = "poly"
    power: Annotated[float, optimization.POWER] = 0.9
    step_epochs: Annotated[Sequence[int], optimization.STEP_EPOCHS] = ()
    step_factor: Annotated[float, optimization.STEP_FACTOR] = 0.1
    warmup_epochs: Annotated[float, optimization.WARMUP_EPOCHS] = 0.0
    weight_decay: Annotated[
        float,
        Option(
            "Decoupled weight decay of the kernels; biases and normalisation do not decay.",
            _OPTIMIZER,
            at_least(0),
        ),
    ] = 1e-4
    freeze: Annotated[str, optimization.FREEZE] = "none"
    unfreeze_after: Annotated[int | None, optimization.UNFREEZE_AFTER] = None
    clip_norm: Annotated[float | None, optimization.CLIP_NORM] = None
    ema: Annotated[float | None, optimization.EMA] = None
    loss: Annotated[
        str,
        Option(
            "Loss of the network: one loss, or a sum of several, each with an optional factor and "
            "arguments, as in 'ce + 0.5*lovasz' or 'focal(gamma=3) + dice'. ce is cross-entropy; "
            "ohem is the cross-entropy of the hardest pixels only. In ce(boundary_weight=10, "
            "boundary_sigma=5), pixels near a border between classes weigh more. With auto it is "
            "mask-classification for an architecture with queries and cross-entropy for all "
            "others. Or your own class: a keras.losses.Loss that takes labels and logits and "
            "ignores label 255.",
            _LOSS,
            _LOSSES,
        ),
    ] = "auto"
    loss_options: Annotated[
        dict[str, Any],
        Option(
            "Argument of the constructor of your own loss, such as gamma=2. May be repeated.",
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
            "How classes are weighted in the losses ce, focal and ohem: all equally (none), by "
            "median frequency as in SegNet, by its square root, which reduces the weight of "
            "frequent classes less, in inverse proportion to their pixels, or to the effective "
            "number of these, as effective-number(beta=0.9999999). Or by a file with a line "
            "NAME WEIGHT for each class, or a .json file with a number by name; the run records "
            "the numbers.",
            _LOSS,
            _CLASS_WEIGHTS,
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
        int, Option("Number of epochs between two evaluations.", _SAVING, at_least(1))
    ] = 1
    monitor: Annotated[
        str,
        Option(
            "Score of the validation images that decides which network is the best.",
            _SAVING,
            one_of(*scores.MEANINGS),
        ),
    ] = "mean_iou"
    early_stop: Annotated[
        int | None,
        Option(
            "Number of evaluations without a better score, see --monitor, after which the training "
            "ends. Unless given, it ends after all epochs.",
            _SAVING,
            at_least(1),
        ),
    ] = None
    checkpoint_every: Annotated[
        str | None,
        Option(
            "How often the state of the training is saved within an epoch: a number of steps such "
            "as 500, or a time such as 10m. Unless given, it is saved after each epoch only.",
            _SAVING,
            Range(intervals.INTERVAL_WORDS, intervals.is_interval),
            "STEPS|TIME",
        ),
    ] = None
    keep: Annotated[
        int,
        Option(
            "Number of the newest training states to keep; if one is damaged, --resume continues "
            "from the one before.",
            _SAVING,
            at_least(1),
        ),
    ] = 2
    cache: Annotated[
        str,
        Option(
            "Where decoded training images are kept: in memory, on disk in the run folder, or "
            "nowhere (none); auto is memory if they fit into half of the available memory.",
            _INPUT,
            one_of("auto", "memory", "disk", "none"),
        ),
    ] = "auto"
    dtype_policy: Annotated[
        str,
        Option(
            "Precision of the computation, a dtype policy of Keras.",
            _COMPUTATION,
            one_of("float32", "mixed_bfloat16", "mixed_float16"),
        ),
    ] = "float32"
    strategy: Annotated[
        str,
        Option(
            "How the training is distributed. auto: over all GPUs, or on the CPU if there is no "
            "GPU. one: on the first device only. mirrored: over all GPUs, or over all logical CPUs "
            "if there is no GPU. multi-worker: over the GPUs of several hosts, each of which runs "
            "this command and finds the others through TF_CONFIG, Slurm or Kubernetes.",
            _COMPUTATION,
            one_of(*STRATEGIES),
        ),
    ] = "auto"
    seed: Annotated[
        int,
        Option(
            "Seed of the initial weights, the order of the images and the augmentation.",
            _COMPUTATION,
            Range("at least 0 and below 2**32", lambda seed: 0 <= seed < 2**32),
        ),
    ] = 0

    def __post_init__(self) -> None:
        """Checks the ranges, and that no option would be without effect."""
        for name, declared in fields_of(type(self)).items():
            declared.check(getattr(self, name))
        option_combinations.check(self)

    def optimizer_steps(self, examples: int) -> int:
        """Returns the number of the optimizer's steps per epoch of so many training images."""
        return examples // (self.batch_size * self.accumulate)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Reads options back from `run.json`, where tuples are lists.

        Raises:
            InputError: If they are not options of this version.
        """
        known = fields_of(cls)
        if not isinstance(stored, dict):
            raise InputError(f"options must be an object, got {stored!r}.")
        if stored.keys() - known.keys() or "model" not in stored:
            raise InputError(f"options must be among {', '.join(known)}, got {', '.join(stored)}.")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
        }
        return cls(**values)
