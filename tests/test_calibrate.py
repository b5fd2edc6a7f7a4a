"""Temperature scaling: against a minimiser of SciPy on all logits in float64."""

import json
import shutil

import keras
import numpy as np
import PIL.Image
import pytest
import scipy.optimize
import scipy.special
import tensorflow as tf

import kerasseg
from kerasseg.pipelines import calibrate, evaluate, export, inputs, predict, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.evaluations.reliability import Counter
from kerasseg.pipelines.runs import calibration
from kerasseg.pipelines.runs.views import View


@pytest.fixture(scope="module")
def calibrated(tiny_run, tmp_path_factory):
    """A copy of the run, calibrated; and the report."""
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp("calibrated") / "run")
    return run, calibrate.run(run, batch_size=2)


@pytest.fixture(scope="module")
def pixels(tiny_run, tiny_data):
    """Logits in float64 and labels of all pixels of the validation split that count."""
    model, found = kerasseg.load(tiny_run), []
    files = records.load(tiny_data).files("validation")
    for image, label in inputs.evaluation_batches(files, 1):
        counted = label.numpy() != 255
        found.append((model(tf.cast(image, tf.float32)).numpy()[counted], label.numpy()[counted]))
    logits, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    return logits.astype(np.float64), labels.astype(int)


def loss_of(logits, labels, temperature):
    scaled = scipy.special.log_softmax(logits / temperature, axis=-1)
    return -scaled[np.arange(len(labels)), labels].mean()


def error_of(logits, labels, temperature):
    """Guo et al. 2017, equation 3, with 15 bins."""
    probabilities = scipy.special.softmax(logits / temperature, axis=-1)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    error = 0.0
    for m in range(15):
        in_bin = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if in_bin.any():
            distance = abs(right[in_bin].mean() - confidence[in_bin].mean())
            error += in_bin.mean() * distance
    return error


def test_the_temperature_has_the_smallest_loss_of_all(calibrated, pixels):
    found = scipy.optimize.minimize_scalar(
        lambda temperature: loss_of(*pixels, temperature),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert calibrated[1]["temperature"] == pytest.approx(found.x, rel=2e-4)
    assert calibrated[1]["after"]["negative_log_likelihood"] == pytest.approx(found.fun, rel=1e-6)


def test_expected_calibration_error_is_that_of_the_formula(calibrated, pixels):
    _, report = calibrated
    for when, temperature in (("before", 1.0), ("after", report["temperature"])):
        expected = error_of(*pixels, temperature)
        found = report[when]["expected_calibration_error"]
        assert found == pytest.approx(expected, abs=1e-5), when
        assert sum(each["pixels"] for each in report[when]["bins"]) == len(pixels[1])
    assert report["pixels"] == len(pixels[1])


def test_evaluate_computes_the_error_of_the_calibrated_probabilities(calibrated):
    run, report = calibrated
    found = evaluate.run(run)
    assert found["temperature"] == report["temperature"]
    error = report["after"]["expected_calibration_error"]
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-5)


def test_the_run_keeps_the_report_and_a_diagram(calibrated):
    run, report = calibrated
    stored = json.loads((run / "calibration.json").read_text())
    assert stored == json.loads(json.dumps(report))
    assert stored["network"] == {
        "file": "best.keras",
        "sha256": calibration.hash_of(run / "checkpoints" / "best.keras"),
    }
    assert (stored["split"], stored["images"]) == ("validation", 5)
    with PIL.Image.open(run / "calibration.png") as picture:
        assert picture.format == "PNG"
    assert not list(run.glob(".*tmp*"))


class Identity(keras.layers.Layer):
    """Images that are logits already."""

    def call(self, images):
        return images


