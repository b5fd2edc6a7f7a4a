"""The cluster of a training on several hosts, as the environment of its processes describes it.

Three descriptions are read, the first that is there: `TF_CONFIG`, which is TensorFlow's own, that
of Slurm, and that of Kubernetes. Nothing is guessed: what an environment does not tell, an error
asks for.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from . import kubernetes, slurm
from .variables import check, number_of

TF_CONFIG = "TF_CONFIG"
# A name, or an address of IPv4, or one of IPv6 in brackets.
_HOST = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.%\w]+\]")


@dataclass(frozen=True)
class Cluster:
    """The workers of a training.

    Attributes:
        addresses: HOST:PORT of each worker. The first one is the chief, which writes the run.
        index: Number of this worker in the list.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Tells whether this worker writes the run."""
        return self.index == 0


def read(environment: Mapping[str, str]) -> Cluster:
    """Reads the cluster that this process is in.

    Args:
        environment: Environment variables of the process.

    Raises:
        InputError: If they do not describe a cluster, or not completely.
    """
    if environment.get(TF_CONFIG, "").strip():
        return _from_tf_config(environment[TF_CONFIG])
    for described in (slurm, kubernetes):
        if described.is_there(environment):
            return Cluster(*described.read(environment))
    raise InputError(
        "strategy multi-worker must have a description of the workers in the environment, got "
        f"none: set {TF_CONFIG}, or start the workers with srun in a Slurm job, or as an Indexed "
        "Job of Kubernetes."
    )


def _from_tf_config(text: str) -> Cluster:
    form = (
        '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": NUMBER}}'
    )
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{TF_CONFIG} must be JSON such as {form}, got {text!r}.") from error
    for name in ("cluster", "task"):
        part = content.get(name) if isinstance(content, dict) else None
        check(isinstance(part, dict), TF_CONFIG, f"an object with {name} such as {form}", content)
    addresses = _addresses_of(content["cluster"])
    kind, index = content["task"].get("type"), content["task"].get("index")
    check(
        isinstance(kind, str) and kind in content["cluster"],
        f"{TF_CONFIG}: type of the task",
        f"one of {', '.join(content['cluster'])}, which the cluster has",
        kind,
    )
    of_kind = content["cluster"][kind]
    is_index = str(index).isdecimal() and not isinstance(index, bool)
    check(
        is_index and int(index) < len(of_kind),
        f"{TF_CONFIG}: index of the task",
        f"from 0 to {len(of_kind) - 1}, as the cluster has {len(of_kind)} of type {kind}",
        index,
    )
    before = len(content["cluster"].get("chief", ())) if kind == "worker" else 0
    return Cluster(addresses, before + int(index))


def _addresses_of(jobs: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the addresses of all workers; a `chief` is the first of them."""
    subject = f"{TF_CONFIG}: cluster"
    others = [kind for kind in jobs if kind not in ("chief", "worker")]
    check(bool(jobs) and not others, subject, "of type worker, and perhaps chief", ", ".join(jobs))
    for kind, listed in jobs.items():
        is_list = isinstance(listed, list) and bool(listed)
        check(is_list, f"{subject}: {kind}", "a list of HOST:PORT", listed)
    chiefs = jobs.get("chief", [])
    check(len(chiefs) < 2, f"{subject}: chief", "one HOST:PORT", chiefs)
    addresses = (*chiefs, *jobs.get("worker", []))
    for address in addresses:
        check(_is_address(address), f"{subject}: address", "HOST:PORT", address)
        check(addresses.count(address) == 1, f"{subject}: address", "that of one worker", address)
    return addresses


def _is_address(address: Any) -> bool:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    is_host = _HOST.fullmatch(host) is not None
    return is_host and port.isdecimal() and 0 < int(port) < 2**16


def seconds_to_wait(environment: Mapping[str, str]) -> float:
    """Returns the seconds for which a worker waits for the others, of `KERASSEG_WAIT`."""
    return float(number_of(environment, "KERASSEG_WAIT", default=1800))
