"""The devices of a run: all GPUs, or one CPU when there is none."""

import functools
from collections.abc import Sequence

import tensorflow as tf


def mirrored_strategy(devices: Sequence[str] | None = None) -> tf.distribute.MirroredStrategy:
    """Makes the strategy of training and evaluation.

    Args:
        devices: Names of the devices, with one replica each; None for all GPUs, or else the CPU.
    """
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    return _strategy(tuple(devices or gpus or ["CPU:0"]))


@functools.cache
def _strategy(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    # One strategy per process and set of devices: a new one numbers its collective operations from
    # the start again, and TensorFlow confuses them with the earlier ones ("Shape mismatch in the
    # collective instance").
    return tf.distribute.MirroredStrategy(list(devices))
