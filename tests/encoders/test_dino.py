"""DINOv2 and DINOv3 in the names of several sources, tiny; `test_parity.py` has whole networks."""

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import checkpoints
from kerasseg.checkpoints import imagenet
from kerasseg.encoders import _dino_weights, dinov2, dinov3
from kerasseg.encoders._tokens import Size
from kerasseg.layers.position_embeddings import interpolation_matrix

WIDTH, HIDDEN, GRID, PATCH = 8, 12, 4, 14


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(dinov2.SIZES, "dinov2_small", Size(WIDTH, 1, 2, HIDDEN))
    monkeypatch.setitem(dinov2.SIZES, "dinov2_giant", Size(WIDTH, 1, 2, HIDDEN, gated=True))
    monkeypatch.setitem(dinov3.SIZES, "dinov3_small_plus", Size(WIDTH, 1, 2, HIDDEN, gated=True))


def drawn(shapes):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def linear(name, outputs, inputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name):
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def of_transformers(gated=False):
    """The tensors of DINOv2 with registers."""
    block = "encoder.layer.0"
    mlp = (
        linear(f"{block}.mlp.weights_in", 2 * HIDDEN, WIDTH)
        | linear(f"{block}.mlp.weights_out", WIDTH, HIDDEN)
        if gated
        else linear(f"{block}.mlp.fc1", HIDDEN, WIDTH) | linear(f"{block}.mlp.fc2", WIDTH, HIDDEN)
    )
    attention = f"{block}.attention.attention"
    return drawn(
        {
            "embeddings.cls_token": (1, 1, WIDTH),
            "embeddings.mask_token": (1, WIDTH),
            "embeddings.register_tokens": (1, 4, WIDTH),
            "embeddings.position_embeddings": (1, 1 + GRID**2, WIDTH),
            "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
            "embeddings.patch_embeddings.projection.bias": (WIDTH,),
            **norm(f"{block}.norm1"),
            **linear(f"{attention}.query", WIDTH, WIDTH),
            **linear(f"{attention}.key", WIDTH, WIDTH),
            **linear(f"{attention}.value", WIDTH, WIDTH),
            **linear(f"{block}.attention.output.dense", WIDTH, WIDTH),
            f"{block}.layer_scale1.lambda1": (WIDTH,),
            **norm(f"{block}.norm2"),
            **mlp,
            f"{block}.layer_scale2.lambda1": (WIDTH,),
            **norm("layernorm"),
        }
    )


def of_timm(state):
    """The same tensors as timm keeps them: the class token holds its position embedding."""
    block = "encoder.layer.0."
    attention = f"{block}attention.attention."
    positions = state["embeddings.position_embeddings"]
    found = {
        "cls_token": state["embeddings.cls_token"] + positions[:, :1],
        "reg_token": state["embeddings.register_tokens"],
        "pos_embed": positions[:, 1:],
    }
    for kind in ("weight", "bias"):
        parts = [state[f"{attention}{part}.{kind}"] for part in ("query", "key", "value")]
        found |= {
            f"patch_embed.proj.{kind}": state[f"embeddings.patch_embeddings.projection.{kind}"],
            f"blocks.0.attn.qkv.{kind}": np.concatenate(parts),
            f"blocks.0.attn.proj.{kind}": state[f"{block}attention.output.dense.{kind}"],
            f"norm.{kind}": state[f"layernorm.{kind}"],
        }
        for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            found[f"blocks.0.{part}.{kind}"] = state[f"{block}{part}.{kind}"]
    for index in (1, 2):
        found[f"blocks.0.ls{index}.gamma"] = state[f"{block}layer_scale{index}.lambda1"]
    return found


def load(state, source, encoder):
    return checkpoints.from_state_dict(state, source=source, model="encoder", encoder=encoder)


