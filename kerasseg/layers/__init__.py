"""Keras layers of segmentation networks, all registered under the package name `kerasseg`.

Importing the folder imports each file in it, because Keras loads a saved network only if all of its
classes are registered, and the architecture that uses a layer is then not imported.
"""

import importlib
import pkgutil

from .averaged_views import AveragedViews
from .convolution import Conv2D, DepthwiseConv2D, conv_bn, depthwise_bn
from .convolution_on_cpu import native_operations
from .crf import DenseCRF
from .dense import Dense
from .fuse_maps import FuseMaps
from .map_attention import MapAttention
from .nearest import UpsampleNearest
from .normalization import BatchNormalization, GroupNormalization, LayerNormalization
from .outputs import SegmentationModel
from .padding import CropPadding, PadToLeast
from .pooling import AdaptiveAveragePooling2D, MaxPooling2D
from .preprocessing import Preprocessing
from .repeat_channels import RepeatChannels
from .resize import (
    CenterCropLike,
    CropLike,
    FitWithin,
    PadLike,
    PadToMultiple,
    ResizeLike,
    Upsample,
)
from .sliding_window import SlidingWindow
from .tiling import MirrorPadForValidConvolutions
from .transposed_convolution import BilinearConv2DTranspose, Conv2DTranspose
from .unpooling import MaxPoolingWithIndices, MaxUnpooling

__all__ = [
    "AdaptiveAveragePooling2D",
    "AveragedViews",
    "BatchNormalization",
    "BilinearConv2DTranspose",
    "CenterCropLike",
    "Conv2D",
    "Conv2DTranspose",
    "CropLike",
    "CropPadding",
    "Dense",
    "DenseCRF",
    "DepthwiseConv2D",
    "FitWithin",
    "FuseMaps",
    "GroupNormalization",
    "LayerNormalization",
    "MapAttention",
    "MaxPooling2D",
    "MaxPoolingWithIndices",
    "MaxUnpooling",
    "MirrorPadForValidConvolutions",
    "PadLike",
    "PadToLeast",
    "PadToMultiple",
    "Preprocessing",
    "RepeatChannels",
    "ResizeLike",
    "SegmentationModel",
    "SlidingWindow",
    "Upsample",
    "UpsampleNearest",
    "conv_bn",
    "depthwise_bn",
    "native_operations",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
