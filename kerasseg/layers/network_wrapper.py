"""What layers share that call a network with other views of an image."""

import keras


@keras.saving.register_keras_serializable(package="kerasseg")
class NetworkWrapper(keras.layers.Layer):
    """A layer around a network, which takes and gives what the network does.

    Args:
        network: Model from images (batch, height, width, channels) of any size to logits of that
            size.
        **kwargs: As for `keras.layers.Layer`.

    Input: images (batch, height, width, channels).
    Output: float32 (batch, height, width, classes).
    """

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.network = network

    def compute_output_shape(self, input_shape):
        """Returns the images' shape with the number of classes as channels."""
        return (*input_shape[:3], self.network.output_shape[-1])

    def compute_output_spec(self, images):
        """Returns the spec of float32 logits."""
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype="float32")

    def get_config(self):
        """Returns the constructor's arguments."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config):
        """Makes the layer and its network."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})
