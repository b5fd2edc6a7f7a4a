"""What an architecture needs of an encoder, and whether a family has it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Needs:
    """What an architecture needs of an encoder.

    Attributes:
        strides: Of the features that it decodes.
        output_strides: Those that it can use; the encoder must dilate to one of them at least.
            Empty for any.
        auxiliary: Stride of the features that an auxiliary head classifies, which are needed only
            with such a head; None if it has none.
        patches: Whether the features must be the patches of a vision transformer.
    """

    strides: tuple[int, ...] = ()
    output_strides: tuple[int, ...] = ()
    auxiliary: int | None = None
    patches: bool = False

    def with_auxiliary(self) -> "Needs":
        """Returns what is needed where there is an auxiliary head."""
        if self.auxiliary is None:
            return self
        return replace(self, strides=tuple(sorted({*self.strides, self.auxiliary})))

    def __str__(self) -> str:
        """Says it in words, such as "features of strides 4 and 32"."""
        if self.patches:
            return "patches of a transformer"
        word = "stride" if len(self.strides) == 1 else "strides"
        return f"features of {word} {listed(self.strides)}" if self.strides else "features"


class Chosen(NamedTuple):
    """An encoder under an architecture.

    Attributes:
        family: Its module, or the `GuestFamily` of a function.
        name: Its name, or the function.
        needs: What the architecture needs of it.
        output_stride: 8, 16 or 32: strides beyond it become dilations. None for the family's own.
    """

    family: Any
    name: Any
    needs: Needs
    output_stride: int | None

    @property
    def preprocessing(self) -> str:
        """The normalisation that it was trained with, one of `preprocessing.PRESETS`."""
        return self.family.PREPROCESSING

    @property
    def separable(self) -> bool:
        """Whether it is made of depthwise separable convolutions, as its decoder is then too."""
        return getattr(self.family, "SEPARABLE", False)

    def features(self, images, **form: Any) -> dict:
        """Applies the encoder.

        Args:
            images: Normalised images `(batch, height, width, channels)`.
            **form: Options of the family's `features` beside the output stride.

        Returns:
            `{stride: features}`, among them all strides that are needed.

        Raises:
            ValueError: If it cannot be applied, or lacks a stride, as a preset may.
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
    """What a family lacks, in words: what is wanted, and what it has instead."""

    wanted: str
    has: str


def lack(family: Any, needs: Needs) -> Lack | None:
    """Says what a family lacks of what an architecture needs; None if it has everything."""
    if needs.patches and not getattr(family, "PATCHES", False):
        return Lack(str(needs), str(Needs(family.STRIDES)))
    if not set(needs.strides) <= set(family.STRIDES):
        return Lack(str(needs), listed(family.STRIDES))
    if needs.output_strides and not set(needs.output_strides) & set(family.OUTPUT_STRIDES):
        wanted = listed(needs.output_strides, "or")
        return Lack(f"output stride {wanted}", listed(family.OUTPUT_STRIDES))
    return None


def spellings(family: Any) -> tuple[str, ...]:
    """Lists how the encoders of a family are named, such as "mobilenetv2:WIDTH"."""
    return getattr(family, "SPELLINGS", family.NAMES)


def listed(values: Iterable[Any], word: str = "and") -> str:
    """Lists values in words: "8, 16 and 32"."""
    *first, last = map(str, values)
    return f"{', '.join(first)} {word} {last}" if first else last
