"""EoMT (Kerssies et al. 2025): a plain vision transformer whose last blocks see queries as well."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from .. import encoders
from ..encoders._tokens import Transformer
from ..layers import (
    Conv2DTranspose,
    CropLike,
    Dense,
    DepthwiseConv2D,
    LayerNormalization,
    PadToMultiple,
    Upsample,
)
from ..layers.activations import gelu
from ..layers.mask_classification import MaskClassificationModel
from ..layers.preprocessing import preprocess
from ..layers.queries import (
    LogarithmOfScores,
    PrependQueries,
    QueryMasks,
    QueryScores,
    TakeQueries,
)
from ..layers.query_attention import QueryAttention
from ..layers.transformer import PatchMap
from . import check_options

PAPER = "https://arxiv.org/abs/2503.19108"
VARIANTS = ("paper",)
NEEDS = encoders.Needs(blocks=True)

_PATCH = 16
_STRIDE = 4  # of the masks
# Blocks with queries, by the depth of the encoder.
_BLOCKS = {12: 3, 24: 4, 40: 5}


def build(
    *,
    num_classes: int,
    encoder: str = "dinov2_small",
    variant: str = "paper",
    image_size: int = 512,
    num_queries: int = 100,
    num_blocks: int | None = None,
    masked_attention: bool | Sequence[bool] = False,
    registers: int = 4,
    drop_path: float = 0.0,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    preprocessing: str | None = "encoder",
    resize_logits: bool = True,
) -> keras.Model:
    """Builds EoMT, the encoder-only mask transformer: queries among a vision transformer's tokens.

    Before the last blocks learned queries are put before the tokens. After the last block, and in
    training before each of those blocks too, every query has a class, or none, and a mask: the
    product of its embedding with the patches, which are enlarged to stride 4. The score of a class
    at a place is `sum_q softmax(class logits of q) sigmoid(mask logit of q)`. The logits are the
    logarithms of the scores, so that their softmax is the scores divided by their sum.

    In training a query sees only the patches of its own mask, as far as
    `layers.query_attention.anneal_masks` or `callbacks.MaskAnnealing` says; `kerasseg fit` calls
    it. At the end of such a training no block is masked, and the network is a plain transformer.

    Variants:
        paper: Patches of 16 x 16 pixels, 4 registers, two steps of upscaling.

    Args:
        num_classes: Number of output channels; the ignored label is not one.
        encoder: Name of a DINOv2 or DINOv3 transformer; `kerasseg models eomt` lists them.
        variant: One of `VARIANTS`.
        image_size: Side in pixels of the square images of the training, which decides the number of
            DINOv2's position embeddings. They are resized for images of another size.
        num_queries: Number of queries.
        num_blocks: Number of last blocks that see queries; None for 3, 4 or 5 in transformers of
            12, 24 or 40 blocks.
        masked_attention: Whether a query sees only the patches of its own mask, in all of these
            blocks or for each; in training too, unless masks are annealed.
        registers: Number of the encoder's registers.
        drop_path: Share of the images for which the encoder's last block drops a residual branch in
            training.
        input_shape: `(height, width, channels)`; None for any height or width.
        preprocessing: "encoder" for images in [0, 255], or the name of a preset; None for already
            normalised input.
        resize_logits: Whether to resize the logits of the masks to the input's resolution before
            the scores are computed, and to take the logarithms of these.

    Returns:
        A functional model, a `layers.mask_classification.MaskClassificationModel`, from images
        `(batch, height, width, 3)`, float32 RGB in [0, 255], to logits
        `(batch, height, width, num_classes)`, float32, at the input's resolution; or, if not
        `resize_logits`, to scores of at least 0 at stride 4.

    Raises:
        ValueError: If an argument is out of range, or the encoder or variant unknown.

    Reference:
        Kerssies et al., Your ViT is Secretly an Image Segmentation Model, CVPR 2025.
        https://arxiv.org/abs/2503.19108

    Differs from the paper:
        Images are padded to whole patches.
    """
    check_options(
        num_classes=num_classes,
        input_shape=input_shape,
        variant=variant,
        variants=VARIANTS,
        image_size=image_size,
        num_queries=num_queries,
        num_blocks=num_blocks,
    )
    chosen = encoders.choose(encoder, NEEDS)
    images = keras.Input(input_shape, name="image")
    normalized = preprocess(images, preprocessing, chosen.preprocessing)
    side = math.ceil(image_size / _PATCH)
    positions = {"grid": (side, side)} if chosen.family.LEARNED_POSITIONS else {}
    transformer: Transformer = chosen.family.tokens(
        PadToMultiple(_PATCH, name="encoder_pad")(normalized),
        chosen.name,
        patch=_PATCH,
        registers=registers,
        drop_path=drop_path,
        **positions,
    )
    masked = _masked_blocks(transformer.size.depth, num_blocks, masked_attention)
    head = _Head(transformer, num_queries, num_classes)
    found = _apply_blocks(transformer, head, masked)
    outputs = {}
    for index, (classes, masks) in enumerate(found):
        of_block = f"_{index}" if index else ""
        outputs[f"class_queries{of_block}"] = classes
        crop = CropLike(0, _STRIDE, dtype="float32", name=f"masks{of_block}")
        outputs[f"masks_queries{of_block}"] = crop(masks, images)
    masks = outputs["masks_queries"]
    if resize_logits:
        _, masks = found[0]
        masks = Upsample(_STRIDE, dtype="float32", name="resize_masks")(masks)
        masks = CropLike(0, dtype="float32", name="crop_masks")(masks, images)
    scores = QueryScores(name="scores")(outputs["class_queries"], masks)
    if resize_logits:
        scores = LogarithmOfScores(name="logarithm")(scores)
    return MaskClassificationModel(images, {"logits": scores, **outputs}, name="eomt")


def _masked_blocks(
    depth: int, num_blocks: int | None, masked_attention: bool | Sequence[bool]
) -> list[bool]:
    """Returns for each block with queries whether they are masked."""
    if num_blocks is None:
        num_blocks = _BLOCKS.get(depth, max(1, depth // 6))
    if num_blocks > depth:
        raise ValueError(f"num_blocks must be at most {depth}, got {num_blocks}.")
    if isinstance(masked_attention, Sequence):
        masked = [bool(each) for each in masked_attention]
        if len(masked) != num_blocks:
            raise ValueError(
                f"masked_attention must be one for all blocks or {num_blocks}, got {masked}."
            )
        return masked
    return [bool(masked_attention)] * num_blocks


def _apply_blocks(transformer: Transformer, head: "_Head", masked: list[bool]) -> list[tuple]:
    """Returns what the queries find, after the last block first, then before each block."""
    tokens, before = transformer.tokens, transformer.size.depth - len(masked)
    for index in range(before):
        tokens = transformer.block(tokens, index)
    tokens = PrependQueries(head.queries, name="queries")(tokens)
    found = []
    for index, is_masked in enumerate(masked, start=before):
        classes, masks = head(tokens)
        found.append((classes, masks))
        attention = QueryAttention(
            transformer.size.heads,
            transformer.rotary,
            is_masked,
            name=f"encoder_block{index}_attention",
        )

        def attend(queries_keys_values, attention=attention, masks=masks):
            return attention(queries_keys_values, transformer.patches, masks)

        tokens = transformer.block(tokens, index, attend)
    return [head(tokens), *found]


class _Head:
    """The layers that predict the queries' classes and masks, shared by all blocks."""

    def __init__(self, transformer: Transformer, queries: int, num_classes: int):
        width = transformer.size.width
        self.queries = queries
        self._patches = transformer.patches
        self._norm = transformer.norm()
        self._take = TakeQueries(queries, name="take_queries")
        self._classify = Dense(num_classes + 1, dtype="float32", name="class_logits")
        self._embed = [
            Dense(width, activation=activation, name=f"mask_fc{index}")
            for index, activation in ((1, "gelu"), (2, "gelu"), (3, None))
        ]
        self._map = PatchMap(prefix=queries + transformer.prefix, name="patch_map")
        self._upscale = [layer for step in (1, 2) for layer in _upscaling(width, step)]
        self._masks = QueryMasks(name="query_masks")

    def __call__(self, tokens) -> tuple[Any, Any]:
        """Returns the logits of classes and of masks, at stride 4."""
        tokens = self._norm(tokens)
        embeddings = queries = self._take(tokens)
        for layer in self._embed:
            embeddings = layer(embeddings)
        features = self._map(tokens, self._patches)
        for layer in self._upscale:
            features = layer(features)
        return self._classify(queries), self._masks(embeddings, features)


def _upscaling(width: int, step: int) -> list[keras.layers.Layer]:
    """Makes the layers that double the sides of a map."""
    return [
        Conv2DTranspose(width, 2, strides=2, name=f"upscale{step}_conv"),
        layers.Activation(gelu, name=f"upscale{step}_gelu"),
        DepthwiseConv2D(3, use_bias=False, name=f"upscale{step}_depthwise"),
        LayerNormalization(epsilon=1e-6, name=f"upscale{step}_norm"),
    ]
