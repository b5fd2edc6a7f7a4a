"""EoMT where it differs from other architectures."""

import numpy as np
import pytest

import kerasseg
from kerasseg import checkpoints
from kerasseg.encoders import dinov2
from kerasseg.encoders._tokens import Size
from kerasseg.layers.query_attention import QueryAttention
from kerasseg.layers.resize import resize_bilinear

WIDTH, HIDDEN, CLASSES, QUERIES = 8, 12, 3, 5


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(dinov2.SIZES, "dinov2_small", Size(WIDTH, 3, 2, HIDDEN))


def small(**options):
    return kerasseg.build(
        "eomt",
        **{"num_classes": CLASSES, "image_size": 48, "num_queries": QUERIES, **options},
    )


def published():
    """The tensors of a published file, with what the network itself does not need."""
    model = small(num_blocks=2)
    of_layers = {f"{layer.name}/{w.name}": w for layer in model.layers for w in layer.weights}

    def values(place):
        return of_layers[place].numpy()

    state = {
        "attn_mask_probs": np.array([0.0, 0.7], np.float32),
        "criterion.empty_weight": np.ones(CLASSES + 1, np.float32),
        "embeddings.cls_token": values("encoder_tokens/class_token"),
        "embeddings.register_tokens": values("encoder_tokens/register_tokens"),
        "embeddings.position_embeddings.weight": values("encoder_tokens/position_embedding")[0],
        "query.weight": values("queries/embedding"),
    }

    def add(theirs, ours, axes=(1, 0), norm=False):
        weight, bias = ("gamma", "beta") if norm else ("kernel", "bias")
        state[f"{theirs}.weight"] = values(f"{ours}/{weight}").transpose(None if norm else axes)
        state[f"{theirs}.bias"] = values(f"{ours}/{bias}")

    add("embeddings.patch_embeddings.projection", "encoder_patches", (3, 2, 0, 1))
    add("layernorm", "encoder_norm", norm=True)
    add("class_predictor", "class_logits")
    for index in range(3):
        add(f"layers.{index}.attention.out_proj", f"encoder_block{index}_proj")
        kernel, bias = (values(f"encoder_block{index}_qkv/{part}") for part in ("kernel", "bias"))
        for part, name in enumerate("qkv"):
            own = slice(part * WIDTH, (part + 1) * WIDTH)
            state[f"layers.{index}.attention.{name}_proj.weight"] = kernel[:, own].T
            state[f"layers.{index}.attention.{name}_proj.bias"] = bias[own]
        for number in (1, 2):
            add(f"layers.{index}.norm{number}", f"encoder_block{index}_norm{number}", norm=True)
            add(f"layers.{index}.mlp.fc{number}", f"encoder_block{index}_fc{number}")
            scale = values(f"encoder_block{index}_scale{number}/gamma")
            state[f"layers.{index}.layer_scale{number}.lambda1"] = scale
        add(f"mask_head.fc{index + 1}", f"mask_fc{index + 1}")
    for step in (1, 2):
        block = f"upscale_block.block.{step - 1}"
        add(f"{block}.conv1", f"upscale{step}_conv", (3, 2, 0, 1))
        add(f"{block}.layernorm2d", f"upscale{step}_norm", norm=True)
        depthwise = values(f"upscale{step}_depthwise/kernel").transpose(2, 3, 0, 1)
        state[f"{block}.conv2.weight"] = depthwise
    return model, state


def attentions(model):
    return [layer for layer in model.layers if isinstance(layer, QueryAttention)]


def test_a_published_file_tells_all_of_its_network():
    expected, state = published()
    model = checkpoints.from_state_dict(
        state, source="huggingface", model="eomt", preprocessing="source", resize_logits=True
    )
    # A block is masked where a share of its queries still is.
    assert [layer.masked for layer in attentions(model)] == [False, True]
    images = np.random.default_rng(0).uniform(0, 255, (1, 48, 48, 3)).astype(np.float32)
    for layer in attentions(expected):
        layer.masked = layer.name == "encoder_block2_attention"
    np.testing.assert_allclose(model(images), expected(images), atol=1e-4)
    unmasked = checkpoints.from_state_dict(
        state, source="huggingface", model="eomt", masked_attention=False
    )
    assert not any(layer.masked for layer in attentions(unmasked))


def test_what_queries_find_is_an_output_of_training_at_a_quarter_of_the_size():
    model = small(num_blocks=2)
    outputs = model(np.zeros((2, 37, 50, 3), np.float32), training=True)
    assert outputs["logits"].shape == (2, 37, 50, CLASSES)
    assert len(outputs) == 1 + 2 * 3
    for block in ("", "_1", "_2"):
        assert outputs[f"class_queries{block}"].shape == (2, QUERIES, CLASSES + 1)
        assert outputs[f"masks_queries{block}"].shape == (2, 10, 13, QUERIES)


def test_logits_are_the_logarithms_of_the_scores_of_enlarged_masks():
    model = small(num_blocks=1)
    images = np.random.default_rng(0).uniform(0, 255, (1, 16, 32, 3)).astype(np.float32)
    outputs = model(images, training=True)
    classes = np.exp(outputs["class_queries"])
    classes = (classes / classes.sum(-1, keepdims=True))[..., :-1]
    masks = resize_bilinear(outputs["masks_queries"], (16, 32), False).numpy()
    expected = np.einsum("bqc,bhwq->bhwc", classes, 1 / (1 + np.exp(-masks)))
    np.testing.assert_allclose(np.exp(outputs["logits"]), expected, rtol=1e-5)


def test_an_image_is_part_of_one_of_whole_patches():
    model = small()
    images = np.empty((1, 48, 64, 3), np.float32)
    images[:] = model.get_layer("preprocessing").mean  # 0 when it is normalised
    image = np.random.default_rng(0).uniform(0, 255, (40, 51, 3))
    images[0, :40, :51] = image
    logits = model(images[:, :40, :51])
    np.testing.assert_allclose(logits, model(images)[:, :40, :51], rtol=1e-5)


def test_the_number_of_blocks_follows_the_depth():
    assert len(attentions(small())) == 1
    assert len(attentions(small(num_blocks=3))) == 3
    with pytest.raises(ValueError, match="num_blocks must be at most 3, got 4"):
        small(num_blocks=4)
    with pytest.raises(ValueError, match=r"masked_attention must be .* 2, got \[True\]"):
        small(num_blocks=2, masked_attention=[True])
