"""What is computed from the confusion matrices of single images."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import learning_rate_picture as learning_rate_picture
    from . import resampling as resampling
    from . import result_picture as result_picture
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
