"""What the tensors of a network do not tell: arguments such as the output stride.

Networks of one source may have the same tensors and nevertheless differ: in the output stride, in
dilations, or in how they resize. A source of such networks has a function `untold(model,
arguments)` in its module. It is given the name of the architecture and all arguments that are
known, from the tensors, from a configuration or from the user. It returns the arguments that are
missing, each with its possible values in words, such as `{"output_stride": "8 or 16"}`. Which ones
are missing may depend on those that are known. It returns `{}` if nothing is missing.

`kerasseg.checkpoints.from_state_dict` takes the usual form of the source for what is not given,
unless it is called with `complete=True`.
"""

from typing import Any


class UntoldError(ValueError):
    """Arguments are missing that neither the tensors nor the caller tell.

    Args:
        missing: Their possible values in words, by name.
    """

    def __init__(self, missing: dict[str, str]):
        self.missing = missing
        asked = ", ".join(f"{name} ({values})" for name, values in missing.items())
        super().__init__(f"the tensors do not tell all of the network; give {asked}.")


def untold(source: Any, model: str, arguments: dict[str, Any]) -> dict[str, str]:
    """Lists the arguments that are missing.

    Args:
        source: Module of the source.
        model: Name of the architecture.
        arguments: What is known: arguments that the tensors tell, and those that are given.

    Returns:
        Possible values in words, by the name of the argument; empty if nothing is missing.
    """
    function = getattr(source, "untold", None)
    return {} if function is None else function(model, arguments)
