"""Speed and memory of the fully connected CRF, beside pydensecrf's in the same run.

    python benchmarks/crf.py --image PHOTO [--rounds 7]

Both infer the same marginals: 10 iterations, a whole call, the lattices built anew in each.
At each size the two take turns; a line tells the medians of their milliseconds, the median of their
ratio, how many labels differ, and by how much each raises the memory of a process that has all
libraries loaded. pydensecrf, the wrapper of the authors' C++ code, comes with
`pip install kerasseg[bench]`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

_SIZES = ((360, 480, 12), (375, 500, 21), (512, 1024, 19))  # height, width, classes
_SETTINGS = ((67.0, 3.0, 4.0), (80.0, 13.0, 10.0))  # pixels, intensities, weight
_GAUSSIAN = (3.0, 3.0)  # pixels, weight


def main() -> None:
    """Prints a line a size and setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, required=True, help="a photograph")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(_measure_memory(arguments.image, *json.loads(arguments.memory)))
        return
    print(f"{os.cpu_count()} cores, medians of {arguments.rounds} rounds")
    print("size             setting    kerasseg ms  pydensecrf ms  ratio  labels differ  MiB, MiB")
    for size in _SIZES:
        for setting in _SETTINGS:
            _compare(arguments.image, size, setting, arguments.rounds)


def _compare(path: Path, size, setting, rounds: int) -> None:
    image, logits = _inputs(path, size)
    ours, theirs = _ours(size, setting), _theirs(size, setting)
    differ = (ours(image, logits).argmax(-1) != theirs(image, logits).argmax(-1)).sum()
    times = [
        (_milliseconds(ours, image, logits), _milliseconds(theirs, image, logits))
        for _ in range(rounds)
    ]
    ratio = statistics.median(mine / other for mine, other in times)
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    memory = [_memory_alone(path, name, size, setting) for name in ("ours", "theirs")]
    print(
        f"{size[1]:4}x{size[0]}x{size[2]:<6} {setting[0]:3.0f}, {setting[1]:2.0f} {mine:14.0f} "
        f"{other:14.0f} {ratio:6.2f} {differ:14} {memory[0]:5.0f}, {memory[1]:3.0f}",
        flush=True,
    )


def _inputs(path: Path, size) -> tuple[np.ndarray, np.ndarray]:
    """Returns the image, uint8, and smooth logits: neither's time depends on their values."""
    height, width, classes = size
    image = np.array(PIL.Image.open(path).convert("RGB").resize((width, height)))
    coarse = np.random.default_rng(0).normal(scale=3, size=(classes, 12, 16)).astype(np.float32)
    channels = [PIL.Image.fromarray(c).resize((width, height), 2) for c in coarse]
    return image, np.stack([np.asarray(c) for c in channels], axis=-1)


def _ours(size, setting) -> Callable:
    import tensorflow as tf

    from kerasseg.layers import DenseCRF

    pixels, intensities, weight = setting
    layer = DenseCRF(10, weight, pixels, intensities, _GAUSSIAN[1], _GAUSSIAN[0])
    infer = tf.function(
        lambda image, logits: layer([image[tf.newaxis], logits[tf.newaxis]])[0],
        input_signature=[
            tf.TensorSpec((None, None, 3), tf.uint8),
            tf.TensorSpec((None, None, size[2]), tf.float32),
        ],
    )
    return lambda image, logits: infer(image, logits).numpy()


def _theirs(size, setting) -> Callable:
    from pydensecrf import densecrf  # pyright: ignore

    height, width, classes = size
    pixels, intensities, weight = setting

    def infer(image, logits):
        crf = densecrf.DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-logits.reshape(-1, classes).T))
        crf.addPairwiseGaussian(sxy=_GAUSSIAN[0], compat=_GAUSSIAN[1])
        crf.addPairwiseBilateral(sxy=pixels, srgb=intensities, rgbim=image, compat=weight)
        return np.array(crf.inference(10)).T.reshape(height, width, classes)

    return infer


def _milliseconds(infer: Callable, image, logits) -> float:
    begun = time.perf_counter()
    infer(image, logits)
    return 1000 * (time.perf_counter() - begun)


def _memory_alone(path: Path, name: str, size, setting) -> float:
    command = [sys.executable, __file__, "--image", str(path)]
    command += ["--memory", json.dumps([name, size, setting])]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _measure_memory(path: Path, name: str, size, setting) -> float:
    """Returns the MiB by which a call raises the peak, the libraries having worked on little."""
    infer = (_ours if name == "ours" else _theirs)(size, setting)
    small = (24, 32, size[2])
    (_ours if name == "ours" else _theirs)(small, setting)(*_inputs(path, small))
    image, logits = _inputs(path, size)
    if name == "ours":
        infer(*_inputs(path, small))
    # The peak is set back to what is in use: it would hold what the parent process had.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_mib()
    infer(image, logits)
    return _peak_mib() - before


def _peak_mib() -> float:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
