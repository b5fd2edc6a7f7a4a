"""The helps of all options: sentences that can be read without their neighbours."""

import re

import click
import pytest

from kerasseg.pipelines.cli import main

HELPS = {
    f"{name} {option.opts[-1]}": option.help or ""
    for name, command in main.commands.items()
    for option in command.params
    if isinstance(option, click.Option)
}


@pytest.mark.parametrize("option", HELPS)
def test_the_help_of_every_option_is_a_sentence_that_stands_alone(option):
    text = HELPS[option]
    # The names of the datasets that have the option may come first.
    sentence = re.sub(r"^[a-z0-9_]+(, [a-z0-9_]+)*: ", "", text)
    assert re.match(r"[A-Z]", sentence)
    assert not re.match(r"(Of|In|For|Its|The same|What of it)\b", sentence)
    assert text.endswith(".")
    assert len(text.split()) >= 4


def test_options_of_single_datasets_name_the_datasets_that_have_them():
    assert HELPS["convert --release"].startswith("mapillary: ")
    assert HELPS["convert --palette"].startswith("folder, tfds: ")
    assert re.match(r"camvid: .*11.*\. cityscapes: .*30.*\.$", HELPS["convert --classes"])
    assert HELPS["convert --classes"] == HELPS["check --classes"]
