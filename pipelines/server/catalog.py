"""The models below a folder: their versions, and the versions that answer requests."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .refusals import NOT_FOUND, UNAVAILABLE, ServingError
from .versions import END, Files, Loaded, Version

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[0-9]{1,18}")
_MOST_ASKED_FOR = 2  # requested versions of a model that stay in memory beside the default one
_MOST_WAITING = 16  # requests that may wait for one version that is being loaded


@dataclass
class _Model:
    """The versions of a model, and the requested numbers, the most recently requested one last."""

    versions: dict[int, Version] = field(default_factory=dict)
    asked_for: list[int] = field(default_factory=list)

    def descending(self) -> list[Version]:
        return [self.versions[number] for number in sorted(self.versions, reverse=True)]

    def default(self) -> Version | None:
        """Finds the highest version in memory; one without a folder only if there is no other."""
        loaded = [version for version in self.descending() if version.loaded]
        return next((version for version in loaded if version.present), next(iter(loaded), None))

    def down_to_default(self) -> list[Version]:
        """Lists the versions that may become the default one, and the default one itself."""
        found = []
        for version in self.descending():
            found.append(version)
            if version.loaded and version.present:
                break
        return found


class Catalog:
    """The models of a folder: `FOLDER/NAME/VERSION/saved_model.pb`.

    The highest version that can be loaded is a model's default. Other versions are loaded when they
    are requested by number, and two per model stay in memory. A `watcher.Watcher` watches the
    folder, loads and unloads; requests use the versions in memory.

    Args:
        folder: The folder.

    Raises:
        InputError: If the folder holds no model.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._models: dict[str, _Model] = {}
        self._retired: list[tuple[Version, Loaded]] = []
        self._lock = threading.Lock()
        self.call_watcher: Callable[[], None] = lambda: None
        self.look()
        if self._models:
            return
        where = f"{folder} must hold NAME/VERSION/saved_model.pb, VERSION being a number, got "
        if (folder / "saved_model.pb").is_file() or next(folder.glob("*/saved_model.pb"), None):
            raise InputError(f"{where}the folder of one model; give the folder that contains it.")
        raise InputError(f"{where}no such file; 'kerasseg export' writes them.")

    def names(self) -> list[str]:
        """Lists the models that have a version."""
        with self._lock:
            return sorted(self._models)

    def versions(self, name: str) -> list[Version]:
        """Lists a model's versions, the highest first; empty if there is no such model."""
        with self._lock:
            model = self._models.get(name)
            return model.descending() if model else []

    def usable(self, name: str) -> list[Version]:
        """Lists the default version of a model and the lower ones that have not failed to load."""
        with self._lock:
            model = self._models.get(name)
            default = model.default() if model else None
            if model is None or default is None:
                return []
            found = [one for one in model.descending() if one.present and one.state != END]
            return [default, *(one for one in found if one.number < default.number)]

    @contextlib.contextmanager
    def use(self, name: str, number: int | None = None) -> Iterator[Loaded]:
        """Lends a version in memory, which stays in memory during the block.

        Args:
            name: Name of the model.
            number: Number of the version; None for the default one.

        Raises:
            ServingError: If the version is not in memory.
        """
        with self._lock:
            version = self._find(name, number)
            loaded = version.loaded
            if loaded is None:
                raise _not_yet(version)
            loaded.users += 1
        try:
            yield loaded
        finally:
            self._give_back(loaded)

    @contextlib.contextmanager
    def lend(self, loaded: Loaded) -> Iterator[None]:
        """Lends a version again, to a thread that may run longer than the request that lent it.

        Raises:
            ServingError: If the version has been unloaded meanwhile.
        """
        with self._lock:
            if loaded.closed:
                raise ServingError("the version has been unloaded meanwhile.", UNAVAILABLE)
            loaded.users += 1
        try:
            yield
        finally:
            self._give_back(loaded)

    def _give_back(self, loaded: Loaded) -> None:
        with self._lock:
            loaded.users -= 1
        if loaded.retired:
            self.call_watcher()

    def ask_for(self, name: str, number: int | None) -> Future | None:
        """Requests the loading of a version by its number.

        Returns:
            A future that is done after the version was loaded or failed to load; None if there is
            nothing to wait for.

        Raises:
            ServingError: If there is no such version, it cannot be loaded, or too many requests
                wait for versions.
        """
        with self._lock:
            version, model = self._find(name, number), self._models[name]
            if number is None:
                return None
            if number not in model.asked_for:
                self._make_room(model, version)
            elif version.loaded:
                model.asked_for.remove(number)
            if number not in model.asked_for:
                model.asked_for.append(number)
                self._tidy(name)
            if version.loaded:
                return None
            waiting = [future for future in version.waiting if not future.cancelled()]
            if len(waiting) >= _MOST_WAITING:
                raise _not_yet(version)
            loaded = Future()
            version.waiting = [*waiting, loaded]
        self.call_watcher()
        return loaded

    def _find(self, name: str, number: int | None) -> Version:
        model = self._models.get(name)
        version = None
        if model is not None:
            version = model.versions.get(number) if number is not None else model.default()
            if number is None and version is None:  # say what is wrong with the highest version
                version = model.descending()[0]
        if version is None:
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise ServingError(f"Servable not found for request: {which}", NOT_FOUND)
        if version.loaded is None and version.failure is not None:
            raise ServingError(
                f"Servable not found for request: version {version.number} of {name} cannot be "
                f"loaded: {version.failure}",
                NOT_FOUND,
            )
        return version

    def _make_room(self, model: _Model, version: Version) -> None:
        """Forgets the version whose last request is the oldest, if too many were requested."""
        if len(model.asked_for) < _MOST_ASKED_FOR:
            return
        for number in model.asked_for:
            if model.versions[number].loaded:
                model.asked_for.remove(number)
                return
        raise _not_yet(version)

    # Only the watcher calls the following methods.

    def look(self) -> None:
        """Finds the versions, and the files of those that may have to be loaded."""
        names = _list(self._folder)
        if names is None:  # the folder cannot be read now: the versions in memory stay in use
            return
        found = {name: _folders(self._folder / name) for name in names if _NAME.fullmatch(name)}
        with self._lock:
            for name in {*found, *self._models}:
                folders = found.get(name, {})
                if folders is not None:
                    self._note(name, folders)
            looked_at = [one for model in self._models.values() for one in _candidates(model)]
        for version in looked_at:
            version.look()

    def _note(self, name: str, folders: dict[int, Path]) -> None:
        model = self._models.setdefault(name, _Model())
        for number, folder in folders.items():
            model.versions.setdefault(number, Version(name, number, folder))
        for version in model.versions.values():
            version.present = version.number in folders
        self._tidy(name)

    def _tidy(self, name: str) -> None:
        """Retires versions that requests may no longer use, and forgets those that are gone."""
        model = self._models.get(name)
        if model is None:
            return
        present = [one.number for one in model.versions.values() if one.present]
        model.asked_for = [number for number in model.asked_for if number in present]
        default = model.default() if present else None
        for version in list(model.versions.values()):
            kept = version is default or version.number in model.asked_for
            if version.loaded is not None and not kept:
                self._retire(version, version.loaded)
                version.loaded = None
            if version.number not in present and not kept:
                _release(version)
                if version.leaving is None and not version.loading:
                    del model.versions[version.number]
        if not model.versions:
            del self._models[name]

    def _retire(self, version: Version, loaded: Loaded) -> None:
        version.leaving, loaded.retired = loaded, True
        self._retired.append((version, loaded))

    def next_due(self, *, settled: bool = True) -> Version | None:
        """Finds a version to load now: the highest of a model, then those requested by number.

        Args:
            settled: Whether to skip versions whose files are still being written.
        """
        with self._lock:
            for _, model in sorted(self._models.items()):
                for version in _candidates(model):
                    if version.is_due(settled=settled):
                        version.loading = True
                        return version
        return None

    def put(self, version: Version, loaded: Loaded) -> None:
        """Lets a version answer from now on and retires the one that it replaces."""
        with self._lock:
            before, version.loaded = version.loaded, loaded
            version.loading, version.failure = False, None
            if before is not None:
                self._retire(version, before)
            _release(version)
            self._tidy(version.name)

    def fail(self, version: Version, reason: str, files: Files) -> None:
        """Records that a version could not be loaded from these files."""
        with self._lock:
            version.loading = False
            version.fail(reason, files)
            _release(version)
            asked_for = self._models[version.name].asked_for
            if version.loaded is None and version.number in asked_for:
                asked_for.remove(version.number)
            self._tidy(version.name)

    def take_unused(self) -> tuple[list[Loaded], bool]:
        """Takes the retired versions that no request uses any more, to be closed.

        Returns:
            These versions, and whether others are still in use.
        """
        with self._lock:
            unused = [(version, loaded) for version, loaded in self._retired if not loaded.users]
            self._retired = [(version, loaded) for version, loaded in self._retired if loaded.users]
            for version, loaded in unused:
                loaded.closed = True
                if version.leaving is loaded:
                    version.leaving = None
                    self._tidy(version.name)
            return [loaded for _, loaded in unused], bool(self._retired)


