"""The team of a training: which workers there are, and what they must have in common."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import records
from ..runs import run_folder
from ..runs.option_fields import check_option
from ..runs.training_options import TrainingOptions
from ..workers import cluster, team

_PACKAGES = ("kerasseg", "tensorflow", "keras")


def find_cluster(options: TrainingOptions, devices: Sequence[str] | None) -> cluster.Cluster | None:
    """Reads the workers of a training from the environment; None if it is in one process.

    Args:
        options: Options of the training.
        devices: Names of devices that were asked for.

    Raises:
        InputError: If the environment does not describe them, or an option does not fit them.
    """
    if options.strategy != "multi-worker":
        return None
    requirement = "left out with strategy multi-worker, which takes all devices of each worker"
    check_option("devices", devices is None, requirement, devices)
    requirement = "a number with strategy multi-worker, as a range test is made in one process"
    check_option("learning_rate", options.learning_rate != "auto", requirement, "auto")
    return cluster.read(os.environ)


def facts(options: TrainingOptions, dataset: records.Dataset, position: Any) -> dict[str, Any]:
    """Lists what all workers must have in common.

    Args:
        options: Options of the training.
        dataset: The converted dataset.
        position: Where the training begins.
    """
    versions = run_folder.versions()
    chosen = dataclasses.asdict(options)
    return {
        "position of the training": position,
        "fingerprint of the dataset": dataset.fingerprint,
        **{f"version of {name}": versions[name] for name in _PACKAGES},
        **{f"option {name}": value for name, value in chosen.items()},
    }


def assemble(
    options: TrainingOptions,
    devices: Sequence[str] | None,
    known: cluster.Cluster | None,
    facts: Mapping[str, Any],
    on_notice: Callable[[str], None],
) -> team.Team:
    """Makes the strategy of a training, once all workers are there, and says what it is.

    Args:
        options: Options of the training.
        devices: Names of the devices; None for those of the strategy.
        known: The workers; None for this process alone.
        facts: What all workers must have in common.
        on_notice: Called with lines that say who is waited for, and what the strategy is.

    Raises:
        InputError: If the workers do not meet, or cannot share out a batch.
    """
    limit = cluster.seconds_to_wait(os.environ)
    workers = team.assemble(
        options.strategy, devices, known, facts, limit=limit, on_notice=on_notice
    )
    images = options.batch_size
    requirement = f"a multiple of the {workers.replicas} replicas"
    check_option("batch_size", images % workers.replicas == 0, requirement, images)
    on_notice(workers.describe(options.strategy, images))
    return workers
