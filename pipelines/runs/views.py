"""How a network sees an image at inference: through windows, at several scales, mirrored."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras

from kerasseg import adapters, inference
from kerasseg.layers import AveragedViews, SlidingWindow
from kerasseg.layers.averaged_views import check_scales
from kerasseg.layers.sliding_window import check_windows

from ..errors import InputError

SMOOTH = "smooth"


@dataclass(frozen=True)
class View:
    """The windows, scales and mirror images of an image whose scores are combined.

    Attributes:
        window: `(height, width)` of the windows in pixels of the image as the network sees it,
            resized to the size of its training and scaled; None for the whole.
        stride: `(height, width)` between two windows; two thirds of the window, rounded down, if
            None.
        blend: "smooth" or "uniform", see `kerasseg.layers.SlidingWindow`; smooth for windows if
            None.
        scales: Factors of the image's sides, see `kerasseg.layers.AveragedViews`.
        flip: Whether every scale is also seen mirrored left to right.

    Raises:
        InputError: If one is out of range, or a stride or a blend has no window.
    """

    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    blend: str | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        """Chooses stride and blend, and checks the ranges."""
        if self.window is None:
            for name, value in (("stride", self.stride), ("blend", self.blend)):
                if value is not None:
                    raise InputError(f"{name} must be left out without a window, got {value}.")
        elif self.blend is None:
            object.__setattr__(self, "blend", SMOOTH)
        if self.window is not None and self.stride is None:
            object.__setattr__(self, "stride", tuple(max(side * 2 // 3, 1) for side in self.window))
        try:
            check_windows(self.window or (1, 1), self.stride or (1, 1), self.blend or SMOOTH)
            check_scales(self.scales)
        except ValueError as error:
            raise InputError(str(error)) from error

    @property
    def is_averaged(self) -> bool:
        """Whether there are several scales, another scale than 1, or mirror images."""
        return self.flip or tuple(self.scales) != (1.0,)

    @property
    def suffix(self) -> str:
        """What the name of a folder with scores has at its end; empty for the usual view."""
        return f"{'_windows' if self.window else ''}{'_scales' if self.is_averaged else ''}"

    def facts(self) -> dict[str, Any] | None:
        """Returns the attributes for reports in JSON; None for whole images of their own size."""
        if not self.suffix:
            return None
        return asdict(self)

    def __str__(self) -> str:
        """Describes the view in a phrase, such as "windows of 240 x 320"."""
        parts = []
        if self.window and self.stride:
            parts.append(
                f"windows of {_by(self.window)} (height x width) with a stride of "
                f"{_by(self.stride)}, blended by {self.blend} weights"
            )
        if tuple(self.scales) != (1.0,):
            parts.append(f"scales of {', '.join(f'{scale:g}' for scale in self.scales)}")
        if self.flip:
            parts.append("mirror images")
        return ", ".join(parts) or "the whole image"


WHOLE = View()


def _by(sides: Sequence[int]) -> str:
    return f"{sides[0]} x {sides[1]}"


def seen(model: keras.Model, view: View) -> keras.Model:
    """Lets a network see images in a view and keeps its inputs and outputs.

    If the model resizes images to the size of its training, that is scale 1: the resized image is
    what is scaled and cut into windows. A network that takes one size only gets every window and
    scale resized to it.

    Args:
        model: Model from images (batch, height, width, channels) to logits of that size.
        view: The view. As in OpenMMLab, the windows have their size at each of the scales.

    Returns:
        A model from the same images to logits, which shares the network's weights; the network
        itself for whole images of their own size.
    """
    if not view.suffix:
        return model
    resized = None if adapters.only_size(model) else adapters.resized_to(model)
    if resized is None:
        return averaged(windowed(model, view), view)
    network, (size, is_box) = windowed(adapters.network_of(model), view), resized
    if not is_box:
        return adapters.at_size(averaged(network, view), size)
    if view.is_averaged:
        return averaged(network, view, size)
    return inference.inference_model(network, size)


def windowed(model: keras.Model, view: View) -> keras.Model:
    """Lets a network see images through the windows of a view, if it has any."""
    if not (view.window and view.stride and view.blend):
        return model
    return _around(SlidingWindow(model, view.window, view.stride, view.blend, name="windows"))


def averaged(model: keras.Model, view: View, box: tuple[int, int] | None = None) -> keras.Model:
    """Averages over the scales and mirror images of a view, if it has any.

    Args:
        model: Model from images to logits.
        view: The view.
        box: `(height, width)` that images are resized to fit at scale 1; None for their own size.
    """
    if not view.is_averaged:
        return model
    return _around(AveragedViews(model, view.scales, view.flip, box, name="views"))


def _around(layer) -> keras.Model:
    images = keras.Input((None, None, layer.network.input_shape[-1]), name="image")
    return keras.Model(images, layer(images), name=f"{layer.network.name}_{layer.name}")
