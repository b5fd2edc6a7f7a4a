"""The application: files in, files out. Each command is one file with a `run()`.

Installed and imported as `kerasseg.pipelines`; siblings are imported relatively. Its modules are
imported at their first use, as in `kerasseg.pipelines.fit.run(...)`.
"""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import bench_serving as bench_serving
    from . import calibrate as calibrate
    from . import check as check
    from . import checks as checks
    from . import classes as classes
    from . import cli as cli
    from . import client as client
    from . import compare as compare
    from . import conversion as conversion
    from . import convert as convert
    from . import crf_tune as crf_tune
    from . import datasets as datasets
    from . import demo as demo
    from . import doctor as doctor
    from . import downloads as downloads
    from . import errors as errors
    from . import evaluate as evaluate
    from . import evaluations as evaluations
    from . import export as export
    from . import exports as exports
    from . import fit as fit
    from . import forecast as forecast
    from . import images as images
    from . import import_weights as import_weights
    from . import inputs as inputs
    from . import list_checkpoints as list_checkpoints
    from . import list_runs as list_runs
    from . import models as models
    from . import pages as pages
    from . import predict as predict
    from . import predictions as predictions
    from . import recipes as recipes
    from . import records as records
    from . import runs as runs
    from . import runtime as runtime
    from . import scenery as scenery
    from . import serve as serve
    from . import server as server
    from . import serving as serving
    from . import tracking as tracking
    from . import training as training
    from . import workers as workers
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
