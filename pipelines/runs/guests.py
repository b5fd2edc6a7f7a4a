"""The user's own code: a network, an encoder or a loss in the user's file or module.

`--model FILE.py:FUNCTION` names it, or `package.module:FUNCTION`. The run folder keeps a copy of
the file in `code/` and its SHA-256 in `run.json`. A run folder may come from anyone, so the copy is
never executed on its own: later commands need the code named again with `--code` and compare it
with the hash before they execute it.

A file must be complete: modules beside it are neither found nor copied.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasseg import atomic_files, encoders

from ..errors import InputError

FOLDER = "code"
_NAMED = re.compile(r"(.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


@dataclass(frozen=True)
class Guest:
    """The user's own function or class.

    Attributes:
        option: Option that names it: "model", "encoder" or "loss".
        source: `FILE.py` or `package.module`.
        name: Name of the function or class in the source.
        value: The function or class itself.
        content: Bytes of the source that were executed.
    """

    option: str
    source: str
    name: str
    value: Any
    content: bytes

    def __str__(self) -> str:
        """Returns the text that names it."""
        return f"{self.source}:{self.name}"


def is_named(text: str) -> bool:
    """Tells whether a text has the form `FILE.py:NAME` or `package.module:NAME`."""
    return _NAMED.fullmatch(text) is not None


def named_in(options: Any) -> dict[str, str]:
    """Returns what names the user's own code: the options model, encoder and loss that do."""
    texts = {
        "model": options.model,
        "encoder": options.model_options.get("encoder"),
        "loss": options.loss,
    }
    return {
        option: str(text)
        for option, text in texts.items()
        if is_named(str(text)) and not (option == "encoder" and _is_own_encoder(str(text)))
    }


def sources_of(options: Any) -> list[str]:
    """Lists each file and module that the options of a training name, once."""
    return list(dict.fromkeys(source for source, _ in _named_in(options).values()))


def hashes(options: Any) -> dict[str, str]:
    """Returns the hash of each file and module that the options of a new training name.

    Nothing is executed.

    Raises:
        InputError: If one of them cannot be read.
    """
    return {source: _hash(_read(source)) for source in sources_of(options)}


def load(options: Any) -> dict[str, Guest]:
    """Executes and loads the code that the options of a new training name.

    Args:
        options: `TrainingOptions`.

    Returns:
        The user's functions and classes by option; empty if there are none.

    Raises:
        InputError: If a file or name is not there, or its import fails.
    """
    read = {source: _read(source) for source in sources_of(options)}
    return _look_up(_named_in(options), {source: (source, read[source]) for source in read})


def load_again(
    options: Any, recorded: Sequence[Mapping[str, str]], given: Sequence[str], run: Path
) -> dict[str, Guest]:
    """Loads the code of a run whose training continues.

    Args:
        options: The run's `TrainingOptions`.
        recorded: What `store` returned when the run was made.
        given: Files and modules that the command line names again.
        run: The run's folder.

    Raises:
        InputError: If code is missing or differs from the code that the run was trained with.
    """
    named = _named_in(options)
    if sorted(named) != sorted(entry["option"] for entry in recorded):
        # Code without a known hash is never executed, whatever the run's options name.
        wanted = ", ".join(named) or "none"
        raise InputError(
            f"{run}: run.json must record the code of {wanted}, got none; it is damaged."
        )
    by_hash = _compare(given, recorded, run)
    missing = [entry for entry in recorded if entry["sha256"] not in by_hash]
    if missing:
        raise InputError(f"{run}: needs code to continue. {describe_missing(missing, run)}")
    sources = {named[entry["option"]][0]: by_hash[entry["sha256"]] for entry in recorded}
    return _look_up(named, sources)


