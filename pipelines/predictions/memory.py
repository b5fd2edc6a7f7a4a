"""How much memory a prediction takes, and the windows of images that would take too much."""

import functools
import math
from collections.abc import Iterator, Sequence

import keras

from kerasseg import adapters, costs

from ..errors import ImageFileError
from ..inputs import cache
from ..runs.crf import CRFParameters
from ..runs.views import View
from ..runtime import allocator, devices
from ..runtime.byte_sizes import describe
from .strips import Tiling

# Sides of windows that are tried, the largest first.
_SIDES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 96, 64)
_STEP = 32
_MOST_TOGETHER = 8  # frames of a video on a GPU
# Images of up to so many pixels are predicted as they are, unless the memory is limited.
_SMALL = 2**20
# Share of the free memory that is taken, and bytes that graphs take beside their tensors.
_SHARE, _GRAPH = 0.5, 4 * 10**8
# A program that is run again takes about as much as this one, not exactly as much.
_MARGIN = 1.1
# Kernels take buffers of their own, and several operations run at the same time.
_OVERHEAD = 1.5
# Bytes per pixel: of an image that is decoded as a whole, its label and its overlay; of a class's
# logits and what is computed from them; and of a class in the lattice of a CRF.
_IMAGE, _SCORES, _LATTICE = 20, 12, 60
# Of each further channel, with 16 bits and its copies while it is decoded.
_CHANNEL = 6
# Sides of the images for which the memory of a network is computed.
_SAMPLES = (256, 512)


