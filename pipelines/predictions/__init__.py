"""How an image becomes a prediction, and the files that are written for it."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import benchmark_files as benchmark_files
    from . import confidence as confidence
    from . import dataset_tree as dataset_tree
    from . import memory as memory
    from . import predictor as predictor
    from . import resized as resized
    from . import result_files as result_files
    from . import strips as strips
    from . import tiff_reading as tiff_reading
    from . import tiff_results as tiff_results
    from . import video_ends as video_ends
    from . import video_reading as video_reading
    from . import video_results as video_results
    from . import video_writing as video_writing
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
