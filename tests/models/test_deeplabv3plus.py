import numpy as np
import pytest
from parity import parameters

import kerasseg
from kerasseg.models import deeplabv3plus


def test_the_numbers_of_parameters_are_the_published_ones():
    # OpenMMLab's configurations for 19 classes, counted in PyTorch
    def count(encoder, auxiliary=False):
        model = deeplabv3plus.build(
            num_classes=19, variant="mmseg", encoder=encoder, auxiliary=auxiliary
        )
        return parameters(model)

    assert count("resnet50", auxiliary=True) == 43_589_878
    assert count("resnet50") == 41_225_187


def test_the_decoder_has_the_parameters_of_the_paper():
    # Section 4.1: 48 channels from the low level, then two 3 x 3 convolutions of 256.
    model = deeplabv3plus.build(num_classes=21)
    normalization = 2 * 256
    decoder = 256 * 48 + 2 * 48 + 9 * 304 * 256 + normalization + 9 * 256 * 256 + normalization
    pyramid = 2 * 2048 * 256 + 27 * 2048 * 256 + 5 * normalization + 1280 * 256 + normalization
    assert parameters(model) == 23_508_032 + pyramid + decoder + 256 * 21 + 21


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [
        ("resnet50", 256),  # the second stage's, section 3.1 of the paper
        ("xception65", 256),  # block 2's second separable convolution
        ("mobilenetv2", 144),  # the authors' "layer_4/depthwise_output": 24 channels, expanded by 6
    ],
)
def test_the_decoder_s_low_level_features_are_the_authors(encoder, channels):
    model = deeplabv3plus.build(num_classes=2, encoder=encoder)
    assert model.get_layer("low_level_conv").kernel.shape == (1, 1, channels, 48)
    assert model.get_layer("low_level_bn").epsilon == 1e-5


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv2:0.25"])
def test_logits_without_resizing_have_stride_4(encoder):
    model = deeplabv3plus.build(num_classes=3, encoder=encoder, resize_logits=False)
    assert model(np.zeros((1, 65, 97, 3), np.float32)).shape == (1, 17, 25, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "vgg19"}, r"encoder must be one of convnext_tiny, .*got 'vgg19'"),
        ({"output_stride": 12}, "output_stride must be one of 8, 16, 32, got 12"),
        ({"filters": 0}, "filters must be a whole number of at least 1, got 0"),
    ],
)
def test_its_own_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplabv3plus", num_classes=2, **options)
