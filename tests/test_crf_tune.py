"""The search for the parameters of a CRF; what it finds, tests/test_refinement.py tests."""

import keras

from kerasseg.pipelines import crf_tune, records
from kerasseg.pipelines.runs.crf import CRFParameters


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
