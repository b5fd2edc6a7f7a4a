"""Published weights for our models: readers of files, and one rename table per source."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import lazy

if TYPE_CHECKING:
    import keras
    import numpy as np

    from . import archives as archives
    from . import assign as assign
    from . import bare_encoder as bare_encoder
    from . import catalogue as catalogue
    from . import configuration_text as configuration_text
    from . import deeplab_pytorch as deeplab_pytorch
    from . import forms as forms
    from . import hdf5 as hdf5
    from . import hdf5_process as hdf5_process
    from . import hub_presets as hub_presets
    from . import huggingface as huggingface
    from . import huggingface_configuration as huggingface_configuration
    from . import huggingface_files as huggingface_files
    from . import image_kernels as image_kernels
    from . import imagenet as imagenet
    from . import json_configuration as json_configuration
    from . import keras_applications as keras_applications
    from . import keras_deeplab as keras_deeplab
    from . import largefov_pytorch as largefov_pytorch
    from . import limits as limits
    from . import milesial as milesial
    from . import mmseg as mmseg
    from . import notes as notes
    from . import openmmlab as openmmlab
    from . import openmmlab_backbones as openmmlab_backbones
    from . import openmmlab_checks as openmmlab_checks
    from . import openmmlab_heads as openmmlab_heads
    from . import packages as packages
    from . import pickles as pickles
    from . import plans as plans
    from . import prefixes as prefixes
    from . import pytorch as pytorch
    from . import pytorch_fcn as pytorch_fcn
    from . import pytorch_semseg as pytorch_semseg
    from . import readers as readers
    from . import recognition as recognition
    from . import refinenet as refinenet
    from . import safetensors as safetensors
    from . import segmenter as segmenter
    from . import semseg as semseg
    from . import smp as smp
    from . import smp_configuration as smp_configuration
    from . import storages as storages
    from . import timm as timm
    from . import torchvision as torchvision
    from . import transfer as transfer
    from . import untold as untold
    from . import within as within
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

# Sources and their files; a file lists its architectures in MODELS.
SOURCES = (
    "deeplab-pytorch",
    "huggingface",
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
    prefix: str | None = None,
    allow_non_finite: bool = False,
    complete: bool = False,
    configured: "Mapping[str, Any] | None" = None,
    report: "Callable[[str], None] | None" = None,
    report_contradiction: "Callable[[str], None] | None" = None,
    **options: Any,
) -> "keras.Model":
    """Builds an architecture and fills it with published weights.

    Args:
        state: Arrays by their published names, in the layout of their framework.
        source: Implementation that the arrays come from, one of `SOURCES`; it implies the variant.
        model: Name of the architecture, or "encoder" for the encoder alone that the option
            `encoder` names; "encoders.FAMILY" for the last features of an encoder alone.
        num_classes: Number of classes; None to read it from the tensors.
        preprocessing: "source" for images in [0, 255], which are normalised as in the source; or
            the name of a preset; None for already normalised input.
        resize_logits: Whether to resize the logits to the input's resolution; None to do it only if
            the network of the source does it.
        reset_head: Whether the classifier may keep its initial weights if the source has another
            number of classes.
        prefix: Beginning of the names of the network's tensors, such as "student."; "" for no
            prefix. None removes a prefix if exactly one makes all tensors fit, and leaves out other
            tensors.
        allow_non_finite: Whether weights may be NaN or infinite.
        complete: Whether arguments that the tensors do not tell must be given. If not, they are
            those of the source's usual form, such as output stride 8.
        configured: Arguments of the architecture from a configuration or the catalogue, which count
            where neither the tensors nor `options` tell something else.
        report: Called with a sentence if a prefix was removed or tensors were left out.
        report_contradiction: Called with a sentence for each argument for which the tensors tell
            another value than `configured`.
        **options: Further arguments of the architecture, such as `encoder` and `output_stride`. The
            arguments that the tensors show need not be given.

    Returns:
        The model, in the source's variant of the architecture. An encoder alone takes normalised
        images and returns `{stride: features}`.

    Raises:
        UntoldError: If `complete`, and an argument is missing; see `kerasseg.checkpoints.untold`.
        ValueError: If the source or architecture is unknown, several networks fit, or tensors are
            left over, missing, of another shape, NaN or infinite; the message lists them.
    """
    from . import bare_encoder, plans

    module: Any = source_module(source)
    if model == bare_encoder.MODEL:
        module = bare_encoder.BareEncoder(source, options.get("encoder"))
    if model not in module.MODELS:
        raise ValueError(
            f"model must be one of {', '.join(module.MODELS)} for source {source}, got {model!r}."
        )
    assumed = ("preprocessing",) if preprocessing == "source" else ()
    if preprocessing == "source":
        exceptions = getattr(module, "PREPROCESSING_OF", {})
        preprocessing = exceptions.get(model, module.PREPROCESSING)
    if resize_logits is None:
        resize_logits = module.RESIZES_LOGITS
    options = {**options, "preprocessing": preprocessing, "resize_logits": resize_logits}
    plan = plans.Plan(module, model, num_classes, reset_head, options, configured)
    chosen = plan.choose(state, prefix)
    if report is not None and chosen.notice:
        report(chosen.notice)
    if report_contradiction is not None:
        for contradiction in plan.contradictions(chosen.tensors):
            report_contradiction(contradiction)
    if complete:
        plan.check_complete(chosen.tensors, assumed=assumed)
    return plan.build(chosen.tensors, allow_non_finite=allow_non_finite)
