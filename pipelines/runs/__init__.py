"""The run folder: options, state, history and initial weights of a training.

Its modules are imported at their first use, as in `runs.training_options.TrainingOptions`.
"""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import calibration as calibration
    from . import chosen_encoder as chosen_encoder
    from . import class_weighting as class_weighting
    from . import crf as crf
    from . import guests as guests
    from . import initial_weights as initial_weights
    from . import intervals as intervals
    from . import loss_terms as loss_terms
    from . import network_files as network_files
    from . import optimization_options as optimization_options
    from . import option_combinations as option_combinations
    from . import option_differences as option_differences
    from . import option_fields as option_fields
    from . import phases as phases
    from . import run_folder as run_folder
    from . import schedule_choices as schedule_choices
    from . import state as state
    from . import trained_networks as trained_networks
    from . import training_options as training_options
    from . import views as views
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
