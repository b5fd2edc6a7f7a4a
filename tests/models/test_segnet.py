import keras
import numpy as np
from parity import parameters

from kerasseg.models import segnet


def test_the_numbers_of_parameters_are_those_of_the_official_network():
    # Counted layer by layer from the authors' prototxt, for 11 and for 21 classes.
    assert parameters(segnet.build(num_classes=11)) == 29_449_355
    assert parameters(segnet.build(num_classes=21)) == 29_455_125


def test_odd_sizes_are_rounded_up_as_in_the_authors_network():
    model = segnet.build(num_classes=2, filters=2, input_shape=(360, 480, 3))
    sides = [model.get_layer(f"pool{stage}").output[0].shape[1] for stage in range(1, 6)]
    assert sides == [180, 90, 45, 23, 12]


def test_an_image_smaller_than_five_poolings_is_seen_as_one_padded_with_zeros():
    keras.utils.set_random_seed(0)
    model = segnet.build(num_classes=2, variant="pytorch-semseg", filters=2, preprocessing=None)
    image = np.random.default_rng(0).normal(size=(2, 40, 5, 3)).astype(np.float32)
    # 27 more columns, to 2^5.
    padded = model(np.pad(image, ((0, 0), (0, 0), (0, 27), (0, 0)))).numpy()
    np.testing.assert_allclose(model(image), padded[:, :, :5], atol=1e-6)
