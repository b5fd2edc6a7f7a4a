"""The requests that an export brings along, so that the first user's is not the slow first one."""

import logging
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from ..serving import tensors
from ..serving.saved_model import SavedModel, SavedModelError
from . import protos

_logger = logging.getLogger(__name__)
_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def run(model: SavedModel, folder: Path) -> int:
    """Runs the Predict requests of a version's warm-up file, which need not be there.

    A request that fails is reported, and the model serves all the same.

    Returns:
        How many were run.
    """
    done = 0
    try:
        for record in _records(folder / _FILE):
            log = protos.prediction_log.PredictionLog.FromString(record)
            request = log.predict_log.request
            if log.HasField("predict_log"):
                inputs = {k: tensors.read(proto) for k, proto in request.inputs.items()}
                model.run(inputs, signature=request.model_spec.signature_name or "serving_default")
                done += 1
    except (OSError, ValueError, DecodeError, SavedModelError) as error:
        _logger.warning("%s: warm-up failed: %s", folder / _FILE, error)
    return done


def _records(file: Path) -> Iterator[bytes]:
    """Reads a TFRecord file: length (8 bytes), checksum (4), content, checksum (4)."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        while header := stream.read(12):
            length = int.from_bytes(header[:8], "little")
            content = stream.read(length)
            if len(header) < 12 or len(content) < length or len(stream.read(4)) < 4:
                raise ValueError("is cut off")
            yield content