def _candidates(model: _Model) -> list[Version]:
    """Lists the versions that may have to be loaded, in this order."""
    candidates = []
    for version in model.down_to_default():
        candidates.append(version)
        # If a version is in memory, a lower one than the highest is loaded only after the highest
        # has failed.
        if version.present and not version.loaded and version.failure is None and model.default():
            break
    asked_for = [model.versions[number] for number in model.asked_for]
    return [*candidates, *(version for version in asked_for if version not in candidates)]


def _release(version: Version) -> None:
    """Wakes the requests that wait for a version, so that they look at its state."""
    for future in version.waiting:
        if future.set_running_or_notify_cancel():
            future.set_result(None)
    version.waiting = []


def _not_yet(version: Version) -> ServingError:
    return ServingError(
        f"version {version.number} of {version.name} is being loaded; try again later.",
        UNAVAILABLE,
    )


def _list(folder: Path) -> list[str] | None:
    """Lists a folder; None if it cannot be read now, and empty if it is not a folder."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except NotADirectoryError:
        return []
    except OSError:
        return None


def _folders(model: Path) -> dict[int, Path] | None:
    """Finds the versions of a model; None if its folder cannot be read now."""
    names = _list(model)
    if names is None:
        return None
    numbered = {int(name): model / name for name in names if _VERSION.fullmatch(name)}
    return {
        number: folder
        for number, folder in numbered.items()
        if (folder / "saved_model.pb").is_file()
    }
