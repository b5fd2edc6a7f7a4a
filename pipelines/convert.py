"""Raw dataset to TFRecords.

Everything is written into `VERSION.incomplete` beside the final folder, which is renamed when all
is there: what has the final name is whole. Each shard is a contiguous range of the shuffled list
of examples.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from . import datasets, records
from .classes import ClassSpace, class_maps, label_notes
from .classes.pixel_counts import hold_one_class
from .conversion import beam, pairs, processes, tfds_metadata
from .conversion.pairs import Encoding
from .conversion.shards import ShardResult, ShardSpec, convert_or_keep, file_state
from .datasets import REQUIRED_SPLITS, SPLITS, Example, RawDataset
from .errors import InputError, Problem

RUNNERS = ("local", "beam")
_SHARD_BYTES = 64 * 2**20
_FEW_EXAMPLES, _FEW_BYTES = 256, 64 * 2**20
_TYPICAL_IMAGE_BYTES = 2**17  # of images that are not files of their own


class ConversionError(InputError):
    """Some pairs cannot be converted.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: list[Problem]):
        super().__init__(
            f"{len(problems)} of the pairs cannot be converted; nothing was published."
        )
        self.problems = problems


def run(
    dataset: str,
    source: Path | str | None,
    output: Path | str,
    *,
    workers: int | None = None,
    allow_partial: bool = False,
    overwrite: bool = False,
    class_map: Path | str | None = None,
    encoding: Encoding | None = None,
    runner: str = "local",
    beam_options: Sequence[str] = (),
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> records.Dataset:
    """Converts a raw dataset into `output/DATASET/1.0.0/`.

    Args:
        dataset: One of `datasets.choices()`.
        source: Folder of the raw dataset; None for datasets that are drawn.
        output: Folder that will hold the converted dataset's folder.
        workers: Number of processes; None for one a core where there is work for them.
        allow_partial: Accept splits of another size than the official one.
        overwrite: Replace a finished conversion.
        class_map: Other classes than the dataset's own, as `class_maps` tells; None for its own.
        encoding: How pairs are checked and stored; None for every label checked, images as they
            are.
        runner: "local", or "beam" to convert on a cluster.
        beam_options: Apache Beam's own options, such as "--runner=FlinkRunner".
        seed: Of the order of the examples.
        on_progress: Called with the numbers of examples done and in all.
        on_note: Called with a line for each thing that should be known.
        **options: The dataset's own options.

    Returns:
        The converted dataset.

    Raises:
        ConversionError: If some pairs are bad; all of them are listed, nothing is published.
        InputError: If the source or the output folder cannot be used.
    """
    if runner not in RUNNERS:
        raise InputError(f"runner must be one of {', '.join(RUNNERS)}, got {runner!r}.")
    if beam_options and runner != "beam":
        raise InputError(f"options of Beam must come with runner beam, got {beam_options[0]}.")
    encoding = encoding or Encoding()
    raw = datasets.open_source(dataset, None if source is None else Path(source), options)
    description = class_maps.describe(raw.description, class_map and str(class_map))
    _refuse_one_class(description.classes)
    pairs.refuse_unmapped(raw.module, description, encoding)
    splits = _list_examples(raw, allow_partial)
    final = Path(output) / folder_name(dataset) / records.VERSION
    content = _content_hash(repr((description, encoding, seed)), splits)
    if final.exists() and not overwrite:
        return _check_finished(final, dataset, content)
    with _writing_to(final):
        incomplete = final.with_name(records.VERSION + records.INCOMPLETE)
        incomplete.mkdir(parents=True, exist_ok=True)
        specs = {
            split: _plan_shards(dataset, description, split, examples, incomplete, seed, encoding)
            for split, examples in splits.items()
        }
        pending = [spec for split in specs.values() for spec in split]
        if runner == "beam":
            results = beam.convert_shards(pending, beam_options)
        else:
            results = _convert_shards(pending, workers, on_progress)
        _refuse_problems(results)
        _refuse_masks_without_classes(description.classes, list(results.values()))
        notes = label_notes.merged(result.notes for result in results.values())
        label_notes.refuse_contradictions(description, notes)
        described = label_notes.with_palette(description, notes)
        shards = {split: [(s, results[s.path]) for s in specs[split]] for split in specs}
        how = {
            "options": {name: str(value) for name, value in options.items()},
            "map": class_map and Path(class_map).name,
            **asdict(encoding),
            "seed": seed,
        }
        tfds_metadata.write(incomplete, folder_name(dataset), described, shards, content, how)
        _publish(incomplete, final)
    for line in label_notes.remarks(notes):
        on_note(line)
    return records.load(final)


def _refuse_one_class(classes: ClassSpace) -> None:
    if classes.count < 2:
        raise InputError(
            f"classes must be at least two, got only {classes.names[0]}; list the background too, "
            "as in 'background' and a line with the other; black-and-white masks then need "
            "--map 255:1."
        )


def folder_name(dataset: str) -> str:
    """Returns the name of a dataset's folder and records, as TensorFlow Datasets allows it."""
    return re.sub(r"\W", "_", dataset, flags=re.ASCII)


def _list_examples(raw: RawDataset, allow_partial: bool) -> dict[str, list[Example]]:
    splits = {}
    for split in SPLITS:
        examples = raw.examples(split)
        expected = raw.description.split_sizes.get(split)
        if not examples:
            if split in REQUIRED_SPLITS:
                raise InputError(f"{raw.root}: split {split} must have images, got none.")
            continue
        if expected not in (None, len(examples)) and not allow_partial:
            raise InputError(
                f"{raw.root}: split {split} must have {expected} images, got {len(examples)}; "
                "--allow-partial accepts it."
            )
        _refuse_foreign_names(examples)
        splits[split] = examples
    return splits


def _refuse_foreign_names(examples: list[Example]) -> None:
    """Refuses names in another encoding, as old archives have: records hold UTF-8 only."""
    for example in examples:
        try:
            example.filename.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{example.filename!a}: file names must be UTF-8; rename the file."
            ) from error


