"""The SavedModels below a folder, loaded when they are first asked for."""

import json
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..serving.saved_model import SavedModel, SavedModelError
from . import warmup
from .errors import NOT_FOUND, ServingError

_logger = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[0-9]{1,18}")


@dataclass
class Version:
    """A version of a model.

    Attributes:
        name: Name of the model.
        number: Number of the version.
        folder: The folder that holds `saved_model.pb`.
        written: When that was written, in nanoseconds: another file is another version.
    """

    name: str
    number: int
    folder: Path
    written: int
    _model: SavedModel | None = None
    _failure: str | None = None
    _loading: threading.Lock = field(default_factory=threading.Lock)

    @property
    def failure(self) -> str | None:
        """Why it cannot be loaded; None if it can, as far as is known."""
        return self._failure

    def model(self) -> SavedModel:
        """Returns the SavedModel, which the first call loads and warms up.

        Raises:
            ServingError: If it cannot be loaded.
        """
        with self._loading:
            if self._failure is None and self._model is None:
                self._load()
        if self._model is None:
            raise ServingError(
                f"Servable not found for request: version {self.number} of {self.name} cannot be "
                f"loaded: {self._failure}",
                NOT_FOUND,
            )
        return self._model

    def _load(self) -> None:
        begun = time.monotonic()
        try:
            model = SavedModel(self.folder)
            warmup.run(model, self.folder)
        except SavedModelError as error:
            self._failure = str(error)
            _logger.warning("%s cannot be loaded: %s", self.folder, error)
        else:
            self._model = model
            _logger.info("loaded %s in %.1f s", self.folder, time.monotonic() - begun)

    def classes(self) -> dict[str, Any]:
        """Reads what the labels mean; nothing if the export does not tell."""
        try:
            content = json.loads((self.folder / "assets.extra" / "classes.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


class Catalog:
    """The models of a folder: `FOLDER/NAME/VERSION/saved_model.pb`.

    The folder is looked at with each request: a version that appears is served, and is the default
    if its number is the highest; one that disappears is forgotten.

    Args:
        folder: The folder.

    Raises:
        InputError: If there is no model in it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, dict[int, Version]] = {}
        self._lock = threading.Lock()
        if self.names():
            return
        where = f"{folder} must hold NAME/VERSION/saved_model.pb, VERSION being a number, got "
        if (folder / "saved_model.pb").is_file() or next(folder.glob("*/saved_model.pb"), None):
            raise InputError(f"{where}a model's own folder; give the one that holds it.")
        raise InputError(f"{where}no such file; 'kerasseg export' writes them.")

    def names(self) -> list[str]:
        """Lists the models that have a version."""
        try:
            found = sorted(path.name for path in self._folder.iterdir())
        except OSError:
            return []
        return [name for name in found if self.versions(name)]

    def versions(self, name: str) -> list[Version]:
        """Lists a model's versions, the highest first; none if there is no such model."""
        if not _NAME.fullmatch(name):
            return []
        with self._lock:
            known, found = self._known.get(name, {}), {}
            for number, folder, written in _list(self._folder / name):
                before = known.get(number)
                same = before is not None and before.written == written
                found[number] = before if same else Version(name, number, folder, written)
            self._known[name] = found
            return [found[number] for number in sorted(found, reverse=True)]

    def find(self, name: str, number: int | None = None) -> Version:
        """Returns a version that is loaded: that of a number, or the highest that can be loaded.

        Raises:
            ServingError: If there is none.
        """
        versions = self.versions(name)
        wanted = [version for version in versions if number in (None, version.number)]
        if not wanted:
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise ServingError(f"Servable not found for request: {which}", NOT_FOUND)
        for version in wanted[:-1]:
            try:
                version.model()
            except ServingError:
                continue
            return version
        wanted[-1].model()
        return wanted[-1]


def _list(parent: Path) -> list[tuple[int, Path, int]]:
    found = []
    try:
        for folder in parent.iterdir():
            file = folder / "saved_model.pb"
            if _VERSION.fullmatch(folder.name) and file.is_file():
                found.append((int(folder.name), folder, file.stat().st_mtime_ns))
    except OSError:  # gone meanwhile, or a file
        return []
    return found
