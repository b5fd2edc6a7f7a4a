"""The CRF behind a trained network: in scores, pictures, the search for its parameters, exports."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import kerasseg
from kerasseg import metrics
from kerasseg.layers import DenseCRF
from kerasseg.pipelines import crf_tune, evaluate, export, inputs, predict, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import crf
from kerasseg.pipelines.runs.crf import CRFParameters

PARAMETERS = CRFParameters(3, 2.0, 20.0, 20.0, 1.0, 2.0)


@pytest.fixture
def run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture(scope="module")
def image(tmp_path_factory, tiny_data):
    """An image of the validation split, as a file."""
    (images, _), *_ = inputs.evaluation_batches(records.load(tiny_data).files("validation"), 1)
    path = tmp_path_factory.mktemp("image") / "a.png"
    PIL.Image.fromarray(images[0].numpy()).save(path)
    return path


def labels_by_hand(run, pixels, parameters):
    """Composes network and layer, without the code under test."""
    logits = kerasseg.load(run)(pixels[np.newaxis].astype(np.float32))
    layer = DenseCRF(*vars(parameters).values())
    return np.argmax(layer([pixels[np.newaxis], logits])[0], axis=-1)


@pytest.mark.slow
def test_predictions_are_those_of_network_and_crf(run, image, tmp_path):
    predict.run(run, [image], output=tmp_path / "plain")
    predict.run(run, [image], output=tmp_path / "crf", crf=PARAMETERS)
    pixels = np.asarray(PIL.Image.open(image))
    refined = np.asarray(PIL.Image.open(tmp_path / "crf" / "a.png"))
    assert (refined == labels_by_hand(run, pixels, PARAMETERS)).mean() > 0.999
    assert (refined != np.asarray(PIL.Image.open(tmp_path / "plain" / "a.png"))).any()


@pytest.mark.slow
def test_the_strip_shows_the_image_and_each_number_of_iterations(run, image, tmp_path, run_cli):
    result = run_cli("predict", run, image, "--output", tmp_path, "--crf-strip", "0,1,2")
    assert result.exit_code == 0, result.output
    pixels = np.asarray(PIL.Image.open(image))
    strip = np.asarray(PIL.Image.open(tmp_path / "a_crf_strip.png"))
    height, width = pixels.shape[:2]
    columns = [strip[30 : 30 + height, 8 + i * (width + 8) :][:, :width] for i in range(4)]
    # Wherever the sheet's title line ends, the first column is the image itself.
    tops = [t for t in range(60) if np.array_equal(strip[t : t + height, 8 : 8 + width], pixels)]
    assert len(tops) == 1
    columns = [
        strip[tops[0] : tops[0] + height, 8 + i * (width + 8) :][:, :width] for i in range(4)
    ]
    overlay = np.asarray(PIL.Image.open(tmp_path / "a_overlay.png"))
    np.testing.assert_array_equal(columns[1], overlay)  # 0 iterations: the network's own
    assert (columns[2] != columns[1]).any()


@pytest.mark.parametrize("steps", ["1,x", "", "-1", "1.5"])
def test_a_senseless_strip_is_refused(run, image, run_cli, steps):
    result = run_cli("predict", run, image, "--crf-strip", steps)
    assert result.exit_code == 2
    assert "must be N,N,... in whole numbers" in result.output


@pytest.mark.slow
def test_scores_with_a_crf_are_counted_from_its_labels(run, tiny_data, run_cli):
    crf.save(run, PARAMETERS, {})
    result = run_cli("evaluate", run, "--crf")
    assert result.exit_code == 0, result.output
    report = json.loads((run / "evaluation" / "validation_crf" / "metrics.json").read_text())
    assert report["crf"] == vars(PARAMETERS)
    matrix = np.zeros((3, 3), np.int64)
    for images, labels in inputs.evaluation_batches(records.load(tiny_data).files("validation"), 1):
        predicted = labels_by_hand(run, images[0].numpy(), PARAMETERS)
        np.add.at(matrix, (labels[0].numpy()[2:], predicted[2:]), 1)  # the first rows are ignored
    assert report["mean_iou"] == pytest.approx(metrics.scores(matrix)["mean_iou"], abs=2e-3)
    plain = evaluate.run(run)
    assert plain["crf"] is None
    assert plain["mean_iou"] != report["mean_iou"]


def test_the_number_of_iterations_may_be_given_alone(run):
    crf.save(run, PARAMETERS, {})
    assert crf.load(run) == PARAMETERS
    assert crf.load(run, 7).num_iterations == 7
    assert crf.load(run, 7).theta_alpha == 20.0
    (run / crf.FILE).unlink()
    assert crf.load(run) == CRFParameters()


@pytest.mark.parametrize("content", ["{", "{}", '{"parameters": {"theta_beta": 0}}', "[]"])
def test_a_damaged_file_of_parameters_is_refused_by_name(run, content):
    (run / crf.FILE).write_text(content)
    with pytest.raises(InputError, match=r"crf\.json: damaged|theta_beta must be above 0, got 0"):
        crf.load(run)


def test_tuning_stores_the_best_of_what_it_tried_and_never_a_worse_one(run, tiny_data, run_cli):
    result = run_cli("crf-tune", run, "--images", 3, "--iterations", 2)
    assert result.exit_code == 0, result.output
    tried = [float(line.split()[0]) for line in result.stdout.splitlines() if "intensities" in line]
    assert len(tried) >= 12
    stored = json.loads((run / crf.FILE).read_text())
    assert stored["candidates"] == len(tried)
    chosen = crf.load(run)
    assert chosen.num_iterations == 2
    assert stored["search_images"] == 3
    # It is compared with the network on the whole split.
    network, refined = (stored[name]["mean_iou"] for name in ("network", "crf"))
    assert network == pytest.approx(evaluate.run(run)["mean_iou"], abs=1e-3)
    assert refined == pytest.approx(evaluate.run(run, crf=chosen)["mean_iou"], abs=1e-3)
    gain = stored["gain"]["mean_iou"]
    assert gain["gain"] == pytest.approx(refined - network, abs=1e-9)
    assert gain["interval"][0] <= gain["interval"][1]


def test_the_interval_of_a_gain_is_that_of_resampled_images():
    # Of two images each is drawn twice in a quarter of the resamples: the quantiles are theirs.
    before = np.array([[[6, 2], [2, 6]], [[5, 5], [0, 0]]])
    after = np.array([[[7, 1], [1, 7]], [[4, 6], [0, 0]]])
    report = crf_tune._gain(before, after)
    assert report["gain"] == pytest.approx((11 / 19 + 7 / 15) / 2 - (11 / 20 + 6 / 15) / 2)
    both = 7 / 9 - 6 / 10  # the first alone, both classes alike
    assert report["interval"] == pytest.approx([(4 / 10 + 0) / 2 - (5 / 10 + 0) / 2, both])

    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 50, (2, 40, 3, 3))
    samples = rng.integers(0, 40, (4000, 40))
    one, other = (metrics.mean_iou(each[samples].sum(1)) for each in (before, after))
    gains = other - one
    low, high = crf_tune._gain(before, after)["interval"]
    spread = np.std(gains)
    assert low == pytest.approx(np.percentile(gains, 2.5), abs=0.2 * spread)
    assert high == pytest.approx(np.percentile(gains, 97.5), abs=0.2 * spread)


def test_the_boundary_is_where_another_class_is_within_five_pixels():
    label = np.zeros((1, 30), np.uint8)
    label[:, 12:] = 2
    label[:, 20:25] = 255  # ignored pixels bound nothing
    near = crf_tune._near_boundary(label).numpy()[0]
    # Pixel 11 is the last of one class, 12 the first of the other.
    assert np.flatnonzero(near).tolist() == list(range(7, 17))


@pytest.mark.slow
def test_the_saved_model_has_the_crf_inside(run, image, tmp_path):
    crf.save(run, PARAMETERS, {})
    version = export.run(run, output=tmp_path / "served", crf=PARAMETERS, probabilities=True)
    assert version == tmp_path / "served" / "run-crf" / "1"
    signatures = tf.saved_model.load(str(version)).signatures
    pixels = np.asarray(PIL.Image.open(image))
    expected = labels_by_hand(run, pixels, PARAMETERS)
    labels = signatures["labels"](image=tf.constant(pixels[np.newaxis]))["labels"][0].numpy()
    assert labels.dtype == np.uint8
    assert (labels == expected).mean() > 0.999
    probabilities = signatures["probabilities"](image=tf.constant(pixels[np.newaxis]))
    np.testing.assert_allclose(probabilities["probabilities"].numpy().sum(-1), 1, atol=1e-4)
    shares = signatures["class_shares"](image_bytes=tf.constant([image.read_bytes()]))
    counts = np.bincount(labels.reshape(-1), minlength=3) / labels.size
    np.testing.assert_allclose(shares["class_shares"][0], counts, atol=1e-3)
    card = (version / "assets.extra" / "model_card.md").read_text()
    assert "Refined by a fully connected CRF (num_iterations 3, bilateral_weight 2" in card
    assert json.loads((version / "parity.json").read_text())["equal_labels"] > 0
