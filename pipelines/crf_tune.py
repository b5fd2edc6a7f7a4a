"""Search for the CRF parameters that suit a run: from coarse to fine, as DeepLab's authors did it.

The logits of some validation images are computed once, and every candidate is scored by its mean
IoU on these images. The search begins with a coarse grid over the parameters of the bilateral
kernel. From the best point of the grid, each parameter in turn is multiplied and divided by a
factor as long as the score improves, first by a large factor and then by a small one. In the end
the network alone and the network with the CRF are scored on the whole split.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import IGNORE_LABEL, inference, metrics
from kerasseg.layers.crf import mean_field

from . import inputs, records
from .errors import InputError
from .evaluations import resampling
from .runs import crf, trained_networks
from .runs.crf import CRFParameters
from .runs.views import WHOLE, View, seen

# DeepLab v1, section 4.1, searches weights of 3 to 6, 30 to 100 pixels and 3 to 6 intensities;
# other datasets need wider ranges.
_COARSE = {
    "bilateral_weight": (2.0, 5.0),
    "theta_alpha": (30.0, 80.0),
    "theta_beta": (3.0, 6.0, 12.0),
}
# The same order as in `CRFParameters`.
_REFINED = ("bilateral_weight", "theta_alpha", "theta_beta", "gaussian_weight", "theta_gamma")
_FACTORS = (1.6, 1.25)
_BOUNDARY = 5  # pixels from a boundary of the label to each side that count as near it


def run(
    folder: Path | str,
    *,
    data: Path | str | None = None,
    images: int = 30,
    num_iterations: int = 10,
    view: View = WHOLE,
    code: Sequence[str] = (),
    on_progress: Callable[[str, float], None] = lambda tried, score: None,
) -> dict[str, Any]:
    """Searches for the best CRF parameters on the validation split, and stores them in the run.

    Args:
        folder: The run, or a `.keras` file.
        data: Folder of a converted dataset with the same classes; None for the dataset of the run's
            training. A `.keras` file needs it.
        images: Number of validation images that the search uses, spread over the split.
        num_iterations: Number of mean-field iterations, the same for all candidates.
        view: Windows, scales and mirror images in which the network sees an image before the CRF.
        code: Files and modules with code that the network needs. They are executed; for a run, only
            if the run was trained with the same code.
        on_progress: Called with a description of each candidate and its mean IoU.

    Returns:
        A report with these keys: `parameters`, the best ones; `network` and `crf`, the scores of
        the network without and with the CRF on the whole split, each `mean_iou` and
        `boundary_mean_iou` (over the pixels within 5 pixels of a boundary of the label); `gain`,
        what the CRF adds to both scores, with a 95 % bootstrap interval over the images;
        `crf_milliseconds`, the median time of the CRF per image; `images`, their number;
        `candidates`, the number of parameter sets that were tried on `search_images` images;
        `view`, its attributes or None; and `dataset` and `fingerprint` of the converted dataset.

    Raises:
        InputError: If the run or the dataset cannot be used.
    """
    if images < 1:
        raise InputError(f"images must be at least 1, got {images}.")
    described, model = trained_networks.load(folder, data=data, code=code)
    dataset = described.open_dataset(None if data is None else Path(data))
    crf.refine(model, CRFParameters())  # checks that the images are RGB
    examples = _Examples(seen(model, view), dataset)
    chosen = list(examples.spread(images))
    tried: dict[CRFParameters, float] = {}

    def score(parameters: CRFParameters) -> float:
        if parameters not in tried:
            matrices = [
                examples.count(label, examples.refine(parameters, image, logits))[0]
                for image, label, logits in chosen
            ]
            tried[parameters] = float(_mean_iou(np.sum(matrices, axis=0)))
            on_progress(_describe(parameters), tried[parameters])
        return tried[parameters]

    best = _search(CRFParameters(num_iterations=num_iterations), score)
    report = {
        **_compare(examples, best),
        "candidates": len(tried),
        "search_images": len(chosen),
        "view": view.facts(),
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
    }
    crf.save(output_file(folder).parent, best, report)
    return {"parameters": asdict(best), **report}


def output_file(folder: Path | str) -> Path:
    """Returns the file that holds the parameters of a run or of a `.keras` file."""
    return trained_networks.results_folder(folder) / crf.FILE


def _search(start: CRFParameters, score: Callable[[CRFParameters], float]) -> CRFParameters:
    grid = [
        replace(start, **dict(zip(_COARSE, values, strict=True)))
        for values in itertools.product(*_COARSE.values())
    ]
    best = max(grid, key=score)
    for factor in _FACTORS:
        for name in _REFINED:
            for step in (factor, 1 / factor):
                while True:
                    moved = replace(best, **{name: round(getattr(best, name) * step, 3)})
                    if score(moved) <= score(best):
                        break
                    best = moved
    return best


class _Examples:
    """The validation images of a run with its network's logits.

    Args:
        model: The network of the run.
        dataset: The converted dataset.
    """

    def __init__(self, model: keras.Model, dataset: records.Dataset):
        self.num_classes = len(dataset.classes.names)
        self._dataset = dataset
        self._files = dataset.files("validation")
        compute = inference.with_constant_weights(model)
        self._compute_logits = tf.function(
            lambda image: compute(image[tf.newaxis], training=False)[0],
            input_signature=[tf.TensorSpec((None, None, 3), tf.float32)],
        )

    def __iter__(self) -> Iterator[tuple]:
        """Yields float32 image, uint8 label and float32 logits of every validation image."""
        return self.spread(self._dataset.splits["validation"].examples)

    def spread(self, count: int) -> Iterator[tuple]:
        """Yields the same for this number of images, spread evenly over the split."""
        total = self._dataset.splits["validation"].examples
        places = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
        with records.reading(self._dataset):
            batches = inputs.evaluation_batches(self._files, 1, **self._dataset.image_form)
            for place, batch in enumerate(batches):
                if place in places:
                    image, label = tf.cast(batch[0][0], tf.float32), batch[1][0]
                    yield image, label, self._compute_logits(image)

    def count(self, label, scores) -> list[np.ndarray]:
        """Returns two confusion matrices of one image: of all pixels, and of those at boundaries.

        Args:
            label: uint8 (height, width).
            scores: Logits or marginals, float32 (height, width, classes).
        """
        prediction = tf.argmax(scores, axis=-1, output_type=tf.int32)
        band = tf.where(_near_boundary(label), label, IGNORE_LABEL)
        matrices = []
        with records.reading(self._dataset):
            for of in (label, band):
                matrix, invalid = metrics.confusion_matrix(of, prediction, self.num_classes)
                metrics.refuse_invalid(invalid, self.num_classes)
                matrices.append(matrix.numpy())
        return matrices

    def refine(self, parameters: CRFParameters, image, logits):
        """Returns the marginals that the CRF computes for one image."""
        iterations, *others = asdict(parameters).values()
        return self._refiner(iterations)(tf.constant(others, tf.float32), image, logits)

    @functools.cached_property
    def _refiner(self) -> Callable[[int], Callable]:
        """Builds a graph per number of iterations; the other parameters are its inputs."""

        def build(num_iterations):
            def refine(others, image, logits):
                values = zip(_REFINED, tf.unstack(others), strict=True)
                return mean_field(image, logits, num_iterations=num_iterations, **dict(values))

            # For images of any size: each further trace would take longer than many images.
            signature = [
                tf.TensorSpec((len(_REFINED),), tf.float32),
                tf.TensorSpec((None, None, 3), tf.float32),
                tf.TensorSpec((None, None, self.num_classes), tf.float32),
            ]
            return tf.function(refine, input_signature=signature)

        return functools.cache(build)


def _near_boundary(label):
    """Marks the pixels within `_BOUNDARY` pixels of another class; ignored pixels are no class."""
    classes = tf.cast(label, tf.float32)[tf.newaxis, :, :, tf.newaxis]
    ignored = classes == IGNORE_LABEL
    size = 2 * _BOUNDARY + 1
    highest = tf.nn.max_pool2d(tf.where(ignored, -1.0, classes), size, 1, "SAME")
    lowest = -tf.nn.max_pool2d(tf.where(ignored, -256.0, -classes), size, 1, "SAME")
    return (highest > lowest)[0, :, :, 0]


def _compare(examples: _Examples, best: CRFParameters) -> dict[str, Any]:
    """Scores the network without and with the CRF on the whole split."""
    counts: dict[str, list] = {"network": [], "crf": []}
    milliseconds = []
    for image, label, logits in examples:
        begun = time.perf_counter()
        marginals = examples.refine(best, image, logits).numpy()
        milliseconds.append(1000 * (time.perf_counter() - begun))
        counts["network"].append(examples.count(label, logits))
        counts["crf"].append(examples.count(label, marginals))
    stacked = {name: np.array(matrices) for name, matrices in counts.items()}
    report: dict[str, Any] = {
        name: {
            "mean_iou": float(_mean_iou(matrices[:, 0].sum(0))),
            "boundary_mean_iou": float(_mean_iou(matrices[:, 1].sum(0))),
        }
        for name, matrices in stacked.items()
    }
    report["gain"] = {
        name: _gain(stacked["network"][:, kind], stacked["crf"][:, kind])
        for kind, name in enumerate(("mean_iou", "boundary_mean_iou"))
    }
    return {
        **report,
        "crf_milliseconds": float(np.median(milliseconds)),
        "images": len(milliseconds),
    }


def _gain(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Computes the gain in mean IoU and its 95 % interval of a bootstrap over the images."""
    gain, interval = resampling.gain(before, after, _mean_iou)
    return {"gain": float(gain), "interval": interval.tolist()}


def _mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Computes the mean IoU of matrices (..., classes, classes); 0 without pixels."""
    return np.nan_to_num(metrics.mean_iou(matrix))


def _describe(parameters: CRFParameters) -> str:
    return (
        f"bilateral {parameters.bilateral_weight:g} ({parameters.theta_alpha:g} pixels, "
        f"{parameters.theta_beta:g} intensities), Gaussian {parameters.gaussian_weight:g} "
        f"({parameters.theta_gamma:g} pixels)"
    )
