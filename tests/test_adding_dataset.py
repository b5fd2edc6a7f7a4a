"""What is promised to those who add a dataset: it is one file, options of its own included.

The toy is added to a copy of the source, which processes of their own import.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import records

ROOT = Path(__file__).parents[1]

DATASET = '''
"""Ponds: a pond in the grass of each image, in summer or in winter."""

from pathlib import Path
from typing import Annotated

from ..classes import ClassSpace, Description
from ..runs.option_fields import Option, one_of
from . import Example, _listing

_GROUND = {"summer": "grass", "winter": "snow"}


def is_source(root):
    return (root / "ponds").is_dir()


def describe(
    root: Path,
    *,
    season: Annotated[
        str, Option("Season of the photographs.", must_be=one_of(*_GROUND))
    ] = "summer",
    depth: Annotated[int, Option("Depth of the ponds in metres.")] = 1,
) -> Description:
    classes = ClassSpace((_GROUND[season], "water"), ((0, 255, 0), (0, 0, 255)))
    return Description(classes, {0: 0, 1: 1})


def examples(root, split, *, season="summer", depth=1):
    top = root / "ponds" / split
    return _listing.pair(root, top / "images", top / "labels") if top.is_dir() else []
'''


@pytest.fixture
def copy(tmp_path):
    """A copy of the source with the dataset, and a tree of its layout in `raw`."""
    for folder in ("kerasseg", "pipelines", "src"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    (tmp_path / "pipelines" / "datasets" / "ponds.py").write_text(DATASET)
    for index, split in enumerate(("train", "validation")):
        for kind in ("images", "labels"):
            path = tmp_path / "raw" / "ponds" / split / kind / f"{split}.png"
            path.parent.mkdir(parents=True)
            shape = (4, 6, 3) if kind == "images" else (4, 6)
            pixels = np.full(shape, index, np.uint8)
            pixels[0] = 1 - index
            PIL.Image.fromarray(pixels).save(path)
    return tmp_path


def run(copy, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "200"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=copy
    )


def test_a_dataset_with_options_of_its_own_is_one_file(copy):
    code = (
        "import click\n"
        "from kerasseg.pipelines.cli import main\n"
        "for name in ('convert', 'check'):\n"
        "    print(main.commands[name].get_help(click.Context(main.commands[name])))\n"
    )
    shown = " ".join(run(copy, "-c", code).stdout.split())
    for text in (
        "--season [summer|winter] ponds: Season of the photographs.",
        "--depth INTEGER ponds: Depth of the ponds in metres.",
    ):
        assert shown.count(text) == 2
    convert = ("-m", "kerasseg", "convert", "--source", "raw", "--dataset")
    done = run(copy, *convert, "ponds", "--season", "winter")
    assert done.returncode == 0, done.stderr
    assert records.load(copy / "data" / "ponds").classes.names == ("snow", "water")
    assert "season" in run(copy, *convert, "ponds", "--season", "autumn").stderr
    assert (
        "must be --classes, got --season."
        in run(copy, *convert, "camvid", "--season", "winter").stderr
    )


def test_values_that_a_program_gives_an_option_of_a_dataset_are_checked(copy):
    code = (
        "from kerasseg.pipelines import check, convert\n"
        "for run in (lambda **o: convert.run('ponds', 'raw', 'out', **o),\n"
        "            lambda **o: check.run('raw', 'ponds', **o)):\n"
        "    for options in ({'season': 'autumn'}, {'depth': '3'}):\n"
        "        try: run(**options)\n"
        "        except ValueError as error: print(error)\n"
    )
    done = run(copy, "-c", code)
    assert done.stdout.splitlines() == 2 * [
        "season must be one of summer, winter, got 'autumn'.",
        "depth must be a whole number, got '3'.",
    ], done.stderr
