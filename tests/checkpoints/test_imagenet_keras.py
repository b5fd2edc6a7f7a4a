"""ImageNet weights of keras.applications and keras-hub in our encoders."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from drawn_encoders import (
    assert_equal,
    draw_weights,
    encoder_output,
    random_images,
    resnet_of_keras_hub,
)

import kerasseg
from kerasseg.checkpoints import imagenet

MOBILENET = (
    Path(__file__).parents[2].parent / "shared/weights/mobilenet_v2_imagenet_no_top.weights.h5"
)


@pytest.mark.parametrize("width", [0.35, 1.0])
def test_mobilenetv2_equals_that_of_keras_applications(width, tmp_path):
    images = random_images(1, 97, 65, 3)
    reference = draw_weights(
        keras.applications.MobileNetV2((97, 65, 3), alpha=width, include_top=False, weights=None)
    )
    file = tmp_path / "mobilenet.weights.h5"
    reference.save_weights(file)
    encoder = f"mobilenetv2:{width}"
    model = kerasseg.build(
        "deeplabv3plus", num_classes=2, encoder=encoder, output_stride=32, preprocessing=None
    )
    imagenet.load_encoder(model, encoder, str(file))
    expected = keras.Model(reference.input, reference.get_layer("block_16_project_BN").output)
    assert_equal(encoder_output(model, "encoder_block17_project_bn", images), expected(images))


def test_vgg16_takes_that_of_keras_applications_under_any_decoder(tmp_path):
    images = random_images(1, 64, 96, 3)
    reference = draw_weights(keras.applications.VGG16(weights=None, include_top=False))
    file = tmp_path / "vgg.weights.h5"
    reference.save_weights(file)
    model = kerasseg.build(
        "refinenet", num_classes=2, encoder="vgg16", preprocessing=None, filters=8
    )
    assert imagenet.load_encoder(model, "vgg16", str(file)) == 2 * 13
    assert_equal(encoder_output(model, "encoder_pool5", images), reference(images))


@pytest.mark.skipif(not MOBILENET.is_file(), reason="no ImageNet weights")
def test_trained_weights_of_mobilenetv2_load_from_their_file():
    reference = keras.applications.MobileNetV2((97, 97, 3), include_top=False, weights=None)
    reference.load_weights(MOBILENET)
    images = random_images(1, 97, 97, 3)
    model = kerasseg.build(
        "deeplabv3plus",
        num_classes=2,
        encoder="mobilenetv2",
        output_stride=32,
        preprocessing=None,
    )
    assert imagenet.load_encoder(model, "mobilenetv2", str(MOBILENET)) == 5 * 51
    expected = keras.Model(reference.input, reference.get_layer("block_16_project_BN").output)
    assert_equal(encoder_output(model, "encoder_block17_project_bn", images), expected(images))


@pytest.mark.parametrize("depth", [18, 50])
def test_resnets_equal_those_of_keras_hub(depth, tmp_path):
    reference = resnet_of_keras_hub(depth)
    reference.save_to_preset(tmp_path / "preset")
    encoder = f"resnet{depth}"
    model = kerasseg.build(
        "deeplabv3plus",
        num_classes=2,
        encoder=encoder,
        output_stride=32,
        preprocessing=None,
        filters=8,
    )
    loaded = imagenet.load_encoder(model, encoder, f"hub:{tmp_path / 'preset'}")
    assert loaded == len(reference.weights)
    images = random_images(1, 65, 97, 3)
    last = "encoder_layer4_1_relu" if depth == 18 else "encoder_layer4_2_relu"
    assert_equal(encoder_output(model, last, images), reference(images))


def test_imagenet_means_the_preset_of_keras_hub_for_a_resnet(monkeypatch):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")
    reference, asked = resnet_of_keras_hub(18), []

    def from_preset(preset):
        asked.append(preset)
        return reference

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", from_preset)
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    imagenet.load_encoder(model, "resnet18", "imagenet")
    assert asked == ["resnet_18_imagenet"]
    np.testing.assert_array_equal(
        model.get_layer("encoder_stem1_conv").kernel, reference.get_layer("conv1_conv").kernel
    )


@pytest.mark.slow
def test_a_resnet_of_another_depth_fills_nothing(tmp_path):
    resnet_of_keras_hub(50).save_to_preset(tmp_path / "preset")
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="resnet18", filters=8)
    before = [weight.numpy().copy() for weight in model.weights]
    with pytest.raises(ValueError, match=r"with block_type basic_block, got .* bottleneck_block"):
        imagenet.load_encoder(model, "resnet18", f"hub:{tmp_path / 'preset'}")
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, values)


@pytest.fixture(scope="module")
def mobilenet():
    return draw_weights(
        keras.applications.MobileNetV2((97, 65, 3), alpha=0.35, include_top=False, weights=None)
    )


def write_as_keras_2(path, network):
    """A group for each layer, in which its name comes again; depthwise kernels are called so."""
    with h5py.File(path, "w") as file:
        for layer in network.layers:
            for weight in layer.weights:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                name = "depthwise_kernel" if depthwise else weight.name
                file[f"{layer.name}/{layer.name}/{name}:0"] = weight.numpy()


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "whole model"])
def test_files_of_keras_2_load(mobilenet, whole, tmp_path):
    if whole:
        mobilenet.save(tmp_path / "keras2.h5")  # a format of Keras 2 that Keras 3 still writes
    else:
        write_as_keras_2(tmp_path / "keras2.h5", mobilenet)
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="mobilenetv2:0.35", filters=8)
    loaded = imagenet.load_encoder(model, "mobilenetv2:0.35", str(tmp_path / "keras2.h5"))
    assert loaded == len(mobilenet.weights) - 5  # but for its last convolution
    np.testing.assert_array_equal(
        model.get_layer("encoder_block17_depthwise_conv").kernel,
        mobilenet.get_layer("block_16_depthwise").kernel,
    )


def test_files_of_keras_that_do_not_fit_say_what_does_not(mobilenet, tmp_path):
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="mobilenetv2:0.35", filters=8)

    write_as_keras_2(tmp_path / "keras2.h5", mobilenet)
    with h5py.File(tmp_path / "keras2.h5", "a") as file:
        del file["Conv1/Conv1/kernel:0"]
        file["top/top/kernel:0"] = np.zeros((2, 3), np.float32)
    message = r"(?s)Conv1/kernel: no tensor for it.*top/kernel \(2, 3\): no place for it"
    with pytest.raises(ValueError, match=message):
        imagenet.load_encoder(model, "mobilenetv2:0.35", str(tmp_path / "keras2.h5"))
    with h5py.File(tmp_path / "keras2.h5", "a") as file:
        file.create_dataset("Conv1/Conv1/kernel:0", (16,), "u1", external=[("/etc/passwd", 0, 16)])
    with pytest.raises(ValueError, match="values of other files: they were not read"):
        imagenet.load_encoder(model, "mobilenetv2:0.35", str(tmp_path / "keras2.h5"))
