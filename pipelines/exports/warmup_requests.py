"""The requests that TensorFlow Serving sends itself before it serves a version.

Without them the first user waits until the graph is optimised. The file is a TFRecord of
`PredictionLog` messages, written here by their layout, since TensorFlow Serving's Python API is an
extra:

    PredictionLog{6: PredictLog{1: PredictRequest{
        1: ModelSpec{1: name, 3: signature}, 2: {1: input's name, 2: TensorProto}}}}
"""

from pathlib import Path

import tensorflow as tf

from kerasseg import serving

from .. import records
from ..records.wire import field

FILE = "tf_serving_warmup_requests"


def write(path: Path, model: str, image: bytes) -> None:
    """Writes a request to `serving_default`.

    Args:
        path: The file, `assets.extra/tf_serving_warmup_requests` of a version.
        model: Name of the model.
        image: An encoded image.
    """
    tensor = tf.make_tensor_proto([image]).SerializeToString()
    spec = [*field(1, [model.encode()]), *field(3, [b"serving_default"])]
    entry = [*field(1, [serving.INPUT.encode()]), *field(2, [tensor])]
    request = [*field(1, spec), *field(2, entry)]
    with path.open("wb") as file:
        records.RecordWriter(file).write(field(6, field(1, request)))
