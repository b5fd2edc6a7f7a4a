"""What is computed from predictions of whole splits, and pictures of it."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import learning_rate_picture as learning_rate_picture
    from . import reliability as reliability
    from . import reliability_picture as reliability_picture
    from . import resampling as resampling
    from . import result_picture as result_picture
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
