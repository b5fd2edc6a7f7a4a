"""The fully connected conditional random field with which DeepLab refines its label maps."""

import keras
import numpy as np
import tensorflow as tf

from .. import placement
from . import permutohedral

_PARAMETERS = (
    "num_iterations",
    "bilateral_weight",
    "theta_alpha",
    "theta_beta",
    "gaussian_weight",
    "theta_gamma",
)
_TRAINED = ("bilateral_weight", "gaussian_weight")


@keras.saving.register_keras_serializable(package="kerasseg")
class DenseCRF(keras.layers.Layer):
    """Mean-field inference in a fully connected CRF with Gaussian edge potentials.

    The energy of a labelling x of the pixels, with positions p and colours I, is

        E(x) = sum_i psi_u(x_i) + sum_{i<j} mu(x_i, x_j) k(i, j)

        k(i, j) = w1 exp(-|p_i - p_j|^2 / (2 theta_alpha^2) - |I_i - I_j|^2 / (2 theta_beta^2))
                + w2 exp(-|p_i - p_j|^2 / (2 theta_gamma^2))

    where psi_u = -log softmax(logits), mu is 1 for different labels and 0 for equal ones (Potts),
    and each of the two kernels is normalised symmetrically, D^-1/2 K D^-1/2. Marginals Q begin as
    softmax(logits); an iteration is

        Q_i(l) <- softmax_l(logits_i(l) - sum_l' mu(l, l') sum_j k(i, j) Q_j(l'))

    The sums over all pixels are taken on the permutohedral lattice, exactly as the authors' code
    takes them, self-interaction included. Stock TensorFlow operations only.

    Called with `[image, logits]`: image (batch, height, width, 3), RGB in [0, 255], and logits
    (batch, height, width, classes), of any real dtype; all but the last dimension may be dynamic.
    Returns the marginals, (batch, height, width, classes), in float32 under any dtype policy.
    Differentiable in the logits, and in the two weights if these are trained; not in the image.

    Args:
        num_iterations: Number of mean-field iterations; 0 gives softmax(logits).
        bilateral_weight: w1, at least 0.
        theta_alpha: Range of the bilateral kernel in pixels, above 0.
        theta_beta: Range of the bilateral kernel in intensities of [0, 255], above 0.
        gaussian_weight: w2, at least 0.
        theta_gamma: Range of the smoothness kernel in pixels, above 0.
        compatibility: mu, (classes, classes) numbers; None for Potts.
        trainable_weights: Whether w1 and w2 are weights of the layer, trained with the network.
        **kwargs: As for `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of range, or the inputs' shapes do not match.

    Reference:
        Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge
        Potentials, NeurIPS 2011. https://arxiv.org/abs/1210.5644
    """

    def __init__(
        self,
        num_iterations: int = 10,
        bilateral_weight: float = 4.0,
        theta_alpha: float = 67.0,
        theta_beta: float = 3.0,
        gaussian_weight: float = 3.0,
        theta_gamma: float = 3.0,
        *,
        compatibility=None,
        trainable_weights: bool = False,
        **kwargs,
    ):
        # Casting the image to half precision would move all points of the lattice.
        super().__init__(**{"autocast": False, **kwargs})
        for name, value in (
            ("num_iterations", num_iterations),
            ("bilateral_weight", bilateral_weight),
            ("gaussian_weight", gaussian_weight),
        ):
            _check(name, value, value >= 0, "at least 0")
        for name, value in (
            ("theta_alpha", theta_alpha),
            ("theta_beta", theta_beta),
            ("theta_gamma", theta_gamma),
        ):
            _check(name, value, value > 0, "above 0")
        self.num_iterations = num_iterations
        self.bilateral_weight = bilateral_weight
        self.theta_alpha = theta_alpha
        self.theta_beta = theta_beta
        self.gaussian_weight = gaussian_weight
        self.theta_gamma = theta_gamma
        self.compatibility = None if compatibility is None else np.array(compatibility, np.float32)
        self.trains_weights = trainable_weights  # `trainable_weights` is a name of Keras' own
        self.supports_jit = False  # the size of the lattice depends on the image

    def build(self, input_shape) -> None:
        """Checks the shapes and makes the weights if they are trained."""
        image, logits = (tuple(shape) for shape in input_shape)
        if len(image) != 4 or len(logits) != 4 or image[-1] != 3 or logits[-1] is None:
            raise ValueError(
                "inputs must be an image (batch, height, width, 3) and logits (batch, height, "
                f"width, classes), got {image} and {logits}."
            )
        if any(None not in (i, j) and i != j for i, j in zip(image[:3], logits[:3], strict=True)):
            raise ValueError(f"image and logits must have one size, got {image} and {logits}.")
        if self.compatibility is not None:
            expected = (logits[-1], logits[-1])
            shape = self.compatibility.shape
            _check("compatibility", shape, shape == expected, f"of shape {expected}")
        if self.trains_weights:
            self.kernel_weights = [
                self.add_weight(
                    name=name,
                    shape=(),
                    initializer=keras.initializers.Constant(getattr(self, name)),
                )
                for name in _TRAINED
            ]

    def call(self, inputs):
        """Infers the marginals of each image of a batch.

        Args:
            inputs: `[image, logits]`, as described for the class.

        Returns:
            float32 (batch, height, width, classes), which sum to 1 over the classes.
        """
        image, logits = (tf.cast(tensor, tf.float32) for tensor in inputs)
        arguments = {
            **{name: getattr(self, name) for name in _PARAMETERS},
            "compatibility": self.compatibility,
            "differentiable_weights": self.trains_weights,
        }
        if self.trains_weights:
            arguments.update(zip(_TRAINED, self.kernel_weights, strict=True))

        def infer_each():
            return placement.map_elements(
                lambda image, logits: mean_field(image, logits, **arguments),
                (image, logits),
                tf.TensorSpec(logits.shape[1:], tf.float32),
            )

        if all(logits.shape):
            return infer_each()
        # An empty batch has no element whose shape the result could take.
        return tf.cond(tf.size(logits) > 0, infer_each, lambda: logits)

    def compute_output_spec(self, inputs):
        """Returns the shape of the logits, in float32, without building the graph for it."""
        return keras.KerasTensor(inputs[1].shape, "float32")

    def get_config(self) -> dict:
        """Returns the arguments."""
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in _PARAMETERS},
            "compatibility": None if self.compatibility is None else self.compatibility.tolist(),
            "trainable_weights": self.trains_weights,
        }


