"""Keras layers of segmentation networks, all registered under the package name `kerasseg`."""

from .normalization import BatchNormalization
from .preprocessing import Preprocessing
from .resize import CenterCropLike, FitWithin, PadLike, ResizeLike
from .tiling import MirrorPadForValidConvolutions
from .unpooling import MaxPoolingWithIndices, MaxUnpooling

__all__ = [
    "BatchNormalization",
    "CenterCropLike",
    "FitWithin",
    "MaxPoolingWithIndices",
    "MaxUnpooling",
    "MirrorPadForValidConvolutions",
    "PadLike",
    "Preprocessing",
    "ResizeLike",
]