def test_tensors_of_timm_give_the_features_of_those_of_transformers():
    state, encoder = of_transformers(), "dinov2_small_registers"
    images = np.random.default_rng(1).normal(size=(1, 30, 100, 3)).astype(np.float32)
    expected = load(state, "huggingface", encoder)(images)[PATCH]
    assert expected.shape == (1, 2, 7, WIDTH)
    found = load(of_timm(state), "timm", encoder)(images)[PATCH]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_gated_perceptron_has_its_gates_first_in_both_families():
    model = load(of_transformers(gated=True), "huggingface", "dinov2_giant_registers")
    kernel = of_transformers(gated=True)["encoder.layer.0.mlp.weights_in.weight"].T
    np.testing.assert_array_equal(model.get_layer("encoder_block0_fc1").kernel, kernel)
    block = "layer.0"
    state = drawn(
        {
            "embeddings.cls_token": (1, 1, WIDTH),
            "embeddings.mask_token": (1, 1, WIDTH),
            "embeddings.register_tokens": (1, 4, WIDTH),
            "embeddings.patch_embeddings.weight": (WIDTH, 3, 16, 16),
            "embeddings.patch_embeddings.bias": (WIDTH,),
            **norm(f"{block}.norm1"),
            **linear(f"{block}.attention.q_proj", WIDTH, WIDTH),
            f"{block}.attention.k_proj.weight": (WIDTH, WIDTH),
            **linear(f"{block}.attention.v_proj", WIDTH, WIDTH),
            **linear(f"{block}.attention.o_proj", WIDTH, WIDTH),
            f"{block}.layer_scale1.lambda1": (WIDTH,),
            **norm(f"{block}.norm2"),
            **linear(f"{block}.mlp.up_proj", HIDDEN, WIDTH),
            **linear(f"{block}.mlp.gate_proj", HIDDEN, WIDTH),
            **linear(f"{block}.mlp.down_proj", WIDTH, HIDDEN),
            f"{block}.layer_scale2.lambda1": (WIDTH,),
            **norm("norm"),
        }
    )
    model = load(state, "huggingface", "dinov3_small_plus")
    parts = [state[f"{block}.mlp.{part}.weight"] for part in ("gate_proj", "up_proj")]
    np.testing.assert_array_equal(
        model.get_layer("encoder_block0_fc1").kernel, np.concatenate(parts).T
    )
    parts = [state[f"{block}.attention.{part}.bias"] for part in ("q_proj", "v_proj")]
    np.testing.assert_array_equal(
        model.get_layer("encoder_block0_qkv_bias").bias, np.concatenate(parts)
    )


def test_a_projection_gives_for_resized_patches_what_it_gave_for_the_original_ones():
    rng = np.random.default_rng(2)
    kernel, patch = rng.normal(size=(5, 3, PATCH, PATCH)), rng.normal(size=(3, PATCH, PATCH))
    resize = interpolation_matrix(16, PATCH, "bicubic_antialiased").numpy()
    resized = np.einsum("ah,chw,bw->cab", resize, patch, resize)
    found = _dino_weights._fit_patches(kernel, 16)
    np.testing.assert_allclose(
        np.einsum("ocab,cab->o", found, resized), np.einsum("ochw,chw->o", kernel, patch), rtol=1e-3
    )


def test_eomt_takes_an_encoder_of_another_patch_size_and_grid(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.numpy import save_file

    state = of_transformers()
    save_file(state, tmp_path / "dino.safetensors")
    model = kerasseg.build(
        "eomt",
        num_classes=2,
        encoder="dinov2_small",
        image_size=48,
        num_queries=3,
        num_blocks=1,
    )
    count = imagenet.load_encoder(model, "dinov2_small", str(tmp_path / "dino.safetensors"))
    encoder = [layer for layer in model.layers if layer.name.startswith("encoder_")]
    seeds = sum("seed" in weight.path for layer in encoder for weight in layer.weights)
    assert count == sum(len(layer.weights) for layer in encoder) - seeds
    tokens = model.get_layer("encoder_tokens")
    weights = {weight.name: weight.numpy() for weight in tokens.weights}
    positions = state["embeddings.position_embeddings"]
    first = state["embeddings.cls_token"] + positions[:, :1]
    np.testing.assert_allclose(weights["class_token"], first, atol=1e-6)
    third = interpolation_matrix(3, GRID, "bicubic_antialiased").numpy()
    table = positions[0, 1:].reshape(GRID, GRID, WIDTH)
    expected = np.einsum("ir,rcd,jc->ijd", third, table, third).reshape(1, 9, WIDTH)
    np.testing.assert_allclose(weights["position_embedding"], expected, atol=1e-5)
    assert isinstance(model, keras.Model)
