"""The fully connected CRF of a run: its parameters in the run folder, and networks with it."""

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
        theta_alpha: Range of the bilateral kernel in pixels.
        theta_beta: Range of the bilateral kernel in intensities of [0, 255].
        gaussian_weight: Weight of the kernel of positions alone.
        theta_gamma: Range of the Gaussian kernel in pixels.

    Raises:
        InputError: If a parameter is out of range.
    """

    num_iterations: int = 10
    bilateral_weight: float = 4.0
    theta_alpha: float = 67.0
    theta_beta: float = 3.0
    gaussian_weight: float = 3.0
    theta_gamma: float = 3.0

    def __post_init__(self) -> None:
        """Checks the ranges with the layer."""
        try:
            self.layer()
        except ValueError as error:
            raise InputError(str(error)) from error

    def layer(self) -> DenseCRF:
        """Makes the layer of the CRF."""
        return DenseCRF(**asdict(self), dtype="float32", name="crf")


def load(folder: Path | str, num_iterations: int | None = None) -> CRFParameters:
    """Returns the parameters that `crf-tune` chose for a run, or DeepLab's if it has not run.

    Args:
        folder: The run folder.
        num_iterations: Number of iterations instead of the run's; None for the run's.

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
    """Writes parameters and the report on their choice into a run.

    Raises:
        InputError: If the file cannot be written.
    """
    with writing_to(folder / FILE):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_json(folder / FILE, {"parameters": asdict(parameters), **report})


def refine(model: keras.Model, parameters: CRFParameters) -> keras.Model:
    """Puts a CRF behind a network and keeps the network's inputs and outputs.

    Args:
        model: Model from images (batch, height, width, 3), RGB in [0, 255], to logits of that size.
        parameters: Parameters of the CRF.

    Returns:
        A model from the same images to logits, whose softmax is the marginals of the CRF.

    Raises:
        InputError: If the model takes other images than RGB images.
    """
    try:
        return inference.refined(model, parameters.layer())
    except ValueError as error:
        raise InputError(str(error)) from error
