"""Windows, scales and mirror images inside a SavedModel, through the C++ loader."""

import json

import numpy as np
import pytest
from served_models import decode, encode

import kerasseg
from kerasseg import serving
from kerasseg.pipelines import evaluate, export
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.exports import formats
from kerasseg.pipelines.exports.parity import labels_agree
from kerasseg.pipelines.runs.views import View, seen
from kerasseg.pipelines.serving import saved_model, tensors

VIEWS = [
    View((24, 32), blend="uniform", scales=(0.75,), flip=True),
    # Each scale and its mirror image is traced for each signature.
    pytest.param(View((24, 32), scales=(0.5, 1.5), flip=True), marks=pytest.mark.slow),
    pytest.param(View((24, 32), (16, 20)), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("view", VIEWS)
def test_a_saved_model_gives_the_labels_of_the_view(tiny_run, tiny_data, tmp_path, view):
    version = export.run(tiny_run, output=tmp_path, view=view, probabilities=True)
    served = saved_model.SavedModel(version)
    model = seen(kerasseg.load(tiny_run), view)
    for size in ((61, 83), (20, 25), (1, 40)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        logits = model(image[np.newaxis].astype(np.float32)).numpy()[0]
        answer = served.run({serving.INPUT: tensors.strings([encode(image)])})
        assert labels_agree(decode(answer[serving.OUTPUT][0]), logits)
        answer = served.run({"image": image[np.newaxis]}, signature="labels")
        assert labels_agree(answer["labels"][0], logits)
    facts = json.loads(json.dumps(view.facts()))
    assert json.loads((version / "assets.extra/classes.json").read_text())["view"] == facts
    assert json.loads((version / "parity.json").read_text())["view"] == facts
    card = (version / "assets.extra/model_card.md").read_text()
    assert f"The network sees {view}, which the scores above do not include." in card
    scores = evaluate.run(version, data=tiny_data)
    assert scores["view"] == facts
    assert scores["crf"] is False
    assert scores["mean_iou"] == pytest.approx(evaluate.run(tiny_run, view=view)["mean_iou"], 0.01)


@pytest.mark.parametrize("format", [name for name in formats.names() if name != "savedmodel"])
def test_other_formats_refuse_windows_and_name_the_one_that_takes_them(
    tiny_run, tmp_path, run_cli, format
):
    for options in (("--window", "16,16"), ("--flip",), ("--scales", "0.5,1")):
        command = ("export", tiny_run, "--output", tmp_path / "out", "--format", format)
        refused = run_cli(*command, *options)
        assert refused.exit_code == 1
        assert f"must be savedmodel for windows, scales or mirror images, got '{format}'" in (
            " ".join(refused.output.split())
        )
    with pytest.raises(InputError, match="format must be savedmodel for windows"):
        export.run(tiny_run, output=tmp_path / "out", format=format, view=View((16, 16)))
    assert not (tmp_path / "out").exists()
