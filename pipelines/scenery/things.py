"""What stands on the ground, with its shadow: trees, persons, lamps and signs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .canvas import (
    ACCENTS,
    BLACK,
    BLUE,
    LEAVES,
    NEAR,
    PAVEMENT,
    PERSON,
    POLE,
    RED,
    ROAD,
    SIGN,
    TREE,
    WHITE,
    YELLOW,
    Canvas,
    Face,
    Shader,
    board,
    palette,
    pick,
    sample,
)

_CLOTHES = palette("eb2634 ff9612 2456e0 f5efe2 c02fa8 0fa088 ff6f91")
_TROUSERS = palette("36416b 52699c 47424a 947c5c")
_SKIN = palette("edbd9e cc9470 7a523d")
_HAIR = palette("1f1714 5c381f b88f4d 8c8785")
_METAL = palette("3f4d5c")
# shape; border, field and symbol colours; half width and half height of the symbol
_PLATES = (
    ("round", RED, WHITE, BLACK, 0.30, 0.30),
    ("round", RED, RED, WHITE, 0.66, 0.18),
    ("round", WHITE, BLUE, WHITE, 0.14, 0.50),
    ("triangle", RED, WHITE, BLACK, 0.10, 0.34),
    ("triangle", RED, YELLOW, BLACK, 0.12, 0.30),
    ("square", WHITE, BLUE, WHITE, 0.22, 0.46),
    ("diamond", WHITE, YELLOW, YELLOW, 0.10, 0.10),
)


class Thing(NamedTuple):
    """Something that stands on the ground.

    Attributes:
        x: Place of its foot.
        z: Distance of its foot.
        wide: Half the width of its contact shadow.
        deep: Half the depth of its contact shadow.
        height: Decides the length of the shadow that it casts.
        paint: Draws it.
    """

    x: float
    z: float
    wide: float
    deep: float
    height: float
    paint: Callable[[], None]


def draw_shadow(canvas: Canvas, thing: Thing) -> None:
    """Darkens the ground around the foot of a thing, and along its shadow away from the sun."""
    reach = min(thing.height, 4.0) / canvas.sun[1]
    tip = (thing.x - canvas.sun[0] * reach, max(thing.z - canvas.sun[2] * reach, 1.5))
    left, right = min(thing.x, tip[0]) - thing.wide - 1, max(thing.x, tip[0]) + thing.wide + 1
    near = max(min(thing.z, tip[1]) - thing.deep - 1, NEAR)
    far = max(thing.z, tip[1]) + thing.deep + 1
    face = canvas.project((left, 0.0, near), (right - left, 0.0, 0.0), (0.0, 0.0, far - near))
    if face is None:
        return
    x, z = face.s + left, face.z
    off_x, off_z = (x - thing.x) / (thing.wide * 1.25), (z - thing.z) / (thing.deep * 1.25)
    contact = np.clip(1.15 - off_x * off_x - off_z * off_z, 0, 0.60)
    stroke = (thing.x, thing.z, *tip, thing.wide * 0.9, thing.wide * 0.7)
    cast = _capsules(x, z, np.array([stroke], np.float32))[0][0] * float(canvas.sunlight[0]) * 0.5
    label = canvas.label[face.pixels]
    ground = (label == ROAD) | (label == PAVEMENT)  # walls behind it keep their light
    canvas.color[face.pixels] *= (1 - np.maximum(contact, cast) * ground)[:, None]


def stroke_shader(canvas: Canvas, center: float, *strokes: tuple) -> Shader:
    """Makes a shader of rounded strokes, lit as if they were solid.

    Args:
        canvas: Gives the light.
        center: Place across the surface from which the strokes' first coordinates count.
        *strokes: Start (across, up), end (across, up), radius at the start and at the end, and
            colour; the last one is on top.

    Returns:
        The shader.
    """
    table = np.array([(*stroke[:-1], *stroke[-1]) for stroke in strokes[::-1]], np.float32)

    def shader(face: Face) -> tuple[np.ndarray, np.ndarray]:
        inside, sideways = _capsules(face.s - center, face.t, table)
        top = inside.argmax(0)
        nearest = top, np.arange(len(top))
        sideways = np.clip(sideways[nearest], -1, 1)
        bulge = np.sqrt(1 - sideways * sideways)
        lit = np.clip(canvas.sun[0] * sideways - canvas.sun[2] * bulge, 0, 1)
        color = table[top, 6:] * canvas.light(lit * 0.7 + 0.25)
        return color * (0.62 + 0.38 * bulge)[:, None], inside[nearest]

    return shader


def _capsules(u: np.ndarray, v: np.ndarray, strokes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each tapered stroke, the points in it and their sideways place (-1 to 1)."""
    start_u, start_v, end_u, end_v, radius, end_radius = strokes.T[:6, :, None]
    du, dv = end_u - start_u, end_v - start_v
    off_u, off_v = u - start_u, v - start_v
    along = np.clip((off_u * du + off_v * dv) / np.maximum(du * du + dv * dv, 1e-6), 0, 1)
    off_u, off_v = off_u - along * du, off_v - along * dv
    radius = radius + (end_radius - radius) * along
    return off_u * off_u + off_v * off_v <= radius * radius, off_u / radius


