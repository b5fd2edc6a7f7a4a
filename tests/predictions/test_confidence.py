import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import kerasseg
from kerasseg.pipelines import predict
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.predictions import confidence
from kerasseg.pipelines.runs.crf import CRFParameters, refine

STEP = 1 / 65535  # of the files


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "street.png"
    pixels = np.random.default_rng(0).integers(0, 256, (31, 45, 3)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path


def probabilities_of(model, photo):
    """The softmax in float64."""
    image = np.asarray(PIL.Image.open(photo), np.float32)
    logits = np.asarray(model(image[np.newaxis])[0], np.float64)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def measures_of(probabilities):
    ordered = np.sort(probabilities, axis=-1)
    logarithms = np.log(np.maximum(probabilities, 1e-300))
    entropy = -(probabilities * logarithms).sum(-1) / np.log(probabilities.shape[-1])
    return ordered[..., -1], entropy, ordered[..., -1] - ordered[..., -2]


def read(path):
    with PIL.Image.open(path) as picture:
        assert picture.mode == "I;16"
        return np.asarray(picture, np.float64) / 65535


def test_maps_are_largest_probability_entropy_and_margin(tiny_run, photo, tmp_path):
    (written,) = predict.run(tiny_run, photo, output=tmp_path / "out", confidence=True)
    expected = measures_of(probabilities_of(kerasseg.load(tiny_run), photo))
    for path, values in zip(
        (written.confidence, written.entropy, written.margin), expected, strict=True
    ):
        np.testing.assert_allclose(read(path), values, rtol=0, atol=STEP)
    names = {path.name.removeprefix("street") for path in (tmp_path / "out").iterdir()}
    assert names == {".png", "_overlay.png", "_confidence.png", "_entropy.png", "_margin.png"}


def test_with_a_crf_they_are_those_of_its_marginals(tiny_run, photo, tmp_path):
    crf = CRFParameters(num_iterations=2)
    (written,) = predict.run(tiny_run, photo, output=tmp_path / "out", crf=crf, confidence=True)
    model = refine(kerasseg.load(tiny_run), crf)
    expected, _, _ = measures_of(probabilities_of(model, photo))
    np.testing.assert_allclose(read(written.confidence), expected, rtol=0, atol=1e-4)


SLOW_CRF = pytest.param(CRFParameters(num_iterations=1), marks=pytest.mark.slow)


@pytest.mark.parametrize("crf", [None, SLOW_CRF])
def test_pixels_below_the_minimum_are_ignored_and_not_coloured(crf, tiny_run, photo, tmp_path):
    (usual,) = predict.run(tiny_run, photo, output=tmp_path / "usual", crf=crf, confidence=True)
    sure = read(usual.confidence)
    minimum = float(np.median(sure)) + STEP / 3  # between two values of the file
    (written,) = predict.run(
        tiny_run, photo, output=tmp_path / "sure", crf=crf, min_confidence=minimum
    )
    label = np.asarray(PIL.Image.open(usual.label))
    kept = np.asarray(PIL.Image.open(written.label))
    clear = np.abs(sure - minimum) > STEP
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(kept[clear], np.where(sure < minimum, 255, label)[clear])
    image, overlay = (np.asarray(PIL.Image.open(path)) for path in (photo, written.overlay))
    np.testing.assert_array_equal(overlay[kept == 255], image[kept == 255])
    assert not written.confidence.exists()


def test_at_the_limits_every_pixel_is_sure_or_none(tiny_run, photo, tmp_path):
    (none,) = predict.run(tiny_run, photo, output=tmp_path / "0", min_confidence=0)
    assert not (np.asarray(PIL.Image.open(none.label)) == 255).any()
    with pytest.raises(InputError, match=r"min_confidence must be in \[0, 1\], got 1.5"):
        predict.run(tiny_run, photo, output=tmp_path / "1", min_confidence=1.5)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([1.0], [1, 0, 1]),
        ([0.5, 0.5], [0.5, 1, 0]),
        ([0.0, 1.0, 0.0], [1, 0, 1]),
        # ln 2 / ln 4, as the four classes are two in fact.
        ([0.5, 0.0, 0.5, 0.0], [0.5, 0.5, 0]),
    ],
)
def test_measures_of_simple_probabilities(probabilities, expected):
    found = confidence.of_probabilities(tf.constant(probabilities))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_command_line_writes_maps_and_tells_that_nothing_is_calibrated(
    run_cli, tiny_run, photo, tmp_path
):
    command = ("predict", tiny_run, photo, "--output", tmp_path / "out")
    result = run_cli(*command, "--confidence", "--min-confidence", "0.4")
    assert result.exit_code == 0, result.output
    assert "Probabilities are not calibrated; 'kerasseg calibrate'" in result.output
    assert (tmp_path / "out" / "street_margin.png").exists()
    assert "not calibrated" not in run_cli(*command).output


@pytest.mark.slow
def test_maps_of_earlier_labels_do_not_stay_beside_new_ones(tiny_run, photo, tmp_path):
    def names_after(image, **options):
        predict.run(tiny_run, image, output=tmp_path / "out", **options)
        return {path.name.removeprefix("street") for path in (tmp_path / "out").iterdir()}

    usual = {".png", "_overlay.png"}
    names_after(photo, confidence=True, crf=CRFParameters(num_iterations=1), crf_strip=[0, 1])
    assert names_after(photo) == usual
    # The label map of another image has the name of a measure, and a file of the user's too.
    other = shutil.copy(photo, photo.with_name("street_entropy.png"))
    kept = {"_entropy.png", "_entropy_overlay.png", "_margin.png"}
    (tmp_path / "out" / "street_margin.png").write_text("the user's")
    assert names_after(Path(other)) == usual | kept
    assert names_after(photo) == usual | kept
