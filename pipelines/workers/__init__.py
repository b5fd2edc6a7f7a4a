"""The processes that train one network together: who they are, and what they tell each other."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import cluster as cluster
    from . import kubernetes as kubernetes
    from . import rendezvous as rendezvous
    from . import slurm as slurm
    from . import team as team
    from . import variables as variables
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
