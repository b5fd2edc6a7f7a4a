"""Speed of conversion: pairs a second, beside `cp -r` of the same files in the same run.

    python benchmarks/convert.py --source CAMVID [--copies 4] [--rounds 5]

Both are whole processes, Python's start included, in turn; copies of the dataset make that start
small. Peak memory is that of the converting process.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SPLITS = ("train", "val")


def main() -> None:
    """Prints a line a round, then medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        pairs = _multiply(arguments.source, source, arguments.copies)
        print(f"{pairs} pairs, {os.cpu_count()} cores")
        ratios = [_run_round(source, Path(scratch), pairs) for _ in range(arguments.rounds)]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"median speed over cp -r: {statistics.median(ratios):.2f}; peak memory {memory:.0f} MiB")


def _multiply(camvid: Path, target: Path, copies: int) -> int:
    """Writes the dataset several times over under other names; returns the number of pairs."""
    pairs = 0
    for split in _SPLITS:
        for folder in (split, f"{split}annot"):
            (target / folder).mkdir(parents=True)
        for image in sorted((camvid / split).glob("*.png")):
            for copy in range(copies):
                name = f"{copy:02}_{image.name}"
                shutil.copyfile(image, target / split / name)
                shutil.copyfile(
                    camvid / f"{split}annot" / image.name, target / f"{split}annot" / name
                )
                pairs += 1
    return pairs


def _run_round(source: Path, scratch: Path, pairs: int) -> float:
    output, copied = scratch / "output", scratch / "copied"
    copying = _seconds(["cp", "-r", str(source), str(copied)])
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", "camvid"]
    command += ["--source", str(source), "--output", str(output), "--allow-partial"]
    converting = _seconds(command)
    shutil.rmtree(copied)
    shutil.rmtree(output)
    print(
        f"cp -r {pairs / copying:7.0f} pairs/s   kerasseg convert {pairs / converting:7.0f} pairs/s"
    )
    return copying / converting


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
