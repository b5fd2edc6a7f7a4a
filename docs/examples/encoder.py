"""An encoder of your own, under a decoder of kerasseg's.

kerasseg fit --model deeplabv3plus --encoder docs/examples/encoder.py:features --data DATA --run RUN
"""

from keras import layers

from kerasseg.layers import BatchNormalization


def features(images, *, output_stride: int = 32) -> dict:
    """Applies five convolutions, each of which halves the resolution or dilates.

    Args:
        images: Normalised images `(batch, height, width, channels)`, by ImageNet's means and
            deviations unless `features.PREPROCESSING` names other ones.
        output_stride: 8, 16 or 32: convolutions beyond it keep the resolution and dilate.

    Returns:
        `{stride: features}` for the strides 2 to 32, each key being the stride that there would be
        without dilation.
    """
    found = {}
    stride, dilation, result = 1, 1, images
    for index, filters in enumerate((8, 16, 24, 32, 48), start=1):
        step = 2 if stride < output_stride else 1
        dilation *= 2 // step
        stride *= step
        result = layers.Conv2D(
            filters,
            3,
            step,
            padding="same",
            dilation_rate=dilation,
            use_bias=False,
            name=f"conv{index}",
        )(result)
        result = BatchNormalization(name=f"bn{index}")(result)
        result = layers.ReLU(name=f"relu{index}")(result)
        found[2**index] = result
    return found


# How the images are normalised: "imagenet", "caffe", "tf" (to [-1, 1]), "unit" (to [0, 1]) or
# "efficientnet_lite" ((image - 127) / 128).
features.PREPROCESSING = "tf"
