"""The CRF inside a SavedModel, against the authors' code: through the C++ loader, as it is served.

The network is one that answers with a reference's own logits, whatever it sees; what an export puts
behind a network does the rest.
"""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from served_models import decode, encode

from kerasseg import serving
from kerasseg.pipelines.runs import crf
from kerasseg.pipelines.serving import saved_model, tensors

SMALL = Path(__file__).parents[1] / "crf" / "scene_66x99_9.npz"
SHARED = Path(__file__).parents[3] / "shared" / "crf"
SETTING = re.compile(r"labels_(xy(\d+)_rgb(\d+)_compat(\d+)_n(\d+))")
# One for continuous integration: each takes seconds.
QUICK = (SMALL, "xy67_rgb3_compat4_n10")


class StoredLogits(keras.layers.Layer):
    def __init__(self, logits):
        super().__init__()
        self.logits = self.add_weight(
            shape=(1, *logits.shape), initializer=keras.initializers.Constant(logits)
        )

    def call(self, images):
        return self.logits + 0 * images[..., :1]

    def compute_output_shape(self, shape):
        return (*shape[:3], self.logits.shape[-1])


def settings():
    for path in (SMALL, *sorted(SHARED.glob("*.npz"))):
        with np.load(path) as stored:
            found = [match for match in map(SETTING.fullmatch, stored) if match]
        for match in found:
            xy, rgb, weight, iterations = (int(group) for group in match.groups()[1:])
            yield pytest.param(
                *(path, match[1], crf.CRFParameters(iterations, weight, xy, rgb)),
                id=f"{path.stem}-{match[1]}",
                marks=() if (path, match[1]) == QUICK else pytest.mark.slow,
            )


@pytest.mark.parametrize(("path", "name", "parameters"), list(settings()))
def test_a_saved_model_gives_the_marginals_of_the_authors_code(path, name, parameters, tmp_path):
    stored = dict(np.load(path))
    logits = np.log(np.maximum(stored["probabilities"].astype(np.float32), 1e-20))
    image, labels = stored["image"], stored[f"labels_{name}"]
    inputs = keras.Input((None, None, 3))
    model = crf.refine(keras.Model(inputs, StoredLogits(logits)(inputs)), parameters)
    colors = [(0, 0, 0)] * logits.shape[-1]
    serving.save(model, tmp_path / "1", colors, probabilities=True)

    served = saved_model.SavedModel(tmp_path / "1")
    answer = served.run({"image": image[np.newaxis]}, signature="probabilities")
    marginals = answer["probabilities"][0]
    (key,) = (k for k in stored if k.startswith("q_") and k.endswith(name))
    step = 4 if "every_4" in key else 3
    differing = np.abs(marginals[::step, ::step] - stored[key]).mean()
    pngs = served.run({serving.INPUT: tensors.strings([encode(image)])})
    maps = {
        "serving_default": decode(pngs[serving.OUTPUT][0]),
        "labels": served.run({"image": image[np.newaxis]}, signature="labels")["labels"][0],
        "probabilities": marginals.argmax(-1),
    }
    equal = {signature: (label == labels).mean() for signature, label in maps.items()}
    print(f"\n{path.stem} {name}: mean |dQ| {differing:.1e}, equal {min(equal.values()):.6f}")
    assert differing <= 1e-6
    assert min(equal.values()) >= 0.9999, equal
    # A graph that lost its CRF would fail.
    assert (labels != logits.argmax(-1)).mean() > 0.002
