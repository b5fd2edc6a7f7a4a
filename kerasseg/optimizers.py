"""Optimizers for pretrained encoders: separate learning rates, and one operation per variable."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf


class _Factors:
    """Mixed into Keras' optimizers: scales the learning rate of each layer's variables.

    Weight decay is decoupled, `variable -= variable * weight_decay * learning_rate`, and so scaled
    like the learning rate: with a factor of 0 the encoder stays as it is, bit for bit.
    """

    def _read_factors(
        self,
        encoder_factor: float,
        head_factor: float,
        layer_factors: Mapping[str, float] | None,
        encoder_waits: bool,
    ) -> None:
        self.encoder_factor = _check_factor("encoder_factor", encoder_factor)
        self.head_factor = _check_factor("head_factor", head_factor)
        self.layer_factors = {
            name: _check_factor(f"layer_factors[{name!r}]", factor)
            for name, factor in (layer_factors or {}).items()
        }
        self.encoder_waits = encoder_waits

    def _factor_of(self, variable) -> float:
        layer = variable.path.partition("/")[0]
        part = self.encoder_factor if layer.startswith("encoder_") else self.head_factor
        return part * self.layer_factors.get(layer, 1.0)

    def build(self, variables):
        """Makes the optimizer's state and records the factor of each variable."""
        this: Any = self
        self._of_encoder = [variable.path.startswith("encoder_") for variable in variables]
        self._factors = [self._factor_of(variable) for variable in variables]
        super().build(variables)  # pyright: ignore[reportAttributeAccessIssue]
        # Only where it is needed: saved states have as many variables as their optimizer.
        self._encoder_begun = None
        if self.encoder_waits:
            self._encoder_begun = this.add_variable(
                (), dtype="int64", aggregation="only_first_replica", name="encoder_begun"
            )

    def begin_encoder(self) -> None:
        """Counts the encoder's steps from now on, unless they have been counted already."""
        begun: Any = self._encoder_begun
        if int(begun.numpy()) == 0:
            begun.assign(self.iterations)  # pyright: ignore[reportAttributeAccessIssue]

    def _steps_of(self, index: int):
        """Returns the number of steps before this one in which a variable was trained."""
        iterations = self.iterations  # pyright: ignore[reportAttributeAccessIssue]
        if self._of_encoder[index] and self._encoder_begun is not None:
            return iterations - self._encoder_begun
        return iterations

    def _clip_gradients(self, grads):
        """Leaves the global norm to `_all_reduce_sum_gradients`, see there."""
        if self.global_clipnorm:  # pyright: ignore[reportAttributeAccessIssue]
            return grads
        return super()._clip_gradients(grads)  # pyright: ignore[reportAttributeAccessIssue]

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Adds up the gradients of all replicas and clips the sum by its global norm.

        Keras clips the gradient of each replica, so that the sum depends on how a batch is shared.
        """
        this: Any = super()
        summed = this._all_reduce_sum_gradients(grads_and_vars)
        limit = self.global_clipnorm  # pyright: ignore[reportAttributeAccessIssue]
        if not limit:
            return summed
        gradients, variables = zip(*summed, strict=True)
        return list(zip(tf.clip_by_global_norm(gradients, limit)[0], variables, strict=True))

    def _apply_weight_decay(self, variables):
        """Does nothing, as `update_step`, which knows a variable's own rate, applies the decay."""

    def update_step(self, gradient, variable, learning_rate):
        """Updates a variable at its own rate, with the arithmetic of Keras' optimizer.

        One operation reads and writes each array once, where Keras composes ten.
        `exclude_from_weight_decay(var_names=["bias"])` compares the variable's own name; Keras also
        searches the layer's name and would not decay the kernel of `debias`.
        """
        this: Any = self
        index = this._get_variable_index(variable)
        if not self._factors[index]:
            return
        gradient, rate = tf.cast(gradient, variable.dtype), tf.cast(learning_rate, variable.dtype)
        rate *= self._factors[index]
        if this.weight_decay and this._use_weight_decay(this._trainable_variables[index]):
            variable.assign_sub(variable * this.weight_decay * rate)
        self._update(_handle(variable), index, rate, gradient)

    def _update(self, handle, index: int, rate, gradient) -> None:
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        config = super().get_config()  # pyright: ignore[reportAttributeAccessIssue]
        own = ("encoder_factor", "head_factor", "layer_factors", "encoder_waits")
        return {**config, **{name: getattr(self, name) for name in own}}


