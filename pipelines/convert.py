"""Raw dataset to TFRecords.

Everything is written into `VERSION.incomplete` beside the final folder, which is renamed when all
is there: what has the final name is whole. A shard is a contiguous range of the shuffled list of
examples, written by a pure function under a temporary name, with a sidecar that tells what went
in; a second run keeps the shards whose sidecar still fits.
"""

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import datasets, records
from .datasets import IGNORE_LABEL, SPLITS, ClassSpace, Description, Example
from .errors import InputError
from .images import ImageFileError, check_image
from .labels import LabelMap, decode_label, encode_label, read_file

_REQUIRED_SPLITS = ("train", "validation")
_SHARD_BYTES = 64 * 2**20
_METADATA = {
    records.MANIFEST,
    "dataset_info.json",
    "features.json",
    "segmentation_mask.labels.txt",
}


@dataclass(frozen=True)
class Problem:
    """A pair that cannot be converted: `file`, `what` is wrong, and its likely `cause`."""

    file: str
    what: str
    cause: str


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


@dataclass(frozen=True)
class ShardSpec:
    """All that decides a shard's bytes."""

    dataset: str
    description: Description
    examples: tuple[Example, ...]
    path: Path

    @property
    def fingerprint(self) -> str:
        """Hash of the specification and of the state of its source files."""
        digest = hashlib.sha256(repr((self.dataset, self.description)).encode())
        for example in self.examples:
            digest.update(repr((example, _state(example.image), _state(example.label))).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ShardResult:
    """What came of a shard; without problems, the shard is on disk."""

    examples: int = 0
    bytes: int = 0
    sha256: str = ""
    class_pixels: list[int] = field(default_factory=list)
    pixels_with_class: list[int] = field(default_factory=list)
    ignored_pixels: int = 0
    problems: list[Problem] = field(default_factory=list)


def _state(path: Path | None) -> tuple[int, int] | None:
    """Returns size and time of change, which tell an edited file from the one converted."""
    with contextlib.suppress(OSError):
        if path is not None:
            status = path.stat()
            return status.st_size, status.st_mtime_ns
    return None


def run(
    dataset: str,
    source: Path | None,
    output: Path,
    *,
    workers: int | None = None,
    allow_partial: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> records.Dataset:
    """Converts a raw dataset into `output/DATASET/1.0.0/`.

    Args:
        dataset: One of `datasets.names()`.
        source: Folder of the raw dataset; None for datasets that are drawn.
        output: Folder that will hold the converted dataset's folder.
        workers: Number of threads; None for one a core.
        allow_partial: Accept splits of another size than the official one.
        overwrite: Replace a finished conversion.
        seed: Of the order of the examples.
        on_progress: Called with the numbers of examples done and in all.
        **options: The dataset's own options.

    Returns:
        The converted dataset.

    Raises:
        ConversionError: If some pairs are bad; all of them are listed, nothing is published.
        InputError: If the source or the output folder cannot be used.
    """
    module = datasets.module(dataset)
    root = _check_source(module, dataset, source)
    description = module.describe(root, **options)
    splits = _list_examples(module, root, description, allow_partial, options)
    final = Path(output) / dataset / records.VERSION
    content = _content_hash(description.classes, splits)
    if final.exists() and not overwrite:
        return _check_finished(final, dataset, content)
    with _writing_to(final):
        incomplete = final.with_name(records.VERSION + records.INCOMPLETE)
        incomplete.mkdir(parents=True, exist_ok=True)
        specs = {
            split: _plan_shards(dataset, description, split, examples, incomplete, seed)
            for split, examples in splits.items()
        }
        results = _convert_shards(specs, workers or os.cpu_count() or 1, on_progress)
        _refuse_masks_without_classes(description.classes, list(results.values()))
        _write_metadata(incomplete, dataset, description, specs, results, content)
        _publish(incomplete, final)
    return records.load(final)


def _check_source(module, dataset: str, source: Path | None) -> Path:
    if source is None:
        if not getattr(module, "IS_DRAWN", False):
            raise InputError(f"dataset {dataset} must have a source folder, got none.")
        return Path()
    if not Path(source).is_dir():
        raise InputError(f"{source}: no such folder; give the folder of the raw dataset.")
    return Path(source)


def _list_examples(module, root, description, allow_partial, options) -> dict[str, list[Example]]:
    splits = {}
    for split in SPLITS:
        examples = module.examples(root, split, **options)
        expected = description.split_sizes.get(split)
        if not examples:
            if split in _REQUIRED_SPLITS:
                raise InputError(f"{root}: split {split} must have images, got none.")
            continue
        if expected not in (None, len(examples)) and not allow_partial:
            raise InputError(
                f"{root}: split {split} must have {expected} images, got {len(examples)}; "
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


def _content_hash(classes: ClassSpace, splits: dict[str, list[Example]]) -> str:
    """Hashes what a source holds by names and sizes, to tell one source from another."""
    digest = hashlib.sha256(classes.fingerprint.encode())
    for split, examples in splits.items():
        for example in examples:
            sizes = [state and state[0] for state in map(_state, (example.image, example.label))]
            digest.update(repr((split, example.filename, sizes)).encode())
    return digest.hexdigest()


def _check_finished(final: Path, dataset: str, content: str) -> records.Dataset:
    """Returns the finished conversion if it is of the same source."""
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


def _plan_shards(dataset, description, split, examples, folder, seed) -> list[ShardSpec]:
    order = np.random.default_rng(seed).permutation(len(examples))
    size = sum((_state(example.image) or (0, 0))[0] for example in examples)
    # At least eight shards where there is work for them, so that threads and readers can share it.
    count = max(min(8, -(-len(examples) // 8)), -(-size // _SHARD_BYTES))
    bounds = [len(examples) * shard // count for shard in range(count + 1)]
    return [
        ShardSpec(
            dataset,
            description,
            tuple(examples[i] for i in order[bounds[shard] : bounds[shard + 1]]),
            folder / f"{dataset}-{split}.tfrecord-{shard:05d}-of-{count:05d}",
        )
        for shard in range(count)
    ]


def _convert_shards(specs, workers, on_progress) -> dict[Path, ShardResult]:
    pending = [spec for split in specs.values() for spec in split]
    total = sum(len(spec.examples) for spec in pending)
    progress = _Progress(total, on_progress)
    results: dict[Path, ShardResult] = {}
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(_convert_or_keep, spec, progress): spec for spec in pending}
        for future in as_completed(futures):
            results[futures[future].path] = future.result()
    except BaseException:
        progress.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    problems = [problem for result in results.values() for problem in result.problems]
    if problems:
        raise ConversionError(sorted(problems, key=lambda problem: problem.file))
    return results


def _refuse_masks_without_classes(classes: ClassSpace, results: list[ShardResult]) -> None:
    """Refuses 0/255 masks where 255 is the ignored label: each file by itself looks right."""
    pixels = np.sum([result.class_pixels for result in results], axis=0)
    ignored = sum(result.ignored_pixels for result in results)
    if len(pixels) > 1 and ignored and not pixels[1:].any():
        raise InputError(
            f"labels must hold more than the first class, got only {classes.names[0]} and ignored "
            "pixels in all of them; in black-and-white masks save the class as 1 instead of 255."
        )


class _Progress:
    """Counts examples over all threads, and stops the threads when the run is given up."""

    def __init__(self, total: int, on_progress: Callable[[int, int], None]):
        self._total = total
        self._done = 0
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def advance(self, examples: int = 1) -> None:
        if self._stopped:
            raise InterruptedError("conversion was stopped")
        with self._lock:
            self._done += examples
            self._on_progress(self._done, self._total)


def _convert_or_keep(spec: ShardSpec, progress: _Progress) -> ShardResult:
    """Keeps the shard of an earlier run if there is one that fits, else converts it."""
    fingerprint = spec.fingerprint
    if kept := _shard_of_earlier_run(spec.path, fingerprint):
        progress.advance(kept.examples)
        return kept
    result = convert_shard(spec, progress.advance)
    if not result.problems:
        sidecar = _sidecar(spec.path)
        temporary = sidecar.with_name(f"{sidecar.name}.tmp")
        temporary.write_text(json.dumps({"spec": fingerprint, "result": asdict(result)}))
        os.replace(temporary, sidecar)
    return result


def _shard_of_earlier_run(shard: Path, fingerprint: str) -> ShardResult | None:
    """Returns what came of a shard if its sidecar fits and its bytes are still the same."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(_sidecar(shard).read_text())
        result = ShardResult(**stored["result"])
        with shard.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == result.sha256
        return result if whole and stored["spec"] == fingerprint else None
    return None


def _sidecar(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.json")


def convert_shard(spec: ShardSpec, advance: Callable[[], None] = lambda: None) -> ShardResult:
    """Writes one shard; its bytes depend on the specification and its source files only.

    Args:
        spec: What to write, and where.
        advance: Called after each example; may raise to give up.

    Returns:
        The shard's counts and hash, or the problems of its pairs, and then no file.
    """
    label_map = LabelMap(spec.description)
    pixels, pixels_with = np.zeros((2, label_map.num_classes), np.int64)
    ignored = 0
    problems: list[Problem] = []
    temporary = spec.path.with_name(f"{spec.path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            writer = records.RecordWriter(file)
            for example in spec.examples:
                try:
                    image, label_png, counts = _convert_pair(spec.dataset, example, label_map)
                except ImageFileError as problem:
                    problems.append(Problem(example.filename, problem.what, problem.cause))
                else:
                    classes = counts[: label_map.num_classes]
                    pixels += classes
                    pixels_with += np.where(classes > 0, classes.sum(), 0)
                    ignored += int(counts[IGNORE_LABEL])
                    if not problems:
                        writer.write(_encode(example, image, label_png))
                advance()
            file.flush()
            os.fsync(file.fileno())
        if problems:
            return ShardResult(problems=problems)
        os.replace(temporary, spec.path)
    finally:
        temporary.unlink(missing_ok=True)
    return ShardResult(
        writer.examples,
        writer.bytes,
        writer.sha256,
        pixels.tolist(),
        pixels_with.tolist(),
        ignored,
    )


def _encode(example: Example, image: bytes, label_png: bytes) -> bytes:
    return records.encode_example(
        {"image": image, "segmentation_mask": label_png, "filename": example.filename.encode()}
    )


def _convert_pair(dataset: str, example: Example, label_map: LabelMap):
    """Reads and checks a pair; returns the image's bytes, the label's PNG and its histogram."""
    module = datasets.module(dataset)
    if hasattr(module, "read"):
        image, raw = module.read(example)
    else:
        image = read_file(example.image, "image")
        raw = decode_label(read_file(example.label, "label"))
    height, width = check_image(image)
    label = label_map(raw)
    if label.shape != (height, width):
        raise ImageFileError(
            f"label must have the image's size {height}x{width}, got "
            f"{label.shape[0]}x{label.shape[1]}",
            "one of the two was resized or rotated",
        )
    return image, encode_label(label), np.bincount(label.reshape(-1), minlength=256)


def _write_metadata(folder, dataset, description, specs, results, content) -> None:
    splits = {
        split: _describe_split(split, [results[spec.path] for spec in shards], shards)
        for split, shards in specs.items()
    }
    classes = description.classes
    manifest = {
        "format": records.FORMAT,
        "dataset": dataset,
        "version": records.VERSION,
        "homepage": description.homepage,
        "class_names": classes.names,
        "colors": classes.colors,
        "ignore_label": IGNORE_LABEL,
        "classes_fingerprint": classes.fingerprint,
        "fingerprint": records.fingerprint(classes, splits),
        "source_sha256": content,
        "splits": {
            split.name: {key: value for key, value in asdict(split).items() if key != "name"}
            for split in splits.values()
        },
    }
    image_format = _common_format(specs)
    _write_json(folder / "features.json", _tfds_features(len(classes.names), image_format))
    _write_json(folder / "dataset_info.json", _tfds_info(dataset, description, splits))
    (folder / "segmentation_mask.labels.txt").write_text(
        "".join(f"{name}\n" for name in classes.names), encoding="utf-8"
    )
    _write_json(folder / records.MANIFEST, manifest)


def _describe_split(split: str, results: list[ShardResult], specs) -> records.Split:
    shards = [
        {"file": s.path.name, "examples": r.examples, "bytes": r.bytes, "sha256": r.sha256}
        for s, r in zip(specs, results, strict=True)
    ]
    return records.Split(
        split,
        sum(result.examples for result in results),
        shards,
        np.sum([result.class_pixels for result in results], axis=0).tolist(),
        np.sum([result.pixels_with_class for result in results], axis=0).tolist(),
        sum(result.ignored_pixels for result in results),
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _common_format(specs) -> str | None:
    """Returns "png" or "jpeg" if all images are of one format, which TFDS then may assume."""
    suffixes = {
        example.image.suffix.lower().replace("jpg", "jpeg").lstrip(".")
        for shards in specs.values()
        for spec in shards
        for example in spec.examples
    }
    return suffixes.pop() if len(suffixes) == 1 else None


def _tfds_features(num_classes: int, image_format: str | None) -> dict[str, Any]:
    """Describes the records to TensorFlow Datasets, as its own writer would."""
    prefix = "tensorflow_datasets.core.features"

    def image(channels: int, encoding: str | None, **more: Any) -> dict[str, Any]:
        shape = {"dimensions": ["-1", "-1", str(channels)]}
        content = {"dtype": "uint8", "shape": shape, **more}
        return {**content, "encodingFormat": encoding} if encoding else content

    features = {
        "filename": {"pythonClassName": f"{prefix}.text_feature.Text", "text": {}},
        "image": {
            "pythonClassName": f"{prefix}.image_feature.Image",
            "image": image(3, image_format),
        },
        "segmentation_mask": {
            "pythonClassName": f"{prefix}.labeled_image.LabeledImage",
            "image": image(1, "png", label={"numClasses": str(num_classes)}, useColormap=True),
        },
    }
    return {
        "pythonClassName": f"{prefix}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _tfds_info(dataset: str, description: Description, splits) -> dict[str, Any]:
    return {
        "name": dataset,
        "version": records.VERSION,
        "description": f"{dataset}, converted by kerasseg.",
        "citation": "",
        "location": {"urls": [description.homepage] if description.homepage else []},
        "fileFormat": "tfrecord",
        "moduleName": __name__,
        "supervisedKeys": {
            "tuple": {"items": [{"featureKey": "image"}, {"featureKey": "segmentation_mask"}]}
        },
        "splits": [
            {
                "name": split.name,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(sum(shard["bytes"] for shard in split.shards)),
                "shardLengths": [str(shard["examples"]) for shard in split.shards],
            }
            for split in splits.values()
        ],
    }


def _publish(incomplete: Path, final: Path) -> None:
    """Gives the folder its final name, in one step, less sidecars and other runs' leavings."""
    manifest = json.loads((incomplete / records.MANIFEST).read_text())
    shards = {shard["file"] for split in manifest["splits"].values() for shard in split["shards"]}
    for path in incomplete.iterdir():
        if path.name not in shards | _METADATA:
            path.unlink()
    replaced = final.with_name(final.name + records.REPLACED)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # left by a run that was killed below
        os.replace(final, replaced)
    os.replace(incomplete, final)
    shutil.rmtree(replaced, ignore_errors=True)
