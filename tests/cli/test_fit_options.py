"""The options of `kerasseg fit`: declared once, as fields of `TrainingOptions`."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import click
import new_processes
import pytest
from test_cli import TINY, fails

from kerasseg.pipelines.cli import fit, options
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs.option_fields import Option, fields_of
from kerasseg.pipelines.runs.training_options import TrainingOptions

ROOT = Path(__file__).parents[2]

# As release 0.1 and its recipes have them: flags, metavar, default.
RELEASED = """
--recipe TEXT
--model [deeplab|deeplabv3|deeplabv3plus|fcn|pan|pspnet|refinenet|segmenter|segnet|unet]
--model-option NAME=VALUE
--encoder TEXT
--output-stride INTEGER
--encoder-weights TEXT = none
--init-from TEXT
--reset-head / --no-reset-head = no-reset-head
--batch-norm [train|frozen-statistics|frozen-encoder|frozen] = train
--batch-norm-momentum FLOAT = 0.9
--auxiliary-weight FLOAT = 0.4
--data DIRECTORY
--run DIRECTORY
--resume
--keep INTEGER = 2
--epochs INTEGER = 50
--batch-size INTEGER = 8
--image-size HEIGHT,WIDTH
--crop-size HEIGHT,WIDTH
--scale MIN,MAX = 0.5,2.0
--flip / --no-flip = flip
--augment [none|standard|rand] = standard
--optimizer [adamw|sgd] = adamw
--learning-rate FLOAT = 0.001
--encoder-learning-rate-factor FLOAT = 1.0
--power FLOAT = 0.9
--warmup-epochs FLOAT = 0.0
--weight-decay FLOAT = 0.0001
--class-weights [none|median-frequency|sqrt-median-frequency] = none
--dice-weight FLOAT = 0.0
--evaluate-every INTEGER = 1
--cache [auto|memory|disk|none] = auto
--data-service HOST:PORT
--dtype-policy [float32|mixed_bfloat16|mixed_float16] = float32
--seed INTEGER = 0
"""
GROUPS = [
    "Options",
    "Network",
    "Initial weights",
    "Batch normalisation",
    "Steps",
    "Images",
    "Optimizer",
    "Loss",
    "Evaluation and saved states",
    "Input",
    "Computation",
]


def help_records():
    """Yields the flags and the help of each option, as they are shown."""
    context = click.Context(fit.command)
    for parameter in fit.command.params:
        record = parameter.get_help_record(context)
        assert record is not None
        yield record


def _of_the_release(flags):
    """Leaves out the models that release 0.1 did not have."""
    known = re.search(r"--model \[(.*?)\]", RELEASED)[1].split("|")
    taken = flags.removeprefix("--model [").removesuffix("]").split("|")
    return f"--model [{'|'.join(each for each in taken if each in known)}]"


def test_the_options_of_release_0_1_keep_their_names_types_and_defaults():
    shown = set()
    for flags, text in help_records():
        default = re.search(r"\[default: ([^;\]]+)", text)
        if flags.startswith("--model "):  # more since then, and a default
            flags, default = _of_the_release(flags), None
        flags = flags.replace("FLOAT|auto", "FLOAT")  # since then
        for added in ("|inverse-frequency|effective-number|FILE]", "|sync|group]"):
            flags = flags.replace(added, "]")
        shown.add(flags + (f" = {default[1]}" if default else ""))
    assert set(RELEASED.strip().splitlines()) <= shown


def test_the_help_lists_the_options_by_group(run_cli):
    output = run_cli("fit", "--help").output
    assert re.findall(r"^(\w.*):$", output, re.MULTILINE) == GROUPS
    optimizer = output.partition("\nOptimizer:\n")[2].partition("\nLoss:\n")[0]
    assert "--weight-decay" in optimizer
    assert "at least 0" in optimizer
    assert "--epochs" not in optimizer


def test_every_help_is_a_sentence_that_stands_alone():
    for flags, text in help_records():
        assert re.match(r"[A-Z]", text), flags
        assert not re.match(r"(Of|In|For|Its|The same|What of it)\b", text), flags
        assert text.partition("  [")[0].endswith("."), flags
        assert len(text.split()) >= 4, flags


def test_the_docstring_lists_the_options_too():
    declared = fields_of(TrainingOptions)["epochs"].option
    assert f"    epochs: {declared.help}" in (TrainingOptions.__doc__ or "").splitlines()


def test_a_field_without_a_declaration_is_an_error():
    @dataclass
    class Options:
        epochs: Annotated[int, Option("Number of passes over the data.", "Steps")] = 1
        forgotten: int = 2

    with pytest.raises(TypeError, match=r"Options.forgotten must be Annotated with an Option"):
        fields_of(Options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs = 0", "epochs must be at least 1, got 0"),
        ("learning-rate = 0", "learning_rate must be above 0, or auto, got 0.0"),
        ("batch-norm-momentum = 1", "batch_norm_momentum must be in [0, 1), got 1.0"),
        ("scale = [2, 1]", "scale must be MIN,MAX above 0, got (2.0, 1.0)"),
        ("crop-size = [4, 32]", "crop_size must be HEIGHT,WIDTH from 8 to 16384, got (4, 32)"),
        ("seed = -1", "seed must be at least 0 and below 2**32, got -1"),
    ],
)
def test_a_recipe_and_the_command_line_have_the_same_ranges(run_cli, tmp_path, content, message):
    recipe = tmp_path / "bad.toml"
    recipe.write_text(content)
    key, _, value = content.partition(" = ")
    place = ("--model", "unet", "--data", tmp_path, "--run", tmp_path / "run")
    # A recipe is named, with its key: its values are read before the command is run.
    said = f"{recipe}: {key}: {message}"
    fails(run_cli("fit", "--recipe", recipe, *place), said, code=2)
    fails(run_cli("fit", f"--{key}", value.strip("[]").replace(" ", ""), *place), message)
    assert not (tmp_path / "run").exists()


def test_the_options_of_run_json_are_those_that_were_declared():
    with pytest.raises(InputError, match="options must be among model, model_options"):
        TrainingOptions.from_json({"model": "unet", "epoch": 3})
    with pytest.raises(InputError, match="epochs must be at least 1, got 0"):
        TrainingOptions.from_json({"model": "unet", "epochs": 0})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", 2.5, "at least 1"),
        ("epochs", True, "at least 1"),
        ("learning_rate", "fast", "above 0"),
        ("image_size", [16], "HEIGHT,WIDTH from 8 to 16384"),
        ("image_size", [16.5, 16], "HEIGHT,WIDTH from 8 to 16384"),
        ("scale", [0.5, 1, 2], "MIN,MAX above 0"),
        ("flip", 1, "true or false"),
        ("model", None, "one of ddrnet"),
        ("model_options", ["filters"], "values by name"),
    ],
)
def test_an_option_of_another_type_is_refused(name, value, words):
    with pytest.raises(InputError, match=f"{name} must be {words}"):
        TrainingOptions.from_json({"model": "unet", name: value})


TOY = """
    toy_factor: Annotated[
        float, Option("Factor of a toy, which nothing reads.", _LOSS, from_to(1, 9))
    ] = 1.5
