"""Images that are predicted in windows because they would not fit into the memory."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import kerasseg
from kerasseg import inference
from kerasseg.pipelines import predict
from kerasseg.pipelines.exports.parity import labels_agree
from kerasseg.pipelines.predictions import memory, predictor, resized
from kerasseg.pipelines.runs.crf import CRFParameters, refine
from kerasseg.pipelines.runs.views import WHOLE, View, seen


@pytest.fixture
def image(tmp_path):
    """An image of odd sides, larger than two windows of 96 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (213, 265, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "large.png")
    return tmp_path / "large.png"


@pytest.fixture
def little_memory(monkeypatch, tiny_run):
    """Lets the windows be chosen for an image of 100 x 100 pixels."""
    model = kerasseg.load(tiny_run)

    def limit(view=WHOLE, crf=None):
        needed = memory.Limit(model, view, crf).needed((100, 100)) + 213 * 265 * 30
        monkeypatch.setattr(memory, "_SMALL", 0)
        monkeypatch.setattr(memory, "_room", lambda: needed)

    return limit


def label_of(written):
    return np.asarray(PIL.Image.open(written.label))


def logits_of(run, path, view):
    pixels = np.asarray(PIL.Image.open(path), np.float32)
    return seen(kerasseg.load(run), view)(pixels[np.newaxis])[0].numpy()


def test_an_image_that_does_not_fit_is_predicted_in_windows_which_is_said(
    tiny_run, image, tmp_path, little_memory
):
    little_memory()
    said, shares = [], []
    (written,) = predict.run(
        tiny_run,
        image,
        output=tmp_path / "out",
        on_windows=said.append,
        on_progress=lambda done, total: shares.append(done / total),
    )
    (sentence,) = said
    assert sentence.startswith(
        f"{image}: 213 x 265 pixels are predicted in windows of 96 x 96 with"
    )
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1
    expected = logits_of(tiny_run, image, View((96, 96), (64, 64)))
    assert labels_agree(label_of(written), expected)
    overlay = np.asarray(PIL.Image.open(written.overlay))
    assert overlay.shape == (213, 265, 3)


def test_windows_that_were_asked_for_give_the_same_labels_in_any_memory(
    tiny_run, image, tmp_path, little_memory
):
    view = View((40, 56), (30, 40), "uniform")
    (whole,) = predict.run(tiny_run, image, output=tmp_path / "whole", view=view, confidence=True)
    little_memory()
    said = []
    (rows,) = predict.run(
        *(tiny_run, image),
        output=tmp_path / "rows",
        view=view,
        confidence=True,
        on_windows=said.append,
    )
    assert "in windows of 40 x 56 with a stride of 30 x 40" in said[0]
    np.testing.assert_array_equal(label_of(rows), label_of(whole))
    for name in ("confidence", "entropy", "margin"):
        pictures = (np.asarray(PIL.Image.open(getattr(w, name)), int) for w in (rows, whole))
        np.testing.assert_allclose(*pictures, atol=1)
    assert labels_agree(label_of(whole), logits_of(tiny_run, image, view))


@pytest.mark.slow  # tracing the CRF
def test_views_and_a_crf_are_applied_in_every_window(tiny_run, image, tmp_path, little_memory):
    view, crf = View(flip=True), CRFParameters(num_iterations=1)
    little_memory(view, crf)
    said = []
    (written,) = predict.run(
        tiny_run, image, output=tmp_path / "out", view=view, crf=crf, on_windows=said.append
    )
    assert "windows of 96 x 96" in said[0]
    network = refine(seen(kerasseg.load(tiny_run), view), crf)
    pixels = np.asarray(PIL.Image.open(image), np.float32)
    logits = seen(network, View((96, 96), (64, 64)))(pixels[np.newaxis])[0].numpy()
    assert labels_agree(label_of(written), logits)


