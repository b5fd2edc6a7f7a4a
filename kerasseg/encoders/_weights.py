r"""Sources of an encoder's ImageNet weights, which its family declares in `WEIGHTS`.

A family lists its sources, at most one of each kind, but one `TorchFiles` for each naming of the
tensors; `kerasseg.checkpoints.imagenet` reads them. A rename is a pair. Its first part is a regular
expression that matches the whole name of a tensor or layer in the source. Its second part is the
name of our layer, in which `\1` stands for the first group of the expression, and so on.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Renames = tuple[tuple[str, str], ...]

# The classifier of torchvision's and timm's networks, which is not needed.
TORCH_CLASSIFIER = (r"(fc|head(\.fc)?)\.(weight|bias)", "")


def _as_it_is(state: dict, model: Any) -> dict:
    return state


def _no_options(name: str, model: Any) -> dict:
    return {}


def _nothing_told(of: Any) -> dict:
    return {}


class Application(NamedTuple):
    """A network of `keras.applications`: the ImageNet weights that it downloads, and `.h5` files.

    Attributes:
        network: Name of the network in `keras.applications`, such as "VGG16".
        renames: Renames from the names of its layers. "+1" in the name of our layer adds 1 to the
            number in the group before it.
        options: Called with the encoder's name and our model; returns the network's arguments.
    """

    network: str
    renames: Renames
    options: Callable[[str, Any], dict] = _no_options


class HubPresets(NamedTuple):
    """Backbones of keras-hub, read as `kerasseg.checkpoints.hub_presets` does.

    Attributes:
        backbone: Name of their class, such as "ResNetBackbone".
        renames: Renames from the names of their tensors, as for `TorchFiles`.
        presets: Preset with ImageNet weights for each encoder, by the encoder's name.
        adapt: As for `TorchFiles`.
        demands: Called with the encoder's name; returns the arguments of the backbone that the
            weights do not tell, and that must have these values for the encoder to be the same
            network.
        form: Called with one of our layers; returns what it must do otherwise than by default, by
            the name of its argument, so that the encoder computes what the backbone does. Epsilons
            of normalisations need not be told: they come with the weights.
    """

    backbone: str
    renames: Renames
    presets: Mapping[str, str] = types.MappingProxyType({})
    adapt: Callable[[dict, Any], dict] = _as_it_is
    demands: Callable[[str], dict] = _nothing_told
    form: Callable[[Any], dict] = _nothing_told


class TorchFiles(NamedTuple):
    """Files with tensors in the names and layout of PyTorch.

    Attributes:
        writers: Libraries that write such files, in words, such as "torchvision or timm".
        renames: Renames from the names of the tensors or of their modules; the second part is "" if
            the tensors are not needed.
        adapt: Called with arrays by name and our model; returns the arrays that fit the model, such
            as position embeddings of another size, or queries, keys and values in one array.
        sources: Those of `kerasseg.checkpoints.SOURCES` whose encoders have these names, alone or
            within a network.
        infer: Called with arrays by name; returns what they tell of the arguments of the family's
            `features`.
    """

    writers: str
    renames: Renames
    adapt: Callable[[dict, Any], dict] = _as_it_is
    sources: tuple[str, ...] = ()
    infer: Callable[[dict], dict] = _nothing_told


class TorchPackages(NamedTuple):
    """Packages that hold a file with the tensors that the family's `TorchFiles` says.

    Attributes:
        packages: Names by which they are installed, by the encoder's name.
        extra: The extra of kerasseg that installs them.
    """

    packages: Mapping[str, str]
    extra: str


Source = Application | HubPresets | TorchFiles | TorchPackages


def torch_files(family: Any, source: str) -> TorchFiles | None:
    """Returns the files of a source that a family declares; None if it declares none."""
    files = (each for each in getattr(family, "WEIGHTS", ()) if isinstance(each, TorchFiles))
    return next((each for each in files if source in each.sources), None)


def join_tensors(state: dict, parts: Sequence[str], whole: str) -> dict:
    """Joins tensors along their first axis, such as queries, keys and values in one product.

    Args:
        state: Arrays by name. What names have before and after the part stays as it is.
        parts: What names have in their middle, such as `(".query.", ".key.", ".value.")`.
        whole: What the joined tensors' names have there instead, such as ".qkv.".

    Returns:
        The arrays, joined where there are all parts and their shapes agree.
    """
    joined = dict(state)
    for name, values in state.items():
        before, found, after = name.rpartition(parts[0])
        names = [f"{before}{part}{after}" for part in parts]
        if not found or not set(names) <= set(state):
            continue
        shapes = [np.shape(state[each])[1:] for each in names]
        if values.ndim and shapes.count(shapes[0]) == len(shapes):
            joined[f"{before}{whole}{after}"] = np.concatenate([joined.pop(each) for each in names])
    return joined
