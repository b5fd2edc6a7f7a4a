"""The input road: TFRecords to batches of images and labels (tf.data)."""

import tensorflow as tf

from . import augment

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "segmentation_mask": tf.io.FixedLenFeature([], tf.string),
    "filename": tf.io.FixedLenFeature([], tf.string),
}
_SHUFFLE_BLOCK = 2048
_shuffle = tf.random.experimental.stateless_shuffle  # pyright: ignore[reportAttributeAccessIssue]


def decode(record):
    """Decodes a record.

    Args:
        record: Serialised `tf.train.Example`, a string scalar.

    Returns:
        uint8 image (height, width, 3) and uint8 label (height, width).
    """
    features = tf.io.parse_single_example(record, _FEATURES)
    image = tf.io.decode_image(features["image"], channels=3, expand_animations=False)
    label = tf.io.decode_png(features["segmentation_mask"], channels=1)
    return tf.ensure_shape(image, (None, None, 3)), label[..., 0]


def training_batches(
    files: list[str],
    *,
    examples: int,
    batch_size: int,
    crop_size: tuple[int, int],
    image_size: tuple[int, int] | None = None,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
    policy: str = "standard",
    seed: int = 0,
    first_epoch: int = 0,
    epochs: int = 1,
) -> tf.data.Dataset:
    """Builds the stream of augmented training batches.

    Every epoch is one pass in an order of its own that depends on the seed and the epoch's number
    only, so that a stream begun at a later epoch goes on as the uninterrupted one would have.

    Args:
        files: TFRecord shards.
        examples: Number of records in them.
        batch_size: Global batch size; the rest of an epoch that does not fill a batch is dropped.
        crop_size: `(height, width)` of the crops.
        image_size: Box within which the network sees a whole image at scale 1; None for native.
        scale: Range of the random scale.
        flip: Whether to mirror at random.
        policy: Colour policy, one of `augment.POLICIES`.
        seed: Of order and augmentation.
        first_epoch: Number of the first epoch.
        epochs: Number of the epoch to stop before.

    Returns:
        Batches of images (batch, *crop_size, 3), uint8 (float32 for policy "rand"), and uint8
        labels (batch, *crop_size).
    """
    photometric = augment.photometric(policy)

    def prepare(position, record):
        image, label = decode(record)
        seeds = tf.unstack(tf.random.split(tf.stack([tf.constant(seed, tf.int64), position]), 2))
        image, label = augment.crop(
            image,
            label,
            crop_size=crop_size,
            base_scale=_base_scale(label, image_size),
            scale=scale,
            flip=flip,
            seed=seeds[0],
        )
        return photometric(image, seeds[1]), label

    def epoch(number):
        # Stateless, block by block: Dataset.shuffle takes no tensor as seed once a global seed is
        # set, and its order could not be rebuilt for a later epoch.
        order_seed = tf.stack([tf.constant(seed, tf.int64), number])
        shards = _shuffle(tf.constant(files), order_seed)
        records = tf.data.Dataset.from_tensor_slices(shards)
        records = records.interleave(tf.data.TFRecordDataset, cycle_length=min(4, len(files)))
        records = records.batch(_SHUFFLE_BLOCK).map(lambda block: _shuffle(block, order_seed))
        records = records.unbatch().enumerate(start=number * examples)
        return records.map(prepare, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True)

    stream = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch)
    return stream.prefetch(2)


def _base_scale(label, image_size: tuple[int, int] | None):
    if image_size is None:
        return tf.constant(1.0)
    size = tf.cast(tf.shape(label), tf.float32)
    return tf.reduce_min(tf.constant(image_size, tf.float32) / size)


def evaluation_batches(files: list[str], batch_size: int) -> tf.data.Dataset:
    """Builds the stream of a split's images at their native size, each once.

    Images of one size are batched together: padding them to a common size would change what a
    network sees near the borders, and so make scores depend on the batch size.

    Args:
        files: TFRecord shards.
        batch_size: Largest number of images in a batch.

    Returns:
        Batches of uint8 images (batch, height, width, 3) and uint8 labels (batch, height, width).
    """

    def size_key(*example):
        shape = tf.shape(example[1], out_type=tf.int64)
        return shape[0] * 2**24 + shape[1]

    examples = tf.data.TFRecordDataset(files).map(decode, tf.data.AUTOTUNE)
    batches = examples.group_by_window(
        size_key, lambda _, window: window.batch(batch_size), window_size=batch_size
    )
    return batches.prefetch(2)
