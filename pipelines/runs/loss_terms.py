"""The sum of losses that `--loss` asks for, such as "ce + 0.5*lovasz"."""

import math
import re
from dataclasses import dataclass

# The loss that an architecture is published with.
AUTO = "auto"
# Names on the command line and in recipes, and the classes of `kerasseg.losses` that they mean.
CLASSES = {
    "ce": "CrossEntropy",
    "cross-entropy": "CrossEntropy",
    "dice": "Dice",
    "focal": "Focal",
    "jaccard": "Jaccard",
    "lovasz": "LovaszSoftmax",
    "mask-classification": "MaskClassification",
    "ohem": "OnlineHardExamples",
    "tversky": "Tversky",
}
# They complete "must be".
WORDS = (
    f"a sum such as ce + 0.5*lovasz of {', '.join(CLASSES)}; auto; or FILE.py:CLASS or "
    "package.module:CLASS"
)
_NUMBER = r"[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?"
_TERM = re.compile(rf"(?:({_NUMBER})\s*\*\s*)?([a-z-]+)\s*(?:\(([^()]*)\))?", re.IGNORECASE)
# The classes refuse negative numbers, and say why.
_ARGUMENT = re.compile(rf"([a-z_]+)\s*=\s*(-?{_NUMBER})", re.IGNORECASE)


@dataclass(frozen=True)
class Term:
    """A loss and its factor.

    Attributes:
        weight: The factor, above 0.
        name: One of `CLASSES`.
        arguments: Arguments of the class's constructor, numbers by name.
    """

    weight: float
    name: str
    arguments: dict[str, float]


def parse(text: str) -> list[Term]:
    """Reads a sum of losses.

    The grammar: `TERM + TERM ...`, a TERM being `WEIGHT*NAME(ARGUMENT=NUMBER, ...)`, where weight
    and arguments may be left out.

    Args:
        text: Such as "ce", "ce + 0.5*lovasz" or "0.3*focal(gamma=3) + tversky(alpha=0.2,beta=0.8)".

    Raises:
        ValueError: If the text is no such sum, names an unknown loss, or has a weight of 0 or
            one that is not finite.
    """
    # A plus sign inside of a number, as in 1e+2, is no sum.
    return [_parse_term(part.strip()) for part in re.split(r"(?<!\d[eE])\+", text)]


def _parse_term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None or found[2] not in CLASSES:
        raise ValueError(f"loss must be {WORDS}, got {text!r}.")
    weight = float(found[1] or 1)
    if weight == 0 or math.isinf(weight):
        raise ValueError(f"weight of a loss must be above 0 and finite, got {text!r}.")
    arguments: dict[str, float] = {}
    for part in (found[3] or "").split(",") if (found[3] or "").strip() else ():
        argument = _ARGUMENT.fullmatch(part.strip())
        if argument is None or argument[1] in arguments:
            raise ValueError(
                f"arguments of a loss must be NAME=NUMBER each, a name once, got {text!r}."
            )
        arguments[argument[1]] = _number(argument[2])
    return Term(weight, found[2], arguments)


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)
