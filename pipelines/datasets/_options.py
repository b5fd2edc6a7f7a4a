"""Options that several datasets declare in the same words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ..classes import LABELS_ARE
from ..runs.option_fields import Option, one_of
from ._splits import Fractions

Palette = Annotated[
    Path | None,
    Option("File that lists the classes, with or without colours.", metavar="FILE"),
]
Ignore = Annotated[
    Sequence[int],
    Option("Label values to ignore in addition to 255. May be repeated.", metavar="VALUE,..."),
]
LabelsAre = Annotated[
    str | None,
    Option(
        "What the labels hold where they have a palette, or are gray but saved as RGB: class "
        "numbers or the colours of classes. Unless given, the colours of the classes decide.",
        must_be=one_of(*LABELS_ARE),
    ),
]
SplitFractions = Annotated[
    Fractions | None,
    Option(
        "Shares of the splits that are drawn at random where nothing else says which images they "
        "hold. If only some splits are there, those that are missing are drawn from train.",
        metavar="TRAIN,VALIDATION,TEST",
    ),
]