def _content_hash(how: str, splits: dict[str, list[Example]]) -> str:
    """Hashes what a source holds by names and sizes, to tell one conversion from another."""
    digest = hashlib.sha256(how.encode())
    for split, examples in splits.items():
        for example in examples:
            sizes = [
                state and state[0] for state in map(file_state, (example.image, example.label))
            ]
            digest.update(repr((split, example.filename, sizes)).encode())
    return digest.hexdigest()


def _check_finished(final: Path, dataset: str, content: str) -> records.Dataset:
    """Returns the finished conversion if it is of the same source."""
    if not (final / records.MANIFEST).is_file():
        raise InputError(
            f"{final}: is in the way, and no converted dataset; remove it, or give --overwrite."
        )
    finished = records.load(final)
    for split in finished.splits:
        finished.files(split)
    stored = json.loads((final / records.MANIFEST).read_text()).get("source_sha256")
    if stored != content:
        raise InputError(
            f"{final}: holds another conversion ({finished.name}, {len(finished.classes.names)} "
            f"classes, {sum(s.examples for s in finished.splits.values())} examples) than the one "
            f"asked for ({dataset}); choose another --output, or give --overwrite to replace it."
        )
    return finished


@contextlib.contextmanager
def _writing_to(folder: Path):
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise InputError(f"{where}: cannot be written ({error.strerror or error}).") from error


def _plan_shards(dataset, description, split, examples, folder, seed, encoding) -> list[ShardSpec]:
    order = np.random.default_rng(seed).permutation(len(examples))
    size = _bytes_of(example.image for example in examples)
    # At least eight shards where there is work for them: processes and readers share it.
    count = max(min(8, -(-len(examples) // 8)), -(-size // _SHARD_BYTES))
    bounds = [len(examples) * shard // count for shard in range(count + 1)]
    return [
        ShardSpec(
            dataset,
            description,
            tuple(examples[i] for i in order[bounds[shard] : bounds[shard + 1]]),
            folder / f"{folder_name(dataset)}-{split}.tfrecord-{shard:05d}-of-{count:05d}",
            encoding,
        )
        for shard in range(count)
    ]


def _convert_shards(
    pending: list[ShardSpec], workers: int | None, on_progress: Callable[[int, int], None]
) -> dict[Path, ShardResult]:
    progress = _Progress(sum(len(spec.examples) for spec in pending), on_progress)
    if workers is None:
        workers = 1 if _is_little_work(pending) else os.cpu_count() or 1
    if workers == 1:
        return {spec.path: convert_or_keep(spec, progress.advance) for spec in pending}
    return processes.convert_shards(pending, min(workers, len(pending)), progress.advance)


def _is_little_work(pending: list[ShardSpec]) -> bool:
    """Tells whether shards are converted sooner than processes for them have started."""
    images = [example.image for spec in pending for example in spec.examples]
    return len(images) < _FEW_EXAMPLES and _bytes_of(images) < _FEW_BYTES


def _bytes_of(images: Iterable[str | None]) -> int:
    states = map(file_state, images)
    return sum(state[0] if state else _TYPICAL_IMAGE_BYTES for state in states)


def _refuse_problems(results: dict[Path, ShardResult]) -> None:
    problems = [problem for result in results.values() for problem in result.problems]
    if problems:
        raise ConversionError(sorted(problems, key=lambda problem: problem.file))


def _refuse_masks_without_classes(classes: ClassSpace, results: list[ShardResult]) -> None:
    counted = [result.class_pixels for result in results if result.class_pixels]
    pixels = np.sum(counted, axis=0) if counted else np.zeros(0)
    ignored = sum(result.ignored_pixels for result in results)
    if hold_one_class(pixels, ignored):
        raise InputError(
            f"labels must hold more than the first class, got only {classes.names[0]} and ignored "
            "pixels in all of them; black-and-white masks? did you mean --map 255:1?"
        )


class _Progress:
    """Counts examples over all threads."""

    def __init__(self, total: int, on_progress: Callable[[int, int], None]):
        self._total = total
        self._done = 0
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def advance(self, examples: int) -> None:
        with self._lock:
            self._done += examples
            self._on_progress(self._done, self._total)


def _publish(incomplete: Path, final: Path) -> None:
    """Gives the folder its final name, in one step, less sidecars and other runs' leavings."""
    manifest = json.loads((incomplete / records.MANIFEST).read_text())
    shards = {shard["file"] for split in manifest["splits"].values() for shard in split["shards"]}
    for path in incomplete.iterdir():
        if path.name not in shards | tfds_metadata.FILES:
            path.unlink()
    replaced = final.with_name(final.name + records.REPLACED)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # left by a run that was killed below
        os.replace(final, replaced)
    os.replace(incomplete, final)
    shutil.rmtree(replaced, ignore_errors=True)
