import itertools

import numpy as np

from kerasseg.pipelines.evaluations.extreme_images import LONGEST_SIDE, ExtremeImages

IMAGE, LABEL = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8)


def names(scores, count=2):
    kept = ExtremeImages(count)
    for name, score in scores:
        kept.add(name, (score, 0.5), IMAGE, LABEL, LABEL)
    return [image.name for image in kept.worst()], [image.name for image in kept.best()]


def test_the_worst_and_the_best_are_kept_in_any_order():
    scores = [("a", 0.2), ("b", 0.9), ("c", 0.9), ("d", 0.1), ("e", 0.1), ("f", np.nan)]
    for order in itertools.permutations(scores):
        assert names(order) == (["d", "e"], ["b", "c"])


def test_of_few_images_none_is_both_best_and_worst():
    assert names([("a", 0.2), ("b", 0.9), ("c", 0.5)]) == (["a", "c"], ["b"])
    assert names([("a", 0.2)]) == (["a"], [])
    assert names([("a", 0.2)], count=0) == ([], [])


def test_large_pictures_become_small_and_classes_are_never_mixed():
    kept = ExtremeImages(1)
    label = np.zeros((100, 1000), np.uint8)
    label[:, 500:] = 254
    image = np.repeat(label[..., np.newaxis], 3, axis=2)
    kept.add("a", (0.5, 0.5), image, label, label)
    (shown,) = kept.worst()
    assert shown.image.shape == (48, LONGEST_SIDE, 3)
    assert shown.label.shape == shown.prediction.shape == (48, LONGEST_SIDE)
    assert set(np.unique(shown.label)) == {0, 254}
    assert (shown.label[:, :240] == 0).all()
