"""A server that speaks TensorFlow Serving's protocols, for a laptop or a test.

One asyncio loop takes requests, over HTTP (`http`) and gRPC (`rpc`); threads of `engine` answer
them with the SavedModels of `catalog`. The server loads neither Keras nor TensorFlow's Python
package.
"""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import body as body
    from . import catalog as catalog
    from . import connection as connection
    from . import engine as engine
    from . import hosts as hosts
    from . import http as http
    from . import image_sizes as image_sizes
    from . import json_process as json_process
    from . import json_tensors as json_tensors
    from . import messages as messages
    from . import metadata as metadata
    from . import pool as pool
    from . import prediction as prediction
    from . import protos as protos
    from . import refusals as refusals
    from . import rpc as rpc
    from . import trial as trial
    from . import versions as versions
    from . import warmup as warmup
    from . import watcher as watcher
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
