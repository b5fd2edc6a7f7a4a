"""Conversion of very many tiny pairs: seconds and memory, the first time and when nothing changed.

    python benchmarks/many_pairs.py [--pairs 10000 100000]

Prints, for each number of pairs, what the first conversion, a second one, and one of a copied tree,
whose times all differ, take, and the peak memory of all their processes together.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from convert import run_measured

_SIDE = 8


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    print(f"{'pairs':>7} {'run':12} {'seconds':>8} {'peak MiB':>9}")
    for pairs in parser.parse_args().pairs:
        with tempfile.TemporaryDirectory() as scratch:
            source, copy, output = (Path(scratch, name) for name in ("source", "copy", "output"))
            _write_tree(source, pairs)
            _report(pairs, "first", source, output)
            _report(pairs, "second", source, output)
            shutil.copytree(source, copy, copy_function=shutil.copyfile)
            _report(pairs, "copied tree", copy, output)


def _report(pairs: int, name: str, source: Path, output: Path) -> None:
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", "folder"]
    seconds, peak = run_measured([*command, "--source", source, "--output", output])
    print(f"{pairs:7} {name:12} {seconds:8.1f} {peak:9.0f}", flush=True)


def _write_tree(root: Path, pairs: int) -> None:
    """Writes a folder of images and labels, of which nine tenths are for training."""
    rng = np.random.default_rng(0)
    contents = []
    for shape, most in (((_SIDE, _SIDE, 3), 256), ((_SIDE, _SIDE), 3)):
        path = root.with_name("one.png")
        PIL.Image.fromarray(rng.integers(0, most, shape, np.uint8)).save(path)
        contents.append(path.read_bytes())
    for split, numbers in (("train", range(pairs // 10, pairs)), ("val", range(pairs // 10))):
        for kind, content in zip(("images", "labels"), contents, strict=True):
            folder = root / kind / split
            folder.mkdir(parents=True)
            for number in numbers:
                (folder / f"{number:07}.png").write_bytes(content)
    (root / "classes.txt").write_text("a\nb\nc\n")


if __name__ == "__main__":
    main()
