"""The peers of `input.py`, each written as its own users would.

All give the same crops of images and labels, 255 where ignored. Images stay in [0, 255] where the
network normalises them, as kerasseg's do; "torch" normalises them, as networks of PyTorch expect,
"torch, uint8" does the same without, and "torch, alone" does without worker processes too, which
costs least and uses one core. "grain" calls OpenCV in threads and changes colours by tables and
weighted sums, as fast as we could write it; "grain, example" has albumentations in worker
processes, as the segmentation example of Flax's documentation does.
"""

# pyright: reportMissingImports=false

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# What has to be installed beyond kerasseg.
_TORCH = ("torch", "albumentations")
NEEDED = {
    "torch": _TORCH,
    "torch, uint8": _TORCH,
    "torch, alone": _TORCH,
    "grain": ("grain", "cv2"),
    "grain, example": ("grain", "albumentations"),
}


def encoded_pairs(data: Path) -> list[tuple[bytes, bytes]]:
    """Reads the image and label files of the training split, in memory for all who want them so."""
    import tensorflow as tf

    from kerasseg.pipelines import records

    pairs = []
    for record in tf.data.TFRecordDataset(records.load(data).files("train")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        keys = ("image", "segmentation_mask")
        pairs.append(tuple(features[key].bytes_list.value[0] for key in keys))
    return pairs


def _decoded(data: Path):
    import tensorflow as tf

    from kerasseg.pipelines import inputs, records

    files = records.load(data).files("train")
    return tf.data.TFRecordDataset(files).shuffle(512).repeat().map(inputs.decode, tf.data.AUTOTUNE)


def _plain_tf_data(data: Path, crop: tuple[int, int], batch: int) -> Iterator[Any]:
    """Writes it as a tutorial would: resize the whole image, crop, tf.image for the colours."""
    import tensorflow as tf

    def prepare(image, label):
        size = tf.cast(tf.shape(label), tf.float32) * tf.random.uniform((), 0.5, 2.0)
        size = tf.cast(size, tf.int32)
        image = tf.image.resize(tf.cast(image, tf.float32), size)
        label = tf.image.resize(label[..., tf.newaxis], size, "nearest")  # pyright: ignore
        label = tf.cast(label, tf.float32)
        both = tf.concat([image, label - 255.0], axis=-1)  # so that zero padding is ignored
        height, width = crop
        sides = tf.maximum([height - size[0], width - size[1], 0], 0)
        both = tf.pad(both, tf.stack([tf.zeros_like(sides), sides], axis=1))
        both = tf.image.random_crop(both, (height, width, 4))
        both = tf.image.random_flip_left_right(both)
        image, label = both[..., :3], tf.cast(both[..., 3] + 255.0, tf.uint8)
        image = tf.image.random_brightness(image / 255.0, 0.2)
        image = tf.image.random_contrast(image, 0.75, 1.25)
        image = tf.image.random_saturation(image, 0.6, 1.4)
        image = tf.image.random_hue(image, 0.03)
        return image * 255.0, label

    return iter(_decoded(data).map(prepare, tf.data.AUTOTUNE).batch(batch).prefetch(2))


def _keras_cv(data: Path, crop: tuple[int, int], batch: int) -> Iterator[Any]:
    import keras_cv
    import tensorflow as tf

    layers: Any = keras_cv.layers
    steps = [
        layers.JitteredResize(target_size=crop, scale_factor=(0.5, 2.0)),
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

    return iter(_decoded(data).map(prepare, tf.data.AUTOTUNE).batch(batch).prefetch(2))


def _decode(pair: tuple[bytes, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Decodes with OpenCV, as the documentation of albumentations does; faster than Pillow."""
    import cv2

    opencv: Any = cv2  # its types allow that decoding gives None
    image, label = (np.frombuffer(content, np.uint8) for content in pair)
    image = opencv.cvtColor(opencv.imdecode(image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image, opencv.imdecode(label, cv2.IMREAD_GRAYSCALE)


def _albumentations(crop: tuple[int, int], last: list[Any]) -> Callable[..., dict[str, Any]]:
    import albumentations

    return albumentations.Compose(
        [
            albumentations.RandomScale((-0.5, 1.0), p=1.0),
            albumentations.PadIfNeeded(*crop, fill_mask=255),
            albumentations.RandomCrop(*crop),
            albumentations.HorizontalFlip(),
            albumentations.ColorJitter((0.8, 1.2), (0.75, 1.25), (0.6, 1.4), (-0.03, 0.03), p=1.0),
            *last,
        ]
    )


def torch_batches(
    data: Path,
    crop: tuple[int, int],
    batch: int,
    *,
    normalize: bool = True,
    workers: int = os.cpu_count() or 1,
) -> Iterator[Any]:
    """Yields batches of images and labels as tensors, from a DataLoader with albumentations."""
    import albumentations
    import cv2
    import torch
    from albumentations.pytorch import ToTensorV2

    pairs = encoded_pairs(data)
    last = [*([albumentations.Normalize()] if normalize else []), ToTensorV2()]
    transform = _albumentations(crop, last)

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return 100 * len(pairs)

        def __getitem__(self, index):
            image, label = _decode(pairs[index % len(pairs)])
            made = transform(image=image, mask=label)
            return made["image"], made["mask"]

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    return iter(torch.utils.data.DataLoader(Pairs(), batch, shuffle=True, num_workers=workers))


def _torch_uint8(data: Path, crop: tuple[int, int], batch: int) -> Iterator[Any]:
    return torch_batches(data, crop, batch, normalize=False)


def _torch_alone(data: Path, crop: tuple[int, int], batch: int) -> Iterator[Any]:
    return torch_batches(data, crop, batch, normalize=False, workers=0)


def _grain(data: Path, crop: tuple[int, int], batch: int) -> Iterator[Any]:
    import cv2
    import grain

    def prepare(pair, rng: np.random.Generator):
        image, label = _scaled(*_decode(pair), crop, rng)
        if rng.random() < 0.5:
            image, label = cv2.flip(image, 1), cv2.flip(label, 1)
        return _recolored(image, rng), label

    cv2.setNumThreads(0)
    dataset = grain.MapDataset.source(encoded_pairs(data)).seed(0).shuffle().repeat(100)
    # Little is made ahead, so that what is counted is what is delivered.
    options = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=2 * batch)
    return iter(dataset.random_map(prepare).to_iter_dataset(options).batch(batch))


def _scaled(image, label, crop: tuple[int, int], rng: np.random.Generator):
    """Resizes, pads where that leaves less than the crop, and crops."""
    import cv2

    factor = rng.uniform(0.5, 2.0)
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    height, width = (max(0, want - have) for want, have in zip(crop, label.shape, strict=True))
    if height or width:
        sides = (0, height, 0, width, cv2.BORDER_CONSTANT)
        image = cv2.copyMakeBorder(image, *sides, value=(0, 0, 0))
        label = cv2.copyMakeBorder(label, *sides, value=255)
    y, x = (rng.integers(0, have - want + 1) for want, have in zip(crop, label.shape, strict=True))
    window = np.s_[y : y + crop[0], x : x + crop[1]]
    return image[window], label[window]


def _recolored(image, rng: np.random.Generator):
    """Brightness and contrast by a table, saturation as a weighted sum, hue by a table."""
    import cv2

    contrast, brightness = rng.uniform(0.75, 1.25), rng.uniform(0.8, 1.2)
    offset = 127.5 * (1 - contrast) * brightness
    table = np.arange(256) * contrast * brightness + offset
    image = cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8))
    saturation = rng.uniform(0.6, 1.4)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    image = cv2.addWeighted(image, saturation, gray, 1 - saturation, 0)
    hue, *others = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    table = ((np.arange(256) + rng.uniform(-5.4, 5.4)) % 180).astype(np.uint8)  # 0.03 of a turn
    return cv2.cvtColor(cv2.merge([cv2.LUT(hue, table), *others]), cv2.COLOR_HSV2RGB)


def _grain_example(data: Path, crop: tuple[int, int], batch: int) -> Iterator[Any]:
    import cv2
    import grain.python as grain

    pairs: Any = encoded_pairs(data)  # a sequence is a source, if not to pyright
    transform = _albumentations(crop, [])

    class Augmentation(grain.MapTransform):
        def map(self, element: tuple[bytes, bytes]) -> Any:
            cv2.setNumThreads(0)
            image, label = _decode(element)
            made = transform(image=image, mask=label)
            return made["image"], made["mask"]

    sampler = grain.IndexSampler(
        len(pairs), shuffle=True, seed=0, shard_options=grain.NoSharding(), num_epochs=100
    )
    loader = grain.DataLoader(
        data_source=pairs,
        sampler=sampler,
        operations=[Augmentation(), grain.Batch(batch)],
        worker_count=os.cpu_count() or 1,
    )
    return iter(loader)


PIPELINES: dict[str, Callable[[Path, tuple[int, int], int], Iterator[Any]]] = {
    "tf.data": _plain_tf_data,
    "keras-cv": _keras_cv,
    "torch": torch_batches,
    "torch, uint8": _torch_uint8,
    "torch, alone": _torch_alone,
    "grain": _grain,
    "grain, example": _grain_example,
}
