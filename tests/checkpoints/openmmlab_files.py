"""Files as OpenMMLab's training code writes them: tensors, and a configuration as text."""

import json
import pickle
import textwrap

import numpy as np
from hostile_pytorch import state_dict, tensor, text, write_zip

MEANS = {"imagenet": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])}


def literal(value):
    """Writes a value as `pretty_text` of OpenMMLab's configurations does: dicts as calls."""
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key}={literal(each)}' for key, each in value.items())})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def wrapped(statement):
    """Breaks a statement at spaces, inside of its brackets, as the files have it."""
    return "\n".join(textwrap.wrap(statement, 79, break_long_words=False, break_on_hyphens=False))


def configuration(row, version=1, **changes):
    """The text of a row of the catalogue, in the form of MMSegmentation 0.x or 1.x.

    Args:
        row: A row of `openmmlab.tsv`.
        version: 0 or 1.
        changes: Options of the backbone that replace those of the row.
    """
    norm = {"type": "SyncBN", "requires_grad": True}
    if "MobileNetV3" in row["backbone"]:
        norm["eps"] = 0.001
    align = {"align_corners": row["align_corners"] == "True"}
    head = {**json.loads(row["head"]), **align, "norm_cfg": norm, "loss_decode": {"type": "X"}}
    mean, std, rgb = json.loads(row["mean_std"])
    backbone = {**json.loads(row["backbone"]), "norm_cfg": norm, **changes}
    if backbone["type"] in ("ConvNeXt", "mmpretrain.ConvNeXt", "VisionTransformer"):
        del backbone["norm_cfg"]
    model = {"type": "EncoderDecoder", "pretrained": None, "backbone": backbone}
    model["decode_head"] = head
    if row["auxiliary"]:
        auxiliary = {**json.loads(row["auxiliary"]), **align, "num_classes": head["num_classes"]}
        model["auxiliary_head"] = auxiliary
    tests = json.loads(row["test"])
    statements = {"norm_cfg": norm}
    if version == 1:
        preprocessor = {"type": "SegDataPreProcessor", "mean": mean, "std": std}
        model["data_preprocessor"] = {**preprocessor, "bgr_to_rgb": rgb, "pad_val": 0}
        statements["model"] = {**model, "train_cfg": {}, "test_cfg": tests}
    else:
        normalize = {"type": "Normalize", "mean": mean, "std": std, "to_rgb": rgb}
        steps = [{"type": "Resize", "keep_ratio": True}, normalize]
        pipeline = [
            {"type": "LoadImageFromFile"},
            {"type": "MultiScaleFlipAug", "transforms": steps},
        ]
        statements |= {"model": model, "test_cfg": tests, "data": {"test": {"pipeline": pipeline}}}
    statements["optimizer"] = {"type": "SGD", "lr": 0.01}
    return "\n".join(wrapped(f"{key} = {literal(value)}") for key, value in statements.items())


def write(path, tensors, meta):
    """Writes what `torch.save({"meta": meta, "state_dict": tensors})` writes.

    Args:
        path: The file.
        tensors: Arrays by name.
        meta: Plain values, or bytes that are a pickle of other ones.
    """
    made, storages = {}, {}
    for index, (name, values) in enumerate(tensors.items()):
        values = np.ascontiguousarray(values, np.float32)
        strides = [step // 4 for step in values.strides]
        made[name] = tensor(str(index), values.size, 0, values.shape, strides)
        storages[f"data/{index}"] = values.tobytes()
    pickled = meta if isinstance(meta, bytes) else pickle.dumps(meta, protocol=2)
    # Without the protocol before it and the STOP after it, a pickle is a part of another one.
    inside = text("meta") + pickled[2:-1] + text("state_dict") + state_dict(made)[2:-1]
    return write_zip(path, b"\x80\x02}(" + inside + b"u.", storages)
