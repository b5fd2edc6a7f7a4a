"""Checks, before a training, that its data can be trained on with its options."""

from pathlib import Path

from kerasseg import IGNORE_LABEL
from kerasseg.channels import is_default

from .. import records
from ..errors import ImageFileError, InputError
from ..images import png
from ..inputs.service import check_dispatcher
from ..records import reader
from ..runs import class_weighting
from ..runs.option_fields import check_option
from ..runs.training_options import TrainingOptions


def check(options: TrainingOptions, dataset: records.Dataset) -> None:
    """Checks that a dataset has what a new training with these options needs.

    Runs of older releases may have a warm-up that is longer than the training.

    Raises:
        InputError: If a split has no pixel of a class, or an option does not fit the dataset or the
            number of epochs.
    """
    channels, bits = dataset.channels, dataset.bits
    requirement = f"{channels}, the number of the dataset"
    check_option("channels", options.channels in (None, channels), requirement, options.channels)
    requirement = f"none or standard for images of {channels} channels and {bits} bits"
    fits = options.augment != "rand" or is_default(channels, bits)
    check_option("augment", fits, requirement, options.augment)
    for split in ("train", "validation"):
        if not _holds_a_class(dataset, split):
            raise InputError(
                f"{dataset.root}: labels of split {split} must hold a pixel of some class, got "
                "ignored pixels only; convert labels that are not withheld, or use another --map."
            )
    wanted = options.class_weights != "none" and not class_weighting.is_given(options.class_weights)
    counted = bool(dataset.splits["train"].class_pixels) or not wanted
    requirement = (
        "none or a file for a dataset converted with --verify checksums, which does not count "
        "labels"
    )
    check_option("class_weights", counted, requirement, options.class_weights)
    examples = dataset.splits["train"].examples
    check_option(
        "batch_size",
        options.batch_size <= examples,
        f"at most the {examples} training images",
        options.batch_size,
    )
    most = examples // options.batch_size
    requirement = f"at most the {most} batches of an epoch"
    check_option("accumulate", options.accumulate <= most, requirement, options.accumulate)
    requirement = f"at most the {options.epochs} epochs"
    rises = options.warmup_epochs <= options.epochs
    check_option("warmup_epochs", rises, requirement, options.warmup_epochs)


def _holds_a_class(dataset: records.Dataset, split: str) -> bool:
    """Tells whether any label has a pixel of a class; reads the labels if they were not counted."""
    files, counts = dataset.files(split), dataset.splits[split].class_pixels
    if counts:
        return any(counts)
    try:
        for path in map(Path, files):
            with path.open("rb") as file:
                for frame in reader.frames(file, path.stat().st_size):
                    label = png.decode(reader.parse_example(frame.content)["segmentation_mask"])
                    if (label != IGNORE_LABEL).any():
                        return True
    except (OSError, InputError, ImageFileError):
        return True  # the training reports what is damaged
    return False


def check_service(options: TrainingOptions, service: str | None) -> None:
    """Checks a data service that was asked for.

    Args:
        options: How the network is trained.
        service: HOST:PORT of the service; None for none, which fits any options.

    Raises:
        InputError: If the options do not allow a service, or none answers there.
    """
    if service is not None:
        alone = options.strategy != "multi-worker"
        requirement = "left out with strategy multi-worker, whose workers make their own batches"
        check_option("data_service", alone, requirement, service)
        requirement = "auto or none with a data service, whose workers decode the images"
        check_option("cache", options.cache in ("auto", "none"), requirement, options.cache)
        check_dispatcher(service)
