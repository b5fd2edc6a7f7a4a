"""Class lists as JSON or in its structure: Python's literals and TensorFlow's label maps.

    ["NAME", ...]    [{"name": ..., "color": ..., "id": ...}, ...]
    {"NAME": [R, G, B], ...}    {"NAME": 1, ...}    {"0": "NAME", ...}    {"#4682b4": "NAME", ...}
    {"categories": [...]} (COCO), {"classes": [...]} (Supervisely), {"labels": [...]} (Mapillary,
    CVAT), {"id2label": {...}} (Hugging Face)
    METAINFO = dict(classes=(...), palette=[...]) (OpenMMLab)    VOC_CLASSES = [...]
    item { id: 1 name: "..." } (label_map.pbtxt)

Objects are tuples of pairs here: a dictionary would keep the last of names that are there twice.
"""

import ast
import json
import re
import warnings
from pathlib import Path
from typing import Any

from ..errors import InputError
from .colors import Color
from .entries import Entry, by_value, located, make, parse_color

PBTXT = re.compile(r"(?:\s|#.*\n)*item\s*\{")
PYTHON = re.compile(
    r"^[ \t]*(?:class\s+\w+.*:|(?:from|import)\s+\w+.*|@\w+.*|[A-Za-z_]\w*\s*(?::[^=\n]+)?=\s*"
    r"(?:[\[({]|dict\s*\())",
    re.MULTILINE,
)
_SECTIONS = ("categories", "classes", "labels", "names", "id2label", "label2id", "class_names")
_FIELDS = {
    "name": ("name", "label", "class", "title", "class_name", "category", "display_name"),
    "color": ("color", "colour", "rgb", "hex", "color_rgb"),
    "id": ("id", "value", "pixel_value", "index", "class_id", "category_id"),
}
_PBTXT_TOKEN = re.compile(
    r"\s+|\#[^\n]*|(?P<open>(\w+)\s*:?\s*\{)|(?P<close>\})|[,;]"
    r'|(?P<field>(\w+)\s*:\s*("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|[-\w.]+))'
)


def parse_json(path: Path, text: str) -> Any:
    """Parses JSON; objects become tuples of pairs.

    Raises:
        InputError: If it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be JSON ({error}).") from error


def parse_python(path: Path, text: str) -> Any:
    """Finds the classes, and their palette, among the assignments and keywords of Python code.

    The code is not executed.

    Returns:
        The structure that JSON would give.

    Raises:
        InputError: If it is not Python, or does not have exactly one list of classes.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: must be Python ({error}).") from error
    body = tree.body
    if len(body) == 1 and isinstance(body[0], ast.Expr) and not isinstance(body[0].value, ast.Call):
        return _literal(path, body[0].value)
    found: dict[str, list[Any]] = {"classes": [], "palette": []}
    for name, node in _named_values(tree):
        last = name.lower().rsplit("_", 1)[-1]
        if last in ("classes", "names", "labels"):
            found["classes"].append(_literal(path, node))
        elif last in ("palette", "colormap", "colors", "colours"):
            found["palette"].append(_literal(path, node))
    for what, values in found.items():
        if any(value != values[0] for value in values[1:]) or (what == "classes" and not values):
            raise InputError(
                f"{path}: must hold one list of classes, as in classes = ('road', 'car'), and at "
                f"most one palette, got {len(values)} different lists of {what}."
            )
    return _with_palette(path, found["classes"][0], found["palette"])


def _named_values(tree: ast.AST):
    """Yields names and values of assignments, keywords and keys of dictionaries."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((t.id, node.value) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in ("classes", "palette"):
                    yield key.value, value


def _literal(path: Path, node: ast.expr) -> Any:
    """Returns the value of a literal: tuples as lists, dictionaries as tuples of pairs."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(path, element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return tuple(
            (_key(_literal(path, key)), _literal(path, value))
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return tuple((k.arg, _literal(path, k.value)) for k in node.keywords)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise InputError(
            f"{path}, line {node.lineno}: must be a literal, got {ast.unparse(node)[:80]!r}."
        ) from error


def _key(key: Any) -> Any:
    """Returns a key as text, as in JSON."""
    return ",".join(map(str, key)) if isinstance(key, list) else str(key)


def _with_palette(path: Path, classes: Any, palettes: list[Any]) -> Any:
    if not palettes:
        return classes
    palette = palettes[0]
    if not isinstance(classes, list) or not isinstance(palette, list):
        raise InputError(f"{path}: classes and palette must be lists.")
    if len(classes) != len(palette):
        raise InputError(
            f"{path}: classes and palette must be of one length, got {len(classes)} and "
            f"{len(palette)}."
        )
    return [(("name", n), ("color", c)) for n, c in zip(classes, palette, strict=True)]


