"""The street: sky, skyline, road, pavements, and the houses along them."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from .canvas import (
    ACCENTS,
    ALL,
    BUILDING,
    FAR,
    LEAVES,
    NEAR,
    PAVEMENT,
    ROAD,
    TILE,
    TREE,
    WHITE,
    YELLOW,
    Canvas,
    Face,
    Shader,
    jitter,
    palette,
    pick,
    sample,
    soft_sample,
)

_WALLS = palette("a85c45 c7a378 d4c4a8 949194 b88069 8f9ead dbb880 805749 b9c4b4")
_ROOFS = palette("8c4533 545966 6b5245")


class Street(NamedTuple):
    """The street as seen from above, in metres; the camera stands at x = 0.

    Attributes:
        left: Place of the left kerb.
        right: Place of the right kerb.
        walk: Width of each pavement.
        crossing: Distance of the zebra crossing, `FAR` when there is none.
    """

    left: float
    right: float
    walk: float
    crossing: float

    def kerb(self, side: int) -> float:
        """Returns the place of a kerb; side -1 is the left, 1 the right."""
        return self.right if side > 0 else self.left

    def wall(self, side: int) -> float:
        """Returns the place of the house fronts of a side."""
        return self.kerb(side) + side * self.walk


def draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws the sky with its clouds, and a glow when the sun is ahead."""
    rows = math.ceil(canvas.horizon_y) + 1
    height, side = np.maximum(canvas.ray_y[:rows], 0), canvas.ray_x
    color = (
        canvas.horizon + (canvas.zenith - canvas.horizon) * (height / (height + 0.22))[..., None]
    )
    scale, shift = 26 / (height + 0.16), rng.uniform(0, TILE)
    clouds = soft_sample(canvas.smooth, side * scale + shift, 2.2 * scale + 0 * side)
    cover = np.clip((clouds - 0.80 + 0.5 * canvas.clouds) * 4.5, 0, 0.92) * np.minimum(
        height * 9, 1
    )
    lit = 0.60 * canvas.ambient + 0.55 * canvas.sunlight + 0.25
    color = color + (lit * (1.2 - 0.35 * clouds)[..., None] - color) * cover[..., None]
    if canvas.sun[2] > 0.1:
        x, y = side - canvas.sun[0] / canvas.sun[2], height - 0.6 * canvas.sun[1]
        color += canvas.sunlight * (0.07 / (0.09 + x * x + y * y))[..., None]
    canvas.color[: color.size // 3] = color.reshape(-1, 3)


def draw_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Closes the street far away, so that no bare horizon shows between the rows."""

    def blocks(face: Face) -> tuple[np.ndarray, np.ndarray]:
        block = sample(canvas.grain, face.s / 7, 0 * face.s)
        return (0.40 + 0.25 * block)[:, None] * face.light, face.t < 5 + 9 * block

    def treeline(face: Face) -> tuple[np.ndarray, np.ndarray]:
        bumps = soft_sample(canvas.smooth, face.s * 3, 0 * face.s)
        leaf = 0.75 + 0.4 * sample(canvas.grain, face.s * 4, face.t * 4)
        return leaf[:, None] * leaves * face.light, face.t < 2 + 6 * bumps

    leaves = pick(rng, LEAVES)
    canvas.paint(((-150.0, -1.0, 85.0), (300.0, 0.0, 0.0), (0.0, 15.0, 0.0)), BUILDING, blocks)
    canvas.paint(((-120.0, -1.0, 70.0), (240.0, 0.0, 0.0), (0.0, 8.0, 0.0)), TREE, treeline)


def draw_ground(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Draws the road and both pavements."""
    ahead, beyond = (0.0, 0.0, FAR), street.walk + 40
    road = (street.left, 0.0, NEAR), (street.right - street.left, 0.0, 0.0), ahead
    canvas.paint(road, ROAD, _asphalt(canvas, street, rng))
    slabs, pitch = palette("baa899")[0] * jitter(rng, 0.06), rng.uniform(0.7, 1.1)
    for side in (-1, 1):
        start = street.kerb(side) - (beyond if side < 0 else 0)
        shader = partial(_pavement, canvas, street, side, slabs, pitch)
        canvas.paint(((start, 0.0, NEAR), (beyond, 0.0, 0.0), ahead), PAVEMENT, shader)


def _sunlit(canvas: Canvas, street: Street, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the light on the ground, shaded by the row of buildings on the side of the sun."""
    side = 1 if canvas.sun[0] > 0 else -1
    roofline = 2.6 + 2.4 * sample(canvas.grain, z / 6, 0 * z)
    reach = min(abs(canvas.sun[0]) / canvas.sun[1], 1.1) * roofline
    return canvas.light(
        canvas.sun[1] * np.clip(((street.wall(side) - x) * side - reach) * 4, 0.12, 1)
    )


def _asphalt(canvas: Canvas, street: Street, rng: np.random.Generator) -> Shader:
    line = (YELLOW if rng.random() < 0.3 else WHITE) * 0.8
    shift, wide = rng.uniform(0, 4), street.right - street.left

    def shader(face: Face) -> tuple[np.ndarray, slice]:
        x, z = face.s - wide / 2, face.z
        patches = sample(canvas.smooth, x * 8, z * 8)
        speckle = sample(canvas.grain, x * 45, z * 30) - 0.5
        wheels = np.abs(np.abs(np.abs(x) - wide / 4) - 0.7)
        tone = (0.30 + 0.12 * patches + 0.5 * speckle / (8 + z)) * np.clip(
            0.88 + 0.4 * wheels, 0, 1
        )
        color = tone[:, None] * palette("f8f8ff")
        paint = 0.07 + 0.006 * z  # markings widen with distance, or they would break up into dots
        dashes = (np.abs(x) < paint) & ((z + shift) % 4 < 2.2)
        edges = np.abs(wide / 2 - 0.28 - np.abs(x)) < 0.6 * paint
        color[dashes | edges] = line * 0.9
        ahead = z - street.crossing
        color[(ahead > 0) & (ahead < 2.4) & ((x + 20) % 0.95 < 0.5)] = WHITE * 0.85
        color *= (0.85 + 0.3 * patches)[:, None]
        return color * _sunlit(canvas, street, face.s + street.left, z), ALL

    return shader


def _pavement(
    canvas: Canvas, street: Street, side: int, slabs: np.ndarray, pitch: float, face: Face
) -> tuple[np.ndarray, slice]:
    z, off = face.z, face.s if side > 0 else street.walk + 40 - face.s
    tone = 0.86 + 0.16 * sample(canvas.grain, off / pitch, z / pitch)
    tone += 0.10 * (sample(canvas.smooth, off * 10, z * 10) - 0.5)
    joints = (off % pitch < 0.05 + 0.002 * z) | (z % pitch < 0.03 + 0.004 * z)
    color = (tone - joints * (2 / (10 + z)))[:, None] * slabs
    color[off < 0.30 + 0.004 * z] = 0.80
    color[off < 0.09 + 0.003 * z] = 0.46
    color *= np.clip(0.62 + 0.5 * np.abs(street.walk - off), 0, 1)[:, None]
    return color * _sunlit(canvas, street, street.kerb(side) + side * off, z), ALL


def draw_row(canvas: Canvas, street: Street, side: int, rng: np.random.Generator) -> None:
    """Draws the houses of one side; side -1 is the left, 1 the right."""
    plots, z = [], rng.uniform(-5, 0)
    while z < 38:
        stop = z + rng.uniform(7, 12)
        if stop > 2:
            plots.append((max(z, NEAR), stop))
        z = stop + (rng.uniform(2.5, 4) if rng.random() < 0.15 else 0)
    for start, stop in reversed(plots):
        _draw_house(canvas, rng, street.wall(side), start, stop - start)


def _draw_house(
    canvas: Canvas, rng: np.random.Generator, wall_x: float, z: float, length: float
) -> None:
    side = 1 if wall_x > 0 else -1
    height = 3.0 * int(rng.integers(2, 4)) + rng.uniform(-0.3, 0.5)
    wall, tile = pick(rng, _WALLS, 0.08), pick(rng, _ROOFS)
    steep, wide = 1.5, 5.0
    start, across = z + (length if side > 0 else 0), (0.0, 0.0, -side * length)

    def roof(face: Face) -> tuple[np.ndarray, slice]:
        rows = 0.8 + 0.4 * sample(canvas.grain, face.s * 2, face.t * 5)
        return rows[:, None] * tile * face.light, ALL

    def gable(face: Face) -> tuple[np.ndarray, np.ndarray]:
        rise = height + steep * np.minimum(np.minimum(face.s, wide - face.s), 1)
        tone = 0.84 + 0.3 * sample(canvas.smooth, face.s * 9, face.t * 9)
        return tone[:, None] * wall * face.light, face.t < rise

    canvas.paint(((wall_x, height, start), across, (side * 1.0, steep, 0.0)), BUILDING, roof)
    corner = (wall_x if side > 0 else wall_x - wide, 0.0, z)
    canvas.paint((corner, (wide, 0.0, 0.0), (0.0, height + steep, 0.0)), BUILDING, gable)
    front = ((wall_x, 0.0, start), across, (0.0, height, 0.0))
    canvas.paint(front, BUILDING, _facade(canvas, rng, wall, height))


def _facade(canvas: Canvas, rng: np.random.Generator, wall: np.ndarray, height: float) -> Shader:
    """Returns the shader of a street front: wall, windows, shops, bands and cornice."""
    trim, accent = wall + (0.9 - wall) * rng.uniform(0.4, 0.9), pick(rng, ACCENTS)
    bay, glazed, seed = rng.uniform(1.6, 2.4), rng.uniform(0.40, 0.58), int(rng.integers(TILE))
    shop = rng.random() < 0.6

    def shader(face: Face) -> tuple[np.ndarray, slice]:
        s, t = face.s / bay, face.t
        tone = 0.78 + 0.14 * sample(canvas.grain, face.s * 3, t * 7)
        color = (tone + 0.16 * sample(canvas.smooth, face.s * 6, t * 6 + seed))[:, None] * wall
        column, floor = np.floor(s), np.floor(t / 3)
        x, y = np.abs(s - column - 0.5) * 2, t - floor * 3
        upper = (t > 3 * shop) & (floor * 3 + 2.4 < height)
        color[upper & (x < glazed + 0.13) & (y > 0.72) & (y < 2.52)] = trim
        pane = upper & (x < glazed) & (x > 0.05) & (y > 0.90) & (y < 2.38)
        if shop:
            color[t < 3] = accent * np.float32(0.75)
            color[(t > 2.35) & (t < 2.95)] = accent
            pane |= (x < 0.86) & (t > 0.45) & (t < 2.15)
        room = sample(canvas.grain, column * 7 + seed, floor * 13)[pane]
        glass = palette("1f2936") + canvas.horizon * (0.06 + 0.3 * room + 0.1 * y[pane])[:, None]
        color[pane] = np.where((room > 0.88)[:, None], palette("facc7a"), glass)
        color[(t > height - 0.35) | ((t > 2.95) & (t < 3.12))] = trim
        # Less sky reaches the foot of a wall, and the street throws light on its lower floors.
        color *= (np.clip(0.70 + 0.2 * t, 0, 1) * np.clip(1.14 - 0.033 * t, 0.8, 1.1))[:, None]
        return color * face.light, ALL

    return shader
