"""Scores equal those of the benchmarks' own code, on the same labels and predictions.

`torchmetrics` is in the extra `bench` only. The formulas of the other development kits are written
out in NumPy.
"""

import numpy as np
import PIL.Image
import pytest

from kerasseg import metrics

CLASSES, IMAGES = 19, 6
EXACT = 1e-9


@pytest.fixture(scope="module")
def pixels():
    """Labels with ignored pixels, and predictions of which two thirds are right."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (IMAGES, 40, 60))
    labels[rng.random(labels.shape) < 0.1] = 255
    guesses = rng.integers(0, CLASSES, labels.shape)
    right = (rng.random(labels.shape) < 2 / 3) & (labels != 255)
    return labels.astype(np.uint8), np.where(right, labels, guesses).astype(np.uint8)


@pytest.fixture(scope="module")
def scores(pixels):
    matrix, invalid = metrics.confusion_matrix(*pixels, CLASSES)
    assert not int(invalid)
    return metrics.scores(matrix.numpy())


def test_scores_are_those_of_the_development_kit_of_pascal_voc(pixels, scores):
    # VOCevalseg.m: intersections over unions from counts over all images, 255 left out; and the
    # share of pixels that are right.
    counts = np.zeros((CLASSES, CLASSES))
    for label, prediction in zip(*pixels, strict=True):
        valid = label < 255
        joint = label[valid].astype(int) * CLASSES + prediction[valid]
        counts += np.bincount(joint, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    accuracies = [
        counts[j, j] / (counts[j].sum() + counts[:, j].sum() - counts[j, j]) for j in range(CLASSES)
    ]
    np.testing.assert_allclose(scores["class_iou"], accuracies, rtol=0, atol=EXACT)
    assert scores["mean_iou"] == pytest.approx(np.mean(accuracies), abs=EXACT)
    raw = np.trace(counts) / counts.sum()
    assert scores["pixel_accuracy"] == pytest.approx(raw, abs=EXACT)


def test_scores_are_those_of_the_development_kit_of_ade20k(pixels, scores):
    # pixelAccuracy.m and intersectionAndUnion.m: sums over images of the areas of each class.
    correct = valid = 0
    intersection, union = np.zeros(CLASSES), np.zeros(CLASSES)
    for label, prediction in zip(*pixels, strict=True):
        labelled = label < 255
        correct += ((label == prediction) & labelled).sum()
        valid += labelled.sum()
        edges = np.arange(CLASSES + 1)
        same = prediction[(label == prediction) & labelled]
        areas = [np.histogram(each, edges)[0] for each in (same, prediction[labelled], label)]
        intersection += areas[0]
        union += areas[1] + areas[2] - areas[0]
    assert scores["pixel_accuracy"] == pytest.approx(correct / valid, abs=EXACT)
    np.testing.assert_allclose(scores["class_iou"], intersection / union, rtol=0, atol=EXACT)


def test_scores_are_those_of_the_fully_convolutional_networks(pixels, scores):
    # Long et al., 2015, section 5: n_ij pixels of class i predicted as class j, t_i of class i.
    labels, predictions = (each[pixels[0] < 255] for each in pixels)
    n = np.array(
        [
            [((labels == i) & (predictions == j)).sum() for j in range(CLASSES)]
            for i in range(CLASSES)
        ]
    )
    t = n.sum(1)
    iou = np.diag(n) / (t + n.sum(0) - np.diag(n))
    expected = {
        "pixel_accuracy": np.diag(n).sum() / t.sum(),
        "mean_accuracy": (np.diag(n) / t).mean(),
        "mean_iou": iou.mean(),
        "frequency_weighted_iou": (t * iou).sum() / t.sum(),
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=EXACT), name


def test_scores_are_those_of_the_code_of_cityscapes(pixels, scores, tmp_path):
    evaluation = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", exc_type=ImportError
    )
    from cityscapesscripts.helpers.labels import trainId2label

    ids = np.zeros(256, np.uint8)  # what is ignored is "unlabeled", 0
    for train_id in range(CLASSES):
        ids[train_id] = trainId2label[train_id].id
    files = {"label": [], "prediction": []}
    for index, pair in enumerate(zip(*pixels, strict=True)):
        for kind, values in zip(files, pair, strict=True):
            file = tmp_path / f"{kind}_{index:06}_000019.png"
            PIL.Image.fromarray(ids[values]).save(file)
            files[kind].append(str(file))
    settings = evaluation.args
    settings.quiet, settings.JSONOutput, settings.evalInstLevelScore = True, False, False
    result = evaluation.evaluateImgLists(files["prediction"], files["label"], settings)
    assert scores["mean_iou"] == pytest.approx(result["averageScoreClasses"], abs=EXACT)
    by_name = [result["classScores"][trainId2label[index].name] for index in range(CLASSES)]
    np.testing.assert_allclose(scores["class_iou"], by_name, rtol=0, atol=EXACT)


def test_scores_are_those_of_torchmetrics(pixels, scores):
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    labels, predictions = (torch.from_numpy(each.astype(np.int64)) for each in pixels)
    settings = {"num_classes": CLASSES, "ignore_index": 255}

    def of(name, **options):
        return getattr(classification, name)(**settings, **options)(predictions, labels).numpy()

    # torchmetrics divides in float32.
    near = {"rtol": 0, "atol": 2**-23}
    np.testing.assert_allclose(
        scores["class_iou"], of("MulticlassJaccardIndex", average="none"), **near
    )
    np.testing.assert_allclose(
        scores["mean_accuracy"], of("MulticlassAccuracy", average="macro"), **near
    )
    np.testing.assert_allclose(
        scores["pixel_accuracy"], of("MulticlassAccuracy", average="micro"), **near
    )
    matrix = of("MulticlassConfusionMatrix")
    np.testing.assert_array_equal(metrics.confusion_matrix(*pixels, CLASSES)[0], matrix)
