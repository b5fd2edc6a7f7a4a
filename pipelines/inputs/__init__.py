"""The input pipeline: TFRecords to batches of images and labels (tf.data)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from kerasseg import IGNORE_LABEL, encoded_images, lazy

from ..runtime import cores
from . import augmentation, sources, threads
from .service import distribute
from .sources import decode

if TYPE_CHECKING:
    from . import cache as cache
    from . import service as service
    from . import threads as threads
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

# Number of records that are shuffled together; fewer if they are so large that memory would suffer.
_SHUFFLE_BLOCK = 2048
_SHUFFLE_BYTES = 2**30
_shuffle = tf.random.experimental.stateless_shuffle  # pyright: ignore[reportAttributeAccessIssue]


class Share(NamedTuple):
    """The part of every batch that one of several workers reads: its images, in their order.

    Attributes:
        worker: Number of the worker.
        workers: Number of workers.
        replicas: Number of replicas of each worker.
    """

    worker: int = 0
    workers: int = 1
    replicas: int = 1


WHOLE = Share()


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
    first_batch: int = 0,
    epochs: int = 1,
    group: int = 1,
    decoded: sources.Source | None = None,
    service: str | None = None,
    share: Share = WHOLE,
    channels: int = 3,
    bits: int = 8,
) -> tf.data.Dataset:
    """Builds the stream of augmented training batches.

    Every epoch is one pass in a different order that depends only on the seed and the epoch's
    number, so that a stream that begins at a later epoch or within one continues as the
    uninterrupted stream would. Skipped examples are read but not decoded. Neither the decoded cache
    nor a data service changes what the batches of an epoch hold; several workers of a service may
    deliver them in another order.

    Args:
        files: TFRecord shards.
        examples: Number of records in them.
        batch_size: Global batch size; the rest of an epoch that does not fill a batch is dropped.
        crop_size: `(height, width)` of the crops.
        image_size: Box within which the network sees a whole image at scale 1; None for native.
        scale: Range of the random scale.
        flip: Whether to mirror at random.
        policy: Colour policy, one of `training_options.AUGMENT`.
        seed: Seed of order and augmentation.
        first_epoch: Number of the first epoch.
        first_batch: Number of its batches that are skipped.
        epochs: Number of the epoch to stop before.
        group: Number of batches that belong together; the rest of an epoch that does not fill a
            group is dropped.
        decoded: The same records decoded, `cache.DecodedRecords`; None to read and decode.
        service: HOST:PORT of a tf.data service whose workers make the batches; None to make them
            here.
        share: The part of every batch to make. With several workers, it comes in as many pieces as
            the worker has replicas; together, the pieces of all workers are the batch. The records
            of the other parts are not read, and checksums are not verified.
        channels: Number of channels of the images.
        bits: Bits of each channel, 8 or 16.

    Returns:
        Batches of images (batch, *crop_size, channels) in [0, 255], uint8 (float32 for 16 bits,
        whose values are divided by 257, and for policy "rand"), and uint8 labels
        (batch, *crop_size).
    """
    prepare = _preparation(
        crop_size=crop_size,
        image_size=image_size,
        scale=scale,
        flip=flip,
        photometric=augmentation.photometric(policy, channels, bits),
        seed=seed,
    )
    if service is not None or (decoded is None and share.workers > 1):
        source = sources.IndexedRecords(files, channels, bits)
    else:
        source = decoded or sources.Records(files, channels, bits)
    block = _shuffle_block(files, examples)
    first = (first_epoch, first_batch)
    count = examples // (batch_size * group) * group
    epoch = _Epoch(source, prepare, examples, batch_size, count, seed, block, first, share)
    numbers = tf.data.Dataset.range(first_epoch, epochs)
    if share.workers > 1:
        # The steps are counted elsewhere; under a strategy, a dataset that may end would cost a
        # message among the workers per step.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        made = numbers.flat_map(epoch.made_here).apply(endless)
        batches = _on_one_thread_each(made).prefetch(2 * share.replicas)
        return threads.without_tuning(batches)
    if service is None:
        batches = _on_one_thread_each(numbers.flat_map(epoch.made_here)).prefetch(2)
        return threads.without_tuning(batches)
    # Not flat_map: this asks for the next epoch early, as a service needs a second to begin it.
    batches = numbers.interleave(
        lambda number: distribute(epoch.made_anywhere(number), service),
        cycle_length=1,
        num_parallel_calls=1,
    )
    return threads.without_tuning(batches.prefetch(2))


def _preparation(*, crop_size, image_size, scale, flip, photometric, seed) -> Callable:
    """Returns the function that makes an example, from its position in the stream."""

    def prepare(position, opened: sources.Opened):
        window_seed, color_seed = (tf.stack([seed, 2 * position + part]) for part in (0, 1))
        window = augmentation.draw_window(
            opened.size,
            crop_size=crop_size,
            base_scale=_base_scale(opened.size, image_size),
            scale=scale,
            flip=flip,
            seed=window_seed,
        )
        image, label = opened.cut(window.corner, window.size)
        return photometric(image, window, color_seed), augmentation.fit_label(label, window)

    return prepare


def _base_scale(label_size, image_size: tuple[int, int] | None):
    if image_size is None:
        return tf.constant(1.0)
    size = tf.cast(label_size, tf.float32)
    return tf.reduce_min(tf.constant(image_size, tf.float32) / size)


@dataclass(frozen=True)
class _Epoch:
    """Makes the batches of an epoch, given its number."""

    source: sources.Source
    prepare: Callable
    examples: int
    batch_size: int
    count: int  # of batches
    seed: int
    block: int
    first: tuple[int, int]  # epoch and the number of its batches that are skipped
    share: Share

    def elements(self, number) -> tf.data.Dataset:
        """Shuffles the elements of the source."""
        return _shuffled_elements(self.source, self.seed, self.block, number)

    def made_here(self, number) -> tf.data.Dataset:
        """Keeps the order of the elements."""
        numbered = self.elements(number).enumerate(start=number * self.examples)
        numbered = numbered.take(self.count * self.batch_size)
        numbered = numbered.skip(self._batches_passed_over(number) * self.batch_size)
        return self._batches(
            self._own_part(numbered, number * self.examples),
            lambda position, element: self.prepare(position, self.source.open(element)),
            cores.count(),
        )

    def _own_part(self, numbered: tf.data.Dataset, first) -> tf.data.Dataset:
        if self.share.workers == 1:
            return numbered
        part = self.batch_size // self.share.workers

        def is_own(place, element):
            return (place - first) % self.batch_size // part == self.share.worker

        is_of_two: Any = is_own  # the elements are pairs
        return numbered.filter(is_of_two)

    def made_anywhere(self, number) -> tf.data.Dataset:
        """Makes the same batches from a range of their numbers, which workers can share."""
        order = self.elements(number).batch(self.examples).get_single_element()
        size, first = self.batch_size, number * self.examples
        numbers = tf.data.Dataset.range(self._batches_passed_over(number), self.count)
        places = numbers.flat_map(
            lambda batch: tf.data.Dataset.range(batch * size, (batch + 1) * size)
        )
        return self._batches(
            places,
            lambda place: self.prepare(first + place, self.source.open(order[place])),
            tf.data.AUTOTUNE,  # for each worker's cores
        )

    def _batches_passed_over(self, number):
        epoch, batches = (tf.constant(value, tf.int64) for value in self.first)
        return tf.where(number == epoch, batches, 0)

    def _batches(
        self, elements: tf.data.Dataset, function: Callable, parallel: int
    ) -> tf.data.Dataset:
        made = elements.map(function, parallel)
        pieces = 1 if self.share.workers == 1 else self.share.workers * self.share.replicas
        return made.batch(self.batch_size // pieces, drop_remainder=True)


def _shuffled_elements(source: sources.Source, seed: int, block: int, epoch) -> tf.data.Dataset:
    """Shuffles the elements of a source for an epoch.

    The shuffle is stateless and works block by block: Dataset.shuffle takes no tensor as seed if a
        global seed is set, and its order could not be rebuilt for a later epoch.
    """
    seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
    shards = tf.data.Dataset.from_tensor_slices(_shuffle(source.shards, seeds))
    cycle = min(4, len(source.shards))
    elements = shards.interleave(source.elements, cycle_length=cycle)
    return elements.batch(block).flat_map(lambda block: _shuffled(block, seeds))


def _shuffled(block, seed) -> tf.data.Dataset:
    """Shuffles elements by their numbers, which avoids a copy of every record."""
    numbers = _shuffle(tf.range(tf.shape(block)[0]), seed)
    return tf.data.Dataset.from_tensor_slices(numbers).map(lambda number: block[number])


def _shuffle_block(files: list[str], examples: int) -> int:
    size = sum(Path(file).stat().st_size for file in files) // max(1, examples)
    return max(1, min(_SHUFFLE_BLOCK, _SHUFFLE_BYTES // max(1, size)))


def records_of_batch(
    files: list[str], *, examples: int, batch_size: int, seed: int, epoch: int, batch: int
) -> list[bytes]:
    """Reads the records of a batch of `training_batches`.

    Args:
        files: TFRecord shards.
        examples: Number of records in them.
        batch_size: Global batch size.
        seed: Seed of the order.
        epoch: Number of the epoch.
        batch: Number of the batch within the epoch.

    Returns:
        Serialised `tf.train.Example`s.
    """
    source, block = sources.Records(files), _shuffle_block(files, examples)
    records = _shuffled_elements(source, seed, block, tf.constant(epoch, tf.int64))
    made = records.skip(batch * batch_size).take(batch_size)
    return [bytes(record.numpy()) for record in made]


def _on_one_thread_each(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Keeps the operations of an example on one thread; other threads work on other examples."""
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = 1
    return batches.with_options(options)