def mean_field(
    image,
    logits,
    *,
    num_iterations: int,
    bilateral_weight,
    theta_alpha,
    theta_beta,
    gaussian_weight,
    theta_gamma,
    compatibility=None,
    differentiable_weights: bool = False,
):
    """Infers the marginals of one image; see `DenseCRF`.

    Args:
        image: float32 (height, width, 3), RGB in [0, 255].
        logits: float32 (height, width, classes).
        num_iterations: Number of iterations, at least 0.
        bilateral_weight: Weight w1, a number or scalar tensor of at least 0.
        theta_alpha: Range in pixels, a number or scalar tensor above 0.
        theta_beta: Range in intensities, a number or scalar tensor above 0.
        gaussian_weight: Weight w2, a number or scalar tensor of at least 0.
        theta_gamma: Range in pixels, a number or scalar tensor above 0.
        compatibility: float32 (classes, classes), None for Potts.
        differentiable_weights: Whether gradients reach the two weights, which takes one filter per
            kernel instead of one for both.

    Returns:
        float32 (height, width, classes).
    """
    size = tf.unstack(tf.shape(image)[:2])
    with placement.on_host():
        sides = [tf.cast(tf.range(side), tf.float32) for side in size]
    y, x = (tf.reshape(axis, (-1,)) for axis in tf.meshgrid(*sides, indexing="ij"))
    colors = [tf.reshape(image[..., channel], (-1,)) / theta_beta for channel in range(3)]
    bilateral = [x / theta_alpha, y / theta_alpha, *colors]
    gaussian = [x / theta_gamma, y / theta_gamma]
    if differentiable_weights:
        lattices = [permutohedral.normalized(f, 1.0) for f in (bilateral, gaussian)]
        weights = [bilateral_weight, gaussian_weight]
    else:
        lattices = [
            permutohedral.add(
                permutohedral.normalized(bilateral, bilateral_weight),
                permutohedral.normalized(gaussian, gaussian_weight),
            )
        ]
        weights = [1.0]
    # Everything is computed in two halves of the pixels, each a task for one thread.
    sizes = tf.stack(lattices[0].points)
    unary = tf.split(tf.reshape(logits, (-1, logits.shape[-1])), sizes, num=2)
    marginals = [tf.nn.softmax(half) for half in unary]
    for _ in range(num_iterations):
        filtered = [permutohedral.filter_parts(lattice, marginals) for lattice in lattices]
        messages = _sum_messages(filtered, weights, compatibility)
        marginals = [tf.nn.softmax(u + m) for u, m in zip(unary, messages, strict=True)]
    return tf.reshape(tf.concat(marginals, axis=0), tf.shape(logits))


def _sum_messages(filtered, weights, compatibility):
    """Sums the messages of all pixels to each pixel about its label, in two halves."""
    if len(filtered) > 1:
        filtered = [[w * half for half in f] for w, f in zip(weights, filtered, strict=True)]
    messages = [tf.add_n(halves) for halves in zip(*filtered, strict=True)]
    if compatibility is None:
        # Potts: -sum of the other labels, which is the label's own value up to a constant.
        return messages
    return [-tf.linalg.matmul(m, compatibility, transpose_b=True) for m in messages]


def _check(name: str, value, condition: bool, requirement: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value}.")
