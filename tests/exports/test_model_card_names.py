import re
from html.parser import HTMLParser

import pytest

from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.exports import model_card
from kerasseg.pipelines.exports.formats import Export
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runs.training_options import TrainingOptions

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "`code` *bold* _slanted_ ~struck~",
    "[link](https://example.org)",
    "\\| backslash",
    "Straße & Wiese",
)


class Tags(HTMLParser):
    """Collects the tags of a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


@pytest.fixture
def card(tmp_path):
    names = (*HOSTILE, "x" * 3)
    classes = ClassSpace(names, tuple((i, i, i) for i in range(len(names))))
    origin = {"name": "<b>|data`", "path": "", "fingerprint": "0123"}
    described = run_folder.describe(
        tmp_path / "run", TrainingOptions(model="unet"), classes, origin
    )
    export = Export("street", classes, {}, None, False)
    model_card.write(tmp_path / "card.md", "street", described, None, {}, export=export)
    return (tmp_path / "card.md").read_text()


def test_names_cannot_leave_their_cell_nor_become_markup(card):
    tags = Tags()
    tags.feed(card)
    assert tags.found == []
    rows = [line for line in card.splitlines() if re.match(r"\| .* \| \d+, ", line)]
    assert len(rows) == len(HOSTILE) + 1
    for row, name in zip(rows, HOSTILE, strict=False):
        # Cells end at bars that no odd number of backslashes precedes.
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", row)
        assert len(cells) == 5, row
        shown = re.sub(r"\\(.)", r"\1", cells[1].strip())
        for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
            shown = shown.replace(entity, character)
        assert shown == name
        assert not re.search(r"(?<!\\)[`*_\[\]~]", cells[1].replace("\\\\", ""))


def test_the_name_of_the_dataset_cannot_become_markup_either(card):
    (line,) = [line for line in card.splitlines() if line.startswith("Trained on")]
    assert line.startswith(r"Trained on &lt;b&gt;\|data\` (fingerprint 0123)")


def test_plain_names_stay_as_they_are():
    assert model_card.escape("traffic light 2") == "traffic light 2"
    assert model_card.escape("a\x1b[31mb\nc") == r"a\\x1b\[31mb\\nc"
