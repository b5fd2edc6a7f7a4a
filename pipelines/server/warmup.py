"""Warm-up requests of an export, so that the first user's request is not slow."""

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from ..errors import InputError
from ..records.reader import frames
from ..serving import tensors
from ..serving.saved_model import SavedModel
from . import protos

_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def run(model: SavedModel, folder: Path) -> int:
    """Runs the Predict requests of a version's warm-up file, if it exists.

    Returns:
        The number of requests that were run.

    Raises:
        ValueError: If the file is damaged.
        SavedModelError: If the model refuses a request or fails.
    """
    done = 0
    for content in _records(folder / _FILE):
        try:
            log = protos.prediction_log.PredictionLog.FromString(content)
        except DecodeError as error:
            raise _damaged("has a record that is no PredictionLog") from error
        request = log.predict_log.request
        if log.HasField("predict_log"):
            inputs = {k: tensors.read(proto) for k, proto in request.inputs.items()}
            model.run(inputs, signature=request.model_spec.signature_name or "serving_default")
            done += 1
    return done


def _records(file: Path) -> Iterator[bytes]:
    if not file.is_file():
        return
    with file.open("rb") as stream:
        try:
            for record in frames(stream, file.stat().st_size):
                if not record.whole:
                    raise _damaged("has a wrong checksum")
                yield record.content
        except InputError as error:
            raise _damaged(str(error)) from error


def _damaged(how: str) -> ValueError:
    return ValueError(f"{_FILE} {how}.")
