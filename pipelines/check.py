"""Checking a dataset: everything that is wrong with a raw tree or converted records, in one pass.

Threads read and examine the pairs. The results are summed up in the order of the list, so that the
same dataset always gets the same report. Each pair costs 16 bytes of memory and its name.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from kerasseg import channels as channels_rule

from . import datasets, records
from .checks.examiner import Examined
from .checks.label_colors import LabelColors
from .checks.pictures import Gallery, draw
from .checks.raw import RawTree
from .checks.records import Converted
from .checks.report import ERROR, Finding, Picture, Report
from .checks.sums import Duplicates, StrangeValues, Sums, judge
from .classes import class_maps
from .errors import ImageFileError, InputError
from .images.treatments import Stretch, Treatment
from .runtime import cores

_MANIFESTS = tuple(f"{folders}{records.MANIFEST}" for folders in ("", "*/", "*/*/"))
_SUSPECTS = 50  # that are listed

Out = TypeVar("Out")


def run(
    path: Path | str,
    dataset: str | None = None,
    *,
    class_map: Path | str | None = None,
    full: bool = False,
    upright: bool = False,
    stretch: Stretch | None = None,
    channels: int = 3,
    bits: int = 8,
    workers: int | None = None,
    samples: int = 6,
    network: Path | str | None = None,
    checkpoint: str | None = None,
    code: Sequence[str] = (),
    suspects: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> Report:
    """Checks a raw tree or a converted dataset.

    Args:
        path: Folder of the raw tree or of the converted dataset.
        dataset: One of `datasets.choices()` for a raw tree. None looks for a converted dataset
            first, and then recognises a raw one by its layout.
        class_map: Change of the classes, in a form that `class_maps` describes; for raw trees only.
        full: Decode images, too. Otherwise only checksums and headers of PNG and JPEG files are
            read.
        upright: Whether the conversion will turn images that EXIF rotates; for raw trees only.
        stretch: Values that become black and white in the conversion of images with more than 8
            bits per channel; for raw trees only.
        channels: Number of channels that the conversion will ask for; for raw trees only.
        bits: Bits of a channel that the conversion will ask for, 8 or 16; for raw trees only.
        workers: Number of threads; None for one per core.
        samples: Number of pairs to draw per split, and number of wrong labels to draw in addition.
        network: Run or `.keras` file with the classes of the dataset, whose predictions are
            compared with the labels to list suspected label errors; None to compare nothing.
        checkpoint: Network of the run, "best" or "last"; None for the best, or the last if no
            network was evaluated yet.
        code: Files and modules with code that the network needs, which are executed.
        suspects: Number of suspected label errors to list, and to draw if there are samples; 50 if
            None. Like `checkpoint` and `code`, only with `network`.
        on_progress: Called with the number of finished pairs and the number of all pairs. A network
            sees each pair twice, which counts as two more.
        **options: The dataset's own options; for raw trees only.

    Returns:
        The report on the dataset.

    Raises:
        InputError: If `path` is neither of the two, does not have the layout of the dataset, or the
            network cannot be used or has other classes.
    """
    if network is None:
        _refuse_without_network(suspects=suspects, checkpoint=checkpoint, code=code or None)
    path = Path(path)
    treatment = _treatment(upright, stretch, channels, bits)
    source = _open(path, dataset, class_map and str(class_map), full, treatment, options)
    doubter = _doubter(network, source, path, checkpoint, code)
    num_classes = len(source.description.classes.names)
    sums = {split: Sums(split, *sizes, num_classes) for split, sizes in source.sizes.items()}
    galleries = {split: Gallery(num_classes, samples) for split in sums}
    duplicates, strange = Duplicates(source.is_converted), StrangeValues(source.description)
    label_colors = LabelColors(source.description)
    findings: list[Finding] = []
    total = sum(pairs for pairs, _ in source.sizes.values()) * (1 if doubter is None else 3)
    done = 0
    for done, pair in enumerate(_examine(source, workers or cores.count()), 1):
        for looker in (
            *(sums[pair.split], galleries[pair.split]),
            *(duplicates, strange, label_colors),
        ):
            looker.add(pair)
        findings += pair.findings
        if doubter is not None:
            doubter.add(pair)
        on_progress(done, max(done, total))
    reports = [split.report() for split in sums.values()]
    unlabelled = {report.name for report in reports if report.is_unlabelled}
    findings = [f for f in findings if f.kind != "all ignored" or f.split not in unlabelled]
    findings += [*source.findings(reports), *judge(source.description, reports)]
    findings += [*duplicates.findings(), *label_colors.findings()]
    pictures = list(_draw(source, galleries.values(), findings))
    suspected = None
    if doubter is not None:
        steps = itertools.count(done + 1)
        suspected = doubter.suspects(
            suspects or _SUSPECTS, lambda: on_progress(next(steps), total), are_drawn=bool(samples)
        )
    return Report(
        path,
        source.name,
        source.is_converted,
        full,
        source.description.classes,
        reports,
        sorted(findings, key=_rank),
        *strange.values(),
        pictures,
        label_colors.palettes(),
        label_colors.remarks(),
        passed_over=source.passed_over,
        suspects=suspected,
    )


def _refuse_without_network(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{name} must be left out without a network to compare labels with (--with), "
                f"got {value!r}."
            )


def _treatment(upright: bool, stretch: Stretch | None, channels: int, bits: int) -> Treatment:
    try:
        channels_rule.check(channels, bits)
    except ValueError as error:
        raise InputError(str(error)) from error
    return Treatment(upright=upright, stretch=stretch, channels=channels, bits=bits)


def _doubter(network, source, path: Path, checkpoint: str | None, code: Sequence[str]):
    """Opens the network that labels are compared with, if one is given."""
    if network is None:
        return None
    from .checks import label_errors  # which needs TensorFlow

    opened = label_errors.Network(
        network,
        source.description.classes,
        path,
        source.channels,
        source.bits,
        checkpoint,
        code,
    )
    return label_errors.Doubter(source, opened)


def _open(
    path: Path,
    dataset: str | None,
    class_map: str | None,
    full: bool,
    treatment: Treatment,
    options: dict[str, Any],
) -> RawTree | Converted:
    if dataset is None and any(next(path.glob(place), None) for place in _MANIFESTS):
        others = {
            "map": class_map,
            "upright": treatment.upright,
            "stretch": treatment.stretch,
            "channels": treatment.channels != 3,
            "bits": treatment.bits != 8,
        }
        given = ", ".join([name for name, value in others.items() if value] + list(options))
        if given:
            raise InputError(
                f"{path}: options of a raw dataset must be left out for a converted one, got "
                f"{given}; --dataset says that it is raw."
            )
        return Converted(records.load(path), full)
    dataset = dataset or _detect(path)
    raw = datasets.open_source(dataset, path, options, treatment.channels, treatment.bits)
    return RawTree(dataset, raw, class_maps.describe(raw.description, class_map), full, treatment)


def _detect(path: Path) -> str:
    if not path.is_dir():
        raise InputError(
            f"{path}: must be a folder with a raw or a converted dataset, got no folder."
        )
    found = datasets.detect(path)
    if found is None:
        raise InputError(
            f"{path}: must hold a converted dataset ({records.MANIFEST}) or have the layout of "
            "exactly one raw dataset, such as images/, labels/ and classes.txt of your own, got "
            "neither or several layouts; name the dataset with --dataset: "
            f"{', '.join(datasets.choices())}."
        )
    return found


def _examine(source: RawTree | Converted, workers: int) -> Iterator[Examined]:
    """Examines pairs in threads, and yields them in order."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from _in_order(pool, source.examine, source.items(), 4 * workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Any], Out], items: Iterable[Any], ahead: int
) -> Iterator[Out]:
    """Maps items in order, with no more than `ahead` of them in memory (`pool.map` takes all)."""
    pending = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _draw(
    source: RawTree | Converted,
    galleries: Iterable[Gallery],
    findings: list[Finding],
) -> Iterator[Picture]:
    for gallery in galleries:
        for sample in gallery.choose():
            try:
                yield draw(source, sample)
            except ImageFileError as error:  # pixels that only a decoder finds damaged
                where = "damaged image", sample.split, sample.file
                findings.append(Finding(ERROR, *where, error.what, error.cause))


def _rank(finding: Finding) -> tuple[bool, str, int, str]:
    split = datasets.SPLITS.index(finding.split) if finding.split in datasets.SPLITS else -1
    return finding.severity != ERROR, finding.kind, split, finding.file