class Limit:
    """The memory that predictions of one network may take.

    Args:
        model: The network, from images (batch, height, width, channels) to logits of that size.
        view: How it sees an image.
        crf: Parameters of the CRF behind it; None for no CRF.
        memory: Bytes that the process may take; None for half of what the machine, the control
            group or the GPU has left.
    """

    def __init__(
        self,
        model: keras.Model,
        view: View,
        crf: CRFParameters | None = None,
        memory: int | None = None,
    ):
        self._view, self._crf = view, crf
        resized = None if adapters.only_size(model) else adapters.resized_to(model)
        self._box = resized[0] if resized else None
        self._model = adapters.network_of(model) if resized else model
        self._classes = model.output_shape[-1]
        self._given = memory
        # Counted once: the windows of an image must not depend on the images before it.
        self._taken = allocator.resident() + _GRAPH
        self._room = _room() if memory is None else memory - self._taken

    def fits(self, size: tuple[int, int]) -> bool:
        """Tells whether an image of `(height, width)` is predicted as a whole."""
        is_small = math.prod(size) <= _SMALL and self._given is None
        return is_small or self._room is None or self.needed(size) <= self._room

    def batch_size(self, size: tuple[int, int]) -> int:
        """Returns the number of images of one size that are best predicted together.

        A CPU is as fast with one; a GPU is faster with several, of which as many are taken as fit.
        """
        most = 1 if devices.gpu_memory() is None else _MOST_TOGETHER
        room = math.inf if self._room is None else self._room
        return next((count for count in range(most, 1, -1) if self.needed(size) * count <= room), 1)

    def small_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Returns the size at which an image that does not fit is predicted.

        Args:
            size: `(height, width)` of the image.

        Returns:
            `(height, width)`; None if the network does not resize images.

        Raises:
            ImageFileError: If that takes too much memory.
        """
        if self._box is None:
            return None
        height, width = self._seen(size, 1.0)
        self._refuse(size, [self._computing((height, width))])
        return height, width

    def tiling(self, size: tuple[int, int], *, decoded: bool = True) -> Tiling:
        """Chooses the windows of an image that does not fit.

        Args:
            size: `(height, width)` of the image.
            decoded: Whether the whole image is decoded, and not read by rows.

        Raises:
            ImageFileError: If not even small windows fit.
        """
        found = list(self._tilings())
        needs = [self._needed_in(tiling, size, decoded) for tiling in found]
        return found[self._refuse(size, needs)]

    def _refuse(self, size: tuple[int, int], needs: Sequence[int]) -> int:
        """Returns the place of the first need that fits; refuses the image if there is none."""
        room = math.inf if self._room is None else self._room
        for place, need in enumerate(needs):
            if need <= room:
                return place
        image = f"image of {size[0]} x {size[1]} pixels"
        if self._given is not None:
            enough = math.ceil(_MARGIN * (self._taken + min(needs)) / 1e8) * 10**8
            raise ImageFileError(
                f"memory must be at least {describe(enough)} for an {image}, got "
                f"{describe(self._given)}",
                f"the program alone takes {describe(self._taken)}; give a larger --memory, or make "
                "the image smaller",
            )
        raise ImageFileError(
            f"{image} must have {describe(min(needs) - room)} of memory more",
            "give a larger --memory, or make the image smaller",
        )

    def needed(self, size: tuple[int, int]) -> int:
        """Estimates the bytes that the prediction of a whole image takes."""
        return math.prod(size) * self._image + self._computing(size)

    @property
    def _image(self) -> int:
        """Bytes per pixel of an image that is decoded as a whole, with all of its channels."""
        return _IMAGE + _CHANNEL * max(0, self._model.input_shape[-1] - 3)

    @property
    def keeps_windows(self) -> bool:
        """Whether large images are seen through the view's own windows, not through further ones.

        Then their labels are those of the whole image.
        """
        has_windows = bool(self._view.window) and self._box is None
        return has_windows and not self._view.is_averaged and self._crf is None

    def _tilings(self) -> Iterator[Tiling]:
        """Yields windows from those that take the most memory on."""
        window, stride, blend = self._view.window, self._view.stride, self._view.blend
        if window and stride and blend and self.keeps_windows:
            for batch_size in (4, 2, 1):
                yield Tiling(window, stride, blend, batch_size)
            return
        for side in _SIDES:
            # Whole numbers of the strides of most networks: their features then lie at the same
            # pixels in all windows.
            stride = side * 2 // 3 // _STEP * _STEP
            yield Tiling((side, side), (stride, stride), batch_size=1)

    def _needed_in(self, tiling: Tiling, size: tuple[int, int], decoded: bool) -> int:
        """Estimates the bytes that the prediction in rows of windows takes."""
        height, width = map(min, tiling.window, size)
        if self.keeps_windows:
            computing = self._network(height, width) + height * width * self._classes * _SCORES
        else:
            computing = self._computing((height, width))
        shared = tiling.most_shared(size) * size[1] * self._classes * 4
        strip = height * size[1] * (8 + _CHANNEL * max(0, self._model.input_shape[-1] - 3))
        held = math.prod(size) * self._image if decoded else 0
        return held + computing * tiling.batch_size + shared + strip

    def _computing(self, size: tuple[int, int]) -> int:
        """Estimates the bytes of the network, its view and its CRF for an image."""
        height, width = self._seen(size, max(self._view.scales))
        batch, seen = 1, (height, width)
        if self._view.window:
            batch, seen = 4, tuple(map(min, self._view.window, (height, width)))
        pixels = max(height * width, math.prod(size)) * (1 + self._view.is_averaged)
        lattice = math.prod(size) * self._classes * _LATTICE if self._crf else 0
        return batch * self._network(*seen) + pixels * self._classes * _SCORES + lattice

    def _seen(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """Returns the size at which the network sees an image at a scale."""
        if self._box is not None:
            scale *= min(most / side for most, side in zip(self._box, size, strict=True))
        height, width = (max(round(side * scale), 1) for side in size)
        return height, width

    def _network(self, height: int, width: int) -> int:
        """Estimates the bytes of the network for an image, from those for two others."""
        few, many = self._samples
        growth = max(math.log(many / few) / (2 * math.log(_SAMPLES[1] / _SAMPLES[0])), 1.0)
        return int(_OVERHEAD * many * (height * width / _SAMPLES[1] ** 2) ** growth)

    @functools.cached_property
    def _samples(self) -> list[int]:
        channels = self._model.input_shape[-1]
        return [costs.graph_activations(self._model, (side, side), channels) for side in _SAMPLES]


def _room() -> int | None:
    """Returns the bytes that predictions may take unless told otherwise; None if unknown."""
    available = devices.gpu_memory() or cache.available_memory()
    return None if available is None else int(_SHARE * available)
