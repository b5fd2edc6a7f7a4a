"""Labels and predictions with regions of every size, for tests of scores."""

import numpy as np
import scipy.ndimage


def blobs(seed, size, classes):
    """Returns smooth regions of several classes, uint8 (height, width)."""
    rng = np.random.default_rng(seed)
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(classes, *size)), (0, 3, 3))
    return noise.argmax(axis=0).astype(np.uint8)


def label_and_prediction(seed, size, classes=4):
    """Returns a label with ignored regions, and a prediction that is wrong here and there."""
    label = blobs(seed, size, classes)
    wrong, ignored = (blobs(seed + offset, size, 5) == 0 for offset in (1000, 2000))
    prediction = np.where(wrong, blobs(seed + 3000, size, classes), label)
    return np.where(ignored, np.uint8(255), label), prediction
