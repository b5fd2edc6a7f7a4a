"""Export formats, one per file, and the checks that every export must pass."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import exported_network as exported_network
    from . import formats as formats
    from . import integer_layers as integer_layers
    from . import label_sources as label_sources
    from . import litert_layers as litert_layers
    from . import litert_metadata as litert_metadata
    from . import model_card as model_card
    from . import onnx_quantization as onnx_quantization
    from . import own_scores as own_scores
    from . import parity as parity
    from . import portable as portable
    from . import rounded_kernels as rounded_kernels
    from . import single_file as single_file
    from . import training_images as training_images
    from . import warmup_requests as warmup_requests
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
