"""Networks that are built dozens of times, shallow and thin: their operations stay the same."""

from kerasseg.encoders import (
    _tokens,
    convnext,
    dinov2,
    mit,
    mobilenet,
    mobilenetv3,
    resnet,
    swin,
    vit,
)
from kerasseg.models import ddrnet, pidnet


def make_networks_shallow(patch):
    """Patches tables of sizes, by a `pytest.MonkeyPatch`; `test_parity.py` has whole networks."""
    patch.setitem(resnet._STAGES, "resnet18", ((1, 1, 1, 1), False))
    patch.setitem(mit.SIZES, "mit_b0", ((8, 8, 10, 16), (1, 1, 1, 1)))
    patch.setitem(convnext.SIZES, "convnext_tiny", (8, (1, 1, 1, 1)))
    patch.setitem(swin.SIZES, "swin_tiny", (8, (1, 2, 1, 1)))
    patch.setitem(vit.SIZES, "vit_tiny", (64, 2, 2))
    patch.setitem(dinov2.SIZES, "dinov2_small", _tokens.Size(32, 3, 2, 64))
    # At most one residual connection in a group.
    groups = [(*group[:2], min(group[2], 2), group[3]) for group in mobilenet._GROUPS]
    patch.setattr(mobilenet, "_GROUPS", tuple(groups))
    # The first block of each stride.
    first_blocks = [mobilenetv3._BLOCKS["small"][index] for index in (0, 1, 3, 8)]
    patch.setitem(mobilenetv3._BLOCKS, "small", first_blocks)
    patch.setitem(ddrnet.SIZES, "23_slim", ddrnet.Size(4, 4, 4))
    patch.setitem(pidnet.SIZES, "s", pidnet.Size(4, 4, 4, 1, 1, heavy=False))
