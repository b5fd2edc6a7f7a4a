"""Export formats, one per file, found by file name.

Importing one loads neither TensorFlow nor NumPy, as `--help` shows all formats. The file has the
name of the format, which is also the name of the extra with its packages. It has

    HELP: str                          what it is for and what it takes, a phrase for the help
    PACKAGES: tuple                    the modules of its extra; () if it needs none
    FILE: str                          the file that it consists of; "" if it is a folder
    TAKES_CRF: bool                    whether a CRF can be part of it
    TAKES_VIEWS: bool                  whether windows, scales and mirror images can be part of it
    NEEDS_SIZE: bool                   whether it takes images of one size only
    QUANTIZES: tuple                   what it can be quantised to, of `QUANTIZED`; () for nothing
    NOTES: tuple                       lines for the model card
    adapt(model, size) -> model        the network as it is to compute there
    write(model, folder, export) -> Path           the folder for what describes it
    check(model, folder, export) -> dict           what was compared with the network
    describe_input(export) -> str      a sentence for the model card

and, if it is a file, `load(file)`: returns a `portable.Loaded`, for a process that has neither
TensorFlow nor Keras; and `facts(file)`: returns what `write` stored of `Export.facts` in the file,
{} in a file of another program. If it computes otherwise than TensorFlow even where nothing is
quantised, it has `IS_SCORED = True`: each export tells its own score.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kerasseg import lazy

if TYPE_CHECKING:
    import numpy as np

    from ...classes import ClassSpace
    from . import litert as litert
    from . import onnx as onnx
    from . import openvino as openvino
    from . import savedmodel as savedmodel
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

DEFAULT = "savedmodel"
FLOAT16, INT8 = "float16", "int8"
QUANTIZED = (FLOAT16, INT8)


@dataclass(frozen=True)
class Export:
    """An export: the model's name and properties.

    Attributes:
        name: Name of the model.
        classes: Classes of its labels.
        facts: Meaning of the labels and form of the inputs, for `classes.json`.
        size: `(height, width)` at which it computes; None for the images' own size.
        probabilities: Whether the model also returns probabilities.
        temperature: Number by which logits are divided before the softmax of the probabilities.
        quantize: What its numbers are quantised to, one of `QUANTIZED`; None if they are not.
        calibration: Function that yields the images from which the ranges of the activations are
            taken, each (1, height, width, channels), of the `size` if there is one.
        channels: Number of channels of the images.
        bits: Bits of a channel, 8 or 16: images are uint8 or uint16.
    """

    name: str
    classes: "ClassSpace"
    facts: dict[str, Any]
    size: tuple[int, int] | None
    probabilities: bool
    temperature: float = 1.0
    quantize: str | None = None
    calibration: "Callable[[], Iterator[np.ndarray]]" = lambda: iter(())
    channels: int = 3
    bits: int = 8

    @property
    def dtype(self) -> str:
        """Type of the numbers of images."""
        return f"uint{self.bits}"


def names() -> list[str]:
    """Lists the formats, the default one first."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return [DEFAULT, *sorted(found - {DEFAULT})]


def module(name: str) -> ModuleType:
    """Imports a format's file."""
    return importlib.import_module(f"{__name__}.{name}")


def is_scored(name: str) -> bool:
    """Tells whether each export of a format is scored, and not only those that are quantised."""
    return getattr(module(name), "IS_SCORED", False)


def of_file(file: Path) -> ModuleType:
    """Imports the format of a file, by the end of its name."""
    return _by_ending()[file.suffix]


def endings() -> list[str]:
    """Lists the ends of the names of the files that can be loaded, such as ".onnx"."""
    return [ending for ending, found in _by_ending().items() if hasattr(found, "load")]


def _by_ending() -> dict[str, ModuleType]:
    return {Path(found.FILE).suffix: found for found in map(module, names()) if found.FILE}