def divide(
    given: Sequence[str], networks: Sequence[tuple[Path, Sequence[Mapping[str, str]] | None]]
) -> list[list[str]]:
    """Divides code that is named once among several networks, without executing it.

    Args:
        given: Files and modules.
        networks: The path of each network, and its run's record of its code; None for a network
            that belongs to no run, which may need any code.

    Returns:
        For each network the files and modules that `allow` takes for it.

    Raises:
        InputError: If code belongs to none of the networks, or cannot be read.
    """
    hashes = {source: _hash(_read(source)) for source in given}
    records = [
        None if recorded is None else {entry["sha256"] for entry in recorded}
        for _, recorded in networks
    ]
    parts = [
        [source for source, hash_ in hashes.items() if known is None or hash_ in known]
        for known in records
    ]
    for source, hash_ in hashes.items():
        if not any(source in part for part in parts):
            paths = " or ".join(str(path) for path, _ in networks)
            raise InputError(
                f"{source}: must be code that {paths} was trained with, got another SHA-256 "
                f"({hash_[:12]}). It was not executed."
            )
    return parts


def allow(
    given: Sequence[str], recorded: Sequence[Mapping[str, str]] | None, run: Path
) -> set[str]:
    """Executes the code that the command line names, so that a network made with it can be loaded.

    Args:
        given: Files and modules.
        recorded: The run's record of its code; None for a network that belongs to no run.
        run: The run's folder.

    Returns:
        The SHA-256 of each source.

    Raises:
        InputError: If the run was not trained with it, or its import fails.
    """
    if recorded is None:
        found: Iterable[tuple[str, bytes]] = [(source, _read(source)) for source in given]
    else:
        found = _compare(given, recorded, run).values()
    for source, content in found:
        _execute(source, content)
    return {_hash(content) for _, content in found}


def store(run: Path, guests: Mapping[str, Guest]) -> list[dict[str, str]]:
    """Copies the user's code into the run folder.

    Returns:
        The entries for `run.json`: option, source, name, file and SHA-256 of each.
    """
    recorded = []
    for option, guest in guests.items():
        file = f"{FOLDER}/{option}.py"
        (run / FOLDER).mkdir(parents=True, exist_ok=True)
        atomic_files.write_bytes(run / file, guest.content)
        recorded.append(
            {
                "option": option,
                "source": guest.source,
                "name": guest.name,
                "file": file,
                "sha256": _hash(guest.content),
            }
        )
    return recorded


def describe_missing(recorded: Iterable[Mapping[str, str]], run: Path) -> str:
    """Describes which code of a run must be named again, and how."""
    copies = {entry["sha256"]: entry for entry in recorded}.values()
    listed = "; ".join(
        f"{entry['option']} {Path(entry['source']).name}:{entry['name']}, a copy of which is "
        f"{run / entry['file']}"
        for entry in copies
    )
    return (
        f"It was trained with code that is not kerasseg's ({listed}). Code is executed only if it "
        "is named: read it, then give it with --code FILE.py."
    )


def place(error: BaseException, source: str) -> str:
    """Describes an error in a user's code: its kind, message and line."""
    said = str(error).strip().splitlines()
    told = f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == source:
            line = frame.lineno
    return f"{told}, in line {line}" if line else told


def _named_in(options: Any) -> dict[str, tuple[str, str]]:
    """Returns source and name of each option that names the user's own code."""
    found = {option: text.rpartition(":") for option, text in named_in(options).items()}
    return {option: (source, name) for option, (source, _, name) in found.items()}


def _is_own_encoder(text: str) -> bool:
    """Tells whether a text with a colon names an encoder of the project, as hub:PRESET does."""
    return not text.partition(":")[0].endswith(".py") and encoders.is_known(text)


def _look_up(
    named: Mapping[str, tuple[str, str]], sources: Mapping[str, tuple[str, bytes]]
) -> dict[str, Guest]:
    found = {}
    for option, (source, name) in named.items():
        place_, content = sources[source]
        module = _execute(place_, content)
        if not hasattr(module, name):
            own = [each for each, value in vars(module).items() if _is_own(value, module)]
            known = ", ".join(each for each in own if not each.startswith("_")) or "nothing"
            raise InputError(f"{option} must be in {place_}, got {name!r}; it defines {known}.")
        value = getattr(module, name)
        if not callable(value):
            raise InputError(
                f"{option} must be a function or class, got {source}:{name}, which is of type "
                f"{type(value).__name__}."
            )
        found[option] = Guest(option, source, name, value, content)
    return found


