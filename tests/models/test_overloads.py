"""The stub from which type checkers know what `kerasseg.build` takes."""

import ast
import inspect

import overloads

from kerasseg import models
from kerasseg.models import _by_name


def test_the_stub_is_what_the_builders_source_gives():
    assert overloads.FILE.read_text() == overloads.render(), (
        "the stub is old; `python tests/models/overloads.py` writes it anew"
    )


def test_each_architecture_has_an_overload_with_its_options_and_their_defaults():
    found = {}
    for node in ast.parse(overloads.FILE.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            name = ast.literal_eval(node.args.args[0].annotation.slice)
            defaults = [default and ast.literal_eval(default) for default in node.args.kw_defaults]
            options = [argument.arg for argument in node.args.kwonlyargs]
            found[name] = dict(zip(options, defaults, strict=True))
    assert list(found) == models.names()
    for name, options in found.items():
        parameters = inspect.signature(models.builder(name)).parameters.values()
        assert all(parameter.kind == parameter.KEYWORD_ONLY for parameter in parameters)
        assert options == {
            parameter.name: None if parameter.default is parameter.empty else parameter.default
            for parameter in parameters
        }


def test_the_stub_has_the_functions_of_the_module_and_no_other():
    functions = {name for name, _ in inspect.getmembers(_by_name, inspect.isfunction)}
    names = [getattr(node, "name", None) for node in ast.parse(overloads.FILE.read_text()).body]
    assert functions == {name for name in names if name} == {"build", "builder", "names"}
