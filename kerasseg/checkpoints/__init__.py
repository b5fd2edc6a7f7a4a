"""Published weights in our models: readers, and one rename table a source."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import lazy

if TYPE_CHECKING:
    import keras
    import numpy as np

    from . import assign as assign
    from . import deeplab_pytorch as deeplab_pytorch
    from . import imagenet as imagenet
    from . import keras_deeplab as keras_deeplab
    from . import largefov_pytorch as largefov_pytorch
    from . import milesial as milesial
    from . import mmseg as mmseg
    from . import pickles as pickles
    from . import pytorch_fcn as pytorch_fcn
    from . import pytorch_semseg as pytorch_semseg
    from . import readers as readers
    from . import refinenet as refinenet
    from . import segmenter as segmenter
    from . import semseg as semseg
    from . import smp as smp
    from . import timm as timm
    from . import torchvision as torchvision
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

# Sources and the file of each; a file tells in MODELS which architectures it has.
SOURCES = (
    "deeplab-pytorch",
    "keras-deeplab",
    "largefov-pytorch",
    "milesial",
    "mmseg",
    "pytorch-fcn",
    "pytorch-semseg",
    "refinenet",
    "segmenter",
    "semseg",
    "smp",
    "timm",
    "torchvision",
)


def source_module(source: str) -> ModuleType:
    """Returns the module with a source's rename tables.

    Raises:
        ValueError: If the source is unknown.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}.")
    return importlib.import_module(f"{__name__}.{source.replace('-', '_')}")


def from_state_dict(
    state: "dict[str, np.ndarray]",
    *,
    source: str,
    model: str,
    num_classes: int | None = None,
    preprocessing: str | None = None,
    resize_logits: bool | None = None,
    reset_head: bool = False,
    **options: Any,
) -> "keras.Model":
    """Builds an architecture and fills it with published weights.

    Args:
        state: Arrays by their published names, in the layout of their framework.
        source: One of `SOURCES`, the implementation that they come from; it implies the variant.
        model: Name of the architecture, or "encoders.FAMILY" for an encoder alone.
        num_classes: Number of classes; read off the tensors if None.
        preprocessing: "source" for images in [0, 255] normalised as the source does, or a preset;
            None for already normalised input.
        resize_logits: Whether to end at the input's resolution; None for where the source's own
            network ends.
        reset_head: Whether the classifier may start anew when it has another number of classes.
        **options: Further arguments of the architecture, such as `encoder` and `output_stride`;
            what the tensors tell need not be given.

    Returns:
        The model, in the architecture's form of that source.

    Raises:
        ValueError: If source or architecture are unknown, or a tensor is left over, missing, or of
            another shape; it lists them.
    """
    from . import assign

    module = source_module(source)
    if model not in module.MODELS:
        raise ValueError(
            f"model must be one of {', '.join(module.MODELS)} for source {source}, got {model!r}."
        )
    state = getattr(module, "clean", assign.clean)(state)
    try:
        inferred = module.infer(state, model)
    except KeyError as error:
        raise ValueError(
            f"state must be that of a {model} of {source}, got no tensor {error}."
        ) from error
    stored_classes = inferred.pop("num_classes", None)
    if num_classes is not None:
        inferred["num_classes"] = num_classes
    elif stored_classes is not None:
        inferred["num_classes"] = stored_classes
    if preprocessing == "source":
        exceptions = getattr(module, "PREPROCESSING_OF", {})
        preprocessing = exceptions.get(model, module.PREPROCESSING)
    if resize_logits is None:
        resize_logits = module.RESIZES_LOGITS
    built = assign.build(
        model,
        {**inferred, **options, "preprocessing": preprocessing, "resize_logits": resize_logits},
    )
    other_head = reset_head and num_classes not in (None, stored_classes)
    assign.fill(built, state, module.renames(model), keep_heads=other_head)
    return built
