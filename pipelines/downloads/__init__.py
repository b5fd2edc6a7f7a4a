"""Images at addresses: fetched within limits, and only from public hosts unless allowed."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import addresses as addresses
    from . import download as download
    from . import public_hosts as public_hosts
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
