"""The official messages and services of tensorflow-serving-api, without loading TensorFlow.

They import `tensorflow.core`, generated messages that need protobuf only; but Python would run
`tensorflow/__init__.py` first, which takes seconds and loads Keras.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from ..errors import InputError


@contextlib.contextmanager
def _empty_tensorflow() -> Iterator[None]:
    """Replaces TensorFlow by an empty package with TensorFlow's folder.

    It is removed afterwards: a later `import tensorflow` loads the real package, which uses the
        messages that are already there.
    """
    spec = importlib.util.find_spec("tensorflow") if "tensorflow" not in sys.modules else None
    if spec is None or spec.submodule_search_locations is None:
        yield
        return
    shell = types.ModuleType("tensorflow")
    shell.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = shell
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


_load: Any = importlib.import_module  # what it returns has no types
_APIS = "tensorflow_serving.apis"
try:
    with _empty_tensorflow():
        meta_graph = _load("tensorflow.core.protobuf.meta_graph_pb2")
        model_metadata = _load(f"{_APIS}.get_model_metadata_pb2")
        model_status = _load(f"{_APIS}.get_model_status_pb2")
        model_service = _load(f"{_APIS}.model_service_pb2_grpc")
        predict = _load(f"{_APIS}.predict_pb2")
        prediction_log = _load(f"{_APIS}.prediction_log_pb2")
        prediction_service = _load(f"{_APIS}.prediction_service_pb2_grpc")
except ModuleNotFoundError as error:
    raise InputError(
        f"{error.name} must be installed to serve; run pip install 'kerasseg[serving]'."
    ) from error

__all__ = [
    "meta_graph",
    "model_metadata",
    "model_service",
    "model_status",
    "predict",
    "prediction_log",
    "prediction_service",
]