def _compare(
    given: Sequence[str], recorded: Sequence[Mapping[str, str]], run: Path
) -> dict[str, tuple[str, bytes]]:
    """Reads the given sources and returns those of the run by their hash."""
    if given and not recorded:
        raise InputError(f"code must be left out for {run}, which has none of its own.")
    known = {entry["sha256"]: entry for entry in recorded}
    found = {}
    for source in given:
        content = _read(source)
        if _hash(content) not in known:
            wanted = "; ".join(f"{run / e['file']} ({h[:12]})" for h, e in known.items())
            raise InputError(
                f"{source}: must be the code that {run} was trained with, as in {wanted}, got "
                f"another SHA-256 ({_hash(content)[:12]}). It was not executed."
            )
        found[_hash(content)] = (source, content)
    return found


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(source: str) -> bytes:
    """Reads a file, or the file of a module, without executing it.

    Raises:
        InputError: If it cannot be found or read.
    """
    file = Path(source) if source.endswith(".py") else _file_of(source)
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}).") from error


def _file_of(module: str) -> Path:
    found = _find(module)
    if found is None or not (found.origin or "").endswith(".py"):
        raise InputError(
            f"{module}: must be a Python file whose name ends in .py, or a module that Python "
            "finds, for example on PYTHONPATH; got neither."
        )
    return Path(str(found.origin))


def _find(module: str) -> ModuleSpec | None:
    """Finds a module as Python's import does, but imports none of the packages around it."""
    if loaded := sys.modules.get(module):
        return loaded.__spec__
    folders: Sequence[str] | None = None
    found, names = None, module.split(".")
    for depth in range(1, len(names) + 1):
        name = ".".join(names[:depth])
        finders = (finder.find_spec for finder in sys.meta_path if hasattr(finder, "find_spec"))
        try:
            found = next(filter(None, (find(name, folders) for find in finders)), None)
            folders = list((found and found.submodule_search_locations) or ())
        except KeyError:  # a folder without __init__.py, in a package that is not imported
            found = None
            folders = [str(Path(each, names[depth - 1])) for each in folders or sys.path]
        if depth < len(names) and not folders:
            return None
    return found


def _execute(source: str, content: bytes) -> ModuleType:
    """Imports a source, once.

    Raises:
        InputError: If the import fails.
    """
    # A file may have the name of an existing module; saved networks record the name used here.
    name = f"guest_{Path(source).stem}_{_hash(content)[:8]}" if source.endswith(".py") else source
    if name not in sys.modules:
        try:
            if source.endswith(".py"):
                _execute_file(ModuleType(name), source, content)
            else:
                _execute_module(name, content)
        except (Exception, SystemExit) as error:
            raise InputError(
                f"{source}: cannot be imported ({place(error, source)}); a file must be complete, "
                "modules beside it are not found."
            ) from error
    module = sys.modules[name]
    _let_keras_find(module)
    return module


def _execute_module(name: str, content: bytes) -> None:
    """Executes the bytes that were read: Python itself may take a compiled file instead of them."""
    package, _, own = name.rpartition(".")
    parent = importlib.import_module(package) if package else None
    if name in sys.modules:  # imported by its package
        return
    spec = _find(name)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    _execute_file(module, str(spec.origin), content)
    if parent is not None:
        setattr(parent, own, module)


def _execute_file(module: ModuleType, file: str, content: bytes) -> None:
    module.__file__ = file
    name = module.__name__
    sys.modules[name] = module  # first, as Python's import does: classes look up their module
    try:
        exec(compile(content, file, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise


def _let_keras_find(module: ModuleType) -> None:
    """Lets Keras load objects of a module's classes that the module does not register."""
    import keras

    custom = keras.saving.get_custom_objects()
    for value in list(vars(module).values()):
        if _is_own(value, module) and isinstance(value, type) and hasattr(value, "from_config"):
            name = keras.saving.get_registered_name(value)
            if name == value.__name__:
                custom[name] = value


def _is_own(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__ and callable(value)
