"""Running a file as a device does: with LiteRT, ONNX Runtime or OpenVINO alone.

As a program (`python -m kerasseg.pipelines.exports.portable FILE IN OUT`) it answers the arrays of
the archive IN in the archive OUT. Running a file in the exporting process or with TensorFlow's own
interpreter would prove little, as that has all of TensorFlow's operations.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasseg.channels import is_default

from ..runtime import clean_process

if TYPE_CHECKING:
    import numpy as np

    from .formats import Export

INPUT = "image"
LABELS, PROBABILITIES = "labels", "probabilities"
SIGNATURE = "serving_default"
# Facts of an export that a file is read for.
CLASS_NAMES, COLORS, CHANNELS = "class_names", "colors", "channels"
FINGERPRINT = "classes_fingerprint"  # which files of other programs lack
FACTS = (CLASS_NAMES, COLORS, CHANNELS, FINGERPRINT)


@dataclass(frozen=True)
class Loaded:
    """A file in its runtime, which is called with images.

    Attributes:
        shape: Shape of the images that it takes; None for any batch size, height or width.
        run: Function from images (batch, height, width, channels) to the outputs by name.
        bits: Bits of a channel: images are uint8 or uint16.
    """

    shape: tuple[int | None, ...]
    run: "Callable[[np.ndarray], dict[str, np.ndarray]]"
    bits: int = 8

    def __call__(self, images: "np.ndarray") -> "dict[str, np.ndarray]":
        """Answers images of the shape."""
        return self.run(images)


def predict_in_clean_process(
    file: Path, batches: "list[np.ndarray]"
) -> "list[dict[str, np.ndarray]]":
    """Sends images through a file in a process without Keras and TensorFlow.

    Args:
        file: A file of one of the formats.
        batches: Arrays (batch, height, width, channels) of types and sizes that the file takes.

    Returns:
        The outputs of each batch by name.

    Raises:
        InputError: If the file cannot be loaded or run there.
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        requests, answers = Path(scratch, "in.npz"), Path(scratch, "out.npz")
        names = [f"{index:06d}" for index in range(len(batches))]
        arrays: dict[str, Any] = dict(zip(names, batches, strict=True))
        np.savez(requests, **arrays)
        clean_process.run(__name__, file, requests, answers)
        found: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
        with np.load(answers) as archive:
            for key in archive.files:
                name, _, output = key.partition(" ")
                found[name][output] = archive[key]
        return list(found.values())


def facts_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the facts of an export that a file stores as texts; {} for a foreign file."""
    if FINGERPRINT not in texts:
        return {}
    names = (CLASS_NAMES, COLORS, CHANNELS)
    return {name: json.loads(texts[name]) for name in names if name in texts}


def describe_input(export: "Export") -> str:
    """Describes inputs and outputs of a file for its model card."""
    size = export.size
    taken = f"of {size[0]} x {size[1]} (height x width)" if size else "of any size"
    return f"Takes {describe_images(export, taken)}; gives a class for each pixel, uint8."


def describe_images(export: "Export", taken: str = "") -> str:
    """Describes the images of a file, with words on their size."""
    images = "RGB images"
    if not is_default(export.channels, export.bits):
        images = f"images of {export.channels} channel{'s' if export.channels > 1 else ''}"
    return f"{f'{images} {taken}'.strip()}, {export.dtype} in [0, {2**export.bits - 1}]"


def main() -> None:
    """Answers an archive of arrays; see the module's description."""
    import numpy as np

    from . import formats

    file, requests, answers = (Path(argument) for argument in sys.argv[1:4])
    run = formats.of_file(file).load(file)
    found: dict[str, Any] = {}
    with np.load(requests) as archive:
        for name in archive.files:
            for output, array in run(archive[name]).items():
                found[f"{name} {output}"] = array
    np.savez(answers, **found)
    if {"keras", "tensorflow"} & sys.modules.keys():
        raise RuntimeError("Keras or TensorFlow was imported: this proves nothing about a device")


if __name__ == "__main__":
    main()
