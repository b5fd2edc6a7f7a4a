"""A SavedModel through TensorFlow's C interface; tensors, messages and connections of serving."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import c_interface as c_interface
    from . import connections as connections
    from . import grpc_connection as grpc_connection
    from . import messages as messages
    from . import rest_connection as rest_connection
    from . import saved_model as saved_model
    from . import session as session
    from . import signatures as signatures
    from . import tensors as tensors
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
