"""DeepLab for Keras 2, with the weights of the authors' TensorFlow code.

https://github.com/bonlime/keras-deeplab-v3-plus (MIT)

Its network with Xception is DeepLab v3+. Its network with MobileNetV2 has neither atrous rates nor
a decoder and is DeepLab v3. If the sides of an image are not k * output_stride + 1, the image is
padded here, as in the authors' trainings, but not in that implementation.
"""

MODELS = ("deeplabv3", "deeplabv3plus")
PREPROCESSING = "tf"
RESIZES_LOGITS = True


def clean(state: dict) -> dict:
    """Renames the tensors of an `.h5` file, which repeats a layer's name, to `LAYER/VARIABLE`."""
    cleaned = {}
    for name, values in state.items():
        parts = name.removeprefix("model_weights/").split("/")
        cleaned[f"{parts[0]}/{parts[-1].removesuffix(':0')}"] = values
    return cleaned


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of an architecture from its tensors."""
    logits = next((name for name in state if name.endswith("logits_semantic/kernel")), None)
    if logits is None:
        raise KeyError("logits_semantic/kernel")
    found = {"num_classes": state[logits].shape[-1]}
    if model == "deeplabv3":
        return {**found, "variant": "official", "encoder": "mobilenetv2", "output_stride": 8}
    return {**found, "variant": "paper", "encoder": "xception65"}


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of an architecture."""
    units = [*_SHARED, *(_MOBILENET if model == "deeplabv3" else _XCEPTION)]
    logits = r"(?:custom_)?logits_semantic/(kernel|bias)"
    return [(logits, r"=logits/\1"), *(pair for unit in units for pair in _unit(*unit))]


def _unit(theirs: str, ours: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Returns the renames of a convolution and its normalisation."""
    return (
        (rf"{theirs}/(?:depthwise_)?kernel", f"={ours}_conv/kernel"),
        (rf"{theirs}_BN/(gamma|beta|moving_mean|moving_variance)", rf"={ours}_bn/\1"),
    )


_SHARED = [
    ("image_pooling", "aspp_pool"),
    ("aspp0", "aspp0"),
    ("concat_projection", "aspp_project"),
]

_MOBILENET = [
    ("Conv", "encoder_stem"),
    *(
        (f"expanded_conv_{block}_{part}" if block else f"expanded_conv_{part}", ours)
        for block in range(17)
        for part in ("expand", "depthwise", "project")
        # Our blocks count from 1, those of the source from 0.
        for ours in [f"encoder_block{block + 1}_{part}"]
    ),
]

_BLOCKS = [
    *((f"entry_flow_block{index}", index) for index in (1, 2, 3)),
    *((f"middle_flow_unit_{index}", 3 + index) for index in range(1, 17)),
    ("exit_flow_block1", 20),
    ("exit_flow_block2", 21),
]

_XCEPTION = [
    ("entry_flow_conv1_1", "encoder_stem1"),
    ("entry_flow_conv1_2", "encoder_stem2"),
    *((f"{theirs}_shortcut", f"encoder_block{ours}_shortcut") for theirs, ours in _BLOCKS),
    *(
        (f"{theirs}_separable_conv{index}_{part}", f"encoder_block{ours}_{part}{index}")
        for theirs, ours in _BLOCKS
        for index in (1, 2, 3)
        for part in ("depthwise", "pointwise")
    ),
    ("feature_projection0", "low_level"),
    *(
        (f"aspp{index}_{part}", f"aspp{index}_{part}")
        for index in (1, 2, 3)
        for part in ("depthwise", "pointwise")
    ),
    *(
        (f"decoder_conv{index}_{part}", f"decoder{index + 1}_{part}")
        for index in (0, 1)
        for part in ("depthwise", "pointwise")
    ),
]
