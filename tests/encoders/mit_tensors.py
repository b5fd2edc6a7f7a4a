"""Tensors of a mix transformer under the names that the sources give them."""

import re

import numpy as np

# transformers before version 5, as the published files are; and as version 5 has them in memory.
HUGGINGFACE = {
    "patches": "encoder.patch_embeddings.{stage}.proj",
    "patches_norm": "encoder.patch_embeddings.{stage}.layer_norm",
    "norm": "encoder.layer_norm.{stage}",
    "block": "encoder.block.{stage}.{block}.",
    "norm1": "layer_norm_1",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "reduce": "attention.self.sr",
    "reduce_norm": "attention.self.layer_norm",
    "proj": "attention.output.dense",
    "norm2": "layer_norm_2",
    "fc1": "mlp.dense1",
    "depthwise": "mlp.dwconv.dwconv",
    "fc2": "mlp.dense2",
}
HUGGINGFACE_5 = {
    "patches": "stages.{stage}.patch_embeddings.proj",
    "patches_norm": "stages.{stage}.patch_embeddings.layer_norm",
    "norm": "stages.{stage}.layer_norm",
    "block": "stages.{stage}.blocks.{block}.",
    "norm1": "layernorm_before",
    "q": "attention.q_proj",
    "k": "attention.k_proj",
    "v": "attention.v_proj",
    "reduce": "attention.sequence_reduction.sequence_reduction",
    "reduce_norm": "attention.sequence_reduction.layer_norm",
    "proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "fc1": "mlp.fc1",
    "depthwise": "mlp.dwconv.dwconv",
    "fc2": "mlp.fc2",
}
MMSEG = {
    "patches": "layers.{stage}.0.projection",
    "patches_norm": "layers.{stage}.0.norm",
    "norm": "layers.{stage}.2",
    "block": "layers.{stage}.1.{block}.",
    "norm1": "norm1",
    "qkv": "attn.attn.in_proj_",
    "reduce": "attn.sr",
    "reduce_norm": "attn.norm",
    "proj": "attn.attn.out_proj",
    "norm2": "norm2",
    "fc1": "ffn.layers.0",
    "depthwise": "ffn.layers.1",
    "fc2": "ffn.layers.4",
}
# NVIDIA's own code and segmentation_models.pytorch.
NVIDIA = {
    "patches": "patch_embed{one_more}.proj",
    "patches_norm": "patch_embed{one_more}.norm",
    "norm": "norm{one_more}",
    "block": "block{one_more}.{block}.",
    "norm1": "norm1",
    "q": "attn.q",
    "kv": "attn.kv",
    "reduce": "attn.sr",
    "reduce_norm": "attn.norm",
    "proj": "attn.proj",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "depthwise": "mlp.dwconv.dwconv",
    "fc2": "mlp.fc2",
}


def tensors(model, names):
    """The encoder's weights as a source stores them."""
    state = {}
    for layer in model.layers:
        match = re.fullmatch(r"encoder_stage(\d)_(?:block(\d+)_)?(\w+)", layer.name)
        if not match or not layer.weights:
            continue
        stage, block, part = match.groups()
        place = names["block"] if block else ""
        place = place.format(stage=stage, block=block, one_more=int(stage) + 1)
        kernel, bias = (in_torch_layout(weight.numpy()) for weight in layer.weights)
        if part == "kv" and "k" in names:
            keys, values = np.split(kernel, 2), np.split(bias, 2)
            parts = {each: (keys[i], values[i]) for i, each in enumerate("kv")}
        elif "qkv" in names and part in ("q", "kv"):
            state[f"{place}{part}"] = kernel, bias
            if part == "kv":
                (q, q_bias), _ = state.pop(f"{place}q"), state.pop(f"{place}kv")
                place += names["qkv"]
                state[f"{place}weight"] = np.concatenate([q, kernel])
                state[f"{place}bias"] = np.concatenate([q_bias, bias])
            continue
        else:
            parts = {part: (kernel, bias)}
        for each, (weight, offset) in parts.items():
            name = place + names[each].format(stage=stage, one_more=int(stage) + 1)
            state |= {f"{name}.weight": weight, f"{name}.bias": offset}
    return state


def in_torch_layout(values):
    """A kernel as PyTorch has it; vectors stay as they are."""
    if values.ndim == 4:
        depthwise = values.shape[3] == 1
        values = values.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    return np.ascontiguousarray(values.T if values.ndim == 2 else values)
