"""Sizes of PIDNet, DDRNet and LR-ASPP: their parameters are those of OpenMMLab's networks."""

from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
from parity import parameters

import kerasseg

# Parameters with 19 classes and all heads of training.
COUNTS = [
    ("pidnet", {"size": "s"}, 7_720_871),
    ("pidnet", {"size": "m"}, 28_762_983),
    ("pidnet", {"size": "l"}, 37_314_183),
    ("ddrnet", {"size": "23_slim"}, 5_734_278),
    ("ddrnet", {"size": "23"}, 20_299_238),
    ("lraspp", {"variant": "mmseg"}, 3_284_547),
    ("lraspp", {"variant": "mmseg", "encoder": "mobilenetv3_small"}, 1_140_787),
]


def draw(name, **options):
    """Builds a network without values, in a thread, as `checkpoints.plans` does."""

    def build():
        with keras.StatelessScope(initialize_variables=False):
            return kerasseg.build(name, **options)

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(build).result()


@pytest.mark.parametrize(("name", "options", "count"), COUNTS)
def test_a_size_has_the_parameters_of_the_published_network(name, options, count):
    assert parameters(draw(name, num_classes=19, **options)) == count


def test_deeplabv3_on_mobilenetv3_has_the_parameters_of_torchvision_s():
    options = {"variant": "torchvision", "encoder": "mobilenetv3_large", "auxiliary": True}
    assert parameters(draw("deeplabv3", num_classes=21, **options)) == 11_029_328


@pytest.mark.parametrize(("name", "known"), [("pidnet", "s, m, l"), ("ddrnet", "23_slim, 23")])
def test_an_unknown_size_lists_the_known_ones(name, known):
    with pytest.raises(ValueError, match=f"size must be one of {known}, got 'xl'"):
        kerasseg.build(name, num_classes=2, size="xl")
