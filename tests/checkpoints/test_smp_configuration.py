"""The `config.json` that segmentation_models.pytorch writes beside its weights."""

import json

import numpy as np
import pytest
import safetensors.numpy
from parity import assert_equal_logits, load

import kerasseg
from kerasseg.checkpoints import json_configuration, smp
from kerasseg.checkpoints.limits import CheckpointError, OtherNetworkError
from kerasseg.pipelines import import_weights

# What the library, version 0.6.0, writes for a DeepLabV3Plus("tu-resnet18").
CONTENT = {
    "_model_class": "DeepLabV3Plus",
    "activation": None,
    "aux_params": None,
    "classes": 21,
    "decoder_aspp_dropout": 0.5,
    "decoder_aspp_separable": True,
    "decoder_atrous_rates": [12, 24, 36],
    "decoder_channels": 256,
    "encoder_depth": 5,
    "encoder_name": "tu-resnet18",
    "encoder_output_stride": 8,
    "encoder_weights": None,
    "in_channels": 3,
    "upsampling": 4,
}


def write(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**CONTENT, **changes}))
    return path


def test_a_saved_folder_needs_no_option_and_equals_the_reference(tmp_path):
    reference, tensors, cases = load("deeplabv3plus_resnet18_timm_smp")
    tensors = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    write(tmp_path)
    said = []
    import_weights.run(tmp_path / "model.safetensors", tmp_path / "run", report=said.append)
    assert said == []
    model = kerasseg.load(tmp_path / "run")
    mean, variance = (np.array(each, np.float32) for each in imagenet())
    images = [(images * np.sqrt(variance) + mean, expected) for images, expected in cases]
    assert_equal_logits(model, images, reference)


def imagenet():
    """Mean and variance of ImageNet's colours, of values in [0, 255]."""
    means = (0.485, 0.456, 0.406)
    deviations = (0.229, 0.224, 0.225)
    return [255 * mean for mean in means], [(255 * each) ** 2 for each in deviations]


def test_a_configuration_tells_what_tensors_do_not(tmp_path):
    source, network, names = json_configuration.read(write(tmp_path))
    assert (source, network.model, names) == ("smp", "deeplabv3plus", ())
    assert network.options == {
        "output_stride": 8,
        "atrous_rates": (12, 24, 36),
        "timm_encoder": True,
        "encoder": "resnet18",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_interpolation": "bilinear"}, "decoder_interpolation of 'DeepLabV3Plus' must be"),
        ({"encoder_depth": 4}, "encoder_depth of 'DeepLabV3Plus' must be 5, got 4"),
        ({"decoder_use_batchnorm": "inplace"}, "decoder_use_batchnorm of 'DeepLabV3Plus'"),
        ({"decoder_use_norm": {"type": "groupnorm"}}, "decoder_use_norm of 'DeepLabV3Plus'"),
        ({"encoder_name": "tu-swin_tiny_patch4_window7_224"}, "encoder_name must be a ResNet, Mob"),
        ({"encoder_name": "vgg16_bn"}, "encoder_name must be .* got 'vgg16_bn'"),
        ({"encoder_name": 7}, "encoder_name must be .* got 7"),
        ({"img_size": 512}, "must have options that kerasseg knows, got 'img_size'"),
        ({"encoder_output_stride": "8"}, "encoder_output_stride must be a whole number"),
        ({"decoder_atrous_rates": 12}, "decoder_atrous_rates must be numbers"),
    ],
)
def test_a_configuration_of_another_network_is_an_error(changes, message, tmp_path):
    with pytest.raises(OtherNetworkError, match=message):
        json_configuration.read(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("tu-tf_efficientnet_b1.ns_jft_in1k", "tf_efficientnet_b1"),
        ("tu-efficientnet_b1", "efficientnet_b1"),
        ("tu-convnext_base.fb_in22k_ft_in1k_384", "convnext_base"),
        ("tu-mobilenetv3_large_100.ra_in1k", "mobilenetv3_large"),
        ("tu-resnet50d", "resnet50d"),
        ("tu-resnet50.a1_in1k", "resnet50"),
    ],
)
def test_names_of_timm_are_read_with_what_they_say_of_the_training(name, encoder, tmp_path):
    options = json_configuration.read(write(tmp_path, encoder_name=name)).network.options
    assert (options["timm_encoder"], options["encoder"]) == (True, encoder)


@pytest.mark.parametrize("name", ["resnet34", "mobilenet_v2", "efficientnet-b3", "mit_b5"])
def test_the_library_s_own_encoders_are_told_by_their_tensors(name, tmp_path):
    options = json_configuration.read(write(tmp_path, encoder_name=name)).network.options
    assert options.keys() == {"output_stride", "atrous_rates"}


def test_a_class_that_is_not_here_is_said(tmp_path):
    with pytest.raises(CheckpointError, match=r"_model_class of .* must be one of DeepLabV3,"):
        json_configuration.read(write(tmp_path, _model_class="DPT"))


def test_names_of_timm_s_encoders_are_told_apart():
    tensors = {
        "encoder.model.stem_0.weight": np.zeros((96, 3, 4, 4)),
        "encoder.model.stages_3.blocks.2.gamma": np.zeros(768),
        "decoder.p5.weight": np.zeros(1),
    }
    assert list(smp.respell(tensors)) == [
        "encoder.timm.convnext_tiny.stem.0.weight",
        "encoder.timm.convnext_tiny.stages.3.blocks.2.gamma",
        "decoder.p5.weight",
    ]
    unknown = {"encoder.model.layers_0.blocks.0.attn.qkv.bias": np.zeros(288)}
    assert list(smp.respell(unknown)) == list(unknown)
    behind = {"net.encoder.model.conv1.weight": np.zeros((64, 3, 7, 7))}
    assert list(smp.respell(behind)) == ["net.encoder.timm.resnet50.conv1.weight"]


def test_an_encoder_that_nothing_names_is_asked_for():
    missing = smp.untold("unet", {"timm_encoder": True})
    assert list(missing) == ["encoder"]
    assert smp.untold("unet", {"timm_encoder": True, "encoder": "efficientnet_b0"}) == {}
