"""UPerNet's sizes and options; `tests/parity` has its numbers."""

import math
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest

import kerasseg


def without_values(**options):
    """A network without memory for its weights."""

    def build():
        with keras.StatelessScope(initialize_variables=False):
            return kerasseg.build("upernet", **options)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(build).result()


# As OpenMMLab's configurations build them, with auxiliary heads; the last as
# segmentation_models.pytorch 0.6 does.
@pytest.mark.parametrize(
    ("encoder", "options", "parameters"),
    [
        ("convnext_small", {}, 81_877_196),
        ("convnext_base", {}, 122_102_956),
        ("convnext_large", {}, 234_994_796),
        ("convnext_xlarge", {}, 391_140_396),
        ("swin_small", {}, 81_259_766),
        ("swin_base", {}, 121_279_716),
        ("swin_base:12", {}, 121_415_076),
        ("resnet50", {}, 66_516_108),
        ("resnet101", {"num_classes": 19}, 85_407_366),
        ("resnet34", {"num_classes": 21, "variant": "smp", "auxiliary": False}, 29_604_821),
    ],
)
def test_the_parameters_are_those_of_the_published_networks(encoder, options, parameters):
    model = without_values(**{"num_classes": 150, "encoder": encoder, **options})
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == parameters


def rates(model):
    return [layer.rate for layer in model.layers if "drop_path" in layer.name]


def test_branches_are_dropped_as_in_the_published_trainings():
    for encoder, last in (("convnext_tiny", 0.4), ("convnext_small", 0.3), ("swin_tiny", 0.3)):
        found = rates(without_values(num_classes=2, encoder=encoder))
        assert found == sorted(found)
        assert found[-1] == last
    assert rates(without_values(num_classes=2, drop_path=0.25))[-1] == 0.25
    assert not rates(without_values(num_classes=2, drop_path=0.0))
    with pytest.raises(ValueError, match=r"drop_path must be left out for .*resnet50, .* 0.1"):
        kerasseg.build("upernet", num_classes=2, encoder="resnet50", drop_path=0.1)


def test_a_resnet_may_have_the_stem_of_one_convolution():
    stems = [
        [layer.name for layer in model.layers if layer.name.startswith("encoder_stem")]
        for model in (
            without_values(num_classes=2, encoder="resnet18", **options)
            for options in ({}, {"deep_stem": False}, {"variant": "smp"})
        )
    ]
    assert [len(names) for names in stems] == [9, 3, 3]
    with pytest.raises(ValueError, match=r"deep_stem must be left out for variant smp .* True"):
        kerasseg.build("upernet", num_classes=2, variant="smp", deep_stem=True)


def test_all_resizing_aligns_the_corners_if_wanted():
    for aligned in (False, True):
        model = without_values(num_classes=2, encoder="resnet18", align_corners=aligned)
        found = {layer.align_corners for layer in model.layers if "resize" in layer.name}
        assert found == {aligned}
    smp = without_values(num_classes=2, encoder="resnet18", variant="smp", auxiliary=False)
    assert smp.get_layer("resize_logits").align_corners
    assert not smp.get_layer("fpn8_resize").align_corners
