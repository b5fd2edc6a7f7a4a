"""Early stopping, and the score that decides which network is the best."""

import dataclasses

import pytest
from run_ends import At, assert_same_end

import kerasseg
from kerasseg import metrics
from kerasseg.pipelines import fit, inputs
from kerasseg.pipelines.runs import network_files, run_folder
from kerasseg.pipelines.training.early_stopping import is_exhausted
from kerasseg.scores import MEANINGS


def history(*scores):
    return [
        {"epoch": epoch, **({} if score is None else {"mean_iou": score})}
        for epoch, score in enumerate(scores, start=1)
    ]


@pytest.mark.parametrize(
    ("scores", "patience", "expected"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),  # equal is not better
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.45], 2, True),
        ([0.5, 0.4, 0.6], 2, False),
        ([0.5, None, None, 0.4], 2, False),  # two epochs without an evaluation
        ([0.5, None, 0.4, None, 0.3], 2, True),
        ([0.9, 0.1, 0.2, 0.3], 3, True),  # rises, but not above the best
        ([0.5, 0.4, 0.3], None, False),
    ],
)
def test_patience_counts_evaluations_without_a_better_score(scores, patience, expected):
    assert is_exhausted(history(*scores), "mean_iou", patience) is expected


def test_another_score_is_monitored():
    epochs = [
        {"epoch": 1, "mean_iou": 0.5, "pixel_accuracy": 0.5},
        {"epoch": 2, "mean_iou": 0.6, "pixel_accuracy": 0.4},
    ]
    assert not is_exhausted(epochs, "mean_iou", 1)
    assert is_exhausted(epochs, "pixel_accuracy", 1)


def test_the_scores_that_can_be_monitored_are_those_of_an_evaluation():
    assert tuple(MEANINGS) == tuple(metrics.OVERALL)


@pytest.fixture(scope="module")
def ruinous(tiny_training):
    """A learning rate at which mean_accuracy falls in the second epoch, and mean_iou does not."""
    return dataclasses.replace(
        tiny_training,
        epochs=9,
        learning_rate=0.5,
        optimizer="sgd",
        early_stop=1,
        monitor="mean_accuracy",
    )


@pytest.fixture(scope="module")
def ended(ruinous, tiny_data, tmp_path_factory):
    return fit.run(ruinous, tiny_data, tmp_path_factory.mktemp("ended") / "run").folder


def test_a_training_ends_early_and_is_not_continued(ended):
    epochs = run_folder.history(ended)
    scores = [entry["mean_accuracy"] for entry in epochs]
    assert len(epochs) < 9
    assert scores.index(max(scores)) == len(scores) - 2  # one evaluation after the best
    assert epochs[-1]["mean_iou"] > epochs[-2]["mean_iou"]  # which would have gone on
    fit.resume(ended)
    assert run_folder.history(ended) == epochs


@pytest.mark.slow
def test_an_interrupted_training_ends_after_the_same_epoch(ruinous, ended, tiny_data, tmp_path):
    def stop():
        raise KeyboardInterrupt

    # Within the last epoch, after which the patience is over.
    at = At(len(run_folder.history(ended)) - 1, 1, stop)
    with pytest.raises(KeyboardInterrupt):
        fit.run(ruinous, tiny_data, tmp_path / "run", extra_callbacks=[at])
    fit.resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", ended)


def test_the_network_with_the_best_monitored_score_and_the_last_one_are_kept(ended):
    run = run_folder.load(ended)
    epochs = run_folder.history(ended)
    best = max(epochs, key=lambda entry: entry["mean_accuracy"])
    assert best is not epochs[-1]
    assert network_files.epoch_of(run, "best") == best
    for name, entry in (("best", best), ("last", epochs[-1])):
        model = kerasseg.load(ended / "checkpoints" / f"{name}.keras")
        evaluator = kerasseg.inference.Evaluator(model, 3)
        matrix = evaluator(inputs.evaluation_batches(run.open_dataset().files("validation"), 4))
        for score in ("mean_accuracy", "mean_iou"):
            found = float(metrics.OVERALL[score](matrix))
            assert found == pytest.approx(entry[score], abs=1e-6)
