"""What a program does with saved networks; `test_contract.py` runs it in a process of its own.

Of ours it imports `kerasseg` alone, for that must be enough to load every network. It is given a
folder for each architecture, of `VARIANT.keras` files with images and the logits of them in
`VARIANT.npz`. Each architecture has a fork of this process, where no other has imported anything.
"""

import multiprocessing
import sys
from pathlib import Path

import kerasseg  # isort: skip  (before Keras, whose backend it chooses)
import keras
import numpy as np

# One with a second head for training and one without: what Keras trains is of two classes.
TRAINED = ("pspnet", "unet")


def main(folder: Path, mode: str) -> None:
    """Tries the networks of every architecture, and exits with the names of those that failed."""
    failed = []
    for architecture in sorted(folder.iterdir()):
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=try_networks, args=(architecture, mode))
        process.start()
        process.join()
        if process.exitcode != 0:
            failed.append(architecture.name)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


def try_networks(folder: Path, mode: str) -> None:
    """Loads every network; trains and evaluates two, or all as graphs, which are exported."""
    for index, file in enumerate(sorted(folder.glob("*.keras"))):
        with np.load(file.with_suffix(".npz")) as arrays:
            images, expected = arrays["images"], arrays["logits"]
        model = keras.models.load_model(file)
        assert_equal(model(images), expected)
        if mode == "graphs" or (index == 0 and folder.name in TRAINED):
            use(model, images, folder / file.stem, eagerly=mode != "graphs")


def use(model, images, folder: Path, *, eagerly: bool) -> None:
    """Trains for two steps as the README says, evaluates, saves and exports."""
    loaded = kerasseg.load(folder.with_suffix(".keras"))
    assert_equal(loaded(images), model(images))
    classes = loaded.output_shape[-1]
    labels = np.random.default_rng(0).integers(0, classes, images.shape[:3], np.uint8)
    metrics = [kerasseg.metrics.MeanIoU(classes)]
    # Tracing takes longer than two steps.
    model.compile("adamw", kerasseg.losses.CrossEntropy(), metrics=metrics, run_eagerly=eagerly)
    before = model(images).numpy()
    history = model.fit(images, labels, batch_size=1, verbose=0).history
    assert set(history) == {"loss", "mean_iou"}
    assert np.isfinite(history["loss"]).all()
    logits = model(images).numpy()
    assert np.abs(logits - before).max() > 0
    scores = model.evaluate(images, labels, verbose=0)

    model.save(folder.with_suffix(".trained.keras"))
    again = keras.models.load_model(folder.with_suffix(".trained.keras"))
    assert_equal(again(images), logits)
    np.testing.assert_allclose(again.evaluate(images, labels, verbose=0), scores, rtol=1e-4)

    if eagerly:
        return  # tracing an export takes as long as all before
    model.export(folder, verbose=False)
    import tensorflow as tf

    served = tf.saved_model.load(str(folder))
    assert_equal(served.serve(images), logits)


def assert_equal(logits, expected) -> None:
    """Compares but for rounding: another process may share the work out to threads otherwise."""
    difference = np.abs(np.asarray(logits) - expected).max()
    assert difference <= 1e-5 * np.abs(expected).max(), difference


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