def _check_factor(name: str, factor: float) -> float:
    if not 0 <= factor < float("inf"):
        raise ValueError(f"{name} must be at least 0, got {factor}.")
    return factor


def _handle(variable):
    value = variable.value if isinstance(variable, keras.Variable) else variable
    return value.handle


@keras.saving.register_keras_serializable(package="kerasseg")
class AdamW(_Factors, keras.optimizers.AdamW):  # pyright: ignore
    """AdamW with a learning rate of its own for the encoder, the head and single layers.

    Args:
        encoder_factor: Factor of the learning rate of the layers whose names begin with `encoder_`.
            Decoupled weight decay is scaled with it, as with the other factors.
        head_factor: Factor of the learning rate of all other layers.
        layer_factors: Further factors of single layers, by name.
        encoder_waits: Whether the encoder is frozen at first, and `begin_encoder` is called when it
            is not any more.
        **kwargs: Arguments of `keras.optimizers.AdamW`, but for `amsgrad`. `global_clipnorm` is
            that of the sum over all replicas.

    Reference:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
        https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        *args,
        encoder_factor: float = 1.0,
        head_factor: float = 1.0,
        layer_factors: Mapping[str, float] | None = None,
        encoder_waits: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("amsgrad must be False, got True.")
        self._read_factors(encoder_factor, head_factor, layer_factors, encoder_waits)

    def _update(self, handle, index, rate, gradient):
        step = tf.cast(self._steps_of(index) + 1, rate.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=handle,
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


@keras.saving.register_keras_serializable(package="kerasseg")
class SGD(_Factors, keras.optimizers.SGD):
    """Gradient descent with momentum, and learning rates as of `AdamW`.

    DeepLab and PSPNet are trained in this way: their encoders learn at a tenth of the rate of the
    later layers.

    Args:
        encoder_factor: Factor of the learning rate of the layers whose names begin with `encoder_`.
            Decoupled weight decay is scaled with it, as with the other factors.
        head_factor: Factor of the learning rate of all other layers.
        layer_factors: Further factors of single layers, by name.
        encoder_waits: Whether the encoder is frozen at first, and `begin_encoder` is called when it
            is not any more.
        **kwargs: Arguments of `keras.optimizers.SGD`. `global_clipnorm` is that of the sum over all
            replicas.
    """

    def __init__(
        self,
        *args,
        encoder_factor: float = 1.0,
        head_factor: float = 1.0,
        layer_factors: Mapping[str, float] | None = None,
        encoder_waits: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self._read_factors(encoder_factor, head_factor, layer_factors, encoder_waits)

    def _update(self, handle, index, rate, gradient):
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=rate, delta=gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=handle,
            accum=_handle(self.momentums[index]),
            lr=rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


@keras.saving.register_keras_serializable(package="kerasseg")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):  # pyright: ignore
    """Keras' scaling of the loss for mixed_float16, with all replicas in mind.

    A step is left out, and the scale halved, if the gradient of any replica is not finite. Keras
    asks the first replica alone, so that infinity on another one ends in the weights of all. The
    arguments are those of `keras.optimizers.LossScaleOptimizer`.
    """

    def check_finite(self, grads):
        """Tells whether the gradients of all replicas are finite."""
        finite: Any = super().check_finite(grads)
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return finite
        faults = tf.cast(tf.logical_not(finite), tf.float32)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, faults) == 0