@pytest.mark.slow
def test_an_image_that_is_resized_to_the_training_s_size_is_enlarged_in_rows(
    tiny_run, image, tmp_path, little_memory, monkeypatch
):
    model = inference.inference_model(kerasseg.load(tiny_run), (60, 90))
    model.save(tmp_path / "m.keras")
    (whole,) = predict.run(tmp_path / "m.keras", image, output=tmp_path / "whole", confidence=True)
    little_memory()
    monkeypatch.setattr(memory.Limit, "fits", lambda limit, size: False)
    monkeypatch.setattr(resized, "_PART", 265 * 3 * 4 * 50)
    said = []
    (rows,) = predict.run(
        *(tmp_path / "m.keras", image),
        output=tmp_path / "rows",
        confidence=True,
        on_windows=said.append,
    )
    assert "213 x 265 pixels are predicted at 60 x 75, as the whole would take" in said[0]
    np.testing.assert_array_equal(label_of(rows), label_of(whole))
    found, expected = (np.asarray(PIL.Image.open(w.confidence), int) for w in (rows, whole))
    np.testing.assert_allclose(found, expected, atol=2)
    scales = {"view": View(scales=(1.5,))}
    for asked, options in (("a CRF", {"crf": CRFParameters()}), ("scales", scales)):
        with pytest.raises(predict.PredictionError) as refused:
            predict.run(tmp_path / "m.keras", image, output=tmp_path / "o", **options)
        (problem,) = refused.value.problems
        assert f"for {asked} behind a network that resizes images, got a larger" in problem.what


def test_an_image_that_did_not_fit_after_all_gets_a_remedy(tiny_run, image, tmp_path, monkeypatch):
    def exhaust(self):
        def predict(image):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

        return predict

    monkeypatch.setattr(predictor.Predictor, "_whole", property(exhaust))
    with pytest.raises(predict.PredictionError) as refused:
        predict.run(tiny_run, image, output=tmp_path / "out")
    (problem,) = refused.value.problems
    assert problem.what == "the network cannot take 213 x 265 pixels"
    assert problem.cause == "too little memory for it: give --window, or a smaller --memory"


def test_a_strip_of_crf_iterations_needs_the_whole_image(tiny_run, image, tmp_path, little_memory):
    little_memory()
    with pytest.raises(predict.PredictionError) as refused:
        predict.run(tiny_run, image, output=tmp_path / "out", crf_strip=(0, 1))
    assert "must fit into the memory as a whole for a CRF strip" in refused.value.problems[0].what


def test_the_options_of_the_command_line_reach_the_network(tiny_run, run_cli, image, tmp_path):
    PIL.Image.fromarray(np.asarray(PIL.Image.open(image))[:70, :90]).save(image)
    view = View((40, 56), (30, 40), "uniform", (0.75, 1.25), True)
    command = ("predict", tiny_run, image, "--output", tmp_path / "out")
    done = run_cli(
        *command,
        *("--window", "40,56", "--stride", "30,40", "--blend", "uniform"),
        *("--scales", "0.75,1.25", "--flip", "--memory", "100GB"),
    )
    assert done.exit_code == 0, done.output
    label = np.asarray(PIL.Image.open(tmp_path / "out" / "large.png"))
    assert labels_agree(label, logits_of(tiny_run, image, view))
    for wrong, message in (
        (("--memory", "2XB"), "size must be one such as 500MB, 2GB or 1.5GiB, got '2XB'"),
        (("--stride", "3,3"), "stride must be left out without a window, got (3, 3)."),
        (("--blend", "smooth"), "blend must be left out without a window, got smooth."),
        (("--window", "8,8", "--stride", "9,9"), "stride must be (height, width), from 1 to"),
        (("--scales", "0"), "scales must be numbers above 0"),
        (("--memory", "1MB"), "memory must be at least"),
    ):
        refused = run_cli(*command, *wrong)
        assert refused.exit_code
        assert message in " ".join(refused.output.split()), refused.output
