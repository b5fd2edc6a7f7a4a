"""What a training must end in, bit for bit, however often it was interrupted."""

import contextlib
import io
import os
import zipfile

import h5py
import keras
import numpy as np
import tensorflow as tf

from kerasseg.pipelines.runs import run_folder, state


def assert_same_end(run, whole):
    """Compares weights, optimizer, random generators, history and best score of two runs."""
    assert history_of(run) == history_of(whole)
    tables = [(folder / "history.csv").read_text().splitlines() for folder in (run, whole)]
    assert tables[0][0] == tables[1][0]
    assert len(tables[0]) == len(tables[1])
    checkpoints = [folder / "checkpoints" for folder in (run, whole)]
    for name in ("best.keras", "last.keras"):
        assert_same_weights(*(folder / name for folder in checkpoints))
    one, other = (state.newest_whole(folder)[0] for folder in checkpoints)
    assert one.position == other.position
    assert one.content["best"] == other.content["best"]
    assert_same_weights(one.best, other.best)
    one, other = (tf.train.load_checkpoint(str(found.variables)) for found in (one, other))
    assert one.get_variable_to_shape_map() == other.get_variable_to_shape_map()
    for name in one.get_variable_to_shape_map():
        if name.startswith("variables/"):  # else it is a description, with names of objects
            np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name), name)


def history_of(run):
    """Returns the epochs of a run without the times that they took."""
    epochs = run_folder.history(run)
    return [{n: v for n, v in epoch.items() if n not in ("seconds", "waiting")} for epoch in epochs]


def assert_same_weights(one, other):
    """Compares networks as they are saved: to build them again takes longer than a training."""
    arrays, others = stored_weights(one), stored_weights(other)
    assert arrays.keys() == others.keys()
    assert arrays
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, others[name], name)


def stored_weights(file):
    """Reads the arrays of a .keras file, by their names in it."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with zipfile.ZipFile(file) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as weights:
        weights.visititems(keep)
    return found


class At(keras.callbacks.Callback):
    """Calls a function after a step of an epoch, both counted from 0; or at the end of an epoch."""

    def __init__(self, epoch, step, function):
        super().__init__()
        self.epoch, self.at, self.function = -1, (epoch, step), function

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            self.function()

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.at:
            self.function()


def signalled(number):
    """Returns a function that sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)


@contextlib.contextmanager
def before_each_change_of_a_file(monkeypatch, function):
    """Calls a function before each step by which a file or folder appears, goes, or is on the disk.

    Between two of them a kill leaves the same folder, but for hidden files that are being written.
    """
    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "rename", "link", "unlink"):
            original = getattr(os, name)

            def changed(*arguments, original=original, **options):
                function()
                return original(*arguments, **options)

            patch.setattr(os, name, changed)
        yield
