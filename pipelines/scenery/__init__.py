"""Street scenes drawn by code: `scene.draw` gives an image with its label. NumPy only.

A scene is a small three-dimensional street: flat surfaces are placed in metres (x to the right, y
up, z ahead), projected through a pinhole camera and painted from far to near, so the class of
every pixel is known exactly. Only additions, products, quotients and square roots touch the
pixels: processors agree on those to the last bit, so the images are the same on any machine.

    canvas    camera and light, image and label under construction, colours and noise
    street    sky, ground and houses
    things    trees, persons, lamps and signs, and the shadow of what stands on the ground
    cars      cars
    scene     where everything stands: `draw`

Imports go up this list only.
"""

from typing import TYPE_CHECKING

from kerasseg import lazy

if TYPE_CHECKING:
    from . import canvas as canvas
    from . import cars as cars
    from . import scene as scene
    from . import street as street
    from . import things as things
else:
    __getattr__, __dir__ = lazy.submodules(__name__, __path__)
