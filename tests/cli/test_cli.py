import functools
import importlib
import re
import shutil
from pathlib import Path

import click
import pytest

from kerasseg import costs, encoders, models
from kerasseg.models import pan, pidnet, unet, upernet
from kerasseg.pipelines import cli, datasets, fit, recipes
from kerasseg.pipelines import models as model_table
from kerasseg.pipelines.cli import options, tables
from kerasseg.pipelines.errors import InputError

README = (Path(__file__).parents[2] / "README.md").read_text()
RECIPES = sorted(Path(__file__).parents[2].glob("pipelines/recipes/*.toml"))
TINY = [
    *("--model", "unet", "--model-option", "variant=milesial", "--model-option", "filters=2"),
    *("--model-option", "depth=1", "--epochs", "1", "--batch-size", "4", "--crop-size", "32,32"),
]


def fails(result, *parts, code=1):
    """Checks an error: its code, what it says, and that no traceback is shown."""
    assert result.exit_code == code, result.output
    said = " ".join(result.output.split())
    for part in parts:
        assert part in said, result.output
    assert "Traceback" not in result.output


@pytest.fixture(scope="module", autouse=True)
def rows_made_once():
    """Keeps the table of architectures, for which every one of them is built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_table, "rows", functools.cache(model_table.rows))
        yield


def test_the_road_from_a_run_to_a_saved_model(run_cli, tiny_data, tmp_path):
    run = tmp_path / "run"
    trained = run_cli("fit", "--data", tiny_data, "--run", run, *TINY)
    assert trained.exit_code == 0, trained.output
    assert re.search(
        r"epoch 1/1  loss \d\.\d+  validation_loss \d\.\d+  mean_iou 0\.\d+ .* images/s  "
        r"\d+% waiting for data  0 s left",
        trained.output,
    )
    evaluated = run_cli("evaluate", run)
    assert evaluated.exit_code == 0, evaluated.output
    assert re.search(r"disc\t[\d.]+\t", evaluated.output)
    assert re.search(r"mean_iou 0\.\d{4}", evaluated.output)
    image = next(tiny_data.parent.glob("source/images/val/*.png"))
    predicted = run_cli("predict", run, image, "--output", tmp_path / "out")
    assert predicted.exit_code == 0, predicted.output
    assert len(list((tmp_path / "out").iterdir())) == 2
    exported = run_cli("export", run, "--output", tmp_path / "served")
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "served/run/1/saved_model.pb").is_file()


def test_a_recipe_gives_the_defaults_and_the_command_line_wins(
    run_cli, monkeypatch, tiny_data, tmp_path
):
    given = []

    def stop(options, *more, **others):
        given.append(options)
        raise InputError("as far as this")

    monkeypatch.setattr(fit, "run", stop)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'model = "unet"\nmodel-option = ["variant=milesial", "filters=4", "depth=2"]\n'
        "epochs = 7\nbatch-size = 4\ncrop-size = [32, 32]\nflip = false\n"
    )
    arguments = ("--recipe", recipe, "--epochs", "1", "--data", tiny_data, "--run", tmp_path / "r")
    fails(run_cli("fit", *arguments), "as far as this")
    (found,) = given
    assert (found.epochs, found.batch_size, found.crop_size) == (1, 4, (32, 32))
    assert found.flip is False
    assert found.model_options == {"variant": "milesial", "filters": 4, "depth": 2}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--model-option", "filters=6"), {"variant": "milesial", "filters": 6}),
        (
            ("--model", "unet", "--model-option", "depth=2"),
            {"variant": "milesial", "filters": 4, "depth": 2},
        ),
        # Those of another network mean nothing to this one.
        (("--model", "segnet"), {}),
        (("--model", "segnet", "--model-option", "filters=6"), {"filters": 6}),
    ],
)
def test_arguments_join_those_of_the_recipe_for_the_same_network(
    run_cli, monkeypatch, tmp_path, arguments, expected
):
    given = []

    def stop(options, *more, **others):
        given.append(options.model_options)
        raise InputError("as far as this")

    monkeypatch.setattr(fit, "run", stop)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "unet"\nmodel-option = ["variant=milesial", "filters=4"]\n')
    arguments = ("--recipe", recipe, "--data", tmp_path, "--run", tmp_path / "r", *arguments)
    fails(run_cli("fit", *arguments), "as far as this")
    (found,) = given
    assert found == expected


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(recipe, run_cli, tmp_path):
    # The data is missing: whatever comes before that error was accepted.
    result = run_cli("fit", "--recipe", recipe.stem, "--data", tmp_path / "no", "--run", tmp_path)
    fails(result, "no such folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch = 3", "got 'epoch'"),
        ('recipe = "again"', "got 'recipe'"),
        ("epochs = ", "Invalid value"),
        ('epochs = "many"', "'many' is not a valid integer"),
        (f"epochs = {'[' * 3000}", "recursion"),
        (f"seed = 1{'0' * 5000}", "digits"),
        ("\ufeffepoch = 3", "got 'epoch'"),
        ("epochs = {a = 1}", "epochs must be a whole number, got {'a': 1}"),
        ("epochs = 2026-01-01", "epochs must be a whole number, got datetime.date(2026, 1, 1)"),
        ("epochs = 2.5", "epochs must be a whole number, got 2.5"),
        ("epochs = true", "epochs must be a whole number, got True"),
        ("seed = 1e400", "seed must be a whole number, got inf"),
        (f"seed = 1{'0' * 60}", "seed must be finite, got 1000"),
        ("learning-rate = inf", "learning-rate must be finite, got inf"),
        ("learning-rate = nan", "learning-rate must be finite, got nan"),
        ("learning-rate = [[1]]", "learning-rate must be a number or auto, got [[1]]"),
        ("scale = [0.5, inf]", "scale must be finite, got [0.5, inf]"),
        ("crop-size = [32, 32.5]", "crop-size: must be HEIGHT,WIDTH in whole numbers"),
        ("flip = 1", "flip must be true or false, got 1"),
        ('augment = "twist"', "augment: 'twist' is not one of"),
        ("encoder = {}", "encoder must be text or numbers (TEXT), got {}"),
        ('model-option = "a=1"', "model-option must be a list, got 'a=1'"),
        ('model-option = ["a"]', "model-option: must be NAME=VALUE, got 'a'"),
    ],
)
def test_a_bad_recipe_is_refused(run_cli, tmp_path, content, message):
    (tmp_path / "bad.toml").write_text(content)
    result = run_cli("fit", "--recipe", tmp_path / "bad.toml", "--run", tmp_path / "run")
    fails(result, message, code=2)


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_number_without_end_is_refused_on_the_command_line_too(run_cli, tmp_path, value):
    command = ("fit", "--model", "unet", "--data", tmp_path, "--run", tmp_path / "run")
    fails(run_cli(*command, "--learning-rate", value), "learning_rate must be finite, got")


def test_an_unknown_recipe_lists_the_known_ones(run_cli, tmp_path):
    result = run_cli("fit", "--recipe", "mars", "--run", tmp_path / "run")
    fails(result, *(path.stem for path in RECIPES), code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "yolo"], "'yolo' is not one of 'ddrnet', 'deeplab'"),
        (["--model", "unet"], "Missing option '--data'"),
        (
            ["--model", "unet", "--crop-size", "32"],
            "must be HEIGHT,WIDTH in whole numbers, got '32'",
        ),
        (["--model", "unet", "--scale", "a,b"], "must be MIN,MAX in numbers, got 'a,b'"),
        (["--model", "unet", "--model-option", "depth"], "must be NAME=VALUE, got 'depth'"),
        (["--resume", "--batch-size", "3"], "--batch-size must not be given with --resume"),
    ],
)
def test_fit_refuses_what_it_cannot_read(run_cli, tmp_path, arguments, message):
    fails(run_cli("fit", "--run", tmp_path / "run", *arguments), message, code=2)
    assert not (tmp_path / "run").exists()


def test_fit_says_which_architecture_is_the_default(run_cli, monkeypatch, tiny_data, tmp_path):
    def stop(options, *more, **others):
        raise InputError(f"would train {options.model}")

    monkeypatch.setattr(fit, "run", stop)
    asked = ("fit", "--data", tiny_data, "--run", tmp_path / "run")
    fails(run_cli(*asked), "--model deeplabv3plus, the default", "would train deeplabv3plus")
    chosen = run_cli(*asked, "--model", "unet")
    fails(chosen, "would train unet")
    assert "the default" not in chosen.output
    recipe = run_cli(*asked, "--recipe", "camvid-unet")
    fails(recipe, "would train unet")
    assert "the default" not in recipe.output


def test_fit_says_what_is_wrong_with_values_and_folders(run_cli, tiny_data, tiny_run, tmp_path):
    run = ("--run", tmp_path / "run")
    fails(run_cli("fit", *TINY, "--data", tmp_path / "no", *run), "no such folder")
    fails(run_cli("fit", *TINY, "--data", tmp_path, *run), "must hold a converted dataset")
    fails(
        run_cli("fit", *TINY, "--learning-rate", "0", "--data", tiny_data, *run),
        "learning_rate must be above 0, or auto, got 0.0",
    )
    fails(run_cli("fit", *TINY, "--data", tiny_data, "--run", tiny_run), "holds a run already")
    fails(run_cli("fit", "--run", tmp_path / "none", "--resume"), "must be a run folder")


def test_resume_continues_with_a_run(run_cli, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    result = run_cli("fit", "--run", run, "--resume")
    assert result.exit_code == 0, result.output
    assert "best mean_iou" in result.output


def test_commands_on_a_run_say_that_it_is_none(run_cli, tmp_path):
    image = tmp_path / "a.png"
    image.touch()
    for command in (["evaluate"], ["export"]):
        fails(run_cli(*command, tmp_path / "none"), "must be a run folder")
    fails(run_cli("predict", tmp_path / "none", image), "must be a run folder")


def test_bad_images_are_shown_in_a_table(run_cli, tiny_run, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    result = run_cli("predict", tiny_run, tmp_path / "bad.png", "--output", tmp_path / "out")
    fails(
        result, "what is wrong", "an image of a known format", "1 of the images cannot be predicted"
    )


def test_models_are_listed_with_their_parameters(run_cli):
    output = run_cli("models").output
    for name in models.names():
        assert name in output
    # Segmenter-S: 26,033,580 for 150 classes; each has an embedding of 384 and two numbers in the
    # last normalisation; and the projection of the patches has a bias.
    assert f"{26_033_580 - 131 * 386 + 384:,}" in re.sub(r"\s+", " ", output)


def test_the_variant_of_unet_that_takes_encoders_is_listed():
    others = [name for name in encoders.names(unet.ENCODER_VARIANT[2]) if ":" not in name]
    row = dict(zip(model_table.COLUMNS, model_table._row("unet", 19), strict=True))
    assert row["encoders"] == f"smp: resnet34 and {len(others) - 1} others"


def test_a_model_is_listed_by_encoder_with_what_it_costs(run_cli, monkeypatch):
    every = model_table._encoders(pan)
    assert sorted(every) == sorted(name for name in encoders.names(pan.NEEDS) if ":" not in name)
    few = [every[0], "resnet34", "mit_b0"]  # building them all takes long
    monkeypatch.setattr(model_table, "_encoders", lambda module: few)
    lines = run_cli("models", "pan", "--image-size", "64,96").output.splitlines()
    assert lines[0] == "pan, 64 x 96 pixels"
    assert lines[-1] == (
        "'kerasseg fit --model pan --encoder' also takes hub:PRESET, mobilenetv2:WIDTH, "
        "swin_base:WINDOW, pyramid:TRANSFORMER, with costs that depend on what is named."
    )
    table = [line.split("\t") for line in lines[1:-1]]
    assert table[0][:4] == ["encoder", "parameters", "G multiply-adds", "MiB memory"]
    assert table[0][4:] == ["ADE20K", "Cityscapes"]
    names = [row[0] for row in table[1:]]
    assert names == ["resnet50", "resnet34", "mit_b0"]  # the default is the first
    overview = model_table._without_values(lambda: model_table._row("pan", 19))
    assert table[1][1] == overview[model_table.COLUMNS.index("parameters")]
    # A ResNet-34 has 21,284,672 weights without its classifier, and PAN adds few.
    (thirty_four,) = (row for row in table if row[0] == "resnet34")
    assert 21_284_672 < int(thirty_four[1].replace(",", "")) < 1.05 * 21_284_672


def test_published_scores_are_those_of_the_catalogue():
    # OpenMMLab's UPerNet on ConvNeXt-T has 46.11 % on ADE20K and none on Cityscapes.
    def score(model, benchmark, **choice):
        return model_table._published_score(model, choice, benchmark)

    assert score(upernet, "ADE20K", encoder="convnext_tiny") == "46.11"
    assert score(upernet, "Cityscapes", encoder="convnext_tiny") == "-"
    assert score(pan, "ADE20K", encoder="resnet50") == "-"
    # PIDNet-S has 78.74 % there, and PIDNet-L, which is five times as large, 80.89 %.
    assert score(pidnet, "Cityscapes", size="s") == "78.74"
    assert score(pidnet, "Cityscapes", size="l") == "80.89"


def test_an_architecture_with_sizes_has_a_row_for_each(run_cli):
    lines = run_cli("models", "pidnet", "--image-size", "64,64").output.splitlines()
    columns, *rows = (line.split("\t") for line in lines[1:])
    assert columns[0] == "size"
    assert [row[0] for row in rows] == ["s", "m", "l"]
    assert dict(zip(columns, rows[0], strict=True))["Cityscapes"] == "78.74"


def test_a_model_is_measured_on_request(run_cli, monkeypatch):
    monkeypatch.setattr(model_table, "_MEASURED_SECONDS", 0.1)
    lines = run_cli("models", "segnet", "--image-size", "8,16", "--measure").output.splitlines()
    cells = dict(zip(*(line.split("\t") for line in lines[1:]), strict=True))
    assert cells["encoder"] == "-"
    assert float(cells["images/s"]) > 0


def test_what_models_cannot_list_is_refused(run_cli):
    fails(run_cli("models", "yolo"), "model must be one of ddrnet, deeplab, ", "got 'yolo'")
    fails(run_cli("models", "--measure"), "--image-size and --measure need MODEL", code=2)
    fails(run_cli("models", "unet", "--image-size", "0,8"), "must be at least 1 x 1, got (0, 8)")


def test_a_table_breaks_no_word_on_a_terminal_of_eighty_columns(monkeypatch, capsys):
    monkeypatch.setattr(tables, "is_for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    options.print_table(model_table.COLUMNS, model_table.rows())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert {"deeplabv3plus", "pytorch-semseg", "others", "134,456,985", "1706.05587"} < {*words}


@pytest.mark.parametrize("columns", [20, 40])
def test_a_table_that_does_not_fit_loses_nothing(columns, monkeypatch, capsys):
    monkeypatch.setattr(tables, "is_for_people", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    options.print_table(["path", "number"], [["a/" * 30, "1,234,567"], ["abcdefghijkl", "9" * 14]])
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= columns
    assert output.count("a") == 32
    assert output.count("9") == 14


def test_datasets_are_listed(run_cli):
    output = run_cli("datasets").output
    for name in datasets.names():
        assert name in output


def test_the_doctor_shows_versions_and_finds_this_installation_fit(run_cli):
    result = run_cli("doctor")
    assert result.exit_code == 0
    for part in ("tensorflow", "keras", "GPUs", "kerasseg can work here"):
        assert part in result.output


def test_the_doctor_fails_on_another_keras_backend(run_cli, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    result = run_cli("doctor")
    fails(result, "jax", "set it to tensorflow")


def test_the_demo_does_not_touch_a_folder_of_something_else(run_cli, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    fails(run_cli("demo", "--output", tmp_path), "must be empty or hold an earlier demo")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("command", sorted(cli.main.commands))
def test_every_command_has_help_and_stands_in_the_readme(run_cli, command):
    result = run_cli(command, "--help")
    assert result.exit_code == 0
    assert f"kerasseg {command}" in README
    options_ = [p for p in cli.main.commands[command].params if isinstance(p, click.Option)]
    assert not [option.name for option in options_ if not option.help]


@pytest.mark.parametrize("name", [*models.names(), *datasets.names(), *recipes.names()])
def test_every_model_dataset_and_recipe_stands_in_the_readme(name):
    assert f"`{name}`" in README


def test_every_command_of_the_readme_is_one(run_cli):
    for command in re.findall(r"kerasseg ([a-z-]+)", README):
        assert command in {*cli.main.commands, "fit"} or command in ("takes", "is", "can"), command


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "run", ""),
        ("predict", "", "a.png"),
        ("predict", "run", "a.png", "--output", ""),
        ("evaluate", ""),
        ("evaluate", "run", "--report", ""),
        ("check", ""),
        ("convert", "--dataset", "folder", "--source", ".", "--output", ""),
        ("export", "run", "--data", ""),
        ("fit", "--data", ""),
        ("bench-serving", "http://here", "a.png", "--json", ""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(words, run_cli):
    """A variable of the shell without a value gives such a path."""
    result = run_cli(*words)
    assert result.exit_code == 2
    assert "must be a path, got an empty text." in " ".join(result.output.split())


def test_every_architecture_with_encoders_lists_the_costs_of_each(monkeypatch):
    """Also those without a choice of the output stride."""
    monkeypatch.setattr(model_table, "_without_values", lambda build: costs.Costs(1, 1, 1, 1))
    for name in models.names():
        module = importlib.import_module(f"kerasseg.models.{name}")
        rows = model_table.encoder_rows(name)
        encoders_of = {row[0] for row in rows}
        wanted = {"-"}
        if hasattr(module, "NEEDS"):
            wanted = set(model_table._encoders(module))
        elif hasattr(module, "SIZES"):
            wanted = set(module.SIZES)
        assert encoders_of == wanted
