"""Swin's names, windows and depths; `tests/parity` has its numbers."""

import keras
import numpy as np
import pytest

from kerasseg.checkpoints import from_state_dict
from kerasseg.encoders import _swin_weights, swin


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(swin.SIZES, "swin_tiny", (4, (1, 2, 2, 2)))


def network(name="swin_tiny", **options):
    images = keras.Input((None, None, 3))
    return keras.Model(images, swin.features(images, name, **options))


def test_the_name_may_have_a_window(small):
    for name, window in (("swin_tiny", 7), ("swin_tiny:12", 12)):
        layer = network(name).get_layer("encoder_stage1_1_attention")
        assert (layer.window, layer.shift) == (window, window // 2)
    for wrong in ("", "0", "-7", "7.5", "x"):
        with pytest.raises(ValueError, match=f"window of a Swin .*at least 1, got '{wrong}'"):
            network(f"swin_tiny:{wrong}")


@pytest.mark.parametrize(
    ("form", "still", "pad_first", "last", "sides"),
    [
        ("paper", "never", True, 3, (18, 9, 5, 3)),
        ("classifier", "map", True, 3, (18, 9, 5, 3)),
        ("torchvision", "axis", True, 3, (17, 9, 5, 3)),
        ("timm", "never", False, 0, (18, 9, 5, 3)),
    ],
)
def test_forms_differ_in_shifts_and_padding(small, form, still, pad_first, last, sides):
    model = network(form=form)
    layers = [model.get_layer(f"encoder_stage{stage}_1_attention") for stage in (1, 2, 3)]
    assert [layer.shift for layer in layers] == [3, 3, last]
    assert {(layer.still, layer.pad_first) for layer in layers} == {(still, pad_first)}
    shapes = model.compute_output_shape((1, 70, 70, 3))
    assert tuple(shapes[stride][1] for stride in swin.STRIDES) == sides


def test_bad_arguments_are_refused_with_the_value(small):
    with pytest.raises(ValueError, match=r"form must be one of paper, .*, got 'best'"):
        network(form="best")
    with pytest.raises(ValueError, match="output_stride must be 32, got 16"):
        network(output_stride=16)


def test_openmmlab_s_merged_patches_get_the_authors_order():
    # (channel, row, column) to (column, row, channel): three channels, worked out by hand.
    given = np.arange(12.0)
    expected = [0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11]
    state = {"stages.0.downsample.norm.weight": given, "norm0.weight": given}
    found = _swin_weights._order_neighbours(state, None)
    np.testing.assert_array_equal(found["stages.0.downsample.norm.weight"], expected)
    np.testing.assert_array_equal(found["norm0.weight"], given)


def test_layers_are_numbered_block_by_block():
    # As `get_swin_layer` of SimMIM: what merges patches belongs to the block before it.
    numbers = swin.depths(
        [
            "encoder_patches_pad",
            "encoder_patches_norm",
            "encoder_stage0_0_qkv",
            "encoder_stage0_1_merge",
            "encoder_stage0_merge_reduction",
            "encoder_stage1_0_fc1",
            "encoder_stage1_1_fc2",
            "encoder_stage1_merge_norm",
            "encoder_stage2_0_norm1",
        ]
    )
    assert list(numbers.values()) == [0, 0, 1, 2, 2, 3, 4, 4, 5]


def state_of(model, rename):
    """The tensors of a network in PyTorch's layout, by the names of timm."""
    state = {}
    for layer in model.layers:
        for variable in layer.weights:
            values = variable.numpy()
            values = values.transpose((3, 2, 0, 1)) if values.ndim == 4 else values.T
            name = rename(layer.name, variable.name)
            if name:
                state[name] = values if variable.name == "kernel" else variable.numpy()
    return state


def test_the_tensors_tell_the_window(small):
    """Window 12, though the caller names no window, as in a reference's options."""

    def timm(layer, variable):
        kind = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(variable, "bias")
        if layer == "encoder_patches":
            return f"patch_embed.proj.{kind}"
        if layer == "encoder_patches_norm":
            return f"patch_embed.norm.{kind}"
        _, stage, part, *rest = layer.split("_")
        stage = int(stage.removeprefix("stage"))
        if part == "merge":
            return f"layers.{stage + 1}.downsample.{rest[0]}.{kind}"
        (rest,) = rest
        if rest == "attention":
            return f"layers.{stage}.blocks.{part}.attn.relative_position_bias_table"
        within = {"qkv": "attn.", "proj": "attn.", "fc1": "mlp.", "fc2": "mlp."}.get(rest, "")
        return f"layers.{stage}.blocks.{part}.{within}{rest}.{kind}"

    model = network("swin_tiny:12", form="timm", output_norms=False)
    found = from_state_dict(
        state_of(model, timm), source="timm", model="encoder", encoder="swin_tiny"
    )
    assert found.get_layer("encoder_stage2_1_attention").window == 12
    images = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    for stride, expected in model(images).items():
        np.testing.assert_allclose(found(images)[stride], expected, rtol=0, atol=1e-6)