def parse_pbtxt(path: Path, text: str) -> Any:
    """Parses a label map of TensorFlow: items of id, name and display_name.

    Raises:
        InputError: If it is not one; the message has the line.
    """
    items: list[list[tuple[str, Any]]] = []
    depth, position = 0, 0
    while position < len(text):
        match = _PBTXT_TOKEN.match(text, position)
        line = text.count("\n", 0, position) + 1
        place = f"{path}, line {line}"
        if match is None or (match["field"] and not depth) or (match["close"] and not depth):
            shown = text[position:].splitlines()[0][:80]
            raise InputError(f"{place}: must be item {{ id: 1 name: 'road' }}, got {shown!r}.")
        if match["open"]:
            if not depth:
                items.append([("line", line)])
            depth += 1
        elif match["close"]:
            depth -= 1
        elif match["field"] and depth == 1:
            name, value = re.split(r"\s*:\s*", match["field"], maxsplit=1)
            items[-1].append((name, _scalar(value)))
        position = match.end()
    if depth:
        raise InputError(f"{path}: items must end with a brace, got none for the last one.")
    return (("item", [_pbtxt_item(path, item) for item in items]),)


def _scalar(text: str) -> Any:
    if text[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text


def _pbtxt_item(path: Path, item: list[tuple[str, Any]]) -> Any:
    fields = dict(item)
    if len(fields) < len(item):
        raise InputError(f"{path}, line {fields['line']}: an item must have each field once.")
    name = fields.get("display_name", fields.get("name"))
    return (("name", name), ("id", fields.get("id")), ("line", fields["line"]))


def entries(path: Path, content: Any) -> list[Entry]:
    """Reads the classes from a document.

    Args:
        path: The file, for messages.
        content: What one of the parsers returned.

    Raises:
        InputError: If it is of another structure, or an entry is malformed.
    """
    found = _entries(path, content)
    names = [entry.name for entry in found]
    for pattern in (r"\d+\s+(.*)", r"(.*)\s+\d+"):
        matches = [re.fullmatch(pattern, name, re.ASCII) for name in names]
        if len(names) > 1 and all(matches) and len({m[1] for m in matches if m}) == len(names):
            raise InputError(f"{path}: names must hold no values, got {', '.join(names[:4])}.")
    return found


def _entries(path: Path, content: Any) -> list[Entry]:
    if isinstance(content, tuple):
        sections = {key: value for key, value in content if key in (*_SECTIONS, "item")}
        nested = [value for value in sections.values() if isinstance(value, list | tuple)]
        if nested and not _is_colors(nested[0]):
            content = nested[0]
            if "item" in sections or "categories" in sections:
                return by_value(_listed(path, content))
    if isinstance(content, tuple):
        return _from_pairs(path, content)
    if not isinstance(content, list):
        raise InputError(f'{path}: must be {{"NAME": [R, G, B], ...}} or a list of classes.')
    return _listed(path, content)


def _is_colors(value: Any) -> bool:
    """Tells whether a value is a colour, as a class may have the name of a section."""
    return isinstance(value, list) and all(type(channel) is int for channel in value)


def _listed(path: Path, content: Any) -> list[Entry]:
    return [
        located(path, f"entry {number}", _parse_entry, entry)
        for number, entry in enumerate(content, 1)
    ]


def _from_pairs(path: Path, pairs: tuple) -> list[Entry]:
    """Reads an object whose keys are names, values in the labels, or colours."""
    made = [
        located(path, f"entry {number}", _parse_pair, key, value)
        for number, (key, value) in enumerate(pairs, 1)
    ]
    return by_value(made)


def _parse_pair(place: str, key: str, value: Any) -> Entry:
    is_value = re.fullmatch(r"\d{1,9}", key, re.ASCII)
    if isinstance(value, str) and (is_value or _is_color_text(key)):
        name, color = value, None if is_value else parse_color(key)
        return _checked(place, name, color, int(key) if is_value else None)
    if type(value) is int:
        return _checked(place, key, None, value)
    if isinstance(value, tuple):
        fields = (*value, ("id", int(key))) if is_value else (("name", key), *value)
        return _parse_entry(place, fields)
    return _checked(place, key, None if value is None else _parse_color(value), None)


def _is_color_text(text: str) -> bool:
    try:
        parse_color(text)
    except InputError:
        return False
    return True


def _parse_entry(place: str, content: Any) -> Entry:
    if not isinstance(content, tuple):
        return _checked(place, content, None, None)
    names = [key for key, _ in content]
    if len({*names}) < len(names):
        raise InputError(f"fields must differ, got {', '.join(map(str, names))}.")
    fields = dict(content)
    name, color, value = (
        next((fields[key] for key in keys if fields.get(key) is not None), None)
        for keys in _FIELDS.values()
    )
    if "title" in fields and "name" not in fields:
        value = None  # Supervisely's ids belong to its database
    if value is not None and type(value) is not int:
        raise InputError(f"id must be a whole number, got {value!r}.")
    return _checked(place, name, None if color is None else _parse_color(color), value)


def _parse_color(value: Any) -> Color:
    return parse_color(value, value)


def _checked(place: str, name: Any, color: Color | None, value: int | None) -> Entry:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"a class must have a name, got {name!r}.")
    return make(place, name, color, value, is_quoted=True)
