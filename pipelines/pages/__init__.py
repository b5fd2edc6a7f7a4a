"""Web pages that commands write: whole in one file, without scripts and without a network."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import charts as charts
    from . import document as document
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
