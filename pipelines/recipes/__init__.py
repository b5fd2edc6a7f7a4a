"""Recipes: TOML files with values for the options of a training.

A key is an option's name on the command line. The recipes of this folder also have a table `facts`:
what they train, with which score, and who says so. No option comes from it, and a recipe of one's
own may have such a table or not.
"""

import dataclasses
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

from ..errors import InputError

FACTS = "facts"


@dataclass(frozen=True)
class Facts:
    """What is known about a recipe of the package.

    Attributes:
        summary: What it trains, in a few words.
        paper: Authors, title, place and year.
        address: Where the paper is.
        dataset: Name of the dataset, as `kerasseg convert` takes it.
        source: Where settings and score come from.
        hardware: On what the source trained, and for how long.
        measured: Whether the score was measured with kerasseg.
        mean_iou: Score on the validation split, single scale, in [0, 1]; None if none is known.
    """

    summary: str
    paper: str
    address: str
    dataset: str
    source: str
    hardware: str
    measured: bool
    mean_iou: float | None = None

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Self:
        """Reads the facts from the table of a recipe.

        Raises:
            InputError: If one of them is missing, unknown or of another type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        needed = {n for n, field in fields.items() if field.default is dataclasses.MISSING}
        if not needed <= table.keys() <= fields.keys():
            raise InputError(f"facts must be {', '.join(fields)}; got {', '.join(table)}.")
        for name, value in table.items():
            kind = {"measured": bool, "mean_iou": float}.get(name, str)
            if not isinstance(value, kind):
                raise InputError(f"facts: {name} must be of type {kind.__name__}, got {value!r}.")
        return cls(**table)

    @property
    def score(self) -> str:
        """The score with the digits that its source gives, at least three; "-" if none is known."""
        if self.mean_iou is None:
            return "-"
        return (
            f"{self.mean_iou:.3f}"
            if round(self.mean_iou, 3) == self.mean_iou
            else f"{self.mean_iou:.4f}"
        )

    @property
    def origin(self) -> str:
        """Whether the score is "measured" here or "published" elsewhere; "-" if there is none."""
        if self.mean_iou is None:
            return "-"
        return "measured" if self.measured else "published"


def names() -> list[str]:
    """Lists the recipes of the package."""
    return sorted(p.name.removesuffix(".toml") for p in _files() if p.name.endswith(".toml"))


def read(name: str) -> str:
    """Reads the text of a recipe.

    Args:
        name: Of a recipe of the package, or of a file.

    Raises:
        InputError: If there is neither.
    """
    for file in _files():
        if file.name == f"{name}.toml":
            return file.read_text(encoding="utf-8")
    path = Path(name)
    if not path.is_file():
        raise InputError(f"no such file or recipe; recipes are {', '.join(names())}")
    return path.read_text(encoding="utf-8-sig")


def parse(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parses a recipe.

    Returns:
        The values of options, by their names on the command line, and the table of facts.

    Raises:
        InputError: If it is not TOML, or its facts are no table.
    """
    try:
        values = tomllib.loads(text)
    # A ValueError, too: a number with more digits than Python parses.
    except (ValueError, RecursionError) as error:
        raise InputError(str(error)) from error
    table = values.pop(FACTS, {})
    if not isinstance(table, dict):
        raise InputError(f"{FACTS} must be a table, got {table!r}.")
    return values, table


def facts(name: str) -> Facts:
    """Returns the facts of a recipe of the package."""
    return Facts.from_table(parse(read(name))[1])


def _files():
    return resources.files(__name__).iterdir()
