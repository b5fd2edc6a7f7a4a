import pytest

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import loss_terms
from kerasseg.pipelines.runs.loss_terms import Term
from kerasseg.pipelines.runs.training_options import TrainingOptions


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ce", [Term(1, "ce", {})]),
        ("cross-entropy", [Term(1, "cross-entropy", {})]),
        ("ce + 0.5*lovasz", [Term(1, "ce", {}), Term(0.5, "lovasz", {})]),
        ("2 * dice+.25*jaccard", [Term(2, "dice", {}), Term(0.25, "jaccard", {})]),
        ("1e-1*ce+1e+1*dice", [Term(0.1, "ce", {}), Term(10, "dice", {})]),
        ("focal(gamma=3)", [Term(1, "focal", {"gamma": 3})]),
        (
            "ohem(threshold=0.6, min_kept=5000) + 3*tversky(alpha=.2,beta=.8)",
            [
                Term(1, "ohem", {"threshold": 0.6, "min_kept": 5000}),
                Term(3, "tversky", {"alpha": 0.2, "beta": 0.8}),
            ],
        ),
        ("ce(label_smoothing=1e-1)", [Term(1, "ce", {"label_smoothing": 0.1})]),
    ],
)
def test_a_sum_of_losses_is_read(text, terms):
    assert loss_terms.parse(text) == terms
    TrainingOptions(loss=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a sum such as ce .*, got ''"),
        ("lovas", "must be a sum such as ce .*, got 'lovas'"),
        ("ce +", "must be a sum such as ce .*, got ''"),
        ("ce - dice", "got 'ce - dice'"),
        ("ce * 0.5", "got 'ce . 0.5'"),
        ("-1*ce", "got '-1.ce'"),
        ("nan*ce", "got 'nan.ce'"),
        ("0*ce", "weight of a loss must be above 0 and finite, got '0.ce'"),
        ("1e400*ce", "weight of a loss must be above 0 and finite, got '1e400.ce'"),
        ("ce + 0.5*lovaz", "package.module:CLASS, got '0.5.lovaz'"),
        ("auto + dice", "got 'auto'"),
        ("focal(2)", r"must be NAME=NUMBER each, a name once, got 'focal\(2\)'"),
        ("focal(gamma=2, gamma=3)", "must be NAME=NUMBER each"),
        ("focal(gamma=2,)", "must be NAME=NUMBER each"),
        ("focal(gamma=2", "must be a sum such as ce"),
        ("CE", "must be a sum such as ce"),
    ],
)
def test_what_is_no_sum_of_losses_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        loss_terms.parse(text)
    with pytest.raises(InputError, match=message):
        TrainingOptions(loss=text)