"""


@pytest.fixture
def copied_kerasseg(tmp_path):
    """Runs the command line of a copy of the source, in which one file declares a toy option."""
    copy = tmp_path / "copy"
    for name in ("kerasseg", "pipelines", "src"):
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    file = copy / "pipelines" / "runs" / "training_options.py"
    text = file.read_text()
    place = text.index("\n    def __post_init__")
    file.write_text(text[:place] + TOY.rstrip("\n") + "\n" + text[place:])

    def run(*arguments):
        return new_processes.run(
            "-m", "kerasseg", *arguments, import_from=copy / "src", cwd=tmp_path
        )

    return run


def test_a_new_option_is_one_field(copied_kerasseg, tiny_data, tmp_path):
    shown = " ".join(copied_kerasseg("fit", "--help").stdout.split())
    assert "--toy-factor FLOAT Factor of a toy, which nothing reads." in shown
    assert "[default: 1.5; in [1, 9)]" in shown
    recipe, run = tmp_path / "toy.toml", tmp_path / "run"
    place = ("--data", tiny_data, "--run", run)
    recipe.write_text("toy-factor = 9")
    refused = copied_kerasseg("fit", "--recipe", recipe, *TINY, *place)
    assert refused.returncode == 2
    assert "toy_factor must be in [1, 9), got 9.0" in " ".join(refused.stderr.split())
    refused = copied_kerasseg("fit", "--toy-factor", "0", *TINY, *place)
    assert "toy_factor must be in [1, 9), got 0.0" in refused.stderr
    recipe.write_text("toy-factor = 2")
    trained = copied_kerasseg("fit", "--recipe", recipe, *TINY, *place)
    assert trained.returncode == 0, trained.stderr
    assert json.loads((run / "run.json").read_text())["options"]["toy_factor"] == 2.0
    resumed = copied_kerasseg("fit", "--resume", "--run", run)
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "linear"}, "schedule must be one of poly, cosine, step, constant"),
        ({"schedule": "cosine", "power": 2.0}, "power must be 0.9, the default, without --schedu"),
        ({"step_epochs": (3,)}, r"step_epochs must be left out without --schedule step, got \(3,"),
        ({"step_factor": 0.5}, "step_factor must be 0.1, the default, without --schedule step"),
        ({"schedule": "step"}, r"step_epochs must be epochs above 0 and below --epochs 50 with"),
        ({"schedule": "step", "step_epochs": (9, 50)}, r"below --epochs 50 .*, got \(9, 50\)"),
        ({"schedule": "step", "step_epochs": (9, 4)}, "step_epochs must be rising whole numbers"),
        ({"schedule": "step", "step_epochs": (9,), "step_factor": 1.0}, "step_factor must be abo"),
    ],
)
def test_options_without_effect_or_without_what_they_need_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TrainingOptions(**options)


def test_several_epochs_are_one_option(run_cli, tmp_path):
    place = ("--schedule", "step", "--data", tmp_path, "--run", tmp_path / "run")
    fails(run_cli("fit", "--step-epochs", "3,x", *place), "must be EPOCH,... in whole numb", code=2)
    fails(run_cli("fit", "--step-epochs", "30,60", *place), "below --epochs 50", "got (30, 60)")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1,2,4", [1, 2, 4]),
        ("a=0.5,2", [0.5, 2]),
        ("a=8", 8),
        ("a=road,car", "road,car"),
        ("a=1,true", "1,true"),
        ("a=1,", "1,"),
    ],
)
def test_an_argument_of_the_model_may_be_several_numbers(text, value):
    assert options.Assignment().convert(text, None, None) == ("a", value)
