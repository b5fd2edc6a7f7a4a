"""Loads the versions that appear in a catalog's folder, and unloads old ones, in its own thread."""

import contextlib
import logging
import os
import threading
import time

from ..runtime import allocator
from ..serving.saved_model import SavedModel
from . import trial, warmup
from .catalog import Catalog
from .versions import Loaded, Version, list_files

_logger = logging.getLogger(__name__)
_PERIOD = 1.0  # seconds between two looks at the folder
_SOON = 0.1  # the same while requests still use a version that must be unloaded
_FREED = 10.0  # seconds between two looks at the memory of this process
_GROWTH = 2**24  # bytes of growth after which freed memory is returned to the system
_LARGE = 2**22  # bytes from which buffers, such as bodies of requests, are returned when freed
_NICENESS = 5  # of this thread, as requests come first


class Watcher:
    """A thread that keeps a catalog up to date.

    A version is loaded after two looks have found that its files do not change any more. A version
    that is copied slowly may fail to load at first, and is tried again. It is first tried in a
    separate process, because a damaged graph may crash the process that loads it. Requests use a
    version only after it has been loaded and has answered its warm-up request. The version that it
    replaces is unloaded after the last request that uses it.

    Args:
        catalog: The catalog.
    """

    def __init__(self, catalog: Catalog):
        self._catalog = catalog
        self._called = threading.Event()
        self._trials = trial.Trials()
        self._stopping = False
        self._size = 0
        self._thread = threading.Thread(target=self._watch, name="kerasseg-versions", daemon=True)

    def start(self) -> None:
        """Loads the highest version of each model that can be loaded, and begins to watch."""
        allocator.return_freed(_LARGE)
        self._catalog.look()
        names = self._catalog.names()
        # If there is only one version, a crash interrupts no other, so no trial is needed.
        tried = sum(len(self._catalog.versions(name)) for name in names) > 1
        while version := self._catalog.next_due(settled=False):
            self._load(version, tried=tried)
        self._catalog.call_watcher = self._called.set
        self._size = allocator.resident()
        self._thread.start()

    def stop(self) -> None:
        """Stops watching, after waiting for a version that is being loaded."""
        self._stopping = True
        self._trials.stop()
        self._called.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):  # on Linux, each thread has its own priority
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        looked, in_use = time.monotonic(), False
        freed = looked
        while not self._stopping:
            left = looked + _PERIOD - time.monotonic()
            self._called.wait(max(0.01, min(left, _SOON) if in_use else left))
            self._called.clear()
            try:
                if time.monotonic() >= looked + _PERIOD:
                    looked = time.monotonic()
                    self._catalog.look()
                while not self._stopping and (version := self._catalog.next_due()):
                    self._load(version)
                in_use = self._unload()
                if time.monotonic() >= freed + _FREED:
                    freed = time.monotonic()
                    self._give_back()
            except Exception:
                _logger.exception("an error occurred while watching the models; watching continues")

    def _give_back(self) -> None:
        """Returns memory that large requests have freed to the system, before it adds up."""
        size = allocator.resident()
        if size > self._size + _GROWTH:
            allocator.give_back()
            self._size = allocator.resident()

    def _load(self, version: Version, *, tried: bool = True) -> None:
        begun, files = time.monotonic(), version.files
        try:
            if tried:
                self._trials.run(version.folder)
            model = SavedModel(version.folder)
            warmup.run(model, version.folder)
            if list_files(version.folder)[0] != files:
                raise ValueError("its files changed while it was being loaded.")
        except Exception as error:  # a damaged folder may cause errors of every kind
            if self._stopping:
                return
            self._catalog.fail(version, str(error) or type(error).__name__, files)
            _logger.warning("%s cannot be loaded: %s", version.folder, error)
        else:
            loaded = Loaded(version.name, version.number, model, version.folder, files)
            self._catalog.put(version, loaded)
            _logger.info("loaded %s in %.1f s", version.folder, time.monotonic() - begun)

    def _unload(self) -> bool:
        """Closes the versions that no request uses any more; tells whether others remain."""
        unused, others = self._catalog.take_unused()
        for loaded in unused:
            loaded.model.close()
            _logger.info("unloaded version %s of %s", loaded.number, loaded.name)
        if unused:
            allocator.give_back()
            self._size = allocator.resident()
        return others
