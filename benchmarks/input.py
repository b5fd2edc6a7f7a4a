"""Speed of the input road: images a second and a CPU second, beside peers in the same run.

    python benchmarks/input.py --data DATA [--size large-jpeg] [--images 800] [--rounds 5]

DATA is CamVid, converted. All do the same work on its training split: decode, random scale 0.5 to
2, crop, mirror, brightness, contrast, saturation and hue, batches of 8 in memory. With --size
camvid the images are as they come, 480 x 360 in PNG, and crops 360 x 480; with large-png or
large-jpeg 48 of them are enlarged to 2048 x 1024, in PNG as those of Cityscapes or in JPEG of
quality 95, and crops are 512 x 1024. The peers, in `input_peers.py`, are left out where they are
not installed (`pip install kerasseg[bench]`). Each pipeline runs in a process of its own, in turn.
"""

# The folder pipelines/ is kerasseg.pipelines once installed, which pyright does not follow.
# pyright: reportMissingImports=false

import argparse
import functools
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import input_peers
import psutil

CROPS = {"camvid": (360, 480), "large-png": (512, 1024), "large-jpeg": (512, 1024)}
BATCH = 8
_ENLARGED = (2048, 1024)  # width, height
_ENLARGED_IMAGES = 48


def main() -> None:
    """Prints a line a pipeline: medians over the rounds, and their ratio to kerasseg's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the converted dataset")
    parser.add_argument("--size", choices=CROPS, default="camvid")
    parser.add_argument("--images", type=int, help="images a round: 800, or 160 of the large ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=_PIPELINES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    images = arguments.images or (800 if arguments.size == "camvid" else 160)
    if arguments.only:
        pipeline = _PIPELINES[arguments.only](arguments.data, CROPS[arguments.size], BATCH)
        print(json.dumps(_measure(pipeline, images)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data
        if arguments.size != "camvid":
            data = _enlarge(data, Path(folder), arguments.size.removeprefix("large-"))
        _compare(data, arguments.size, images, arguments.rounds)


def _compare(data: Path, size: str, images: int, rounds: int) -> None:
    names = [name for name in _PIPELINES if _is_installed(name)]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].append(_run_alone(name, data, size, images))
    print(f"{size}, {os.cpu_count()} cores, medians of {rounds} rounds")
    print("pipeline          images/s   images/CPU s   kerasseg over it, by CPU")
    for name in names:
        wall, cpu = (statistics.median(r[key] for r in results[name]) for key in ("wall", "cpu"))
        pairs = zip(results["kerasseg"], results[name], strict=True)
        ratio = statistics.median(ours["cpu"] / peer["cpu"] for ours, peer in pairs)
        print(f"{name:16} {wall:9.1f} {cpu:14.1f} {ratio:14.2f}")


def _is_installed(name: str) -> bool:
    missing = [m for m in input_peers.NEEDED.get(name, ()) if importlib.util.find_spec(m) is None]
    if missing:
        print(f"{name} is left out: {', '.join(missing)} is not installed")
    return not missing


def _run_alone(name: str, data: Path, size: str, images: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--data", str(data), "--only", name]
    command += ["--size", size, "--images", str(images)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(batches: Iterator[Any], images: int) -> dict[str, float]:
    for _ in range(4):  # start of the threads, tracing
        next(batches)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    for _ in range(images // BATCH):
        next(batches)
    wall = time.perf_counter() - wall
    cpu = _cpu_seconds() - cpu
    count = images // BATCH * BATCH
    return {"wall": count / wall, "cpu": count / cpu}


def _cpu_seconds() -> float:
    """Sums up what this process and those that work for it have taken so far."""
    process = psutil.Process()
    processes = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def _enlarge(data: Path, folder: Path, form: str) -> Path:
    """Makes a dataset of large images out of the first ones, with kerasseg's own converter."""
    import PIL.Image

    source = folder / "source"
    pairs = input_peers.encoded_pairs(data)[:_ENLARGED_IMAGES]
    for index, pair in enumerate(pairs):
        split = "val" if index == 0 else "train"
        images, labels = source / "images" / split, source / "labels" / split
        for place in (images, labels):
            place.mkdir(parents=True, exist_ok=True)
        image, label = (PIL.Image.open(io.BytesIO(content)) for content in pair)
        large = image.convert("RGB").resize(_ENLARGED, PIL.Image.Resampling.BICUBIC)
        large.save(images / f"{index}.{form}", quality=95)
        label.resize(_ENLARGED, PIL.Image.Resampling.NEAREST).save(labels / f"{index}.png")
    classes = (f"class{index} {index} 0 0\n" for index in range(11))
    (source / "classes.txt").write_text("".join(classes))
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", "folder"]
    command += ["--source", str(source), "--output", str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "data"


def _ours(data: Path, crop: tuple[int, int], batch: int, *, cached: str = "none") -> Iterator[Any]:
    from kerasseg.pipelines.runtime import allocator
    from kerasseg.pipelines.runtime import environment as tensorflow_environment

    # As `kerasseg fit` does.
    tensorflow_environment.prepare()
    allocator.keep_freed(allocator.ARRAYS)
    from kerasseg.pipelines import inputs, records
    from kerasseg.pipelines.inputs import cache

    dataset = records.load(data)
    batches = inputs.training_batches(
        dataset.files("train"),
        examples=dataset.splits["train"].examples,
        batch_size=batch,
        crop_size=crop,
        epochs=1000,
        decoded=cache.load(cached, dataset, 1000, data),
    )
    return iter(batches)


_PIPELINES: dict[str, Callable[[Path, tuple[int, int], int], Iterator[Any]]] = {
    "kerasseg": _ours,
    "kerasseg, cached": functools.partial(_ours, cached="memory"),
    "kerasseg, disk": functools.partial(_ours, cached="disk"),
    **input_peers.PIPELINES,
}

if __name__ == "__main__":
    main()
