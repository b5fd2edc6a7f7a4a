"""The training of a run: steps and epochs, and what is saved and checked between them."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import accumulation as accumulation
    from . import assembly as assembly
    from . import averaging as averaging
    from . import batch_norm as batch_norm
    from . import checkpoints as checkpoints
    from . import class_weights as class_weights
    from . import compiled_model as compiled_model
    from . import data_checks as data_checks
    from . import early_stopping as early_stopping
    from . import epochs as epochs
    from . import freezing as freezing
    from . import guest_parts as guest_parts
    from . import learning_rates as learning_rates
    from . import loop as loop
    from . import loss_guard as loss_guard
    from . import range_test as range_test
    from . import rehearsal as rehearsal
    from . import separate as separate
    from . import step_logs as step_logs
    from . import timing as timing
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
