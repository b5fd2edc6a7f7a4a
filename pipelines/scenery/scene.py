"""A whole scene: where everything stands, in which order it is painted, and the photograph."""

from functools import partial

import numpy as np

from .canvas import FAR, Canvas
from .cars import Car
from .street import Street, draw_ground, draw_row, draw_sky, draw_skyline
from .things import Thing, draw_lamp, draw_person, draw_shadow, draw_sign, draw_tree

_MIN_SIZE = (64, 96)


def draw(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws one street scene.

    Args:
        seed: Any non-negative integer; it decides everything about the scene.
        size: Height and width in pixels.

    Returns:
        The image, uint8 (height, width, 3) in RGB, and its label, uint8 (height, width), with the
        classes of `canvas`. The same seed and size give the same bytes on any machine.

    Raises:
        ValueError: If the size is smaller than 64 x 96.
    """
    if size[0] < _MIN_SIZE[0] or size[1] < _MIN_SIZE[1]:
        raise ValueError(f"size must be at least {_MIN_SIZE}, got {tuple(size)}.")
    rng = np.random.default_rng(seed)
    canvas = Canvas(rng, size)
    left, crossing = -rng.uniform(2.3, 4.2), rng.uniform(4.4, 6) if rng.random() < 0.45 else FAR
    street = Street(left, left + rng.uniform(6.0, 6.8), rng.uniform(2.8, 3.3), crossing)
    draw_sky(canvas, rng)
    draw_skyline(canvas, rng)
    draw_ground(canvas, street, rng)
    for side in (-1, 1):
        draw_row(canvas, street, side, rng)
    things = _traffic(canvas, street, rng)
    things += _furniture(canvas, street, -1, rng) + _furniture(canvas, street, 1, rng)
    for thing in things:
        if thing.z < 14:  # further away a shadow is a line of pixels
            draw_shadow(canvas, thing)
    for thing in sorted(things, key=lambda thing: -thing.z):
        thing.paint()
    step = 1 if rng.random() < 0.5 else -1  # half of the scenes are mirrored
    image, label = _develop(canvas, rng), canvas.label.reshape(size)
    return np.ascontiguousarray(image[:, ::step]), np.ascontiguousarray(label[:, ::step])


def _furniture(canvas: Canvas, street: Street, side: int, rng: np.random.Generator) -> list[Thing]:
    """Returns the trees, the lamp, the sign and the walkers of one pavement."""
    things, kerb = [], street.kerb(side)
    z = rng.uniform(7.5, 12)
    while z < 26:
        x, crown = street.wall(side) - side * rng.uniform(0.9, 1.3), rng.uniform(1.3, 1.9)
        things.append(Thing(x, z, 0.5, 0.4, 4.0, partial(draw_tree, canvas, rng, x, z, crown)))
        z += rng.uniform(7, 10)
    x, z = kerb + side * 0.45, rng.uniform(8, 12)
    z = canvas.in_view(x, z)
    things.append(Thing(x, z, 0.2, 0.2, 4.5, partial(draw_lamp, canvas, rng, x, z)))
    z = canvas.in_view(x, rng.uniform(5.5, 8.5), 0.92)
    things.append(Thing(x, z, 0.2, 0.2, 2.6, partial(draw_sign, canvas, rng, x, z)))
    for _ in range(rng.integers(1, 3)):
        x = kerb + side * rng.uniform(0.8, 1.6)
        things.append(_walker(canvas, rng, x, rng.uniform(4.8, 7)))
    return things


def _walker(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> Thing:
    z = canvas.in_view(x, z, 0.80)  # further in than the signs, whose posts would hide it
    return Thing(x, z, 0.32, 0.28, 1.7, partial(draw_person, canvas, rng, x, z))


def _traffic(canvas: Canvas, street: Street, rng: np.random.Generator) -> list[Thing]:
    """Returns the cars along both kerbs, sometimes one across, and a walker on the zebra."""
    cars, middle = [], (street.left + street.right) / 2
    end = rng.uniform(12, 16) if rng.random() < 0.35 else 24
    for side in (-1, 1):
        x, z = street.kerb(side) - side * rng.uniform(1.1, 1.5), rng.uniform(5, 8)
        if street.crossing < z:  # nobody stops on the zebra
            z = street.crossing + rng.uniform(2.6, 4)
        z = canvas.in_view(abs(x) - 1, z)
        while z < end - 4.8:
            # On the left, traffic comes towards the camera, so its front is at the near end.
            start, heading = (z, 1.0) if side > 0 else (z + 4.8, -1.0)
            cars.append(Car(rng, x, start, (0.0, 0.0, heading)))
            z += rng.uniform(6, 11)
    if end < 20:
        heading = 1.0 if rng.random() < 0.5 else -1.0
        cars.append(Car(rng, middle - heading * rng.uniform(1, 3), end, (heading, 0.0, 0.0)))
    things = [car.thing(canvas) for car in cars]
    if street.crossing < FAR:
        x, z = middle + rng.uniform(-2.2, 2.2), street.crossing + rng.uniform(0.3, 1.8)
        things.append(_walker(canvas, rng, x, z))
    return things


def _develop(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Returns the picture with a vignette, more contrast and the noise of a sensor."""
    corner = canvas.ray_x * canvas.ray_x + canvas.ray_y * canvas.ray_y
    color = canvas.color.reshape(*corner.shape, 3)
    color = np.clip(color * (1.06 - 0.14 * corner)[..., None], 0, 1)
    color += np.float32(0.35) * (color * color * (3 - 2 * color) - color)
    color += (rng.random(color.shape, np.float32) - 0.5) * 0.035
    return (np.clip(color, 0, 1) * 255 + 0.5).astype(np.uint8)
