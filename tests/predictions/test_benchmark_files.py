"""The files of benchmarks' servers; Cityscapes' own code scores them as `evaluate` does."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import kerasseg
from kerasseg.pipelines import convert, datasets, evaluate, predict
from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.predictions.benchmark_files import BenchmarkFiles
from kerasseg.pipelines.predictions.predictor import Predicted

PUBLISHED = Path(__file__).parents[1] / "published"


def published(name):
    return json.loads((PUBLISHED / f"{name}.json").read_text())


def class_space(names):
    return ClassSpace(tuple(names), tuple((i, i, i) for i in range(len(names))))


# Names of the classes as their publishers list them, the values that servers take, and files.
MAPILLARY = [name for name, _ in published("mapillary")["v1.2"]]
CASES = {
    "ade20k": (range(1, 151), 0, "ADE_test_00000001.jpg", "ADE_test_00000001.png"),
    "voc": (
        range(21),
        None,
        "2008_000006.jpg",
        "results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png",
    ),
    "mapillary": (range(65), MAPILLARY.index("Unlabeled"), "0035-fkbjW.jpg", "0035-fkbjW.png"),
    "cityscapes": (
        [row[1] for row in published("cityscapes")["labels"] if not row[4]][:19],
        0,
        "bad-honnef_000000_000019_leftImg8bit.png",
        "bad-honnef_000000_000019_pred_labelIds.png",
    ),
}


def names_of(benchmark):
    return datasets.module(datasets.BENCHMARKS[benchmark]).SUBMISSIONS[0].names


def test_every_benchmark_has_a_case():
    assert set(CASES) == set(datasets.BENCHMARKS)
    assert list(names_of("mapillary")) == MAPILLARY[:-1]
    assert MAPILLARY[-1] == "Unlabeled"


@pytest.mark.parametrize("benchmark", CASES)
def test_a_file_has_the_values_and_the_name_that_its_server_takes(benchmark, tmp_path):
    values, no_class, image, file = CASES[benchmark]
    classes = class_space(names_of(benchmark))
    count = len(classes.names)
    archive = tmp_path / "for-the-server.zip"
    results = BenchmarkFiles(tmp_path / "out", benchmark, archive, no_class is not None)
    results.check(classes)
    (item,) = results.plan([(Path("somewhere", image), Path("below", image))])
    label = np.arange(count, dtype=np.uint8)[np.newaxis]
    expected = list(values)
    if no_class is not None:
        label, expected = np.append(label, [[255]], 1).astype(np.uint8), [*expected, no_class]
    results.write(item, Predicted(np.zeros((*label.shape, 3), np.uint8), [label]), classes)
    results.finish([item], are_all=True)
    with PIL.Image.open(tmp_path / "out" / file) as picture:
        assert picture.mode == ("P" if benchmark == "voc" else "L")
        assert np.asarray(picture).tolist() == [expected]
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == [file]
        assert opened.read(file) == (tmp_path / "out" / file).read_bytes()


def test_files_of_voc_have_its_colours(tmp_path):
    classes = class_space(names_of("voc"))
    results = BenchmarkFiles(tmp_path, "voc")
    (item,) = results.plan([(Path("2008_000006.jpg"), Path("2008_000006.jpg"))])
    label = np.array([[0, 15, 20]], np.uint8)
    results.write(item, Predicted(np.zeros((1, 3, 3), np.uint8), [label]), classes)
    with PIL.Image.open(next(tmp_path.rglob("*.png"))) as picture:
        # Background, person and tvmonitor in the palette of the devkit.
        assert np.asarray(picture.convert("RGB")).tolist() == [
            [[0, 0, 0], [192, 128, 128], [0, 64, 128]]
        ]


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """A tree in the official layout, converted, and a network of its 19 classes as a file."""
    root = tmp_path_factory.mktemp("cityscapes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 1), ("val", 3)):
        for index in range(count):
            stem = f"{split}/ulm/ulm_{index:06}_000019"
            size = (24 + 8 * index, 40)
            for kind, pixels in (
                ("leftImg8bit", rng.integers(0, 256, (*size, 3), np.uint8)),
                ("gtFine", rng.integers(0, 34, size, np.uint8)),
            ):
                ending = kind if kind == "leftImg8bit" else "gtFine_labelIds"
                path = root / "source" / kind / f"{stem}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                PIL.Image.fromarray(pixels).save(path)
    convert.run("cityscapes", root / "source", root / "data", allow_partial=True)
    model = kerasseg.build("unet", num_classes=19, variant="milesial", filters=2, depth=1)
    model.save(root / "m.keras")
    return root


def test_cityscapes_own_code_scores_the_files_as_evaluate_does(cityscapes, tmp_path):
    evaluation = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", exc_type=ImportError
    )
    network, data = cityscapes / "m.keras", cityscapes / "data"
    scores = evaluate.run(network, data=data)
    images = cityscapes / "source" / "leftImg8bit" / "val"
    predict.run(
        network,
        images,
        data=data,
        output=tmp_path / "out",
        format="cityscapes",
        zip=tmp_path / "results.zip",
    )
    # Unpacked as a server does, and found by its own search.
    zipfile.ZipFile(tmp_path / "results.zip").extractall(tmp_path / "unpacked")
    settings = evaluation.args
    settings.predictionPath, settings.predictionWalk = str(tmp_path / "unpacked"), None
    settings.quiet, settings.JSONOutput, settings.evalInstLevelScore = True, False, False
    truth = sorted(map(str, (cityscapes / "source" / "gtFine" / "val").rglob("*_labelIds.png")))
    found = [evaluation.getPrediction(settings, file) for file in truth]
    assert len(set(found)) == 3
    result = evaluation.evaluateImgLists(found, truth, settings)
    assert scores["mean_iou"] == pytest.approx(result["averageScoreClasses"], abs=1e-9)
    by_name = [result["classScores"][name] for name in scores["class_names"]]
    np.testing.assert_allclose(scores["class_iou"], by_name, rtol=0, atol=1e-9)


def test_a_network_with_other_classes_is_refused(tiny_run, tmp_path):
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "2008_000006.jpg")
    message = (
        r"format voc must have the 21 classes of the benchmark, .* got 3: ground, square, disc"
    )
    with pytest.raises(InputError, match=message):
        predict.run(tiny_run, tmp_path / "2008_000006.jpg", output=tmp_path / "o", format="voc")
    assert not (tmp_path / "o").exists()


def test_an_image_of_another_name_is_refused(tmp_path):
    results = BenchmarkFiles(tmp_path, "cityscapes")
    with pytest.raises(InputError, match=r"photo\.png: must be named as an image of cityscapes, s"):
        results.plan([(Path("photo.png"), Path("photo.png"))])
    twice = [(Path(x, "ulm_000000_000019.png"), Path("ulm_000000_000019.png")) for x in "ab"]
    with pytest.raises(InputError, match="would be the name of the results of"):
        results.plan(twice)


def test_voc_has_no_value_for_uncertain_pixels(tmp_path):
    with pytest.raises(InputError, match="min_confidence must be left out with format voc"):
        BenchmarkFiles(tmp_path, "voc", has_ignored=True)


def test_another_archive_is_not_replaced_and_an_earlier_one_is(tmp_path):
    other, empty = tmp_path / "other.zip", io.BytesIO()
    with zipfile.ZipFile(empty, "w") as opened:
        opened.writestr("thesis.txt", "all of it")
    other.write_bytes(empty.getvalue())
    with pytest.raises(InputError, match="zip must be a new file or an earlier archive"):
        BenchmarkFiles(tmp_path, "voc", other)
    BenchmarkFiles(tmp_path, "voc", other, overwrite=True)
    own = tmp_path / "own.zip"
    BenchmarkFiles(tmp_path, "voc", own).finish([], are_all=True)
    BenchmarkFiles(tmp_path, "voc", own)
    BenchmarkFiles(tmp_path, "voc", tmp_path / "not-all.zip").finish([], are_all=False)
    assert not (tmp_path / "not-all.zip").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zip": "a.zip"}, "zip must come with the format of a benchmark"),
        ({"format": "kitti"}, "format must be one of ade20k, cityscapes, mapillary, voc, got 'kit"),
        ({"format": "voc", "confidence": True}, "confidence must be left out with format"),
        ({"format": "voc", "opacity": 0.2}, "opacity must be left out with format"),
        ({"as_dataset": "x", "output": "y"}, "output must be left out with as_dataset"),
        (
            {"as_dataset": "x", "opacity": 0, "draw_background": True},
            "opacity and draw_background must be left out with as_dataset",
        ),
        ({"as_dataset": "x", "tiff": True}, "tiff must be left out with as_dataset"),
        ({"as_dataset": "x", "overwrite": True}, "overwrite must be left out with as_dataset"),
        ({"data": "x"}, "data must be left out for a run, which knows its classes, got x"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message, tiny_run, tmp_path):
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        predict.run(tiny_run, tmp_path / "a.png", **options)
