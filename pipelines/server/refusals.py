"""Refusals with gRPC's codes, which are TensorFlow's, and the corresponding HTTP codes."""

import re
from collections.abc import Iterable

INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

# The translation of TensorFlow Serving.
_HTTP = {
    1: 499,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 412,
    10: 409,
    11: 400,
    12: 501,
    14: 503,
    16: 401,
}
_NODE = re.compile(r"\s*\[\[.*\]\].*|\{\{function_node [^}]*\}\}\s*", re.DOTALL)


_LONGEST = 1000  # characters of a message: gRPC's clients refuse longer ones


class ServingError(Exception):
    """The error of a request that is refused or fails.

    Attributes:
        code: gRPC's code.
        http: HTTP's code.
    """

    def __init__(self, message: str, code: int, *, http: int | None = None):
        # Quotations from a request may have any size and may not be encodable.
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(message if len(message) <= _LONGEST else message[:_LONGEST] + " ...")
        self.code = code
        self.http = http or _HTTP.get(code, 500)

    def without_origin(self) -> "ServingError":
        """Copies the error without its traceback, whose frames hold the request's content."""
        return ServingError(str(self), self.code, http=self.http)


def invalid(message: str) -> ServingError:
    """Makes the error for an invalid request."""
    return ServingError(message, INVALID_ARGUMENT)


def no_signature(name: str, signatures: Iterable[str]) -> ServingError:
    """Makes the error for a signature that a model does not have."""
    return invalid(
        f'Serving signature name: "{name}" not found in signature def; there are '
        f"{', '.join(signatures)}."
    )


def without_nodes(message: str) -> str:
    """Removes the graph's internals from TensorFlow's message."""
    return _NODE.sub("", message).strip()