def draw_tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float, crown: float) -> None:
    """Draws a tree: a trunk, and clumps of leaves about `crown` metres around its middle."""
    trunk, half = rng.uniform(1.7, 2.3), crown * 1.3
    bark, leaves = palette("5c4230")[0] * rng.uniform(0.8, 1.2), pick(rng, LEAVES, 0.10)
    wood = stroke_shader(canvas, half, (0, 0, 0, trunk + crown, 0.20, 0.12, bark))
    canvas.paint(board(x, z, half, trunk + crown), TREE, wood)
    middle = np.array((half, crown * 1.2, 0))
    clumps = (rng.uniform(-0.72, 0.72, (9, 3)) * crown + middle).astype(np.float32)
    radius = (rng.uniform(0.36, 0.54, (9, 1)) * crown).astype(np.float32)

    def foliage(face: Face) -> tuple[np.ndarray, np.ndarray]:
        leaf = sample(canvas.grain, face.s * 9, face.t * 9)
        u, v = (face.s - clumps[:, :1]) / radius, (face.t - clumps[:, 1:2]) / radius
        rest = 1.05 - u * u - v * v - 0.5 * leaf
        front = np.sqrt(np.maximum(rest, 0))
        best = np.where(rest > 0, front * radius + clumps[:, 2:], -9).argmax(0)
        nearest = best, np.arange(len(best))
        u, v, front = u[nearest], v[nearest], front[nearest]
        lit = u * canvas.sun[0] + v * canvas.sun[1] - 0.7 * front * canvas.sun[2]
        tone = 0.44 + 0.42 * leaf + 0.45 * sample(canvas.smooth, face.s * 20, face.t * 20)
        tone *= np.clip(0.55 + 0.27 * face.t / crown, 0.45, 1.1)
        return tone[:, None] * leaves * canvas.light(0.3 + 0.75 * np.clip(lit, -0.5, 1)), front > 0

    corner, across, _ = board(x, z, half, 0)
    quad = ((corner[0], trunk - crown * 0.25, z), across, (0.0, crown * 2.5, 0.0))
    canvas.paint(quad, TREE, foliage)


