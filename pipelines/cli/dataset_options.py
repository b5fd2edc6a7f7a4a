"""The options that say what a raw dataset is like: those of `convert` and `check`."""

from typing import Any

import click

from ..classes import LABELS_ARE
from .parameter_types import Numbers, existing_file, existing_folder, parse_values


def dataset_options(command):
    """Declares what only some datasets take; a dataset refuses those that are not its own."""
    for option in reversed(
        (
            click.option(
                "--classes",
                type=int,
                help="cityscapes: number of classes, 19 or 30; camvid: 11 or 32.",
            ),
            click.option(
                "--coarse",
                is_flag=True,
                default=None,
                help="cityscapes: add the coarse labels, train_extra, to train.",
            ),
            click.option(
                "--sbd",
                type=existing_folder,
                help="voc2012: folder of SBD, whose images make train the larger trainaug.",
            ),
            click.option("--release", help="mapillary: release of the labels, v1.2 or v2.0."),
            click.option("--task", help="coco: which labels to convert, panoptic, stuff or voc."),
            click.option(
                "--palette",
                type=existing_file,
                help="folder, tfds: file that lists the classes, with or without colours.",
            ),
            click.option(
                "--ignore",
                metavar="VALUE,...",
                multiple=True,
                callback=parse_values,
                help="folder, tfds: label values to ignore, besides 255; may be given again.",
            ),
            click.option(
                "--labels-are",
                type=click.Choice(LABELS_ARE),
                help="folder, tfds: what labels with a palette mean, and gray labels saved as RGB: "
                "the stored numbers or the colours. Unless given, the colours of the classes tell.",
            ),
            click.option(
                "--images",
                metavar="DIR",
                help="folder: where the images are below the source, images unless given; {split} "
                "stands for the split, as in {split}/images.",
            ),
            click.option(
                "--labels",
                metavar="DIR",
                help="folder: where the labels are below the source, labels unless given; {split} "
                "stands for the split.",
            ),
            click.option(
                "--image-suffix",
                help="folder: end of the images' names, such as _rgb or _rgb.png.",
            ),
            click.option("--label-suffix", help="folder: end of the labels' names, such as _mask."),
            click.option(
                "--skip-unlabelled",
                is_flag=True,
                default=None,
                help="folder: leave images without a label out, and count them.",
            ),
            click.option(
                "--split-fractions",
                type=Numbers(float, "TRAIN,VALIDATION,TEST"),
                help="folder, tfds: splits by chance, where nothing else tells them; of train "
                "alone, for a split that is not there.",
            ),
            click.option("--image-feature", help="tfds: the feature that is the image."),
            click.option("--label-feature", help="tfds: the feature that is the label."),
        )
    ):
        command = option(command)
    return command


def given_dataset_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keeps the options of `dataset_options` that were given."""
    return {name: value for name, value in options.items() if value is not None}
