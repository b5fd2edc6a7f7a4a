r"""Where an encoder's ImageNet weights come from: what families declare in `WEIGHTS`.

A family lists its sources, at most one of a kind; `kerasseg.checkpoints.imagenet` reads them. A
rename is a pair: a pattern that the whole of a foreign name matches, and the name of our layer, in
which `\1` stands for the pattern's first group, and so on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Renames = tuple[tuple[str, str], ...]

# The classifier of torchvision's and timm's networks, which is not needed.
TORCH_CLASSIFIER = (r"(fc|head(\.fc)?)\.(weight|bias)", "")


def _as_it_is(state: dict, model: Any) -> dict:
    return state


def _no_options(name: str, model: Any) -> dict:
    return {}


class Application(NamedTuple):
    """A network of `keras.applications`: its own ImageNet weights, and its `.h5` files.

    Attributes:
        network: Its name there, such as "VGG16".
        renames: From the names of its layers; "+1" in one of ours is the group's number plus 1.
        options: Called with the encoder's name and our model; returns the network's arguments.
    """

    network: str
    renames: Renames
    options: Callable[[str, Any], dict] = _no_options


class HubPresets(NamedTuple):
    """Backbones of keras-hub.

    Attributes:
        renames: From the names of their layers, as for `Application`.
        presets: Those with ImageNet weights, by the encoder's name.
    """

    renames: Renames
    presets: Mapping[str, str]


class TorchFiles(NamedTuple):
    """Files with tensors in the names and layout of PyTorch.

    Attributes:
        writers: Who writes such files, in words, such as "torchvision or timm".
        renames: From the names of the tensors, or of their modules; "" for what is not needed.
        adapt: Called with arrays by name and our model; returns the arrays that fit it.
    """

    writers: str
    renames: Renames
    adapt: Callable[[dict, Any], dict] = _as_it_is


class TorchPackages(NamedTuple):
    """Packages that hold a file with the tensors that the family's `TorchFiles` says.

    Attributes:
        packages: Names by which they are installed, by the encoder's name.
        extra: The extra of kerasseg that installs them.
    """

    packages: Mapping[str, str]
    extra: str


Source = Application | HubPresets | TorchFiles | TorchPackages
