"""The process and the machine it runs on: allocator, devices, environment, files."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import allocator as allocator
    from . import byte_sizes as byte_sizes
    from . import clean_process as clean_process
    from . import cores as cores
    from . import devices as devices
    from . import environment as environment
    from . import interruption as interruption
    from . import locks as locks
    from . import progress as progress
    from . import report_files as report_files
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
