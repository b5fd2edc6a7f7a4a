"""The fully connected CRF of a run: its parameters, kept in the run, and networks with it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras

from kerasseg import atomic_files, inference
from kerasseg.layers import DenseCRF

from ..errors import InputError, writing_to

FILE = "crf.json"


@dataclass(frozen=True)
class CRFParameters:
    """The arguments of `kerasseg.layers.DenseCRF`.

    Attributes:
        num_iterations: Number of mean-field iterations.
        bilateral_weight: Weight of the kernel of positions and colours.
        theta_alpha: Its range in pixels.
        theta_beta: Its range in intensities of [0, 255].
        gaussian_weight: Weight of the kernel of positions alone.
        theta_gamma: Its range in pixels.

    Raises:
        InputError: If one is out of range.
    """

    num_iterations: int = 10
    bilateral_weight: float = 4.0
    theta_alpha: float = 67.0
    theta_beta: float = 3.0
    gaussian_weight: float = 3.0
    theta_gamma: float = 3.0

    def __post_init__(self) -> None:
        """Checks the ranges, as the layer does."""
        try:
            self.layer()
        except ValueError as error:
            raise InputError(str(error)) from error

    def layer(self) -> DenseCRF:
        """Makes the layer."""
        return DenseCRF(**asdict(self), dtype="float32", name="crf")


def load(folder: Path | str, num_iterations: int | None = None) -> CRFParameters:
    """Returns the parameters that `crf-tune` chose for a run, DeepLab's where it has not been run.

    Args:
        folder: The run.
        num_iterations: Instead of the run's; None for these.

    Raises:
        InputError: If the file in the run is damaged.
    """
    path = Path(folder) / FILE
    parameters = {}
    if path.is_file():
        try:
            parameters = json.loads(path.read_text(encoding="utf-8"))["parameters"]
            CRFParameters(**parameters)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: damaged ({error!r}); run 'kerasseg crf-tune' again."
            ) from error
    if num_iterations is not None:
        parameters = {**parameters, "num_iterations": num_iterations}
    return CRFParameters(**parameters)


def save(folder: Path, parameters: CRFParameters, report: dict) -> None:
    """Writes parameters, and how they were found, into a run.

    Raises:
        InputError: If the file cannot be written.
    """
    with writing_to(folder / FILE):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_json(folder / FILE, {"parameters": asdict(parameters), **report})


def refine(model: keras.Model, parameters: CRFParameters) -> keras.Model:
    """Puts a CRF behind a network; the result takes and gives what the network does.

    Args:
        model: From images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        parameters: Of the CRF.

    Returns:
        A model from the same images to logits whose softmax are the CRF's marginals.
    """
    return inference.refined(model, parameters.layer())