def evaluation_batches(
    files: list[str],
    batch_size: int,
    share: Share = WHOLE,
    *,
    named: bool = False,
    channels: int = 3,
    bits: int = 8,
) -> tf.data.Dataset:
    """Builds the stream of a split's images at their native size, each once.

    Images of one size are batched together: padding them to a common size would change the
        network's input near the borders, so that scores would depend on the batch size.

    Args:
        files: TFRecord shards.
        batch_size: Largest number of images in a batch, over all workers together.
        share: The part of every batch to read. With several workers, batches that cannot be shared
            out evenly are filled up with images whose labels are ignored; images of the other
            parts are not decoded.
        named: Whether each batch also has the file names of its images; for one worker only.
        channels: Number of channels of the images.
        bits: Bits of each channel, 8 or 16.

    Returns:
        Batches of images (batch, height, width, channels), uint8 or for 16 bits float32 in
        [0, 255], and uint8 labels (batch, height, width), and of names, strings (batch,), if these
        are wanted.
    """
    read = tf.data.TFRecordDataset(files)

    def decode_record(record):
        image, label = decode(record, channels, bits)
        return _in_range(image), label

    def decode_named(record):
        return *decode_record(record), sources.name_of(record)

    if share.workers == 1:
        examples = read.map(decode_named if named else decode_record, cores.count())
        batches = _batches_of_one_size(
            examples, lambda _, label, *more: tf.shape(label, out_type=tf.int64), batch_size
        )
    else:
        records = _batches_of_one_size(read, sources.label_size, batch_size)
        signature = (
            tf.TensorSpec((None, None, channels), tf.uint8 if bits == 8 else tf.float32),
            tf.TensorSpec((None, None), tf.uint8),
        )
        batches = records.map(
            lambda each: _decode_share(each, share, decode_record, signature), cores.count()
        )
    return threads.without_tuning(batches.prefetch(2))


def _in_range(image):
    """Brings 16-bit values to [0, 255], so that no later stage mistakes them for 8-bit values."""
    return encoded_images.to_float(image) if image.dtype == tf.uint16 else image


def _batches_of_one_size(
    elements: tf.data.Dataset, size_of: Callable, batch_size: int
) -> tf.data.Dataset:
    def size_key(*element):
        size = size_of(*element)
        return size[0] * 2**24 + size[1]

    return elements.group_by_window(
        size_key, lambda _, window: window.batch(batch_size), window_size=batch_size
    )


def _decode_share(records, share: Share, decode_record: Callable, signature):
    """Decodes a worker's part of a batch of records, whose images have one size."""
    count = tf.shape(records)[0]
    part = -(-count // (share.workers * share.replicas)) * share.replicas
    numbers = share.worker * part + tf.range(part)
    chosen = tf.gather(records, tf.minimum(numbers, count - 1))
    images, labels = tf.map_fn(decode_record, chosen, fn_output_signature=signature)
    is_there = (numbers < count)[:, tf.newaxis, tf.newaxis]
    return images, tf.where(is_there, labels, tf.constant(IGNORE_LABEL, tf.uint8))
