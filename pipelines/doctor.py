"""The state of this installation: what it has and what it lacks."""

import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from .runs import run_folder
from .runtime import cores

_FOR_DEVELOPERS = ("dev", "bench", "docs")


@dataclass(frozen=True)
class Finding:
    """One line of the report on the installation.

    Attributes:
        what: The thing that was examined.
        found: What was found.
        remedy: How to correct it; empty if all is well.
        fatal: Whether kerasseg cannot work in this state.
    """

    what: str
    found: str
    remedy: str = ""
    fatal: bool = False


def run() -> list[Finding]:
    """Examines versions, backend, devices, required and optional packages, and disk."""
    findings = [Finding(name, version) for name, version in run_folder.versions().items()]
    findings += [_backend(), _rival_tensorflow(), *_devices(), _requirements()]
    extras = metadata.metadata("kerasseg").get_all("Provides-Extra", [])
    findings += [_extra(name) for name in extras if name not in _FOR_DEVELOPERS]
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
    """Looks for tensorflow-cpu, which overwrites files of tensorflow."""
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
        Finding("CPU cores", f"{cores.count()} of {os.cpu_count()}"),
    ]


def _requirements() -> Finding:
    """Examines whether the required packages are there in the versions that kerasseg supports."""
    wrong = [what for what in map(_shortcoming, _required("kerasseg")) if what]
    remedy = "pip install --upgrade kerasseg" if wrong else ""
    return Finding("required packages", "; ".join(wrong) or "all installed", remedy)


def _extra(name: str) -> Finding:
    required = _required("kerasseg", name)
    wrong = [what for what in map(_shortcoming, required) if what]
    if not wrong:
        versions = [f"{package.name} {metadata.version(package.name)}" for package in required]
        return Finding(f"extra {name}", ", ".join(versions))
    return Finding(f"extra {name}", "; ".join(wrong), f"pip install 'kerasseg[{name}]'")


def _required(package: str, extra: str = "") -> list[Requirement]:
    """Returns the requirements of a package here, or only those that one of its extras adds."""
    found = []
    for requirement in map(Requirement, metadata.requires(package) or []):
        always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        with_extra = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if with_extra and (always == (not extra)):
            found.append(requirement)
    return found


def _shortcoming(requirement: Requirement) -> str:
    """Describes what is wrong with an installed package or its extras; empty if nothing is."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} must be {requirement.specifier}, got {version}"
    parts = [part for extra in requirement.extras for part in _required(requirement.name, extra)]
    return next((what for what in map(_shortcoming, parts) if what), "")
