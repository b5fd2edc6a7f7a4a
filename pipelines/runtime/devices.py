"""The devices of a run: by default all GPUs, or one CPU when there is none."""

import contextlib
import functools
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf


def mirrored_strategy(devices: Sequence[str] | None = None) -> tf.distribute.MirroredStrategy:
    """Makes the strategy of training and evaluation.

    Args:
        devices: Names of the devices, with one replica each; None for all GPUs, or else the CPU.
    """
    chosen = devices or _names("GPU") or ["CPU:0"]
    # The same devices by another name would be another strategy, see there.
    return _strategy(tuple(name.removeprefix("/device:") for name in chosen))


@functools.cache
def _strategy(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    # One strategy per process and set of devices: a new one numbers its collective operations from
    # the start again, and TensorFlow confuses them with the earlier ones ("Shape mismatch in the
    # collective instance").
    return tf.distribute.MirroredStrategy(list(devices))


def local_strategy(kind: str, devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Makes the strategy of a training in one process.

    Args:
        kind: "auto" for all GPUs, or else the CPU; "mirrored" for all devices, which are all GPUs,
            or else all logical CPUs; "one" for the first of them, without mirroring.
        devices: Names of the devices in their place; None for those of `kind`.
    """
    if kind == "one":
        return tf.distribute.OneDeviceStrategy((devices or _names("GPU") or ["CPU:0"])[0])
    everything = _names("GPU") or _names("CPU")
    return mirrored_strategy(devices or (everything if kind == "mirrored" else None))


def _names(kind: str) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices(kind)]


def descriptions(strategy: tf.distribute.Strategy) -> list[str]:
    """Describes the devices of a strategy for people, such as "GPU:0, NVIDIA H200"."""
    return [_describe(name) for name in strategy.extended.worker_devices]


def _describe(name: str) -> str:
    kind, _, number = name.rpartition("device:")[2].partition(":")
    if kind != "GPU":
        return f"{kind}:{number}, {os.cpu_count()} cores"
    gpus = tf.config.list_physical_devices(kind)
    details = tf.config.experimental.get_device_details(gpus[int(number) % len(gpus)])
    return f"{kind}:{number}, {details.get('device_name', 'unknown')}"


def memory_in_use() -> int | None:
    """Returns the bytes in use on the first GPU, or by this process without a GPU.

    None where the system does not tell, which only Linux does.
    """
    if gpus := tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info(gpus[0].name)["current"]
    with contextlib.suppress(OSError, ValueError, IndexError):
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        return resident * resource.getpagesize()
    return None


def gpu_memory() -> int | None:
    """Returns the bytes of the first GPU that TensorFlow may still take; None without a GPU."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return None
    from tensorflow.python.client import device_lib  # its public API does not tell the limit

    limits = [d.memory_limit for d in device_lib.list_local_devices() if d.device_type == "GPU"]
    used = tf.config.experimental.get_memory_info(gpus[0].name)["current"]
    return limits[0] - used if limits else None
