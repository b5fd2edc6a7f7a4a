"""What a step tells of itself, where several workers make it together."""

from typing import Any

import keras
import tensorflow as tf

from ..workers.team import Team


def prepare(model: keras.Model, team: Team) -> None:
    """Lets Keras average the logs of the steps over the replicas of all workers.

    Under `MultiWorkerMirroredStrategy`, Keras averages logs over their first axis, which a single
    number does not have: its training fails at the first step.

    Args:
        model: The compiled network, whose `train_step` is the last one.
        team: The workers.
    """
    if team.workers == 1:
        return
    network: Any = model
    step = network.train_step

    def train_step(data):
        return {name: tf.reshape(value, (1,)) for name, value in step(data).items()}

    network.train_step = train_step
