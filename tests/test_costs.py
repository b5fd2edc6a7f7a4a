"""What networks cost, against published numbers and sums done by hand."""

import math
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
from keras import layers

import kerasseg
from kerasseg import costs, encoders
from kerasseg.layers import BilinearConv2DTranspose, Conv2D, conv_bn

# The classifiers that were published, on images of so many pixels a side: trained parameters, and
# multiply-adds in units of 10^9, as torchvision 0.22 gives them with its weights.
# https://pytorch.org/vision/stable/models.html
PUBLISHED = [
    ("resnet18", 224, 11_689_512, 1.81),
    ("resnet34", 224, 21_797_672, 3.66),
    ("resnet50", 224, 25_557_032, 4.09),
    ("resnet101", 224, 44_549_160, 7.80),
    ("resnet152", 224, 60_192_808, 11.51),
    ("mobilenetv2", 224, 3_504_872, 0.30),
    ("vgg16", 224, 138_357_544, 15.47),
    ("vit_base", 224, 86_567_656, 17.56),
    ("convnext_tiny", 224, 28_589_128, 4.46),
    ("swin_tiny", 224, 28_288_354, 4.49),
]


def classifier(name, size):
    """The encoder with what the published network has behind it."""
    form = {"mobilenetv2": {"last_filters": 1280}, "vit_base": {"grid": (14, 14)}}
    images = keras.Input((size, size, 3))
    found = encoders.family(name).features(images, name, **form.get(name, {}))
    features = found[max(found)]
    if name == "vgg16":
        features = layers.Flatten()(features)
        for _ in range(2):
            features = layers.Dense(4096)(features)
    elif name == "vit_base":
        features = features[:, 0, 0]  # a token has the width of any other
    else:
        features = layers.GlobalAveragePooling2D()(features)
    return keras.Model(images, layers.Dense(1000)(features))


def without_values(function):
    """Networks without memory for their weights, as `kerasseg models` builds them."""

    def call():
        with keras.StatelessScope(initialize_variables=False):
            return function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


@pytest.mark.parametrize(("name", "size", "parameters", "multiply_adds"), PUBLISHED)
def test_encoders_cost_what_was_published(name, size, parameters, multiply_adds):
    model = without_values(lambda: classifier(name, size))
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert trained == parameters
    assert round(costs.of(model).multiply_adds / 1e9, 2) == multiply_adds


def test_xception65_has_the_parameters_that_timm_lists():
    model = without_values(lambda: classifier("xception65", 299))
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    assert round(trained / 1e6, 2) == 39.92


@pytest.mark.parametrize(("scale", "millions"), [(0, 4.7), (1, 5.4), (2, 6.1), (3, 8.2), (4, 13.0)])
def test_efficientnet_lite_has_the_parameters_that_google_lists(scale, millions):
    """As in https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite."""
    name = f"efficientnet_lite{scale}"

    def build():
        images = keras.Input((None, None, 3))
        found = encoders.family(name).features(images, name)[32]
        wide = conv_bn(found, 1280, 1, name="last")
        return keras.Model(images, layers.Dense(1000)(wide))

    trained = sum(math.prod(weight.shape) for weight in without_values(build).trainable_weights)
    assert round(trained / 1e6, 1) == millions


def test_a_chain_of_layers_costs_what_the_hand_computes():
    images = keras.Input((10, 12, 3))
    wide = Conv2D(8, 3, strides=2, name="wide")(images)  # 5 x 6 x 8
    deep = layers.DepthwiseConv2D(3, padding="same")(wide)  # 5 x 6 x 8
    summed = layers.Add()([wide, deep])
    enlarged = BilinearConv2DTranspose(2)(summed)  # (5 - 1) * 2 + 4 = 12 x 14 x 8
    model = keras.Model(images, layers.Dense(2)(enlarged))
    found = costs.of(model)
    places = 5 * 6
    assert found.multiply_adds == (
        places * 9 * 3 * 8 + places * 9 * 8 + places * 16 * 8 * 8 + 12 * 14 * 8 * 2
    )
    assert found.parameters == (9 * 3 * 8 + 8) + (9 * 8 + 8) + 16 * 8 * 8 + (8 * 2 + 2)
    assert found.weights == 4 * found.parameters
    # Most is kept where the last layer runs: what it is given, and its result.
    assert found.activations == 4 * (12 * 14 * 8 + 12 * 14 * 2)


def test_features_that_are_needed_later_are_kept():
    images = keras.Input((10, 10, 4))
    skip = Conv2D(4, 1, name="skip")(images)
    small = Conv2D(1, 1, name="first")(skip)
    small = Conv2D(1, 1, name="second")(small)
    model = keras.Model(images, layers.Concatenate()([skip, small]))
    # In the end: the skip, what was made of it, and both beside each other.
    assert costs.of(model).activations == 4 * 100 * (4 + 1 + 5)


def test_halves_take_half_the_memory():
    def activations(policy):
        images = keras.Input((8, 8, 3))
        features = Conv2D(16, 3, dtype=policy)(images)
        model = keras.Model(images, Conv2D(16, 3, dtype=policy)(features))
        return costs.of(model).activations

    assert activations("mixed_bfloat16") * 2 == activations("float32")


def test_an_auxiliary_head_costs_parameters_only():
    def find(**options):
        return without_values(
            lambda: costs.of(
                kerasseg.build(
                    "pspnet",
                    num_classes=2,
                    encoder="resnet18",
                    filters=8,
                    input_shape=(64, 96, 3),
                    **options,
                )
            )
        )

    with_head, without = find(auxiliary=True), find(auxiliary=False)
    assert with_head.parameters > without.parameters
    assert with_head._replace(parameters=0) == without._replace(parameters=0)


def test_attention_is_counted():
    """Each of 16 + 1 tokens of 192 numbers with each other, and the values of all."""
    plain = 2 * 17 * 17 * 192 * 12
    projections = 17 * 192 * (3 * 192 + 192 + 2 * 4 * 192) * 12
    patches = 16 * 16 * 16 * 3 * 192
    images = keras.Input((64, 64, 3))
    found = encoders.family("vit_tiny").features(images, "vit_tiny")
    assert costs.of(keras.Model(images, found[16])).multiply_adds == plain + projections + patches


def test_a_size_that_is_not_known_is_refused():
    model = kerasseg.build("unet", num_classes=2, filters=2, depth=1)
    with pytest.raises(ValueError, match=r"input_shape must be known, got \(None, None, None, 3\)"):
        costs.of(model)
