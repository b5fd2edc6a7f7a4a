"""Speed of conversion: pairs a second, beside its peers in the same run.

    python benchmarks/convert.py --source CAMVID [--copies 10] [--rounds 5]

Whole processes, Python's start included, in turn, on copies of CamVid:

    cp -r           the same files
    cp -r, sync     the same and on the disk, where a conversion is when it says that it is done
    checksums       kerasseg convert --verify checksums: both files' checksums, sha256 of the shards
    labels          kerasseg convert: every label decoded, checked, mapped, counted, encoded
    tfds            the writer of TensorFlow Datasets, given the same files; it checks nothing
    tfds, sync      the same and on the disk

and then, on CamVid's pairs at the size of Cityscapes', `labels` with one and with two workers. With
`--before PYTHON`, the Python of an environment that has an earlier version of this package, that
version's conversions are measured too, as "labels before" and so on. Each line gives the median
over the rounds, the ratio to `labels`, and the peak memory of all processes together, where memory
that they share is counted in each.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import PIL.Image
import psutil

_SPLITS = ("train", "val")
_CITYSCAPES_SIZE = (2048, 1024)
_CITYSCAPES_PAIRS, _CITYSCAPES_COPIES = 300, 3
_SECONDS_BETWEEN_LOOKS = 0.02


def main() -> None:
    """Prints medians, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of CamVid")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", metavar="PYTHON", help="Python with an earlier version")
    parser.add_argument("--tfds", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tfds:
        _write_with_tfds(*arguments.tfds)
        return
    with tempfile.TemporaryDirectory() as scratch:
        camvid, folder = Path(scratch, "camvid"), Path(scratch, "folder")
        pairs = _multiply(arguments.source, camvid, arguments.copies)
        _arrange_as_folder(camvid, folder)
        output = Path(scratch, "output")
        tfds = [sys.executable, __file__, "--source", ".", "--tfds", str(camvid), str(output)]
        print(f"CamVid x {arguments.copies}: {pairs} pairs, {os.cpu_count()} cores")
        commands = {
            "labels": _converting("camvid", camvid, output),
            "cp -r": ["cp", "-r", str(camvid), str(output)],
            "cp -r, sync": _syncing(["cp", "-r", str(camvid), str(output)]),
            "checksums": [*_converting("folder", folder, output), "--verify", "checksums"],
            "tfds": tfds,
            "tfds, sync": _syncing(tfds),
        }
        before = arguments.before
        if before:
            commands |= _of_version(before, commands, ("labels", "checksums"))
        _compare(commands, output, arguments.rounds, pairs)
        large = Path(scratch, "large")
        pairs = _enlarge(folder, large)
        print(f"at the size of Cityscapes: {pairs} pairs")
        two, one = ([*_converting("folder", large, output), "--workers", n] for n in "21")
        commands = {"2 workers": two, "1 worker": one}
        if before:
            commands |= _of_version(before, commands, tuple(commands))
        _compare(commands, output, arguments.rounds, pairs)


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


def _arrange_as_folder(camvid: Path, folder: Path) -> None:
    """Makes a dataset of the same files whose labels are the classes' numbers, 0 to 11."""
    for kind, suffix in (("images", ""), ("labels", "annot")):
        (folder / kind).mkdir(parents=True)
        for split in _SPLITS:
            (folder / kind / split).symlink_to(camvid / f"{split}{suffix}")
    (folder / "classes.txt").write_text("".join(f"class {index}\n" for index in range(12)))


def _enlarge(folder: Path, large: Path) -> int:
    """Writes pairs of the size of Cityscapes', images as JPEG, each under three names."""
    shutil.copytree(folder / "labels", large / "labels", ignore=lambda _, names: names)
    for split in _SPLITS:
        names = sorted((folder / "images" / split).iterdir())[:: 10 if split == "train" else 30]
        for image in names[:_CITYSCAPES_PAIRS]:
            for kind, method in (("images", 1), ("labels", 0)):
                target = large / kind / split / image.with_suffix(".png").name
                target.parent.mkdir(parents=True, exist_ok=True)
                with PIL.Image.open(folder / kind / split / image.name) as picture:
                    resized = picture.resize(_CITYSCAPES_SIZE, method)
                if kind == "images":
                    resized.save(target.with_suffix(".jpg"), quality=95)
                    target = target.with_suffix(".jpg")
                else:
                    resized.save(target)
                for copy in range(1, _CITYSCAPES_COPIES):
                    target.with_stem(f"{target.stem}_{copy}").hardlink_to(target)
    shutil.copyfile(folder / "classes.txt", large / "classes.txt")
    return sum(1 for _ in (large / "images").rglob("*.jpg"))


def _converting(dataset: str, source: Path, output: Path) -> list[str]:
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", dataset]
    return [*command, "--source", str(source), "--output", str(output), "--allow-partial"]


def _of_version(
    python: str, commands: dict[str, list[str]], names: tuple[str, ...]
) -> dict[str, list[str]]:
    """Returns the named commands as another installation of this package runs them."""
    return {f"{name} before": [python, *commands[name][1:]] for name in names}


def _syncing(command: list[str]) -> list[str]:
    return ["sh", "-c", f"{shlex.join(command)} && sync"]


def _compare(commands: dict[str, list[Any]], output: Path, rounds: int, pairs: int) -> None:
    """Runs the commands in turn; ratios are of the first's speed to each."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    memory = dict.fromkeys(commands, 0.0)
    for _ in range(rounds):
        for name, command in commands.items():
            duration, peak = run_measured(command)
            seconds[name].append(duration)
            memory[name] = max(memory[name], peak)
            shutil.rmtree(output)
    first = next(iter(commands))
    print(f"{'':16} pairs/s   speed over {first}   peak MiB")
    for name, durations in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[first], durations, strict=True))
        speed = pairs / statistics.median(durations)
        print(f"{name:16} {speed:7.0f} {ratio:15.2f} {memory[name]:14.0f}")


def run_measured(command: list[Any]) -> tuple[float, float]:
    """Returns the seconds that a command took, and its peak memory in MiB."""
    os.sync()  # else the command would wait for what the one before has written
    begun = time.perf_counter()
    peak = 0
    with psutil.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                every = [process, *process.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in every))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - begun, peak / 2**20


def _write_with_tfds(camvid: Path, output: Path) -> None:
    """Writes the same pairs as a builder of TensorFlow Datasets would."""
    import tensorflow_datasets as tfds

    class Camvid(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "segmentation_mask": tfds.features.LabeledImage(
                    shape=(None, None, 1), labels=12, encoding_format="png"
                ),
                "filename": tfds.features.Text(),
            }
            described = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=described)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in _SPLITS}

        def _generate_examples(self, split):
            for image in sorted((camvid / split).iterdir()):
                yield (
                    image.name,
                    {
                        "image": image,
                        "segmentation_mask": camvid / f"{split}annot" / image.name,
                        "filename": image.name,
                    },
                )

    Camvid(data_dir=output).download_and_prepare()


if __name__ == "__main__":
    main()
