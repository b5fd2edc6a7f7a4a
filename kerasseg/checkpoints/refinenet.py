"""A PyTorch port of RefineNet. https://github.com/DrSleep/refinenet-pytorch (non-commercial)."""

from ..encoders._resnet_weights import stage_renames
from .mmseg import resnet_name

MODELS = ("refinenet",)
PREPROCESSING = "imagenet"
RESIZES_LOGITS = False

_SECOND = "conv_relu_varout_dimred"


def infer(state: dict, model: str) -> dict:
    """Reads the arguments of the architecture from its tensors."""
    return {
        "variant": "paper",
        "encoder": resnet_name(state, ""),
        "num_classes": len(state["clf_conv.weight"]),
        "filters": len(state["p_ims1d2_outl2_dimred.weight"]),
        "poolings": sum(name.startswith("mflow_conv_g1_pool.0.") for name in state),
    }


def renames(model: str) -> list[tuple[str, str]]:
    """Returns the rename table of the architecture."""
    return [
        *stage_renames(""),
        (r"conv1", "encoder_stem1_conv"),
        (r"bn1", "encoder_stem1_bn"),
        (r"p_ims1d2_outl(\d)_dimred", r"refine\1_adapt_conv"),
        (r"adapt_stage(\d)_b\.0\.(\d)_conv", r"refine\1_rcu_in\2_1_conv"),
        (rf"adapt_stage(\d)_b\.0\.(\d)_{_SECOND}", r"refine\1_rcu_in\2_2_conv"),
        (r"adapt_stage(\d)_b2_joint_varout_dimred", r"refine\1_fuse_conv"),
        (r"mflow_conv_g(\d)_pool\.0\.(\d)_outvar_dimred", r"refine\1_crp\2_conv"),
        (r"mflow_conv_g(\d)_b\.0\.(\d)_conv", r"refine\1_rcu_out\2_1_conv"),
        (rf"mflow_conv_g(\d)_b\.0\.(\d)_{_SECOND}", r"refine\1_rcu_out\2_2_conv"),
        (r"mflow_conv_g(\d)_b3_joint_varout_dimred", r"refine\1_out_conv"),
        (r"clf_conv", "logits"),
    ]
