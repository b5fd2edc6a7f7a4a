"""Names of files and classes that a terminal would act upon."""

import unicodedata

import numpy as np
import PIL.Image
import pytest
from rich.text import Text

from kerasseg.pipelines.cli import options
from kerasseg.pipelines.errors import printable

ESCAPE = "\x1b[31mred\x1b[0m\x07"


def hostile(text):
    """Lists the characters that a terminal may act upon or hide, but for ends of lines and tabs."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in kinds]


@pytest.fixture
def tree(tmp_path):
    """A folder dataset whose files have ESC in their names; each label has a wrong value."""
    for split in ("train", "validation"):
        for kind in ("images", "labels"):
            path = tmp_path / kind / split / f"{ESCAPE}.png"
            path.parent.mkdir(parents=True)
            shape = (5, 7, 3) if kind == "images" else (5, 7)
            fill = 9 if split == "train" else 10
            PIL.Image.fromarray(np.full(shape, fill, np.uint8)).save(path)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    return tmp_path


def test_text_is_printable_and_stays_as_it_is_if_it_was():
    assert printable("Straße 道路 ✓") == "Straße 道路 ✓"
    text = "".join(map(chr, (*range(256), 0x202E, 0x2028, 0xD800, 0xFEFF, 0x1F600)))
    assert hostile(printable(text)) == []
    assert printable(ESCAPE) == r"\x1b[31mred\x1b[0m\x07"
    assert printable("a\nb\tc") == r"a\nb\tc"
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"


@pytest.mark.parametrize("command", ["convert", "check"])
def test_bad_files_are_listed_with_their_names_escaped(tree, run_cli, command):
    place = ("--source", tree, "--output", tree / "data") if command == "convert" else (tree,)
    done = run_cli(command, "--dataset", "folder", *place)
    assert done.exit_code == 1
    assert hostile(done.output) == []
    assert r"\x1b[31mred" in done.output.replace("\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", f"absent{ESCAPE}"),
        ("predict", "absent", f"a{ESCAPE}.png"),
        ("convert", "--dataset", f"x{ESCAPE}"),
        ("convert", "--dataset", "folder", "--source", f"absent{ESCAPE}"),
        (f"--{ESCAPE}",),
        (f"nothing{ESCAPE}",),
        ("evaluate", f"absent{ESCAPE}"),
    ],
    ids=["check", "predict", "dataset", "source", "option", "command", "run"],
)
def test_errors_escape_what_was_given(run_cli, arguments):
    done = run_cli(*arguments)
    assert done.exit_code in (1, 2)
    assert r"\x1b" in done.output
    assert hostile(done.output) == []


def test_class_names_are_printed_as_they_are_and_obeyed_in_nothing(capsys):
    options.print_table(("class",), [("[red]a[/red] :smile:",), (ESCAPE,)], title="classes")
    console = options.console()
    console.print(f"[bold]x[/bold] :smile: {ESCAPE}", Text("shown"))
    shown = capsys.readouterr().out
    assert hostile(shown) == []
    for part in ("[red]a[/red] :smile:", "[bold]x[/bold] :smile:", r"\x1b[31mred", "shown"):
        assert part in shown
