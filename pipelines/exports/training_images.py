"""Images of the training split, from which a quantised export takes the ranges of its numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from .. import inputs, records

_SEED = 0


def draw(
    dataset: records.Dataset, count: int, size: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    """Yields images of the training split, drawn at random but always the same ones.

    They are resized as `label_sources` does it for an export of one size.

    Args:
        dataset: The converted dataset.
        count: Number of images; all if there are fewer.
        size: `(height, width)` to resize them to; None to leave them as they are.

    Yields:
        uint8, or uint16 for 16 bits: (1, height, width, channels).

    Raises:
        InputError: If there is no training split, or a record is damaged.
    """
    files = dataset.files("train")
    total = dataset.splits["train"].examples
    drawn = np.random.default_rng(_SEED).permutation(total)[:count]
    chosen = tf.constant(np.isin(np.arange(total), drawn))
    numbered = tf.data.TFRecordDataset(files).enumerate()
    is_drawn: Any = lambda number, record: chosen[number]  # noqa: E731 (the elements are pairs)
    drawn_records = numbered.filter(is_drawn)
    with records.reading(dataset):
        decode = lambda number, record: inputs.decode(record, **dataset.image_form)  # noqa: E731
        for image, _ in drawn_records.map(decode):
            kind = image.dtype
            if size is not None:
                image = tf.round(tf.image.resize(image, size, "bilinear"))
            yield tf.cast(image, kind).numpy()[np.newaxis]
