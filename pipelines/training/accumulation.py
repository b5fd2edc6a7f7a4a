"""Steps of the optimizer over several batches, for batches that do not fit into memory."""

from typing import Any

import keras
import tensorflow as tf

from kerasseg.losses.segmentation_loss import count_replicas


class Accumulation(keras.callbacks.Callback):
    """Lets the optimizer make a step after several batches, as one batch of all images would.

    The gradient of a batch m is added up with the weight `D_m` that its loss gives it, and a step
    of the optimizer has the gradient `sum_m D_m g_m / sum_m D_m`. A loss that is a ratio of sums
    over pixels, `N_m / D_m`, has then the gradient of `sum_m N_m / sum_m D_m`: that of one large
    batch, however the ignored pixels are shared out. Other losses are the mean of those of the
    batches with these weights. See `normalizer` of the losses.

    In mixed_float16 the gradients are added up with the scale of the loss, which changes at steps
    of the optimizer only: a value that is not finite costs the whole step, as in a large batch.

    Args:
        model: The compiled network, whose optimizer has its variables. Its `train_step` becomes
            that of a batch; this callback makes the steps of the optimizer.
        batches: Number of batches per step of the optimizer. Epochs consist of whole steps.
        strategy: The `tf.distribute` strategy of the training.

    Attributes:
        variables: The sums, which are part of the state within a step.
    """

    def __init__(self, model: keras.Model, batches: int, strategy: tf.distribute.Strategy):
        super().__init__()
        self._network: Any = model
        self._batches = batches
        self._strategy = strategy
        optimizer: Any = model.optimizer
        trained = getattr(optimizer, "inner_optimizer", optimizer)._trainable_variables
        with strategy.scope():
            self._sums = [_zeros(variable.shape) for variable in trained]
            self._weight = _zeros(())
        self.variables = [*self._sums, self._weight]
        self._sum_of = {id(v): s for v, s in zip(trained, self._sums, strict=True)}
        # Those that the loss depends on, known once a batch has been traced.
        self._reached: list[keras.Variable] = []
        self._apply = tf.function(self._step_of_all)
        self._network.train_step = self._train_step

    def on_train_batch_end(self, batch, logs=None):
        """Makes a step of the optimizer after the last of its batches."""
        if (batch + 1) % self._batches == 0:
            # The number makes another graph once more of the network is trained.
            self._apply(len(self._network.trainable_variables))

    def _train_step(self, data):
        """Adds up the gradient of a batch, on each replica; else as `keras.Model.train_step`."""
        model = self._network
        images, labels = data
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = model.compute_loss(images, labels, outputs, None, training=True)
            scaled = model.optimizer.scale_loss(loss)
        model._loss_tracker.update_state(loss * count_replicas(), tf.shape(images)[0])
        gradients = tape.gradient(scaled, model.trainable_variables)
        self._reached = [
            variable
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
            if gradient is not None
        ]
        weight = _weight_of(model.loss, labels, outputs)
        weighted = [gradient * weight for gradient in gradients if gradient is not None]
        replica: Any = tf.distribute.get_replica_context()
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, weighted)
        replica.merge_call(self._add, args=([*summed, weight],))
        return model.compute_metrics(images, labels, outputs)

    def _add(self, strategy, values) -> None:
        sums = [self._sum_of[id(variable)] for variable in self._reached]
        for variable, value in zip([*sums, self._weight], values, strict=True):
            strategy.extended.update(
                variable.value, lambda each, value: each.assign_add(value), (value,), group=False
            )

    def _step_of_all(self, count: int) -> None:
        self._strategy.run(self._step)
        for variable in self.variables:
            variable.value.assign(tf.zeros_like(variable.value))

    def _step(self) -> None:
        # The optimizer adds up the gradients of the replicas, which all have the same sums.
        divisor = self._weight.value * count_replicas()
        gradients = [
            tf.math.divide_no_nan(self._sum_of[id(variable)].value, divisor)
            for variable in self._reached
        ]
        self._network.optimizer.apply(gradients, self._reached)


def _zeros(shape) -> keras.Variable:
    return keras.Variable("zeros", shape=tuple(shape), trainable=False)


def _weight_of(loss: Any, labels, outputs) -> Any:
    """Returns the weight of a batch; 1 with losses of the user's own, which do not say it."""
    if not hasattr(loss, "normalizer"):
        return tf.ones(())
    return loss.normalizer(labels, outputs["logits"] if isinstance(outputs, dict) else outputs)
