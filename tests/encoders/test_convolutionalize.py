import keras
import numpy as np
import pytest

from kerasseg import encoders


def classifier(name):
    keras.utils.set_random_seed(0)
    application = getattr(keras.applications, name)
    size = (64, 64, 3)
    return application(weights=None, input_shape=size, classes=7, classifier_activation=None)


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# Flatten and three dense layers; global pooling; the same with channel attention inside.
@pytest.mark.parametrize(
    "name",
    [
        *("VGG16", "MobileNetV2", "EfficientNetB0"),
        pytest.param("ResNet50", marks=pytest.mark.slow),
    ],
)
def test_the_scores_are_the_classifier_s_on_images_of_its_size(name):
    dense = classifier(name)
    convolutional = encoders.convolutionalize(dense)
    batch = images(2, 64, 64, 3)
    expected = dense(batch).numpy()
    scores = convolutional(batch).numpy()
    assert scores.shape == (2, 1, 1, 7)
    np.testing.assert_allclose(scores[:, 0, 0], expected, atol=1e-5 * np.abs(expected).max())
    assert convolutional.count_params() == dense.count_params()


def test_a_larger_image_gives_a_map_of_scores():
    convolutional = encoders.convolutionalize(classifier("VGG16"))
    # Five poolings by 2: one more row for each 32 pixels.
    assert convolutional(images(1, 96, 128, 3)).shape == (1, 2, 3, 7)


def test_a_network_without_padding_scores_each_window_as_by_itself():
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    features = keras.layers.Flatten()(features)
    features = keras.layers.Dense(6, activation="relu")(features)
    dense = keras.Model(inputs, keras.layers.Dense(5)(features))
    scores = encoders.convolutionalize(dense)(images(1, 12, 14, 3)).numpy()
    assert scores.shape == (1, 3, 4, 5)
    for row in range(3):
        for column in range(4):
            window = images(1, 12, 14, 3)[:, 2 * row : 2 * row + 8, 2 * column : 2 * column + 8]
            np.testing.assert_allclose(scores[:, row, column], dense(window), atol=1e-5)


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(ValueError, match=r"known input size, got \(None, None, None, 3\)"):
        encoders.convolutionalize(keras.applications.MobileNetV2(weights=None, include_top=False))
    with pytest.raises(ValueError, match="must reduce its features by Flatten"):
        encoders.convolutionalize(
            keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        )
