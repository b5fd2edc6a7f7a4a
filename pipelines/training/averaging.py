"""The average of a network's weights over the steps of its training."""

from typing import Any

import keras
import tensorflow as tf

from kerasseg.layers.query_attention import QueryAttention

from . import freezing


class WeightAverages(keras.callbacks.Callback):
    """Averages the weights of a network exponentially, in a second network of the same layers.

    After each step of the optimizer, `average += (1 - d) (weight - average)`, with
    `d = min(decay, (1 + n) / (10 + n))` for a step that has n steps before it: the first weights,
    which are random, are soon forgotten, and the decay is that of the option after about
    `9 / (1 - decay)` steps. This is the rule of TensorFlow's `ExponentialMovingAverage` with
    `num_updates`. The moving statistics of batch normalisation are averaged like the weights, as in
    the published code of EfficientNet and in timm's `ModelEmaV2`: they describe the features of
    about these weights. (OpenMMLab copies them from the last step unless told otherwise.)

    Args:
        trained: The network that is trained. Its initial weights are the first average.
        decay: Share of the old average that a step keeps, in (0, 1).
        strategy: The `tf.distribute` strategy of the training.

    Attributes:
        network: The network with the averages as its weights.
        variables: Its variables, which are part of the state.

    Reference:
        Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM Journal on
        Control and Optimization 30, 1992. https://doi.org/10.1137/0330046
    """

    def __init__(self, trained: keras.Model, decay: float, strategy: tf.distribute.Strategy):
        super().__init__()
        with strategy.scope(), freezing.as_built(trained):
            self.network = type(trained).from_config(trained.get_config())
        for layer, copied in zip(trained.layers, self.network.layers, strict=True):
            if isinstance(layer, QueryAttention) and isinstance(copied, QueryAttention):
                copied.annealing = layer.annealing
        self.variables = self.network.variables
        self._trained = trained
        self._decay = decay
        self._strategy = strategy
        self._steps = 0
        # Not the states of random generators: the averages are never trained.
        self._pairs = [
            (average.value, variable.value)
            for average, variable in zip(self.network.variables, trained.variables, strict=True)
            if tf.as_dtype(variable.dtype).is_floating
        ]
        self._follow = tf.function(self._move)

    def start(self) -> None:
        """Begins with the weights that the trained network has."""
        self.network.set_weights(self._trained.get_weights())

    def on_train_begin(self, logs=None):
        """Reads the number of steps that the averages have seen."""
        self._steps = self._count_steps()

    def on_train_batch_end(self, batch, logs=None):
        """Moves the averages if the optimizer has made a step."""
        steps = self._count_steps()
        if steps > self._steps:
            decay = min(self._decay, steps / (9 + steps))  # n is steps - 1
            self._follow(tf.constant(1.0 - decay, tf.float32))
            self._steps = steps

    def _count_steps(self) -> int:
        optimizer: Any = self._trained.optimizer
        return int(optimizer.iterations.numpy())

    def _move(self, share) -> None:
        for average, variable in self._pairs:
            # In this form a weight that does not move has itself as its average, bit for bit.
            self._strategy.extended.update(
                average,
                lambda average, variable: average.assign_sub(
                    tf.cast(share, average.dtype) * (average - variable)
                ),
                args=(variable,),
                group=False,
            )
