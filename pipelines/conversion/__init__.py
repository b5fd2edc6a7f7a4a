"""Conversion: pairs of image and label to shards of records, in processes or on Beam."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import beam as beam
    from . import differences as differences
    from . import identity as identity
    from . import leaks as leaks
    from . import pairs as pairs
    from . import plan as plan
    from . import processes as processes
    from . import shards as shards
    from . import tfds_metadata as tfds_metadata
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
