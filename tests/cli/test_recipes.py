"""The recipes of the package: what they say of themselves, and the command that lists them."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

from kerasseg.pipelines import datasets, recipes
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.recipes import Facts

FOLDER = Path(__file__).parents[2] / "pipelines/recipes"
FACTS = {
    "summary": "a network",
    "paper": "Someone, A Network, 2026",
    "address": "https://arxiv.org/abs/0000.00000",
    "dataset": "camvid",
    "source": "a table",
    "hardware": "a computer",
    "measured": False,
}
# Images of train, as the datasets' papers and lists count them; DeepLab's trainaug.
IMAGES = {"ade20k": 20210, "cityscapes": 2975, "voc2012": 10582, "mapillary": 18000}
# Steps, or epochs where those are published.
PUBLISHED_STEPS = {
    "deeplabv3-voc2012": 30_000,
    "deeplabv3plus-ade20k": 160_000,
    "deeplabv3plus-cityscapes": 80_000,
    "deeplabv3plus-mapillary": 300_000,
    "deeplabv3plus-voc2012": 30_000,
    "fcn-cityscapes": 80_000,
    "unet-cityscapes": 160_000,
}


def header(name):
    """Returns the comment that opens a recipe, as one line."""
    comment = re.match(r"(?:#.*\n)+", recipes.read(name))
    assert comment is not None
    return re.sub(r"\s+", " ", re.sub(r"^# ?", "", comment[0], flags=re.MULTILINE))


@pytest.mark.parametrize("name", recipes.names())
def test_the_header_says_what_the_facts_say(name):
    facts, said = recipes.facts(name), header(name)
    for part in (facts.paper, facts.address, facts.source, facts.hardware):
        assert part in said
    assert ("Not measured with kerasseg." in said) is not facts.measured
    scores = re.findall(r"mean_iou (0\.\d+)", said)
    assert scores[:1] == ([facts.score] if facts.mean_iou is not None else [])
    assert facts.dataset in datasets.names()


@pytest.mark.parametrize("name", recipes.names())
def test_the_header_shows_the_commands_from_the_raw_dataset_to_the_score(name):
    lines = recipes.read(name).splitlines()
    shown = [line[4:].split() for line in lines if line.startswith("#   kerasseg ")]
    assert [words[1] for words in shown] == ["convert", "fit", "evaluate"]
    convert, fit, evaluate = shown
    assert convert[convert.index("--dataset") + 1] == recipes.facts(name).dataset
    assert fit[fit.index("--recipe") + 1] == name
    assert fit[fit.index("--data") + 1] == convert[convert.index("--output") + 1]
    assert evaluate[2] == fit[fit.index("--run") + 1]


@pytest.mark.parametrize("name", PUBLISHED_STEPS)
def test_the_epochs_are_the_whole_number_nearest_to_the_published_steps(name):
    options, facts = recipes.parse(recipes.read(name))
    steps_per_epoch = IMAGES[facts["dataset"]] // options["batch-size"]
    assert options["epochs"] == round(PUBLISHED_STEPS[name] / steps_per_epoch)
    assert f"{PUBLISHED_STEPS[name]:,} steps" in header(name)


def test_a_step_before_another_one_is_where_that_one_looks():
    options, _ = recipes.parse(recipes.read("deeplabv3plus-voc2012"))
    assert f"--run {options['init-from']} " in header("deeplabv3plus-coco")


def test_the_list_has_a_line_per_recipe_from_its_facts(run_cli):
    columns, *rows = run_cli("recipes").output.splitlines()
    assert columns.split("\t")[:4] == ["recipe", "model", "dataset", "mean_iou"]
    listed = {row.split("\t")[0]: row.split("\t")[1:] for row in rows}
    assert list(listed) == sorted(path.stem for path in FOLDER.glob("*.toml"))
    for name, (model, dataset, score, origin, summary) in listed.items():
        values = tomllib.loads((FOLDER / f"{name}.toml").read_text())
        facts = values["facts"]
        assert (model, dataset, summary) == (values["model"], facts["dataset"], facts["summary"])
        if "mean_iou" in facts:
            assert float(score) == facts["mean_iou"]
            assert origin == ("measured" if facts["measured"] else "published")
        else:
            assert (score, origin) == ("-", "-")


def test_the_list_as_json_has_all_facts(run_cli):
    listed = json.loads(run_cli("recipes", "--json").output)
    assert [each["recipe"] for each in listed] == recipes.names()
    (found,) = [each for each in listed if each["recipe"] == "pspnet-ade20k"]
    assert (found["model"], found["mean_iou"], found["measured"]) == ("pspnet", 0.4189, False)
    assert found.keys() >= {field.name for field in dataclasses.fields(Facts)}


def test_a_recipe_is_printed_as_it_is(run_cli):
    result = run_cli("recipes", "camvid-unet")
    assert result.output == (FOLDER / "camvid-unet.toml").read_text()
    refused = run_cli("recipes", "camvid-unet", "--json")
    assert refused.exit_code == 2
    assert "--json must be given without RECIPE." in refused.output


def test_an_unknown_recipe_is_refused_with_the_known_ones(run_cli):
    result = run_cli("recipes", "mars")
    assert result.exit_code == 2
    assert "'pspnet-ade20k'" in result.output


def test_a_printed_recipe_trains_with_or_without_its_facts(run_cli, tmp_path):
    text = run_cli("recipes", "pspnet-ade20k").output
    for name, own in (("whole", text), ("short", text[: text.index("[facts]")])):
        file = tmp_path / f"{name}.toml"
        file.write_text(own)
        # The data is missing: whatever comes before that error was accepted.
        result = run_cli("fit", "--recipe", file, "--data", tmp_path / "no", "--run", tmp_path)
        assert "no such folder" in result.output


def test_facts_that_are_no_table_are_refused(run_cli, tmp_path):
    (tmp_path / "mine.toml").write_text("facts = 3")
    result = run_cli("fit", "--recipe", tmp_path / "mine.toml", "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert "facts must be a table, got 3." in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 0.5}, "facts must be summary, paper"),
        ({"mean_iou": 1}, "mean_iou must be of type float, got 1"),
        ({"measured": "no"}, "measured must be of type bool, got 'no'"),
        ({"paper": 2017}, "paper must be of type str, got 2017"),
    ],
)
def test_facts_of_other_names_or_types_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Facts.from_table({**FACTS, **change})
    with pytest.raises(InputError, match="facts must be"):
        Facts.from_table({name: FACTS[name] for name in list(FACTS)[:-1]})


@pytest.mark.parametrize(
    ("mean_iou", "shown"), [(0.57, "0.570"), (0.4189, "0.4189"), (0.8, "0.800"), (None, "-")]
)
def test_a_score_has_the_digits_of_its_source_and_three_at_least(mean_iou, shown):
    assert Facts(**FACTS, mean_iou=mean_iou).score == shown
