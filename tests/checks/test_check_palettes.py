import json

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import check
from kerasseg.pipelines.checks import page

NAMES = "background\ncat\ndog\n"
ONE = ((0, 0, 0), (128, 0, 0), (0, 128, 0))
OTHER = ((0, 0, 0), (0, 0, 128), (0, 128, 0))


def build(root, palettes, classes):
    """Writes a folder dataset; each label has the three classes, and its palette if it has one."""
    label = np.repeat(np.arange(3, dtype=np.uint8), 3)[None].repeat(8, 0)
    for split in ("train", "validation"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index, palette in enumerate(palettes):
            pixels = np.random.default_rng((index, len(split))).integers(
                0, 256, (8, 9, 3), np.uint8
            )
            PIL.Image.fromarray(pixels).save(root / "images" / split / f"{index}.png")
            picture = PIL.Image.fromarray(label)
            if palette:
                picture.putpalette([channel for color in palette for channel in color])
            picture.save(root / "labels" / split / f"{index}.png")
    (root / "classes.txt").write_text(classes)
    return root


def test_each_different_palette_is_listed_with_its_files(tmp_path, run_cli):
    report = check.run(build(tmp_path, [ONE, OTHER, None, ONE], NAMES), "folder")
    first, second = report.palettes
    assert (list(first.colors), first.labels) == (list(ONE), 4)
    assert list(first.files) == [
        f"images/{split}/{n}.png" for split in ("train", "validation") for n in (0, 3)
    ]
    assert (list(second.colors), second.labels) == (list(OTHER), 2)
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("label colours", "error")
    assert finding.what == (
        "palettes must be the same in all labels, got (128, 0, 0) for number 1, and (0, 0, 128) in "
        "images/train/1.png"
    )
    done = run_cli("check", tmp_path, "--json", tmp_path / "report.json")
    assert done.exit_code == 1
    shown = " ".join(done.output.split())
    assert "palettes of the labels" in shown
    assert "(0, 0, 128)" in shown
    stored = json.loads((tmp_path / "report.json").read_text())["palettes"]
    assert [palette["labels"] for palette in stored] == [4, 2]
    assert "Palettes of the labels" in page.render(report)


@pytest.mark.parametrize(
    ("palettes", "classes", "number"),
    [
        ([ONE, ONE], NAMES, 1),
        ([ONE, OTHER], "background 0 0 0\ncat 128 0 0\ndog 0 128 0\nignore 0 0 128\n", 2),
        ([None, None], NAMES, 0),
    ],
    ids=["one", "all colours listed", "none"],
)
def test_palettes_that_leave_nothing_open_are_no_finding(tmp_path, palettes, classes, number):
    report = check.run(build(tmp_path, palettes, classes), "folder")
    assert report.findings == []
    assert len(report.palettes) == number


def test_a_palette_that_contradicts_the_class_list_is_an_error_of_its_label(tmp_path):
    root = build(tmp_path, [ONE], "background 0 0 0\ncat 128 0 0\ndog 1 2 3\n")
    report = check.run(root, "folder")
    assert {(f.severity, f.kind) for f in report.findings} == {("error", "label values")}
    assert "palette entry 2 must mean the same by number and by colour" in report.findings[0].what
    told = check.run(root, "folder", labels_are="numbers")
    assert told.findings == []


def test_how_labels_were_understood_is_said(tmp_path, run_cli):
    root = build(tmp_path, [None, None], NAMES)
    for path in root.glob("labels/*/1.png"):
        with PIL.Image.open(path) as picture:
            colored = picture.convert("RGB")
        colored.save(path)
    done = run_cli("check", root)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.output.splitlines() if "gray saved as RGB" in line]
    assert "images/train/1.png" in line
    assert line in page.render(check.run(root, "folder"))
