"""Every architecture against an independent implementation, through the import of its weights."""

import pytest
from parity import NAMES, assert_equal_logits, load, parameters

from kerasseg import checkpoints


@pytest.mark.parametrize("name", NAMES)
def test_the_network_equals_its_reference(name):
    reference, tensors, cases = load(name)
    model = checkpoints.from_state_dict(
        tensors, source=reference["source"], model=reference["model"], **reference["options"]
    )
    assert parameters(model) == reference["parameters"]
    assert_equal_logits(model, cases, reference)
