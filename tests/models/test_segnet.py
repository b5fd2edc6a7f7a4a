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
