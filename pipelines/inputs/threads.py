"""The threads that make batches: nothing tunes them while they run."""

import tensorflow as tf


def without_tuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Makes a dataset whose iterators have no tuning thread, and therefore end at once.

    TensorFlow tunes the number of threads in a further thread, which sleeps longer and longer, up
    to a minute. An iterator that is deleted waits for it, and about one time in four the thread is
    not woken: a training of three minutes could take one more minute to end.

    Args:
        dataset: The dataset, whose parallel steps have a fixed number of threads.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
