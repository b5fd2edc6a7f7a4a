"""Raw dataset to TFRecords.

Everything is written into `VERSION.incomplete` beside the final folder and renamed at the end: a
folder with the final name is complete. Each shard is a contiguous range of the shuffled list of
examples.
"""

import contextlib
import json
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import datasets, records
from .classes import ClassSpace, label_notes
from .classes.pixel_counts import only_class
from .conversion import beam, differences, identity, leaks, plan, processes, tfds_metadata
from .conversion.job import Job, check_splits, open_job
from .conversion.pairs import Encoding
from .conversion.shards import ShardResult, ShardSpec, convert_or_keep
from .datasets import REQUIRED_SPLITS
from .errors import InputError, Problem, writing_to
from .runtime import cores, locks

RUNNERS = ("local", "beam")
ALREADY_CONVERTED = "already converted, nothing done"
_NAME = re.compile("[a-z][a-z0-9_]*")


class ConversionError(InputError):
    """Some pairs cannot be converted.

    Attributes:
        problems: All problems that were found.
    """

    def __init__(self, problems: list[Problem], remedy: str = ""):
        super().__init__(
            f"{len(problems)} of the pairs cannot be converted; nothing was published.{remedy}"
        )
        self.problems = problems


def run(
    dataset: str,
    source: Path | str | None,
    output: Path | str,
    *,
    name: str | None = None,
    workers: int | None = None,
    allow_partial: bool = False,
    overwrite: bool = False,
    class_map: Path | str | None = None,
    encoding: Encoding | None = None,
    runner: str = "local",
    beam_options: Sequence[str] = (),
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_remark: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> records.Dataset:
    """Converts a raw dataset into `output/NAME/1.0.0/`.

    Args:
        dataset: One of `datasets.choices()`.
        source: Folder of the raw dataset; None for datasets that code draws.
        output: Folder to write the converted dataset's folder into.
        name: Name of the converted dataset; None for the name of the raw one.
        workers: Number of processes; None for one per core if there is enough work for them.
        allow_partial: Accept splits whose size is not the official one.
        overwrite: Replace a finished conversion.
        class_map: Change of the classes, in a form that `class_maps` describes; None for no change.
        encoding: How pairs are checked and stored; None to check every label and to store images as
            they are.
        runner: "local", or "beam" to convert on a cluster.
        beam_options: Apache Beam's own options, such as "--runner=FlinkRunner".
        seed: Seed of the order of the examples.
        on_progress: Called with the number of finished examples and the number of all examples.
        on_remark: Called with a line for everything worth knowing: files that were passed over,
            images that were changed, or that nothing was done.
        **options: The dataset's own options.

    Returns:
        The converted dataset.

    Raises:
        ConversionError: If some pairs are bad; all of them are listed, nothing is published.
        InputError: If the source or the output folder cannot be used, another process writes there,
            or another conversion is there.
    """
    if runner not in RUNNERS:
        raise InputError(f"runner must be one of {', '.join(RUNNERS)}, got {runner!r}.")
    if beam_options and runner != "beam":
        raise InputError(f"options of Beam must come with runner beam, got {beam_options[0]}.")
    final = Path(output) / _folder_name(name, dataset) / records.VERSION
    with contextlib.ExitStack() as held:
        # Locked before anything is read, so that the second of two conversions is refused at once.
        # A missing folder is made only when the source is known to be sound.
        locked = final.parent.is_dir() and (overwrite or not final.exists())
        if locked:
            held.enter_context(locks.exclusive(final.parent))
        class_map = class_map and str(class_map)
        job = open_job(dataset, source, name, class_map, encoding or Encoding(), seed, options)
        for line in job.raw.listing.passed_over:
            on_remark(line)
        if same := job.description.classes.look_alikes:
            on_remark(f"names of classes differ only in upper and lower case: {same}")
        check_splits(job, allow_partial)
        if not locked and (overwrite or not final.exists()):
            held.enter_context(locks.exclusive(final.parent))
            locked = True
        if not locked or (final.exists() and not overwrite):
            finished = _check_finished(final, job, on_progress)
            on_remark(ALREADY_CONVERTED)
            return finished
        with writing_to(final):
            _convert(job, final, runner, beam_options, workers, on_progress, on_remark)
    return records.load(final)


def _folder_name(name: str | None, dataset: str) -> str:
    if name is not None and not _NAME.fullmatch(name):
        raise InputError(
            "name must be lower-case letters, digits and _, beginning with a letter, as "
            f"TensorFlow Datasets requires, got {name!r}."
        )
    return plan.folder_name(name or dataset)


def _check_finished(
    final: Path, job: Job, on_progress: Callable[[int, int], None]
) -> records.Dataset:
    """Returns the finished conversion if it is the requested one."""
    if not (final / records.MANIFEST).is_file():
        raise InputError(
            f"{final}: must be a converted dataset or not exist, got something else; remove it, or "
            "give --overwrite."
        )
    finished = records.load(final)
    for split in finished.splits:
        finished.files(split)
    found = differences.find(final, finished, job.identity, job.raw.module, job.splits, on_progress)
    if found:
        raise InputError(
            f"{final}: holds another conversion ({finished.name}, {len(finished.classes.names)} "
            f"classes, {sum(s.examples for s in finished.splits.values())} examples) than the one "
            f"asked for, which differs in: {'; '.join(found)}. Choose another --output or --name, "
            "or give --overwrite to replace it."
        )
    return finished


def _convert(
    job: Job,
    final: Path,
    runner: str,
    beam_options: Sequence[str],
    workers: int | None,
    on_progress: Callable[[int, int], None],
    on_remark: Callable[[str], None],
) -> None:
    incomplete = final.with_name(records.VERSION + records.INCOMPLETE)
    incomplete.mkdir(parents=True, exist_ok=True)
    folder = plan.folder_name(job.name)
    how_to = job.encoding, job.seed
    specs = {
        split: plan.plan_split(
            job.dataset,
            job.description,
            examples,
            job.identity.files[split],
            *how_to,
            incomplete / f"{folder}-{split}",
        )
        for split, examples in job.splits.items()
    }
    pending = [spec for of_split in specs.values() for spec in of_split]
    if runner == "beam":
        found = beam.convert_shards(pending, beam_options)
    else:
        if workers is None and plan.is_little_work(job.identity.files):
            workers = 1
        found = _convert_shards(pending, workers, on_progress)
    _refuse_problems(job, found)
    results = {split: [found[spec.path] for spec in of_split] for split, of_split in specs.items()}
    _refuse_labels(job.description.classes, results)
    for change, images in sorted(_changes(found.values()).items()):
        on_remark(f"{images} image{'s' if images != 1 else ''}: {change}")
    notes = label_notes.merged(result.notes for result in found.values())
    label_notes.refuse_contradictions(job.description, notes)
    for line in label_notes.remarks(notes):
        on_remark(line)
    description = label_notes.with_palette(job.description, notes)
    shards = {s: list(zip(specs[s], results[s], strict=True)) for s in specs}
    what = job.identity
    tfds_metadata.write(
        incomplete, folder, description, shards, what.source_sha256, what.how, job.encoding
    )
    checksums = {s: plan.checksums_in_order(results[s], job.seed) for s in results}
    for line in leaks.remarks(job.splits, what.files, checksums):
        on_remark(line)
    identity.write(incomplete, what, checksums)
    _publish(incomplete, final)


def _convert_shards(
    pending: list[ShardSpec], workers: int | None, on_progress: Callable[[int, int], None]
) -> dict[Path, ShardResult]:
    progress = _Progress(sum(len(spec.examples) for spec in pending), on_progress)
    workers = min(workers or cores.count(), len(pending))
    if workers == 1:
        return {spec.path: convert_or_keep(spec, progress.advance) for spec in pending}
    return processes.convert_shards(pending, workers, progress.advance)


def _refuse_problems(job: Job, results: dict[Path, ShardResult]) -> None:
    problems = [problem for result in results.values() for problem in result.problems]
    if problems:
        unlabelled = any(problem.what == "label is missing" for problem in problems)
        remedy = ""
        if unlabelled and "skip_unlabelled" in datasets.options_of(job.raw.module):
            remedy = " --skip-unlabelled leaves out images without a label."
        raise ConversionError(sorted(problems, key=lambda problem: problem.file), remedy)


def _refuse_labels(classes: ClassSpace, results: Mapping[str, list[ShardResult]]) -> None:
    """Refuses labels that nothing can be learned from or scored by."""
    every = [result for of_split in results.values() for result in of_split]
    if (only := only_class(_sum_pixels(every))) is not None:
        raise InputError(
            f"labels must hold more than one class, got only {classes.names[only]} in all of them; "
            "black-and-white masks? did you mean --map 255:1?"
        )
    for split in REQUIRED_SPLITS:
        ignored = sum(result.ignored_pixels for result in results[split])
        if ignored and not _sum_pixels(results[split]).any():
            raise InputError(
                f"labels of split {split} must hold a pixel of some class, got ignored ones only; "
                "are they withheld, or of another class table?"
            )


def _sum_pixels(results: Sequence[ShardResult]) -> np.ndarray:
    counted = [result.class_pixels for result in results if result.class_pixels]
    return np.sum(counted, axis=0) if counted else np.zeros(0)


def _changes(results) -> Counter[str]:
    """Counts the images that were changed, by the kind of change."""
    return sum((Counter(result.changes) for result in results), Counter())


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
    """Removes sidecars and files of earlier attempts, and gives the folder its final name."""
    manifest = json.loads((incomplete / records.MANIFEST).read_text())
    shards = {shard["file"] for split in manifest["splits"].values() for shard in split["shards"]}
    for path in incomplete.iterdir():
        if path.name not in shards | tfds_metadata.FILES | {identity.FILE}:
            path.unlink()
    replaced = final.with_name(final.name + records.REPLACED)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # left by a run that was killed below
        os.replace(final, replaced)
    os.replace(incomplete, final)
    shutil.rmtree(replaced, ignore_errors=True)
