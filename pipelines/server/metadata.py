"""Metadata of the models of a server: the states of their versions, and their signatures."""

from google.protobuf.any_pb2 import Any

from . import protos
from .catalog import Catalog
from .refusals import NOT_FOUND, ServingError

_FAILED = 2  # gRPC's UNKNOWN, with which TensorFlow Serving reports a load that failed


def status(catalog: Catalog, name: str, number: int | None):
    """Makes the GetModelStatusResponse.

    As in TensorFlow Serving, a version is AVAILABLE if it answers requests, and at its END, with
    the reason, if it could not be loaded. Versions that are loaded on request or are still being
    written are at START.

    Raises:
        ServingError: If there is no such model or version.
    """
    response = protos.model_status.GetModelStatusResponse()
    for version in catalog.versions(name):
        if number not in (None, version.number):
            continue
        found = response.model_version_status.add(version=version.number, state=version.state)
        found.status.SetInParent()
        if version.failure is not None:
            found.status.error_code = _FAILED
            found.status.error_message = version.failure
    if not response.model_version_status:
        which = "any versions" if number is None else f"version {number}"
        raise ServingError(f"Could not find {which} of model {name}", NOT_FOUND)
    return response


def signatures(catalog: Catalog, name: str, number: int | None):
    """Makes the GetModelMetadataResponse.

    Raises:
        ServingError: If there is no such version in memory.
    """
    response = protos.model_metadata.GetModelMetadataResponse()
    with catalog.use(name, number) as loaded:
        graph = protos.meta_graph.MetaGraphDef.FromString(loaded.model.meta_graph)
        response.model_spec.version.value = loaded.number
    response.model_spec.name = name
    signatures = protos.model_metadata.SignatureDefMap(signature_def=graph.signature_def)
    packed = Any()
    packed.Pack(signatures)
    response.metadata["signature_def"].CopyFrom(packed)
    return response
