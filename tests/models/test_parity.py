"""Every architecture against an independent implementation, through the import of its weights."""

import math
import re

import pytest
from parity import NAMES, assert_equal_logits, load, parameters

from kerasseg import checkpoints, inference

# Of 140 million weights each, all of which FCN-8s has as well: with them it is drawn in every run.
PARTS_OF_ANOTHER = ("fcn32s_vgg16", "fcn16s_vgg16")
# Large networks whose parts are in others: a pyramid in U-Net, a dilation after the last stride.
PARTS_OF_ANOTHER += ("unet_s5d16_psp_mmseg", "pspnet_resnet50b_d32_mmseg")
PARTS_OF_ANOTHER += ("fpn_convnext_tiny_timm_smp", "convnext_tiny_os8_timm", "xception65_os8_timm")
# The same architecture from the same source has a smaller encoder in another reference.
PARTS_OF_ANOTHER += ("deeplabv3plus_resnet50_mmseg", "fcn_resnet50_mmseg", "pan_resnet50_smp")
PARTS_OF_ANOTHER += ("pspnet_resnet50_mmseg",)
# Beginnings of the names of classifiers, with the layers before them that only they use.
CLASSIFIER = re.compile(
    r"(head|fc|classifier|conv_head|norm|bn2|encoder\._conv_head|encoder\._bn1)\."
)
CASES = [
    pytest.param(name, marks=pytest.mark.slow if name in PARTS_OF_ANOTHER else ()) for name in NAMES
]


@pytest.mark.parametrize("name", CASES)
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
