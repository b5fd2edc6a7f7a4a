"""The workers of a job step of Slurm, which `srun` tells each of its tasks.

The variables are those of srun's manual page, "OUTPUT ENVIRONMENT VARIABLES". TensorFlow's
`SlurmClusterResolver` is not used: it sorts the nodes by name, which puts node10 before node9 and
so gives workers the addresses of others, and it fails without a GPU.

Reference:
    https://slurm.schedmd.com/srun.html
"""

import itertools
import re
from collections.abc import Iterator, Mapping

from .variables import check, number_of, port_of, text_of

_NODES, _TASKS = "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"
_SRUN = "start the workers with srun, which sets it for each of them"
_RANGES = re.compile(r"\[([\d,-]+)\]")
# No cluster has as many; a longer list would fill the memory.
_MOST_NODES = 100_000
_COUNT = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def is_there(environment: Mapping[str, str]) -> bool:
    """Tells whether this process is part of a Slurm job."""
    return "SLURM_JOB_ID" in environment or _NODES in environment


def read(environment: Mapping[str, str]) -> tuple[tuple[str, ...], int]:
    """Returns the addresses of the tasks in the order of their ranks, and the rank of this one.

    Raises:
        InputError: If a variable is missing or contradicts others.
    """
    nodes = expand_nodes(text_of(environment, _NODES, _SRUN))
    tasks = expand_counts(text_of(environment, _TASKS, _SRUN))
    check(len(tasks) == len(nodes), _TASKS, f"of the {len(nodes)} nodes of {_NODES}", tasks)
    port = port_of(environment, max(tasks))
    addresses = tuple(
        f"{node}:{port + number}"
        for node, count in zip(nodes, tasks, strict=True)
        for number in range(count)
    )
    last = len(addresses) - 1
    rank = number_of(environment, "SLURM_PROCID", needed=_SRUN, most=last)
    node = number_of(environment, "SLURM_NODEID", needed=_SRUN, most=len(nodes) - 1)
    number = number_of(environment, "SLURM_LOCALID", needed=_SRUN, most=tasks[node] - 1)
    check(
        rank == sum(tasks[:node]) + number,
        "distribution of the tasks",
        "by blocks, as with srun --distribution=block",
        f"rank {rank} as task {number} of node {node}",
    )
    return addresses, rank


def expand_nodes(text: str) -> list[str]:
    """Lists the names that a node list stands for, such as `node[01-04,07],login`.

    Raises:
        InputError: If it is not a node list.
    """
    names = []
    for part in re.split(r",(?![^\[]*\])", text):
        is_name = re.fullmatch(r"[\w.-]+", _RANGES.sub("0", part)) is not None
        check(is_name, _NODES, "a list of nodes such as node[01-04,07]", text)
        # Texts and ranges take turns.
        pieces = [
            list(_expand_ranges(piece, text)) if number % 2 else [piece]
            for number, piece in enumerate(_RANGES.split(part))
        ]
        names += ["".join(combined) for combined in itertools.product(*pieces)]
    return names


def _expand_ranges(ranges: str, text: str) -> Iterator[str]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        last = last or first
        is_range = first.isdecimal() and last.isdecimal()
        fits = is_range and 0 <= int(last) - int(first) < _MOST_NODES
        check(fits, _NODES, "a list of nodes such as node[01-04,07]", text)
        # Leading zeros are part of the name.
        yield from (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))


def expand_counts(text: str) -> list[int]:
    """Lists the number of tasks of each node; `2(x3),1` stands for 2, 2, 2 and 1.

    Raises:
        InputError: If it is not such a list.
    """
    counts = []
    for part in text.split(","):
        found = _COUNT.fullmatch(part)
        check(found is not None, _TASKS, "numbers such as 2(x3),1", text)
        assert found is not None
        counts += [int(found[1])] * int(found[2] or 1)
    return counts
