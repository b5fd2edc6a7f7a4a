"""Losses over label maps with ignored pixels."""

# Keras comes first: once it is there, our layers are imported, and some of them need these losses,
# which could not be had in the middle of their own import.
import keras  # noqa: F401

from .boundary_cross_entropy import BoundaryCrossEntropy as BoundaryCrossEntropy
from .cross_entropy import CrossEntropy as CrossEntropy
from .cross_entropy import Focal as Focal
from .cross_entropy import OnlineHardExamples as OnlineHardExamples
from .lovasz import LovaszSoftmax as LovaszSoftmax
from .mask_classification import MaskClassification as MaskClassification
from .overlap import Dice as Dice
from .overlap import Jaccard as Jaccard
from .overlap import Tversky as Tversky
from .weighted_sum import WeightedSum as WeightedSum
