"""What this installation has, and what it lacks."""

import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .runs import run_folder

_EXTRAS = {
    "cuda": "nvidia-cudnn-cu12",
    "hub": "keras-hub",
    "serving": "tensorflow-serving-api",
    "beam": "apache-beam",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: What was looked at.
        found: What was found.
        remedy: What to do about it; empty when all is well.
        fatal: Whether kerasseg cannot work like this.
    """

    what: str
    found: str
    remedy: str = ""
    fatal: bool = False


def run() -> list[Finding]:
    """Examines versions, backend, devices, optional packages and disk."""
    findings = [Finding(name, version) for name, version in run_folder.versions().items()]
    findings += [_backend(), _rival_tensorflow(), *_devices()]
    findings += [_extra(name, package) for name, package in _EXTRAS.items()]
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    findings.append(
        Finding("free disk here", f"{free:.1f} GiB", "free some space" if free < 1 else "")
    )
    return findings


def _backend() -> Finding:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    wrong = backend != "tensorflow"
    remedy = "unset KERAS_BACKEND, or set it to tensorflow" if wrong else ""
    return Finding("Keras backend", backend, remedy, wrong)


def _rival_tensorflow() -> Finding:
    """Looks for tensorflow-cpu, which writes over the files of tensorflow."""
    try:
        version = metadata.version("tensorflow-cpu")
    except metadata.PackageNotFoundError:
        return Finding("tensorflow-cpu", "not installed, as it should be")
    remedy = "pip uninstall tensorflow-cpu tensorflow; pip install tensorflow"
    return Finding("tensorflow-cpu", version, remedy, fatal=True)


def _devices() -> list[Finding]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    found = [tf.config.experimental.get_device_details(gpu).get("device_name", "") for gpu in gpus]
    remedy = "" if gpus else "training uses the CPU; for NVIDIA GPUs: pip install 'kerasseg[cuda]'"
    return [
        Finding("GPUs", ", ".join(found) or "none", remedy),
        Finding("CPU cores", str(os.cpu_count())),
    ]


def _extra(name: str, package: str) -> Finding:
    try:
        return Finding(f"extra {name}", f"{package} {metadata.version(package)}")
    except metadata.PackageNotFoundError:
        return Finding(f"extra {name}", "not installed", f"pip install 'kerasseg[{name}]'")
