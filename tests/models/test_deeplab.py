import numpy as np
import pytest
from parity import parameters

from kerasseg.checkpoints import assign, deeplab_pytorch, plans

# The network under the names of deeplab-pytorch: bottlenecks of 3, 4, 23 and 3 blocks.
DEPTHS = (3, 4, 23, 3)


def unit(name, outputs, inputs, side):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{name}.conv.weight": (outputs, inputs, side, side),
        **{f"{name}.bn.{kind}": (outputs,) for kind in kinds},
    }


def resnet101():
    found, inputs = unit("base.layer1.conv1", 64, 3, 7), 64
    for stage, depth in enumerate(DEPTHS, start=2):
        width = 16 * 2**stage
        for index in range(1, depth + 1):
            name = f"base.layer{stage}.block{index}"
            found |= unit(f"{name}.reduce", width, inputs, 1)
            found |= unit(f"{name}.conv3x3", width, width, 3)
            found |= unit(f"{name}.increase", 4 * width, width, 1)
            if index == 1:
                found |= unit(f"{name}.shortcut", 4 * width, inputs, 1)
            inputs = 4 * width
    return found


def version1():
    return {**resnet101(), "base.fc.weight": (21, 2048, 1, 1), "base.fc.bias": (21,)}


def version3():
    found = {**resnet101(), "base.fc2.weight": (21, 256, 1, 1), "base.fc2.bias": (21,)}
    for branch, side in enumerate((1, 3, 3, 3)):
        found |= unit(f"base.aspp.stages.c{branch}", 256, 2048, side)
    found |= unit("base.aspp.stages.imagepool.conv", 256, 2048, 1)
    return found | unit("base.fc1", 256, 5 * 256, 1)


def drawn(shapes, model, **options):
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    plan = plans.Plan(deeplab_pytorch, model, None, False, options)
    network = plan._draw(plan._arguments(tensors)[0])
    assert assign.match(network, tensors, deeplab_pytorch.renames(model))[1] == []
    return network


def test_version_1_of_deeplab_pytorch_is_a_classifier_of_one_pixel():
    network = drawn(version1(), "deeplab")
    assert parameters(network) == 42_543_189  # counted in PyTorch
    assert network.get_layer("aspp_logits0").kernel_size == (1, 1)


@pytest.mark.parametrize(
    ("output_stride", "rates", "last"),
    # "Multi-grid (1, 2, 4)" multiplies the dilation of the stage.
    [(16, [1, 6, 12, 18], [2, 4, 8]), (8, [1, 12, 24, 36], [4, 8, 16])],
)
def test_version_3_of_deeplab_pytorch_is_a_resnet_as_in_caffe(output_stride, rates, last):
    network = drawn(version3(), "deeplabv3", output_stride=output_stride)

    def layer(name):
        return network.get_layer(name)

    assert [layer(f"encoder_layer4_{block}_2_conv").dilation_rate[0] for block in range(3)] == last
    assert [layer(f"aspp{branch}_conv").dilation_rate[0] for branch in range(4)] == rates
    assert layer("encoder_layer2_0_1_conv").strides == (2, 2)
    assert layer("encoder_layer2_0_2_conv").strides == (1, 1)
    assert layer("encoder_pool").ceil
    # The mean over the image is the last in the concatenation.
    joined = [tensor._keras_history.operation.name for tensor in layer("aspp_concat").input]
    assert joined == [*(f"aspp{branch}_relu" for branch in range(4)), "aspp_pool_resize"]
