"""Comparison of the classes of two sources, one of which may not know their names."""

from . import ClassSpace, colors


def placeholder_classes(count: int) -> ClassSpace:
    """Returns the classes of imported weights whose names are not known: class_0 and so on."""
    names = tuple(f"class_{index}" for index in range(count))
    return ClassSpace(names, colors.complete(names, {}))


def has_placeholders(classes: ClassSpace, count: int) -> bool:
    """Tells whether classes are `count` placeholders, whose colours depend on the release."""
    return classes.names == tuple(f"class_{index}" for index in range(count))


def are_same(one: ClassSpace, other: ClassSpace) -> bool:
    """Tells whether labels mean the same in two class spaces; the colours only draw them."""
    return one.names == other.names


def describe_difference(expected: ClassSpace, received: ClassSpace) -> str:
    """Lists the classes in which two class spaces differ, one per line."""
    lines = []
    for index in range(max(len(expected.names), len(received.names))):
        one, other = (_describe_class(classes, index) for classes in (expected, received))
        if one != other:
            lines.append(f"  class {index}: must be {one}, got {other}")
    return "\n".join(lines[:12] + (["  ..."] if len(lines) > 12 else []))


def _describe_class(classes: ClassSpace, index: int) -> str:
    if index >= len(classes.names):
        return "absent"
    return f"{classes.names[index]} {classes.colors[index]}"
