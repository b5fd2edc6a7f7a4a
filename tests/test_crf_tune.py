"""The search for the parameters of a CRF; what it finds, tests/test_refinement.py tests."""

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg.pipelines import crf_tune, records
from kerasseg.pipelines.runs.crf import CRFParameters
from kerasseg.pipelines.runs.views import View, seen


def test_the_crf_is_traced_once_for_images_of_all_sizes(tiny_data):
    image = keras.Input((None, None, 3))
    network = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    examples = crf_tune._Examples(network, records.load(tiny_data))
    sizes = set()
    for pixels, _, logits in examples:
        marginals = examples.refine(CRFParameters(num_iterations=1), pixels, logits)
        assert marginals.shape == logits.shape
        sizes.add(tuple(logits.shape))
    assert len(sizes) == 2
    assert examples._refiner(1).experimental_get_tracing_count() == 1


def test_the_network_sees_the_view_before_the_crf(tiny_run, tiny_data, monkeypatch):
    made = []

    def stop(model, dataset):
        made.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(crf_tune, "_Examples", stop)
    view = View((24, 32), (16, 20), flip=True)
    with pytest.raises(KeyboardInterrupt):
        crf_tune.run(tiny_run, data=tiny_data, view=view)
    (model,) = made
    image = np.random.default_rng(0).uniform(0, 255, (1, 30, 40, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(image), seen(kerasseg.load(tiny_run), view)(image))
