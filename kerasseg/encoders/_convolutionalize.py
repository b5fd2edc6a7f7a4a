"""Fully convolutional networks made from image classifiers, as in section 3.1 of the FCN paper."""

import keras
from keras import layers


def convolutionalize(classifier: keras.Model) -> keras.Model:
    """Turns a classifier for one image size into a network for all sizes, and keeps its weights.

    A dense layer over flattened features becomes a convolution of the features' size, every later
    dense layer becomes a 1 x 1 convolution, and global average pooling becomes a moving average of
    the features' size. For an image of the classifier's own size the result is one pixel with the
    classifier's scores.

    Args:
        classifier: A functional classifier with a known input size, such as those of
            `keras.applications`, including its top.

    Returns:
        A model from images `(batch, height, width, channels)` to scores
        `(batch, rows, columns, classes)`. Images must be preprocessed as the classifier expects,
        and at least as large as the classifier's own images.

    Raises:
        ValueError: If the input size is not known, or nothing reduces the features to a vector.

    Reference:
        Long et al., Fully Convolutional Networks for Semantic Segmentation, CVPR 2015.
        https://arxiv.org/abs/1411.4038
    """
    shape = classifier.input_shape
    if None in shape[1:]:
        raise ValueError(f"classifier must have a known input size, got {shape}.")
    reducing = [
        index
        for index, layer in enumerate(classifier.layers)
        if isinstance(layer, layers.Flatten | layers.GlobalAveragePooling2D)
        and not getattr(layer, "keepdims", False)
    ]
    if not reducing:
        raise ValueError(
            "classifier must reduce its features by Flatten or GlobalAveragePooling2D, "
            f"got {classifier.name}."
        )
    # Squeeze-and-excitation blocks inside the network pool too; only the last reduction counts.
    border = reducing[-1]
    body = _rebuild_body(classifier, classifier.layers[border])
    features = body.output
    size = tuple(classifier.layers[border].input.shape[1:3])
    pairs = []
    if isinstance(classifier.layers[border], layers.GlobalAveragePooling2D):
        features = layers.AveragePooling2D(size, strides=1, name="moving_average")(features)
        size = (1, 1)
    for layer in classifier.layers[border + 1 :]:
        if isinstance(layer, layers.Dense):
            features, pair = _convolve(layer, features, size)
            pairs.append(pair)
            size = (1, 1)
        else:
            # Dropout, normalisation and activations treat maps and vectors in the same way.
            copy = layer.__class__.from_config(layer.get_config())
            features = copy(features)
            pairs.append((copy, layer.get_weights()))
    model = keras.Model(body.input, features, name=f"{classifier.name}_convolutional")
    for layer, weights in pairs:
        layer.set_weights(weights)
    return model


def _rebuild_body(classifier: keras.Model, border) -> keras.Model:
    """Copies the layers before the border for inputs of any size."""
    channels = classifier.input_shape[-1]
    body = keras.Model(classifier.input, border.input)
    copy = keras.models.clone_model(body, input_tensors=keras.Input((None, None, channels)))
    copy.set_weights(body.get_weights())
    return copy


def _convolve(dense, features, size: tuple[int, int]):
    """Applies a dense layer as a convolution; returns the scores and the layer with weights."""
    config = dense.get_config()
    convolution = layers.Conv2D(
        dense.units, size, activation=config["activation"], use_bias=dense.use_bias, name=dense.name
    )
    result = convolution(features)
    kernel, *bias = dense.get_weights()
    # Flatten orders rows, columns and channels in the same way as a kernel.
    return result, (convolution, [kernel.reshape((*size, -1, dense.units)), *bias])