def draw_person(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draws a walker, sometimes in a skirt, sometimes with a bag."""
    tall, step, way = rng.uniform(0.93, 1.07), rng.uniform(0.08, 0.28), rng.choice((-1, 1))
    top, legs = pick(rng, _CLOTHES), pick(rng, _TROUSERS)
    skin, hair, shoe = pick(rng, _SKIN), pick(rng, _HAIR), BLACK
    hip, neck, hand = 0.88, 1.38, 0.28 + 0.4 * step
    strokes = [
        (-0.07, hip, -step, 0.07, 0.115, 0.085, legs * 0.85),
        (0.07, hip, step, 0.07, 0.115, 0.085, legs),
        (-step, 0.05, -step + 0.10 * way, 0.04, 0.07, 0.06, shoe),
        (step, 0.05, step + 0.10 * way, 0.04, 0.07, 0.06, shoe),
        (-hand, hip - 0.06, -hand, hip, 0.06, 0.06, skin),
        (hand, hip - 0.06, hand, hip, 0.06, 0.06, skin),
        (-0.21, neck - 0.04, -hand, hip + 0.05, 0.085, 0.07, top * 0.85),
        (0.21, neck - 0.04, hand, hip + 0.05, 0.085, 0.07, top * 0.9),
        (0, hip + 0.06, 0, neck, 0.18, 0.23, top),
        (0, neck + 0.16, 0, neck + 0.22, 0.08, 0.09, skin * 0.85),
        (-0.01 * way, 1.64, -0.02 * way, 1.66, 0.145, 0.15, hair),
        (0.03 * way, 1.58, 0.03 * way, 1.62, 0.10, 0.115, skin),
    ]
    if rng.random() < 0.35:
        strokes.insert(8, (0, hip + 0.1, 0, hip - 0.38, 0.17, 0.27, top * 0.95))
    if rng.random() < 0.35:
        strokes.append((-hand * way, hip - 0.2, -hand * way, hip, 0.14, 0.11, pick(rng, ACCENTS)))
    scaled = ((*(tall * part for part in stroke[:6]), stroke[6]) for stroke in strokes)
    canvas.paint(board(x, z, 0.6, 2.0), PERSON, stroke_shader(canvas, 0.6, *scaled))


def draw_lamp(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draws a street lamp, its arm over the road."""
    radius, tall, metal = _post_radius(z), rng.uniform(3.7, 4.6), pick(rng, _METAL, 0.03)
    half = 0.75  # the board is centred between the post and the tip of its arm
    post, top = 0.45 if x > 0 else -0.45, tall + 0.25
    shader = stroke_shader(
        canvas,
        half,
        (post, 0, post, tall, radius, radius, metal),
        (post, 0, post, 0.6, radius * 1.25, radius * 1.25, metal * 0.9),
        (post, tall, -post, top, radius * 0.8, radius * 0.8, metal),
        (-0.4 * post, top, -1.2 * post, top, 0.14, 0.11, metal * 0.8),
    )
    canvas.paint(board(x - post, z, half, tall + 0.5), POLE, shader)


def draw_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Draws a traffic sign: the post belongs to the poles, the plate to the signs."""
    radius, tall = _post_radius(z), rng.uniform(2.1, 2.7)
    half = max(rng.uniform(0.42, 0.52), 0.05 * z)
    post = stroke_shader(canvas, radius, (0, 0, 0, tall, radius, radius, pick(rng, _METAL, 0.03)))
    canvas.paint(board(x, z, radius, tall), POLE, post)
    shape, border, field, symbol, wide, high = _PLATES[rng.integers(len(_PLATES))]

    def plate(face: Face) -> tuple[np.ndarray, np.ndarray]:
        u, v = face.s / half - 1, face.t / half - 1
        edge = _plate_edge(shape, u, v)
        color = np.where((edge < 0.74)[:, None], field, border)
        color[(np.abs(u) < wide) & (np.abs(v) < high) & (edge < 0.74)] = symbol
        # Plates are retroreflective: they stay bright with the sun behind them.
        return color * np.maximum(face.light, 0.85) * (0.94 + 0.10 * v)[:, None], edge <= 1

    quad = (x - half, tall - half, z), (2 * half, 0.0, 0.0), (0.0, 2 * half, 0.0)
    canvas.paint(quad, SIGN, plate)


def _post_radius(z: float) -> float:
    """Returns half a post's width, never less than a pixel and a half in the smallest images."""
    return max(0.07, 0.0165 * z)


def _plate_edge(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns 0 in the middle of a plate and 1 on its edge."""
    if shape == "round":
        return np.sqrt(x * x + y * y)
    if shape == "triangle":
        return np.maximum(-y / 0.72, (np.abs(x) * 1.7 + y) / 0.95)
    if shape == "diamond":
        return np.abs(x) + np.abs(y)
    return np.maximum(np.abs(x) / 0.82, np.abs(y))
