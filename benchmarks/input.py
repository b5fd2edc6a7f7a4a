"""Speed of the input road: images a second and a CPU second, beside peers in the same run.

    python benchmarks/input.py --data DATA [--images 800] [--rounds 3]

All do the same work on the training split: decode, random scale 0.5 to 2, crop 360 x 480, mirror,
brightness, contrast, saturation and hue, batches of 8. The peers are tf.data written the obvious
way, keras-cv's layers, and a PyTorch DataLoader with albumentations where these are installed
(`pip install kerasseg[bench]`). Each runs in a process of its own, in turn.
"""

# The folder pipelines/ is kerasseg.pipelines once installed, which pyright does not follow.
# pyright: reportMissingImports=false

import argparse
import importlib.util
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_CROP = (360, 480)
_BATCH = 8


def main() -> None:
    """Prints a line a pipeline: medians over the rounds, and their ratio to kerasseg's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the converted dataset")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=_PIPELINES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(_measure(_PIPELINES[arguments.only](arguments.data), arguments.images)))
        return
    names = [name for name in _PIPELINES if name != "torch" or _has_torch()]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            results[name].append(_run_alone(name, arguments))
    print(f"{os.cpu_count()} cores, medians of {arguments.rounds} rounds")
    print("pipeline   images/s   images/CPU s   kerasseg over it, by CPU")
    for name in names:
        wall, cpu = (statistics.median(r[key] for r in results[name]) for key in ("wall", "cpu"))
        pairs = zip(results["kerasseg"], results[name], strict=True)
        ratio = statistics.median(ours["cpu"] / peer["cpu"] for ours, peer in pairs)
        print(f"{name:10} {wall:8.1f} {cpu:14.1f} {ratio:14.2f}")


def _has_torch() -> bool:
    found = all(importlib.util.find_spec(name) for name in ("torch", "albumentations"))
    if not found:
        print("PyTorch with albumentations is not installed: left out")
    return found


def _run_alone(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--data", str(arguments.data), "--only", name]
    command += ["--images", str(arguments.images)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(batches: Iterator[Any], images: int) -> dict[str, float]:
    for _ in range(4):  # start of the threads, tracing
        next(batches)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    for _ in range(images // _BATCH):
        next(batches)
    wall = time.perf_counter() - wall
    cpu = _cpu_seconds() - cpu
    count = images // _BATCH * _BATCH
    return {"wall": count / wall, "cpu": count / cpu}


def _cpu_seconds() -> float:
    return sum(os.times()[:2])


def _ours(data: Path) -> Iterator[Any]:
    from kerasseg.pipelines import inputs, records

    dataset = records.load(data)
    return iter(
        inputs.training_batches(
            dataset.files("train"),
            examples=dataset.splits["train"].examples,
            batch_size=_BATCH,
            crop_size=_CROP,
            epochs=1000,
        )
    )


def _decoded(data: Path):
    import tensorflow as tf

    from kerasseg.pipelines import inputs, records

    files = records.load(data).files("train")
    return tf.data.TFRecordDataset(files).shuffle(512).repeat().map(inputs.decode, tf.data.AUTOTUNE)


def _plain_tf_data(data: Path) -> Iterator[Any]:
    """Writes it as a tutorial would: resize the whole image, crop, tf.image for the colours."""
    import tensorflow as tf

    def prepare(image, label):
        size = tf.cast(tf.shape(label), tf.float32) * tf.random.uniform((), 0.5, 2.0)
        size = tf.cast(size, tf.int32)
        image = tf.image.resize(tf.cast(image, tf.float32), size)
        label = tf.image.resize(label[..., tf.newaxis], size, "nearest")  # pyright: ignore
        label = tf.cast(label, tf.float32)
        both = tf.concat([image, label - 255.0], axis=-1)  # so that zero padding is ignored
        height, width = _CROP
        sides = tf.maximum([height - size[0], width - size[1], 0], 0)
        both = tf.pad(both, tf.stack([tf.zeros_like(sides), sides], axis=1))
        both = tf.image.random_crop(both, (height, width, 4))
        both = tf.image.random_flip_left_right(both)
        image, label = both[..., :3], tf.cast(both[..., 3] + 255.0, tf.uint8)
        image = tf.image.random_brightness(image / 255.0, 0.2)
        image = tf.image.random_contrast(image, 0.75, 1.25)
        image = tf.image.random_saturation(image, 0.6, 1.4)
        image = tf.image.random_hue(image, 0.03)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return (image - mean) / std, label

    return iter(_decoded(data).map(prepare, tf.data.AUTOTUNE).batch(_BATCH).prefetch(2))


def _keras_cv(data: Path) -> Iterator[Any]:
    import keras_cv
    import tensorflow as tf

    layers: Any = keras_cv.layers
    height, width = _CROP
    steps = [
        layers.JitteredResize(target_size=(height, width), scale_factor=(0.5, 2.0)),
        layers.RandomFlip("horizontal"),
        layers.RandomBrightness(0.2, value_range=(0, 255)),
        layers.RandomContrast(value_range=(0, 255), factor=0.25),
        layers.RandomSaturation(factor=(0.4, 0.6)),
        layers.RandomHue(factor=0.03, value_range=(0, 255)),
    ]

    def prepare(image, label):
        masks = tf.cast(tf.expand_dims(label, -1), tf.float32)
        sample = {"images": tf.cast(image, tf.float32), "segmentation_masks": masks}
        for step in steps:
            sample = step(sample)
        return sample["images"], sample["segmentation_masks"]

    return iter(_decoded(data).map(prepare, tf.data.AUTOTUNE).batch(_BATCH).prefetch(2))


def _torch(data: Path) -> Iterator[Any]:
    import albumentations
    import numpy as np
    import PIL.Image
    import tensorflow as tf
    import torch

    from kerasseg.pipelines import records

    pairs = []
    for record in tf.data.TFRecordDataset(records.load(data).files("train")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        keys = ("image", "segmentation_mask")
        pairs.append(tuple(features[key].bytes_list.value[0] for key in keys))
    transform = albumentations.Compose(
        [
            albumentations.RandomScale((-0.5, 1.0), p=1.0),
            albumentations.PadIfNeeded(*_CROP, fill_mask=255),
            albumentations.RandomCrop(*_CROP),
            albumentations.HorizontalFlip(),
            albumentations.ColorJitter(0.2, 0.25, 0.4, 0.03, p=1.0),
            albumentations.Normalize(),
        ]
    )

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return 100 * len(pairs)

        def __getitem__(self, index):
            image, label = (
                np.asarray(PIL.Image.open(io.BytesIO(content)))
                for content in pairs[index % len(pairs)]
            )
            made = transform(image=image, mask=label)
            return made["image"], made["mask"]

    # In this process: the CPU time of workers is known only when they have ended.
    torch.set_num_threads(1)
    return iter(torch.utils.data.DataLoader(Pairs(), _BATCH, shuffle=True))


_PIPELINES: dict[str, Callable[[Path], Iterator[Any]]] = {
    "kerasseg": _ours,
    "tf.data": _plain_tf_data,
    "keras-cv": _keras_cv,
    "torch": _torch,
}

if __name__ == "__main__":
    main()
