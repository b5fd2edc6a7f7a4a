"""What `kerasseg check` consists of: the sources, the examination of pairs, sums and reports."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import examiner as examiner
    from . import label_colors as label_colors
    from . import label_errors as label_errors
    from . import page as page
    from . import pictures as pictures
    from . import raw as raw
    from . import records as records
    from . import report as report
    from . import sums as sums
    from . import suspect_pictures as suspect_pictures
    from . import suspects as suspects
    from . import suspects_page as suspects_page
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
