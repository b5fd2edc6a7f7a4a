"""Export formats, one per file, and the checks that every export must pass."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import formats as formats
    from . import litert_layers as litert_layers
    from . import model_card as model_card
    from . import parity as parity
    from . import portable as portable
    from . import single_file as single_file
    from . import warmup_requests as warmup_requests
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
