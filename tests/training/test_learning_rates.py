"""The learning rate that the options of a training ask for."""

import pytest
import tensorflow as tf

from kerasseg.pipelines import records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import compiled_model, data_checks, learning_rates


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # 40 steps in 4 epochs: 5 of them are the warm-up of half an epoch.
        ({}, {0: 1 / 6, 20: 0.5**0.9}),
        ({"schedule": "cosine"}, {0: 1 / 6, 20: 0.5, 30: 0.5 * (1 - 0.5**0.5)}),
        (
            {"schedule": "step", "step_epochs": (1, 3), "step_factor": 0.5},
            {0: 1 / 6, 9: 1, 10: 0.5, 29: 0.5, 30: 0.25},
        ),
        ({"schedule": "constant"}, {0: 1 / 6, 5: 1, 39: 1}),
    ],
)
def test_the_schedule_is_the_one_that_is_asked_for(options, expected):
    chosen = TrainingOptions(epochs=4, learning_rate=2.0, warmup_epochs=0.5, **options)
    schedule = learning_rates.schedule(chosen, 40)
    # The warm-up multiplies the schedule, which begins to fall at once.
    begin = {} if options.get("schedule") in ("step", "constant") else {0: expected.pop(0)}
    assert {s: float(schedule(s)) for s in expected} == pytest.approx(
        {s: 2 * share for s, share in expected.items()}, rel=1e-5
    )
    for step, share in begin.items():
        assert float(schedule(step)) == pytest.approx(2 * share, rel=1e-6)


def number_of_layer(path, blocks):
    """As `get_num_layer_for_vit` of BEiT's optim_factory.py, by the names of our variables."""
    if path.startswith(
        ("encoder_tokens/", "encoder_patches/")
    ):  # cls_token, pos_embed, patch_embed
        return 0
    if path.startswith("encoder_block"):
        return int(path.removeprefix("encoder_block").partition("_")[0]) + 1
    return blocks + 1  # num_max_layer - 1, with num_max_layer = blocks + 2


def test_layers_of_a_vision_transformer_decay_as_in_beit(tiny_data):
    options = TrainingOptions(
        model="segmenter",
        model_options={"encoder": "vit_tiny", "decoder": "linear"},
        layer_decay=0.75,
        encoder_learning_rate_factor=0.5,
        head_learning_rate_factor=10.0,
    )
    model = compiled_model.build(options, records.load(tiny_data), tf.distribute.get_strategy())
    model.optimizer.build(model.trainable_variables)
    factors = zip(model.trainable_variables, model.optimizer._factors, strict=True)
    seen = set()
    for variable, factor in factors:
        number = number_of_layer(variable.path, 12)
        part = 0.5 if variable.path.startswith("encoder_") else 10.0
        assert factor == pytest.approx(part * 0.75 ** (13 - number)), variable.path
        seen.add(number)
    assert seen == set(range(14))


@pytest.mark.parametrize(
    ("model", "encoder", "named"),
    [
        ("deeplabv3plus", None, "encoder (mobilenetv2|resnet50)"),
        ("unet", None, "unet"),
        ("fcn", "vgg16", "encoder vgg"),
    ],
)
def test_encoders_without_numbered_layers_do_not_decay(model, encoder, named):
    given = {} if encoder is None else {"encoder": encoder}
    options = TrainingOptions(model=model, model_options=given, layer_decay=0.9)
    told = rf"layer_decay must be left out with {named}\w*, .*vit_tiny, .* got 0.9"
    with pytest.raises(InputError, match=told):
        learning_rates.layer_factors(options, ["encoder_conv"])


def test_a_warm_up_longer_than_the_training_is_refused(tiny_data):
    options = TrainingOptions(epochs=2, batch_size=2, warmup_epochs=2.5)
    with pytest.raises(InputError, match=r"warmup_epochs must be at most the 2 epochs, got 2\.5"):
        data_checks.check(options, records.load(tiny_data))
