"""The loss and the class weights that the options of a training ask for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import losses
from kerasseg.pipelines import records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import class_weights, compiled_model

OPTIONS = TrainingOptions(model="unet", model_options={"variant": "milesial", "filters": 2})


def loss_of(data, **options):
    model = compiled_model.build(
        replace(OPTIONS, **options), records.load(data), tf.distribute.get_strategy()
    )
    return model.loss


def test_the_loss_is_the_sum_that_is_asked_for(tiny_data):
    loss = loss_of(tiny_data, loss="0.3*focal(gamma=3) + 2*lovasz", dice_weight=0.5)
    assert isinstance(loss, losses.WeightedSum)
    assert loss.weights == [0.3, 2, 0.5]
    assert [type(part).__name__ for part in loss.losses] == ["Focal", "LovaszSoftmax", "Dice"]
    assert loss.losses[0].gamma == 3


def test_pixels_near_borders_weigh_more_if_the_loss_says_so(tiny_data):
    loss = loss_of(tiny_data, loss="ce(boundary_weight=10, boundary_sigma=3)")
    assert (loss.boundary_weight, loss.boundary_sigma) == (10, 3)


@pytest.mark.parametrize("text", ["ce", "cross-entropy", "1*ce"])
def test_one_loss_of_weight_one_is_itself(tiny_data, text):
    assert type(loss_of(tiny_data, loss=text)) is losses.CrossEntropy


def test_class_weights_go_to_each_loss_that_takes_them(tiny_data):
    options = {"class_weights": "median-frequency"}
    weights = class_weights.median_frequency_weights(records.load(tiny_data).splits["train"])
    loss = loss_of(tiny_data, loss="ce + focal + ohem + dice", **options)
    assert [getattr(part, "class_weights", None) for part in loss.losses] == [*[weights] * 3, None]
    with pytest.raises(InputError, match=r"class_weights must be none with loss dice, .*, got"):
        loss_of(tiny_data, loss="dice", **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "focal(alpha=1)",
            "of loss focal must be among boundary_sigma, boundary_weight, gamma, got alpha",
        ),
        ("ce(boundary_weight=-1)", "boundary_weight must be at least 0, got -1"),
        ("focal(gamma=-0.5)", "gamma must be at least 0, got -0.5"),
        ("ce(boundary_sigma=3)", "boundary_sigma must be left out without a boundary_weight above"),
        ("ohem(boundary_sigma=3, boundary_weight=0)", "in loss ohem, got 3"),
        ("ce(class_weights=1)", "of loss ce must be among .*, label_smoothing, got class_weights"),
        ("lovasz(per_image=1)", "of loss lovasz must be among none, got per_image"),
        ("ce(label_smoothing=2)", r"label_smoothing must be in \[0, 1\], got 2"),
        ("ce(boundary_weight=1, boundary_sigma=50)", r"sigma must be in \[0.1, 20\], got 50"),
        ("ohem(min_kept=0.5)", "min_kept must be an integer, got 0.5"),
    ],
)
def test_arguments_that_a_loss_does_not_take_are_refused(tiny_data, text, message):
    with pytest.raises(InputError, match=message):
        loss_of(tiny_data, loss=text)


@pytest.mark.parametrize("text", ["mask-classification", "ce + 0.5*mask-classification"])
def test_a_loss_of_queries_is_refused_for_a_network_without_them(tiny_data, text):
    message = r"loss must be without mask-classification for unet, which has no queries, got "
    with pytest.raises(InputError, match=message):
        loss_of(tiny_data, loss=text)


def test_inverse_frequency_weights_give_every_class_the_same_total_weight():
    pixels = [600, 0, 300, 100]
    weights = class_weights.inverse_frequency_weights(SimpleNamespace(class_pixels=pixels))
    # 1000 pixels, 3 classes that occur: 1000 / (3 n).
    assert weights == pytest.approx([1000 / 1800, 0, 1000 / 900, 1000 / 300])
    assert np.dot(weights, pixels) == pytest.approx(1000)
