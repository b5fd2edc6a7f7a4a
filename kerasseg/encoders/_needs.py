"""What an architecture needs of an encoder, and what a family of encoders lacks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Needs:
    """What an architecture needs of an encoder.

    Attributes:
        strides: Strides of the features that the architecture decodes.
        output_strides: Output strides that the architecture can use; the encoder must have at least
            one of them. Empty if it can use all.
        auxiliary: Stride of the features that an auxiliary head classifies, which are needed only
            with such a head; None if the architecture has no such head.
        patches: Whether the features must be the patches of a vision transformer.
        blocks: Whether the architecture puts tokens of its own between the blocks of a vision
            transformer, whose family must have a function `tokens`, and say in `LEARNED_POSITIONS`
            whether that takes the `grid` of learned position embeddings.
    """

    strides: tuple[int, ...] = ()
    output_strides: tuple[int, ...] = ()
    auxiliary: int | None = None
    patches: bool = False
    blocks: bool = False

    def with_auxiliary(self) -> "Needs":
        """Returns what is needed if there is an auxiliary head."""
        if self.auxiliary is None:
            return self
        return replace(self, strides=tuple(sorted({*self.strides, self.auxiliary})))

    def __str__(self) -> str:
        """Describes what is needed in words, such as "features of strides 4 and 32"."""
        if self.patches:
            return "patches of a transformer"
        if self.blocks:
            return "blocks of a transformer between which tokens can be put"
        word = "stride" if len(self.strides) == 1 else "strides"
        return f"features of {word} {listed(self.strides)}" if self.strides else "features"


class Chosen(NamedTuple):
    """An encoder that an architecture uses.

    Attributes:
        family: Module of its family, or the `GuestFamily` of the user's function.
        name: Its name, or the user's function.
        needs: What the architecture needs of the encoder.
        output_stride: 8, 16 or 32; strides beyond it become dilations. None for the default of the
            family.
    """

    family: Any
    name: Any
    needs: Needs
    output_stride: int | None

    @property
    def preprocessing(self) -> str:
        """Normalisation that the encoder was trained with, one of `preprocessing.PRESETS`."""
        return self.family.PREPROCESSING

    @property
    def separable(self) -> bool:
        """Whether it is made of depthwise separable convolutions, as its decoder is then too."""
        return getattr(self.family, "SEPARABLE", False)

    def form(self, library: str) -> dict:
        """Returns the options of the family's `features` that make it equal to a library's.

        Args:
            library: Name of the library as architectures name their variants, such as "smp".
        """
        return dict(getattr(self.family, "LIBRARY_FORMS", {}).get(library, {}))

    def features(self, images, **form: Any) -> dict:
        """Applies the encoder.

        Args:
            images: Normalised images `(batch, height, width, channels)`.
            **form: Further options of the family's `features`.

        Returns:
            `{stride: features}` with all strides that are needed, and perhaps others.

        Raises:
            ValueError: If the encoder cannot be applied, or lacks a stride, as presets of keras-hub
                may.
        """
        if self.output_stride is not None:
            form["output_stride"] = self.output_stride
        found = self.family.features(images, self.name, **form)
        if not set(self.needs.strides) <= set(found):
            raise ValueError(
                f"encoder must have {self.needs}, got {self.name!r}, which has "
                f"{listed(found) if found else 'none'}."
            )
        return found


class Lack(NamedTuple):
    """What a family lacks: `wanted` says what is needed, `has` what the family has instead."""

    wanted: str
    has: str


def lack(family: Any, needs: Needs) -> Lack | None:
    """Finds what a family lacks that an architecture needs; None if it lacks nothing."""
    if needs.patches and not getattr(family, "PATCHES", False):
        return Lack(str(needs), str(Needs(family.STRIDES)))
    if needs.blocks and not getattr(family, "BLOCKS", False):
        return Lack(str(needs), str(Needs(family.STRIDES)))
    if not set(needs.strides) <= set(family.STRIDES):
        return Lack(str(needs), listed(family.STRIDES))
    if needs.output_strides and not set(needs.output_strides) & set(family.OUTPUT_STRIDES):
        wanted = listed(needs.output_strides, "or")
        return Lack(f"output stride {wanted}", listed(family.OUTPUT_STRIDES))
    return None


def spellings(family: Any) -> tuple[str, ...]:
    """Lists the names of a family's encoders, such as "mobilenetv2:WIDTH"."""
    return getattr(family, "SPELLINGS", family.NAMES)


def listed(values: Iterable[Any], word: str = "and") -> str:
    """Joins values in words, as in "8, 16 and 32"."""
    *first, last = map(str, values)
    return f"{', '.join(first)} {word} {last}" if first else last
