"""Every architecture against an independent implementation, through the import of its weights."""

import math
import re

import pytest
from parity import NAMES, assert_equal_logits, describe, load, parameters

from kerasseg import checkpoints, inference

# References with more parameters are only in the slow tests where a smaller one of the same
# architecture is in every run: their weights take seconds to draw. Of the same architecture from
# the same source, too, only the smallest is in every run.
LARGE = 30_000_000
# Beginnings of the names of classifiers, with the layers before them that only they use.
CLASSIFIER = re.compile(
    r"(head|fc|classifier|conv_head|norm|bn2|encoder\._conv_head|encoder\._bn1)\."
)


def cases():
    references = {name: describe(name) for name in NAMES}
    size = {name: reference["parameters"] for name, reference in references.items()}
    smallest, smallest_of_source = {}, {}
    for name in sorted(NAMES, key=lambda name: size[name]):
        model, source = references[name]["model"], references[name]["source"]
        smallest.setdefault(model, name)
        # Encoders have no architecture in common.
        smallest_of_source.setdefault((model, name if model == "encoder" else source), name)
    for name in NAMES:
        is_large = size[name] > LARGE and name not in smallest.values()
        is_slow = is_large or name not in smallest_of_source.values()
        yield pytest.param(name, marks=pytest.mark.slow if is_slow else ())


@pytest.mark.parametrize("name", list(cases()))
def test_the_network_equals_its_reference(name):
    reference, tensors, cases = load(name)
    early = reference.get("output_is") == "before the last resize"
    model = checkpoints.from_state_dict(
        tensors,
        source=reference["source"],
        model=reference["model"],
        resize_logits=False if early else None,
        **reference["options"],
    )
    # The classifier of an encoder's training is not part of the encoder.
    is_classifier = "classifier" in reference.get("parameters_note", "")
    unused = sum(
        math.prod(shape)
        for name, shape, _ in reference["tensors"]
        if is_classifier and CLASSIFIER.match(name) and ".running_" not in name
    )
    assert parameters(model) == reference["parameters"] - unused
    assert_equal_logits(model, cases, reference)
    network = inference.FoldedNetwork(model)
    if network.normalizations:

        def folded(images):
            return network(images, network.trainable, network.others)

        assert_equal_logits(folded, cases, reference)