def drawn(count, temperature, classes=3):
    """Logits, and labels drawn from their probabilities at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4, size=(1, 1, count, classes)).astype(np.float32)
    chances = scipy.special.softmax(logits.astype(np.float64) / temperature, axis=-1)
    return logits, (chances.cumsum(-1) > rng.random((1, 1, count, 1))).argmax(-1)


def fit(logits, labels):
    images = keras.Input((None, None, logits.shape[-1]))
    counter = Counter(keras.Model(images, Identity()(images)), logits.shape[-1])
    batches = [(tf.constant(logits), tf.constant(labels))]
    return calibrate._fit(lambda temperatures: counter(batches, temperatures))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 7.0])
def test_the_temperature_of_which_labels_were_drawn_is_found(temperature):
    found, _, after = fit(*drawn(200_000, temperature))
    assert found == pytest.approx(temperature, rel=0.02)
    assert after.expected_calibration_error < 0.005


def test_networks_that_are_always_right_or_know_nothing_get_a_limit():
    logits, _ = drawn(1000, 1.0)
    assert fit(logits, logits.argmax(-1))[0] == 1 / 16
    assert fit(logits, (-logits).argmax(-1))[0] == 16


def read(path):
    return np.asarray(PIL.Image.open(path), np.float64) / 65535


def predict_one(run, folder, **options):
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3)).astype(np.uint8)
    folder.mkdir()
    PIL.Image.fromarray(image).save(folder / "a.png")
    (written,) = predict.run(
        run, folder / "a.png", output=folder / "out", confidence=True, **options
    )
    return image, written


@pytest.mark.parametrize(
    ("factor", "temperature", "said"),
    [(1e4, 16, "still too high"), (1e-4, 1 / 16, "still too low"), (1.0, None, None)],
)
def test_the_command_says_that_the_temperature_is_at_a_limit(
    run_cli, tiny_run, tiny_data, tmp_path, factor, temperature, said
):
    model = kerasseg.load(tiny_run)
    layer = model.get_layer("logits")
    layer.set_weights([factor * weight for weight in layer.get_weights()])
    model.save(tmp_path / "scaled.keras")
    result = run_cli("calibrate", tmp_path / "scaled.keras", "--data", tiny_data)
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.rglob("calibration.json")
    report = json.loads(file.read_text())
    assert report["limit"] is (said is not None)
    if said is None:
        assert "that is tried" not in result.output
    else:
        assert report["temperature"] == temperature
        assert f"and the probabilities are {said}" in " ".join(result.output.split())


def test_predictions_take_the_temperature_and_keep_their_labels(calibrated, tiny_run, tmp_path):
    run, report = calibrated
    image, scaled = predict_one(run, tmp_path / "scaled")
    _, plain = predict_one(tiny_run, tmp_path / "plain")
    logits = kerasseg.load(run)(image[np.newaxis].astype(np.float32))[0].numpy()
    for written, temperature in ((scaled, report["temperature"]), (plain, 1.0)):
        expected = scipy.special.softmax(logits.astype(np.float64) / temperature, axis=-1).max(-1)
        np.testing.assert_allclose(read(written.confidence), expected, rtol=0, atol=2e-5)
    assert abs(report["temperature"] - 1) > 0.01
    assert scaled.label.read_bytes() == plain.label.read_bytes()


def test_it_is_in_force_for_its_network_alone(calibrated, run_cli, tmp_path):
    run = shutil.copytree(calibrated[0], tmp_path / "run")
    best, last = (run / "checkpoints" / f"{name}.keras" for name in ("best", "last"))
    model = kerasseg.load(best)
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    model.save(last)
    assert calibration.of_network(run).temperature == calibrated[1]["temperature"]
    assert calibration.of_network(best).temperature == calibrated[1]["temperature"]
    assert calibration.of_network(run, "last").temperature == 1
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    command = ("predict", run, tmp_path / "a.png", "--output", tmp_path, "--confidence")
    assert "Probabilities are calibrated with temperature" in run_cli(*command).output
    other = run_cli(*command, "--checkpoint", "last").output
    assert "was fitted to another network than" in other
    assert "last.keras" in other
    assert "are the CRF's marginals" in run_cli(*command, "--crf-iterations", "1").output


def test_a_view_has_a_temperature_of_its_own(calibrated, run_cli, pixels, tmp_path):
    run = shutil.copytree(calibrated[0], tmp_path / "run")
    flipped = View(flip=True)
    other = calibration.of_network(run, view=flipped)
    assert other.temperature == 1
    assert "was fitted to other windows, scales or mirror images than mirror images" in other.told
    assert run_cli("calibrate", run, "--flip").exit_code == 0
    fitted = json.loads((run / "calibration.json").read_text())
    assert fitted["view"]["flip"]
    assert calibration.of_network(run, view=flipped).temperature == fitted["temperature"]
    assert calibration.of_network(run).temperature == 1
    assert fitted["pixels"] == len(pixels[1])
    assert fitted["after"]["negative_log_likelihood"] < fitted["before"]["negative_log_likelihood"]


def test_exported_probabilities_take_the_temperature_and_labels_stay(calibrated, tmp_path):
    run, report = calibrated
    version = export.run(run, output=tmp_path, probabilities=True)
    served = tf.saved_model.load(str(version)).signatures
    image = np.random.default_rng(1).integers(0, 256, (2, 20, 30, 3)).astype(np.uint8)
    logits = kerasseg.load(run)(image.astype(np.float32)).numpy()
    expected = scipy.special.softmax(logits.astype(np.float64) / report["temperature"], axis=-1)
    found = served["probabilities"](image=tf.constant(image))["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    labels = served["labels"](image=tf.constant(image))["labels"]
    np.testing.assert_array_equal(labels, logits.argmax(-1))
    card = next(version.rglob("model_card.md")).read_text()
    assert f"calibrated with temperature {report['temperature']:.4g}" in card


def test_a_damaged_file_is_a_clear_error(calibrated, tmp_path):
    run = shutil.copytree(calibrated[0], tmp_path / "run")
    for content in ("{", "{}", '{"temperature": -1, "network": {"sha256": ""}}'):
        (run / "calibration.json").write_text(content)
        with pytest.raises(InputError, match=r"calibration\.json: damaged .* run 'kerasseg calib"):
            calibration.of_network(run)


def test_the_command_line_prints_both_errors(run_cli, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    result = run_cli("calibrate", run, "--batch-size", "3")
    assert result.exit_code == 0, result.output
    for text in ("expected_calibration_error", "temperature ", "calibration.json, calibration.png"):
        assert text in result.output
    missing = run_cli("calibrate", run, "--split", "test")
    assert missing.exit_code == 1
    assert "test" in missing.output
