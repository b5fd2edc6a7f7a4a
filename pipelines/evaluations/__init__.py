"""What is computed from labels and predictions: scores, intervals, pictures and pages."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import boundary_iou as boundary_iou
    from . import calibration_error as calibration_error
    from . import confusions as confusions
    from . import error_maps as error_maps
    from . import evaluation_page as evaluation_page
    from . import extreme_images as extreme_images
    from . import learning_rate_picture as learning_rate_picture
    from . import object_sizes as object_sizes
    from . import overlaps as overlaps
    from . import per_image as per_image
    from . import reliability as reliability
    from . import reliability_picture as reliability_picture
    from . import resampling as resampling
    from . import result_picture as result_picture
    from . import split_scores as split_scores
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
