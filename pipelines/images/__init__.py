"""Image and label files: checked, decoded and written. NumPy and Pillow only."""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import channel_images as channel_images
    from . import elsewhere as elsewhere
    from . import endings as endings
    from . import figures as figures
    from . import formats as formats
    from . import given_images as given_images
    from . import image_files as image_files
    from . import image_folders as image_folders
    from . import jpeg as jpeg
    from . import label_files as label_files
    from . import label_pictures as label_pictures
    from . import marks as marks
    from . import npy as npy
    from . import output_names as output_names
    from . import png as png
    from . import png_chunks as png_chunks
    from . import record_images as record_images
    from . import source_images as source_images
    from . import stored_values as stored_values
    from . import tiff as tiff
    from . import treatments as treatments
    from . import turns as turns
    from . import videos as videos
    from . import words as words
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
