"""The shards of a conversion: which examples go where."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..classes import Description
from ..datasets import Example, PackedExamples
from .identity import SplitFiles
from .pairs import Encoding
from .shards import ShardResult, ShardSpec

_SHARD_BYTES = 64 * 2**20
_FEW_EXAMPLES, _FEW_BYTES = 256, 64 * 2**20
_TYPICAL_IMAGE_BYTES = 2**17  # of images that are not separate files


def folder_name(name: str) -> str:
    """Returns a name for a dataset's folder and records that TensorFlow Datasets allows."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def plan_split(
    dataset: str,
    description: Description,
    examples: Sequence[Example],
    files: SplitFiles,
    encoding: Encoding,
    seed: int,
    prefix: Path,
) -> list[ShardSpec]:
    """Divides the examples of a split among shards, in random order.

    Args:
        dataset: One of `datasets.choices()`.
        description: The facts of the dataset.
        examples: Examples of the split.
        files: States of the examples' files.
        encoding: How pairs are checked and stored.
        seed: Seed of the order.
        prefix: Path of the shards' names up to their number, such as DATASET-SPLIT.
    """
    order = _order(len(examples), seed)
    size = files.image_bytes(_TYPICAL_IMAGE_BYTES)
    # At least eight shards if there are enough examples, so that processes and readers can share
    # the work.
    count = max(min(8, -(-len(examples) // 8)), -(-size // _SHARD_BYTES))
    bounds = [len(examples) * shard // count for shard in range(count + 1)]
    return [
        ShardSpec(
            dataset,
            description,
            PackedExamples(examples[i] for i in order[bounds[shard] : bounds[shard + 1]]),
            prefix.with_name(f"{prefix.name}.tfrecord-{shard:05d}-of-{count:05d}"),
            encoding,
        )
        for shard in range(count)
    ]


def _order(examples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(examples)


def is_little_work(splits: Mapping[str, SplitFiles]) -> bool:
    """Tells whether converting takes less time than starting processes for it."""
    examples = sum(len(files.states) for files in splits.values())
    size = sum(files.image_bytes(_TYPICAL_IMAGE_BYTES) for files in splits.values())
    return examples < _FEW_EXAMPLES and size < _FEW_BYTES


def checksums_in_order(results: Sequence[ShardResult], seed: int) -> np.ndarray:
    """Returns the checksums of a split's files in the order in which its examples were listed.

    Args:
        results: Results of all shards of the split, in order.
        seed: Seed of the order of the examples.

    Returns:
        uint32 (examples, 2), of images and labels.
    """
    content = bytes.fromhex("".join(result.digests for result in results))
    checksums = np.empty((len(content) // 8, 2), np.uint32)
    checksums[_order(len(checksums), seed)] = np.frombuffer(content, "<u4").reshape(-1, 2)
    return checksums
