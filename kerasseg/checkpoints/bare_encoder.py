"""Encoders alone, as a source of networks like the architectures' sources.

The family of an encoder declares the names of its tensors in `WEIGHTS`, see
`kerasseg.encoders._weights`.
"""

from typing import Any

from .. import encoders
from ..encoders._weights import torch_files

MODEL = "encoder"


class BareEncoder:
    """An encoder of a source, in the form of a source's module.

    Args:
        source: Name of the source, one of `kerasseg.checkpoints.SOURCES`.
        encoder: Name of the encoder.

    Raises:
        ValueError: If the encoder is unknown, or its family does not know the source's names.
    """

    MODELS = (MODEL,)
    PREPROCESSING = None
    RESIZES_LOGITS = False

    def __init__(self, source: str, encoder: Any):
        if encoder is None:
            raise ValueError("encoder must be given for model encoder, got none.")
        family = encoders.family(encoder)
        files = torch_files(family, source)
        if files is None:
            raise ValueError(
                f"encoder must be one whose tensors have known names in source {source}, got "
                f"{encoder!r}."
            )
        self.__name__ = source
        self._files = files

    def infer(self, state: dict, model: str) -> dict:
        """Reads the arguments of the family's `features` from the tensors."""
        return self._files.infer(state)

    def renames(self, model: str) -> list[tuple[str, str]]:
        """Returns the rename table."""
        return list(self._files.renames)

    def adapt(self, state: dict, network: Any) -> dict:
        """Returns the tensors in the form of our layers."""
        return self._files.adapt(state, network)
