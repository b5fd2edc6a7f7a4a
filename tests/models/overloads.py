"""The stub of `kerasseg.build`: an overload for each architecture, from the builders' source.

Run as a program, this writes it anew: after an architecture or one of its options has changed.
"""

import ast
from pathlib import Path

from kerasseg import models

FILE = Path(models.__file__).with_name("_by_name.pyi")

HEAD = """\
# Written by tests/models/overloads.py from the builders' signatures.
from collections.abc import Callable, Sequence
from typing import Literal, overload

import keras

def names() -> list[str]: ...
def builder(name: str) -> Callable[..., keras.Model]: ...
"""


def render() -> str:
    """Returns the stub's text."""
    return HEAD + "".join(_overload(name) for name in models.names())


def _overload(name: str) -> str:
    lines = ["@overload", "def build(", f'    name: Literal["{name}"],', "    *,"]
    signature = _signature(name)
    for argument, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True):
        value = "" if default is None else f" = {ast.unparse(default)}".replace("'", '"')
        lines.append(f"    {argument.arg}: {ast.unparse(argument.annotation)}{value},")
    return "\n".join([*lines, ") -> keras.Model: ...", ""])


def _signature(name: str) -> ast.arguments:
    tree = ast.parse(FILE.with_name(f"{name}.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    return functions["build"].args


if __name__ == "__main__":
    FILE.write_text(render())
