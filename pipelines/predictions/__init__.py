"""How an image becomes a prediction, and the files that are written for it."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import benchmark_files as benchmark_files
    from . import confidence as confidence
    from . import dataset_tree as dataset_tree
    from . import predictor as predictor
    from . import result_files as result_files
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
