"""The workers of an Indexed Job of Kubernetes, or of a JobSet, whose pods have a headless service.

A pod is told its index, `JOB_COMPLETION_INDEX`, and its own name, `HOSTNAME`, which is
`JOB-INDEX`. It is told neither the number of pods nor the service by whose name they find each
other: `KERASSEG_WORKERS` and `KERASSEG_SERVICE` in the manifest say so.

Reference:
    https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/
    https://jobset.sigs.k8s.io/docs/concepts/
"""

import re
from collections.abc import Mapping

from .variables import check, number_of, port_of, text_of

_INDEX = "JOB_COMPLETION_INDEX"
_WORKERS, _SERVICE = "KERASSEG_WORKERS", "KERASSEG_SERVICE"


def is_there(environment: Mapping[str, str]) -> bool:
    """Tells whether this process runs in a pod."""
    return _INDEX in environment or "KUBERNETES_SERVICE_HOST" in environment


def read(environment: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """Returns the addresses of the pods in the order of their indices, and the index of this one.

    Raises:
        InputError: If a variable is missing or contradicts others.
    """
    workers = number_of(
        environment,
        _WORKERS,
        needed="give the pods the number of completions of the Job in their env",
        least=1,
    )
    service = text_of(
        environment,
        _SERVICE,
        "give the pods the name of their headless service, which is their subdomain, in their env",
    )
    check(
        re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", service) is not None,
        _SERVICE,
        "the name of a service",
        service,
    )
    index = number_of(
        environment,
        _INDEX,
        needed="make the pods by a Job with completionMode: Indexed, which sets it",
        most=workers - 1,
    )
    own = text_of(environment, "HOSTNAME", "Kubernetes sets it to the name of the pod")
    # The whole name with setHostnameAsFQDN.
    job, _, number = own.partition(".")[0].rpartition("-")
    check(bool(job) and number == str(index), "HOSTNAME", f"JOB-{index} with {_INDEX}={index}", own)
    port = port_of(environment)
    return tuple(f"{job}-{other}.{service}:{port}" for other in range(workers)), index
