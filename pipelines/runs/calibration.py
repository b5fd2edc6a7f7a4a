"""The calibration of a run: the temperature that `kerasseg calibrate` fitted to its network.

Logits divided by the temperature give probabilities that agree with how often the network is right
(Guo et al. 2017). The largest logit stays the largest, so labels do not change. A temperature
belongs to one network and to one view: after more training, for the other checkpoint of the run, or
for other windows and scales, it is not in force.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasseg import atomic_files

from ..errors import InputError, writing_to
from . import trained_networks
from .crf import CRFParameters
from .views import WHOLE, View

FILE = "calibration.json"
_AGAIN = "run 'kerasseg calibrate' again"


@dataclass(frozen=True)
class InForce:
    """Which temperature probabilities are computed with, and why.

    Attributes:
        temperature: Number by which logits are divided before softmax.
        told: A sentence for the user.
    """

    temperature: float
    told: str


def of_network(
    path: Path | str,
    checkpoint: str | None = None,
    crf: CRFParameters | None = None,
    view: View = WHOLE,
) -> InForce:
    """Returns the temperature that is in force for a network; 1 if none was fitted to it.

    Args:
        path: A run folder or a `.keras` file.
        checkpoint: Network of a run, "best" or "last"; None for the one that commands take.
        crf: Parameters of the CRF whose marginals are the probabilities, for which no temperature
            is fitted; None for no CRF.
        view: Windows, scales and mirror images in which the network sees an image.

    Raises:
        InputError: If the network or the file of the calibration cannot be read.
    """
    network = trained_networks.file_of(path, checkpoint)  # first: nothing is true of no network
    file = trained_networks.results_folder(path) / FILE
    if crf is not None and crf.num_iterations:
        return InForce(1.0, "Probabilities are the CRF's marginals, which are not calibrated.")
    if not file.is_file():
        return InForce(
            1.0, "Probabilities are not calibrated; 'kerasseg calibrate' fits a temperature."
        )
    temperature, sha256, seen = _read(file)
    if hash_of(network) != sha256:
        return InForce(
            1.0,
            f"Probabilities are not calibrated: {file} was fitted to another network than "
            f"{network}; {_AGAIN} for this one.",
        )
    if seen != _stored(view):
        return InForce(
            1.0,
            f"Probabilities are not calibrated: {file} was fitted to other windows, scales or "
            f"mirror images than {view}; {_AGAIN} with the same options.",
        )
    return InForce(temperature, f"Probabilities are calibrated with temperature {temperature:.4g}.")


def _stored(view: View) -> Any:
    """Returns a view as JSON stores it."""
    return json.loads(json.dumps(view.facts()))


def _read(file: Path) -> tuple[float, str, Any]:
    """Reads temperature, hash of the network, and view."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        temperature, sha256 = float(content["temperature"]), str(content["network"]["sha256"])
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be above 0, got {temperature}")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error!r}); {_AGAIN}.") from error
    return temperature, sha256, content.get("view")


def save(folder: Path, report: dict[str, Any]) -> Path:
    """Writes the report of a calibration, with `temperature` and `network`, into a run.

    Raises:
        InputError: If the file cannot be written.
    """
    with writing_to(folder / FILE):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_json(folder / FILE, report)
    return folder / FILE


def hash_of(network: Path) -> str:
    """Returns the SHA-256 of a network's file, by which a calibration knows it again."""
    with network.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
