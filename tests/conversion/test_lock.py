"""Two conversions into one output: one is refused at once, and what is published is sound."""

import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import check, convert, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runtime import locks

PAIRS = 120


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Pairs enough that a conversion takes longer than the start of a second one. Do not change."""
    root = tmp_path_factory.mktemp("tree")
    (root / "classes.txt").write_text("a\nb\nc\n")
    rng = np.random.default_rng(0)
    for split, count in (("train", PAIRS), ("val", 2)):
        for kind, shape, most in (("images", (9, 11, 3), 256), ("labels", (9, 11), 3)):
            (root / kind / split).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, most, shape, np.uint8)
                PIL.Image.fromarray(pixels).save(root / kind / split / f"{index}.png")
    return root


# Converts slowly: each example takes 20 ms more.
PROGRAM = """if True:
    import sys, time
    from kerasseg.pipelines import convert
    from kerasseg.pipelines.errors import InputError
    source, output, class_map = sys.argv[1:]
    try:
        convert.run("folder", source, output, class_map=class_map, workers=1,
                    on_progress=lambda done, total: time.sleep(0.02))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
"""


def start(tree, output, class_map):
    command = [sys.executable, "-c", PROGRAM, str(tree), str(output), class_map]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_of_two_conversions_at_once_one_is_refused_and_the_other_is_sound(tree, tmp_path, delay):
    maps = ["0:0,1:1,2:2", "0:2,1:1,2:0"]
    first = start(tree, tmp_path, maps[0])
    time.sleep(delay)
    second = start(tree, tmp_path, maps[1])
    errors = [process.communicate(timeout=100)[1] for process in (first, second)]
    codes = [first.returncode, second.returncode]
    assert sorted(codes) == [0, 1], errors
    winner = codes.index(0)
    assert "must not be in use, got process" in errors[1 - winner]
    assert check.run(tmp_path).errors == 0
    again = []
    convert.run("folder", tree, tmp_path, class_map=maps[winner], on_remark=again.append)
    assert again == ["already converted, nothing done"]
    counts = [0, 0, 0]
    for path in (tree / "labels" / "train").iterdir():
        with PIL.Image.open(path) as picture:
            found = np.bincount(np.asarray(picture).ravel(), minlength=3)
            counts = [a + b for a, b in zip(counts, found.tolist(), strict=True)]
    converted = records.load(tmp_path).splits["train"].class_pixels
    assert converted == (counts if winner == 0 else counts[::-1])


def test_a_conversion_is_refused_before_it_reads_the_source(tree, tmp_path):
    with (
        locks.exclusive(tmp_path / "folder"),
        pytest.raises(InputError, match="must not be in use"),
    ):
        convert.run("folder", tree / "nowhere", tmp_path)


def test_a_conversion_that_would_replace_another_is_refused_as_well(tree, tmp_path):
    convert.run("folder", tree, tmp_path)
    with locks.exclusive(tmp_path / "folder"):
        with pytest.raises(InputError, match="must not be in use"):
            convert.run("folder", tree, tmp_path, overwrite=True)
        # One that only finds out that nothing is to be done need not wait.
        convert.run("folder", tree, tmp_path)


def test_beam_holds_the_lock_too(tree, tmp_path):
    with (
        locks.exclusive(tmp_path / "folder"),
        pytest.raises(InputError, match="must not be in use"),
    ):
        convert.run("folder", tree, tmp_path, runner="beam")
