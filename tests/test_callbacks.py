import keras
import numpy as np
import PIL.Image

from kerasseg import callbacks, visualize


def test_pictures_of_training_leave_the_classes_that_are_to_stay_undrawn(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 9, 11, 3), np.uint8)
    label = rng.integers(0, 3, (1, 9, 11), np.uint8)
    colors = [(0, 0, 0), (250, 10, 30), (20, 40, 240)]
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    callback = callbacks.SegmentationMetrics(
        [(image, label)],
        class_names=["background", "a", "b"],
        colors=colors,
        directory=tmp_path,
        undrawn=(0,),
    )
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0)
    callback.on_train_end()
    with PIL.Image.open(tmp_path / "overlays.png") as picture:
        truth = np.asarray(picture)[:, 11:22]
    expected = visualize.overlay(image[0], label[0], colors, undrawn=(0,))
    np.testing.assert_array_equal(truth, expected)
    assert (truth[label[0] == 0] == image[0][label[0] == 0]).all()
