"""What a server tells of its models: their versions' states, and their signatures."""

from google.protobuf.any_pb2 import Any

from . import protos
from .catalog import Catalog, Version
from .errors import NOT_FOUND, ServingError

_FAILED = 2  # gRPC's UNKNOWN, with which TensorFlow Serving reports a load that failed


def status(catalog: Catalog, name: str, number: int | None):
    """Makes the GetModelStatusResponse.

    A version that is loaded with its first request is available.

    Raises:
        ServingError: If there is no such model or version.
    """
    response = protos.model_status.GetModelStatusResponse()
    for version in catalog.versions(name):
        if number not in (None, version.number):
            continue
        states = protos.model_status.ModelVersionStatus
        found = response.model_version_status.add(version=version.number, state=states.AVAILABLE)
        found.status.SetInParent()
        if version.failure is not None:
            found.state = states.END
            found.status.error_code = _FAILED
            found.status.error_message = version.failure
    if not response.model_version_status:
        which = "any versions" if number is None else f"version {number}"
        raise ServingError(f"Could not find {which} of model {name}", NOT_FOUND)
    return response


def signatures(version: Version):
    """Makes the GetModelMetadataResponse."""
    graph = protos.meta_graph.MetaGraphDef.FromString(version.model().meta_graph)
    signatures = protos.model_metadata.SignatureDefMap(signature_def=graph.signature_def)
    response = protos.model_metadata.GetModelMetadataResponse()
    response.model_spec.name = version.name
    response.model_spec.version.value = version.number
    packed = Any()
    packed.Pack(signatures)
    response.metadata["signature_def"].CopyFrom(packed)
    return response
