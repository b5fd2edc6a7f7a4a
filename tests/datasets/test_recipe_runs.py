"""Each recipe of the package trains for two steps on a small tree of its dataset.

Only sizes, and weights that come from elsewhere, are overridden: architecture, encoder and all else
are the recipe's. Most build networks of many millions of parameters.
"""

import json

import pytest
import test_ade20k
import test_cityscapes
import test_mapillary
from test_coco import panoptic  # noqa: F401
from test_voc2012 import sbd, voc  # noqa: F401

from kerasseg.pipelines import convert, recipes
from kerasseg.pipelines.runs import run_folder

QUICK = "camvid-unet"
# The crop and the box of images, in place of the recipe's.
SIZES = {"crop-size": "40,48", "image-size": "32,64"}


@pytest.fixture
def trees(request, tmp_path, make_camvid_tree):
    """Makes the tree of a dataset by name: `trees("coco")`; returns its folder and its options."""

    def make(dataset):
        root = tmp_path / "source"
        if dataset == "coco":
            return request.getfixturevalue("panoptic")[0], {"task": "voc"}
        if dataset == "voc2012":
            found = request.getfixturevalue("voc"), request.getfixturevalue("sbd")
            return found[0][0], {"sbd": found[1][0]}
        build = {
            "ade20k": test_ade20k.build_tree,
            "camvid": make_camvid_tree,
            "cityscapes": test_cityscapes.build_tree,
            "mapillary": test_mapillary.build,
        }
        build[dataset](root)
        return root, {}

    return make


def overrides(name):
    """Lists the options that make a recipe small."""
    options, facts = recipes.parse(recipes.read(name))
    # Of the small COCO a single image shows enough of VOC's objects.
    given = {"epochs": 2, "batch-size": 1 if facts["dataset"] == "coco" else 2, "keep": 1}
    given |= {option: size for option, size in SIZES.items() if option in options}
    if "encoder-weights" in options:
        given["encoder-weights"] = "none"
    return [part for option, value in given.items() for part in (f"--{option}", value)]


def train(name, trees, run_cli, folder, *options):
    """Trains a recipe for two epochs of one or two steps; returns the run's folder."""
    root, facts = trees(recipes.facts(name).dataset)
    data, run = folder / f"{name}-data", folder / name
    convert.run(recipes.facts(name).dataset, root, data, allow_partial=True, **facts)
    place = ("--data", data, "--run", run)
    result = run_cli("fit", "--recipe", name, *place, *overrides(name), *options)
    assert result.exit_code == 0, result.output
    return run


def check(recipe, run):
    """Checks that the run has the recipe's options, and a finite loss after each epoch."""
    options, _ = recipes.parse(recipes.read(recipe))
    stored = json.loads((run / "run.json").read_text())["options"]
    for option in ("model", "optimizer", "learning-rate", "weight-decay", "batch-norm-momentum"):
        name = option.replace("-", "_")
        assert stored[name] == options.get(option, stored[name])
    assert stored["model_options"].get("encoder") == options.get("encoder")
    assert len(stored["model_options"]) >= len(options["model-option"])
    history = run_folder.history(run)
    assert len(history) == 2
    assert all(0 < epoch["loss"] < 100 for epoch in history)


# Those that begin with the weights of another recipe's run.
LATER = {"deeplabv3plus-voc2012": "deeplabv3plus-coco"}


@pytest.mark.parametrize(
    "name",
    [
        name if name == QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in recipes.names()
        if name not in LATER
    ],
)
def test_a_recipe_trains_on_a_tree_of_its_dataset(name, trees, run_cli, tmp_path):
    check(name, train(name, trees, run_cli, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "before"), LATER.items())
def test_a_recipe_begins_with_the_run_of_the_one_before(name, before, trees, run_cli, tmp_path):
    first = train(before, trees, run_cli, tmp_path)
    run = train(name, trees, run_cli, tmp_path, "--init-from", first)
    check(name, run)
    # Both have Pascal VOC's classes: the classifier's weights are taken over as well.
    assert json.loads((run / "run.json").read_text())["layers_started_anew"] == []
