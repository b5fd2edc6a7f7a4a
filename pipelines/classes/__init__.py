"""Classes: the space of a dataset's classes, and what its raw label values mean. NumPy only."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from typing import TYPE_CHECKING

from kerasseg import IGNORE_LABEL, lazy

from ..errors import InputError
from .colors import is_background

if TYPE_CHECKING:
    from . import class_documents as class_documents
    from . import class_file as class_file
    from . import class_lines as class_lines
    from . import class_maps as class_maps
    from . import class_tables as class_tables
    from . import colors as colors
    from . import comparison as comparison
    from . import entries as entries
    from . import label_maps as label_maps
    from . import label_notes as label_notes
    from . import palettes as palettes
    from . import pixel_counts as pixel_counts
    from . import value_runs as value_runs
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)

LABELS_ARE = ("numbers", "colors")
LARGEST_VALUE = 65535
# Control characters, ends of lines, and halves of characters that UTF-8 cannot hold.
NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class ClassSpace:
    """The classes that labels 0, 1, 2 ... stand for.

    Attributes:
        names: One name per class.
        colors: One (red, green, blue) per class, each in [0, 255].
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        """Checks the lengths and ranges."""
        if not 1 <= len(self.names) <= IGNORE_LABEL:
            raise InputError(
                f"number of classes must be in [1, 255], got {len(self.names)}: labels are uint8, "
                "and 255 means ignored."
            )
        for name in self.names:
            if not isinstance(name, str) or not name.strip() or NOT_TEXT.search(name):
                raise InputError(f"a class name must be text of one line, got {name!r}.")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise InputError(f"class names must differ, got {twice} more than once.")
        if len(self.colors) != len(self.names):
            raise InputError(
                f"colors must be one per class, {len(self.names)}, got {len(self.colors)}."
            )
        for color in self.colors:
            if len(color) != 3 or not all(map(_is_byte, color)):
                raise InputError(
                    f"a colour must be three whole numbers in [0, 255], got {color!r}."
                )

    @property
    def count(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def look_alikes(self) -> str:
        """Names that differ only in upper and lower case, such as "Car and car"; empty for none.

        They are different classes, but mostly the same one, spelt in two ways by two people.
        """
        spellings: dict[str, list[str]] = {}
        for name in self.names:
            spellings.setdefault(name.casefold(), []).append(name)
        return ", ".join(" and ".join(same) for same in spellings.values() if len(same) > 1)

    @property
    def undrawn(self) -> tuple[int, ...]:
        """Classes that pictures do not draw: class 0 if its name means background."""
        return (0,) if is_background(self.names[0]) else ()

    @property
    def fingerprint(self) -> str:
        """Hash of names and colours: equal class spaces have equal fingerprints."""
        content = json.dumps([self.names, self.colors, IGNORE_LABEL], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def compose(name: str) -> str:
    """Composes the accents in a name of a class or file, so that names that look alike are equal.

    A Mac stores accents in some names as separate characters. Unicode takes both forms for the same
    text (normal form C), but not capital letters or characters of other widths.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _is_byte(value: object) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) <= 255


@dataclass(frozen=True)
class Description:
    """The facts of a dataset.

    Attributes:
        classes: Names and colours.
        raw_values: What each integer in a label file, in [0, 65535], means: a class, or 255 for
            ignored. A value that is not listed is an error.
        raw_colors: Meaning of each colour in labels that are RGB pictures; empty to refuse these.
        split_sizes: Number of examples of each split that the source should have; a split may be
            left out when its size is not fixed.
        homepage: Where the dataset comes from.
        hints: The likely cause of a value that is not listed.
        labels_are: How label files with colours are understood, those with a palette and gray ones
            saved as RGB: "stored" takes the numbers that the file stores, and looks RGB colours up;
            "numbers" does so too, and takes RGB gray for numbers; "colors" looks all colours up;
            "either" decides by the colours of the classes, and refuses a label if they do not
            decide.
        overridden: Values whose meaning an option changed, with the meaning that the dataset gave
            them.
    """

    classes: ClassSpace
    raw_values: Mapping[int, int]
    raw_colors: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    homepage: str = ""
    hints: Mapping[int, str] = field(default_factory=dict)
    labels_are: str = "stored"
    overridden: Mapping[int, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Shows the last two fields only if they have an effect.

        This text identifies conversions, and those of release 0.1 must stay known.
        """
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.labels_are in ("stored", "either"):  # the values without an option
            del shown["labels_are"]
        if not self.overridden:
            del shown["overridden"]
        listed = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"{type(self).__name__}({listed})"

    def overriding(self, values: Mapping[int, int]) -> "Description":
        """Returns the facts with a new meaning for some values."""
        had = {v: self.raw_values[v] for v in values if v in self.raw_values}
        overridden = {v: label for v, label in had.items() if values[v] != label}
        return replace(
            self,
            raw_values={**self.raw_values, **values},
            overridden={**overridden, **self.overridden},
        )


def ignoring(description: Description, values: Iterable[int]) -> Description:
    """Returns a dataset's facts with further raw label values ignored.

    Args:
        description: The facts.
        values: In [0, 65535].

    Raises:
        InputError: If a value is out of range, or is the only value of a class other than the
            background: labels would then lack a class of the list.
    """
    ignored = frozenset(values)
    for value in sorted(ignored):
        if not 0 <= value <= LARGEST_VALUE:
            raise InputError(f"ignored values must be in [0, {LARGEST_VALUE}], got {value}.")
    left = {label for value, label in description.raw_values.items() if value not in ignored}
    for value in sorted(ignored):
        label = description.raw_values.get(value, IGNORE_LABEL)
        if label != IGNORE_LABEL and label not in left:
            name = description.classes.names[label]
            if not is_background(name):
                raise InputError(
                    f"ignored values must not be classes, got {value}, which is {name}; if the "
                    f"classes have other values, list them, as in '{value + 1}: {name}'."
                )
    return description.overriding(dict.fromkeys(ignored, IGNORE_LABEL))
