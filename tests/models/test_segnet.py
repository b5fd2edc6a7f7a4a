import numpy as np
from parity import assert_equal_logits, load, set_convolution, set_normalization

from kerasseg.models import segnet


def parameters(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_the_numbers_of_parameters_are_those_of_the_official_network():
    # Counted layer by layer from the authors' prototxt, for 11 and for 21 classes.
    assert parameters(segnet.build(num_classes=11)) == 29_449_355
    assert parameters(segnet.build(num_classes=21)) == 29_455_125


def test_odd_sizes_are_rounded_up_as_in_the_authors_network():
    model = segnet.build(num_classes=2, filters=2, input_shape=(360, 480, 3))
    sides = [model.get_layer(f"pool{stage}").output[0].shape[1] for stage in range(1, 6)]
    assert sides == [180, 90, 45, 23, 12]


def test_the_network_equals_its_pytorch_reference():
    reference, tensors, cases = load("segnet_vgg16_c11")
    model = segnet.build(num_classes=11, variant="pytorch-semseg", preprocessing=None)
    assert parameters(model) == reference["parameters"]
    depths = (2, 2, 3, 3, 3)
    for stage, depth in enumerate(depths, start=1):
        for index in range(1, depth + 1):
            set_unit(model, f"conv{stage}_{index}", tensors, f"down{stage}.conv{index}")
            # The decoder counts down in the paper, up in the port.
            name, prefix = f"conv{stage}_{depth + 1 - index}_D", f"up{stage}.conv{index}"
            if (stage, index) != (1, 2):
                set_unit(model, name, tensors, prefix)
    last = "up1.conv2.cbr_unit.0"
    set_convolution(model.get_layer("logits"), tensors[f"{last}.weight"], tensors[f"{last}.bias"])
    assert_equal_logits(model, cases, reference)


def set_unit(model, name, tensors, prefix):
    weight, bias = (tensors[f"{prefix}.cbr_unit.0.{kind}"] for kind in ("weight", "bias"))
    set_convolution(model.get_layer(name), weight, bias)
    set_normalization(model.get_layer(f"{name}_bn"), tensors, f"{prefix}.cbr_unit.1")
