"""Synthetic street scenes for semantic segmentation, drawn with NumPy from a seed.

Every scene is a small three-dimensional street: flat surfaces are placed in metres (x to the
right, y up, z ahead), projected through a pinhole camera and painted from far to near, so the
class of every pixel is known exactly. Only additions, products, quotients and square roots touch
the pixels: processors agree on those to the last bit, so the images are the same on any machine.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

CLASS_NAMES = ("sky", "road", "pavement", "building", "tree", "car", "person", "pole", "sign")
COLORS = (
    (70, 130, 180),
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (107, 142, 35),
    (0, 0, 142),
    (220, 20, 60),
    (153, 153, 153),
    (220, 220, 0),
)

_SKY, _ROAD, _PAVEMENT, _BUILDING, _TREE, _CAR, _PERSON, _POLE, _SIGN = range(len(CLASS_NAMES))
_MIN_SIZE = (64, 96)
_TILE = 128  # a power of two, so that wrapping an index is one bitwise "and"
_NEAR, _FAR = 1.0, 400.0
_ALL = slice(None)

Vector = tuple[float, float, float]
Shader = Callable[["_Face"], tuple[np.ndarray, np.ndarray | slice]]  # colours, which to keep


def _palette(colors: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(color)) for color in colors.split()], np.float32) / 255


# zenith, horizon, sunlight, ambient light; haze range in metres; cloud cover
_MOODS = (
    (_palette("3875d1 bddbf5 d0c4a6 757f91"), 190.0, 0.45),
    (_palette("576bb3 ffc78c e69e5c 787385"), 140.0, 0.50),
    (_palette("99a8ba d6dbe0 424240 b3b8bf"), 100.0, 0.80),
    (_palette("6b99db fce3d1 d0ae90 7a7f91"), 120.0, 0.35),
)
_WALLS = _palette("a85c45 c7a378 d4c4a8 949194 b88069 8f9ead dbb880 805749 b9c4b4")
_ROOFS = _palette("8c4533 545966 6b5245")
_ACCENTS = _palette("7d3531 35594f 3a4a69 a58a55")
_LEAVES = _palette("4d8021 386e26 668729 7a7a1f")
_PAINTS = _palette("c21a1a 1a459e ebebeb 9ea6b0 24262e edb31f 14757a")
_CLOTHES = _palette("eb2634 ff9612 2456e0 f5efe2 c02fa8 0fa088 ff6f91")
_TROUSERS = _palette("36416b 52699c 47424a 947c5c")
_SKIN = _palette("edbd9e cc9470 7a523d")
_HAIR = _palette("1f1714 5c381f b88f4d 8c8785")
_RED, _WHITE, _BLUE, _YELLOW, _BLACK = _palette("d61217 f7f7f2 0d47b8 fccc0d 141417")
_METAL = _palette("3f4d5c")
# shape; border, field and symbol colours; half width and half height of the symbol
_PLATES = (
    ("round", _RED, _WHITE, _BLACK, 0.30, 0.30),
    ("round", _RED, _RED, _WHITE, 0.66, 0.18),
    ("round", _WHITE, _BLUE, _WHITE, 0.14, 0.50),
    ("triangle", _RED, _WHITE, _BLACK, 0.10, 0.34),
    ("triangle", _RED, _YELLOW, _BLACK, 0.12, 0.30),
    ("square", _WHITE, _BLUE, _WHITE, 0.22, 0.46),
    ("diamond", _WHITE, _YELLOW, _YELLOW, 0.10, 0.10),
)
# cabin from rear to front at the deck, then at the roof; height of deck and roof; length
_BODIES = (
    (0.50, 3.30, 1.15, 2.45, 0.90, 1.46, 4.4),
    (0.08, 3.05, 0.55, 2.20, 0.94, 1.54, 3.9),
    (0.05, 3.40, 0.25, 2.75, 1.02, 1.76, 4.5),
    (0.03, 4.20, 0.12, 3.60, 1.10, 2.02, 4.8),
)


class _Street(NamedTuple):
    """Cross-section of the street as seen from above; the camera stands at x = 0."""

    left: float
    right: float
    walk: float
    crossing: float  # distance of the zebra crossing, out of sight when there is none

    def kerb(self, side: int) -> float:
        return self.right if side > 0 else self.left

    def wall(self, side: int) -> float:
        return self.kerb(side) + side * self.walk


class _Thing(NamedTuple):
    """Something that stands on the ground, with the half axes of its contact shadow."""

    x: float
    z: float
    wide: float
    deep: float
    height: float
    paint: Callable[[], None]


class _Face(NamedTuple):
    """The visible pixels of a surface: where they are on it, in metres, and its light."""

    s: np.ndarray
    t: np.ndarray
    z: np.ndarray
    light: np.ndarray
    pixels: np.ndarray  # indices into the flattened image


class _Canvas:
    """Image and label under construction, with the camera and the light they are seen in."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        height, width = size
        self.focal = 0.9 * min(height, width / 1.5)
        self.eye = rng.uniform(1.6, 2.1)
        self.center_x = width * rng.uniform(0.42, 0.58)
        self.horizon_y = height * rng.uniform(0.43, 0.5)
        self.color = np.zeros((height * width, 3), np.float32)
        self.label = np.zeros(height * width, np.uint8)
        self.index = np.arange(height * width).reshape(height, width)
        columns, rows = (np.arange(count, dtype=np.float32) + 0.5 for count in (width, height))
        self.ray_x = (columns - self.center_x)[None, :] / self.focal
        self.ray_y = (self.horizon_y - rows)[:, None] / self.focal
        self.smooth, self.grain = _smooth_tile(rng), rng.random((_TILE, _TILE), np.float32)
        colors, haze, clouds = _MOODS[rng.integers(len(_MOODS))]
        self.zenith, self.horizon, self.sunlight, self.ambient = colors * _jitter(rng, 0.05)
        self.haze, self.clouds = haze * rng.uniform(0.8, 1.3), clouds + rng.uniform(-0.2, 0.2)
        side = 1 if rng.random() < 0.5 else -1
        east, up, ahead = rng.uniform((0.25, 0.45, -1.0), (1.0, 0.9, 0.7)).tolist()
        self.sun = _unit((side * east, up, ahead))

    def project(self, corner: Vector, across: Vector, up: Vector) -> _Face | None:
        """Find the pixels of a parallelogram, or None when it is out of view or faces away.

        Seen from its visible side, `across` runs to the right and `up` away from the viewer's feet.
        """
        origin = (corner[0], corner[1] - self.eye, corner[2])
        normal = _cross(across, up)
        facing = _dot(origin, normal)
        if facing < 1e-6:
            return None
        window = self._window(origin, across, up)
        # Every ray d meets the plane where z * d = origin + s * across + t * up; the triple
        # products below solve that for z, s and t at once.
        scale = 1 / np.maximum(self._along(window, normal), facing / _FAR)
        s = self._along(window, _cross(up, origin)) * scale
        t = self._along(window, _cross(origin, across)) * scale
        inside = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
        s, t, z = s[inside] * _length(across), t[inside] * _length(up), scale[inside] * facing
        light = self.light(max(0.0, -_dot(_unit(normal), self.sun)))
        return _Face(s, t, z, light, self.index[window][inside]) if len(s) else None

    def light(self, toward_sun: float | np.ndarray) -> np.ndarray:
        """Return the light on a surface whose normal has this cosine to the sun."""
        return self.ambient + self.sunlight * np.asarray(toward_sun, np.float32)[..., None]

    def paint(self, quad: tuple[Vector, Vector, Vector], class_id: int, shader: Shader) -> None:
        """Colour and label the pixels of a surface that the shader keeps, hazed by distance."""
        face = self.project(*quad)
        if face is None:
            return
        color, keep = shader(face)
        color = color + (self.horizon - color) * (face.z / (face.z + self.haze))[:, None]
        pixels = face.pixels[keep]
        self.color[pixels] = color[keep]
        self.label[pixels] = class_id

    def in_view(self, x: float, z: float, reach: float = 0.85) -> float:
        """Return the distance, at least `z`, that brings `x` within `reach` of the way out."""
        room = self.center_x if x < 0 else self.index.shape[1] - self.center_x
        return max(z, abs(x) * self.focal / (reach * room))

    def _along(self, window: tuple[slice, slice], vector: Vector) -> np.ndarray:
        x, y, z = vector
        return self.ray_x[:, window[1]] * x + (self.ray_y[window[0]] * y + z)

    def _window(self, origin: Vector, across: Vector, up: Vector) -> tuple[slice, slice]:
        columns, rows = [], []
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            x, y, z = (o + i * a + j * u for o, a, u in zip(origin, across, up, strict=True))
            columns.append(self.center_x + self.focal * x / max(z, _NEAR))
            rows.append(self.horizon_y - self.focal * y / max(z, _NEAR))
        return _span(rows, self.index.shape[0]), _span(columns, self.index.shape[1])


def _span(places: list[float], limit: int) -> slice:
    return slice(max(math.floor(min(places)), 0), min(math.ceil(max(places)) + 1, limit))


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _length(vector: Vector) -> float:
    return math.sqrt(_dot(vector, vector))


def _unit(vector: Vector) -> Vector:
    x, y, z = (part / _length(vector) for part in vector)
    return (x, y, z)


def _board(x: float, z: float, half: float, height: float) -> tuple[Vector, Vector, Vector]:
    """Return an upright quad turned to the camera, its foot in the middle of its lower edge."""
    return (x - half, 0.0, z), (2 * half, 0.0, 0.0), (0.0, height, 0.0)


def _jitter(rng: np.random.Generator, spread: float) -> np.ndarray:
    return rng.uniform(1 - spread, 1 + spread, 3).astype(np.float32)


def _pick(rng: np.random.Generator, palette: np.ndarray, spread: float = 0.06) -> np.ndarray:
    """Return one of the colours, slightly changed so that no two objects are alike."""
    return palette[rng.integers(len(palette))] * _jitter(rng, spread)


def _smooth_tile(rng: np.random.Generator) -> np.ndarray:
    """Return periodic cloud-like noise between 0 and 1, a sum of ever finer octaves."""
    tile = np.zeros((_TILE, _TILE), np.float32)
    for cells, weight in ((4, 0.45), (8, 0.26), (16, 0.15), (32, 0.09), (64, 0.05)):
        grid = rng.random((cells, cells), np.float32)
        step = np.arange(_TILE // cells, dtype=np.float32) * (cells / _TILE)
        blend = (step * step * (3 - 2 * step))[None, :, None]
        for _ in range(2):
            grid = grid[:, None] + (np.roll(grid, -1, 0) - grid)[:, None] * blend
            grid = grid.reshape(_TILE, -1).T
        tile += weight * grid
    return tile


def _sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Look a tile up at `u`, `v`, one unit to a cell and repeating."""
    rows, columns = (np.floor(place).astype(np.int32) & (_TILE - 1) for place in (v, u))
    return tile[rows, columns]


def _soft_sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Look a tile up with linear interpolation, for patterns larger than a pixel."""
    du, dv = u - np.floor(u), v - np.floor(v)
    upper = _sample(tile, u, v) * (1 - du) + _sample(tile, u + 1, v) * du
    lower = _sample(tile, u, v + 1) * (1 - du) + _sample(tile, u + 1, v + 1) * du
    return upper * (1 - dv) + lower * dv


def _draw_sky(canvas: _Canvas, rng: np.random.Generator) -> None:
    rows = math.ceil(canvas.horizon_y) + 1
    height, side = np.maximum(canvas.ray_y[:rows], 0), canvas.ray_x
    color = (
        canvas.horizon + (canvas.zenith - canvas.horizon) * (height / (height + 0.22))[..., None]
    )
    scale, shift = 26 / (height + 0.16), rng.uniform(0, _TILE)
    clouds = _soft_sample(canvas.smooth, side * scale + shift, 2.2 * scale + 0 * side)
    cover = np.clip((clouds - 0.80 + 0.5 * canvas.clouds) * 4.5, 0, 0.92) * np.minimum(
        height * 9, 1
    )
    lit = 0.60 * canvas.ambient + 0.55 * canvas.sunlight + 0.25
    color = color + (lit * (1.2 - 0.35 * clouds)[..., None] - color) * cover[..., None]
    if canvas.sun[2] > 0.1:
        x, y = side - canvas.sun[0] / canvas.sun[2], height - 0.6 * canvas.sun[1]
        color += canvas.sunlight * (0.07 / (0.09 + x * x + y * y))[..., None]
    canvas.color[: color.size // 3] = color.reshape(-1, 3)


def _draw_skyline(canvas: _Canvas, rng: np.random.Generator) -> None:
    """Close the street far away, so that no bare horizon shows between the rows."""

    def blocks(face: _Face) -> tuple[np.ndarray, np.ndarray]:
        block = _sample(canvas.grain, face.s / 7, 0 * face.s)
        return (0.40 + 0.25 * block)[:, None] * face.light, face.t < 5 + 9 * block

    def treeline(face: _Face) -> tuple[np.ndarray, np.ndarray]:
        bumps = _soft_sample(canvas.smooth, face.s * 3, 0 * face.s)
        leaf = 0.75 + 0.4 * _sample(canvas.grain, face.s * 4, face.t * 4)
        return leaf[:, None] * leaves * face.light, face.t < 2 + 6 * bumps

    leaves = _pick(rng, _LEAVES)
    canvas.paint(((-150.0, -1.0, 85.0), (300.0, 0.0, 0.0), (0.0, 15.0, 0.0)), _BUILDING, blocks)
    canvas.paint(((-120.0, -1.0, 70.0), (240.0, 0.0, 0.0), (0.0, 8.0, 0.0)), _TREE, treeline)


def _draw_ground(canvas: _Canvas, street: _Street, rng: np.random.Generator) -> None:
    ahead, beyond = (0.0, 0.0, _FAR), street.walk + 40
    road = (street.left, 0.0, _NEAR), (street.right - street.left, 0.0, 0.0), ahead
    canvas.paint(road, _ROAD, _asphalt(canvas, street, rng))
    slabs, pitch = _palette("baa899")[0] * _jitter(rng, 0.06), rng.uniform(0.7, 1.1)
    for side in (-1, 1):
        start = street.kerb(side) - (beyond if side < 0 else 0)
        shader = partial(_pavement, canvas, street, side, slabs, pitch)
        canvas.paint(((start, 0.0, _NEAR), (beyond, 0.0, 0.0), ahead), _PAVEMENT, shader)


def _sunlit(canvas: _Canvas, street: _Street, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the light on the ground, shaded by the row of buildings on the side of the sun."""
    side = 1 if canvas.sun[0] > 0 else -1
    roofline = 2.6 + 2.4 * _sample(canvas.grain, z / 6, 0 * z)
    reach = min(abs(canvas.sun[0]) / canvas.sun[1], 1.1) * roofline
    return canvas.light(
        canvas.sun[1] * np.clip(((street.wall(side) - x) * side - reach) * 4, 0.12, 1)
    )


def _asphalt(canvas: _Canvas, street: _Street, rng: np.random.Generator) -> Shader:
    line = (_YELLOW if rng.random() < 0.3 else _WHITE) * 0.8
    shift, wide = rng.uniform(0, 4), street.right - street.left

    def shader(face: _Face) -> tuple[np.ndarray, slice]:
        x, z = face.s - wide / 2, face.z
        patches = _sample(canvas.smooth, x * 8, z * 8)
        speckle = _sample(canvas.grain, x * 45, z * 30) - 0.5
        wheels = np.abs(np.abs(np.abs(x) - wide / 4) - 0.7)
        tone = (0.30 + 0.12 * patches + 0.5 * speckle / (8 + z)) * np.clip(
            0.88 + 0.4 * wheels, 0, 1
        )
        color = tone[:, None] * _palette("f8f8ff")
        paint = 0.07 + 0.006 * z  # markings widen with distance, or they would break up into dots
        dashes = (np.abs(x) < paint) & ((z + shift) % 4 < 2.2)
        edges = np.abs(wide / 2 - 0.28 - np.abs(x)) < 0.6 * paint
        color[dashes | edges] = line * 0.9
        ahead = z - street.crossing
        color[(ahead > 0) & (ahead < 2.4) & ((x + 20) % 0.95 < 0.5)] = _WHITE * 0.85
        color *= (0.85 + 0.3 * patches)[:, None]
        return color * _sunlit(canvas, street, face.s + street.left, z), _ALL

    return shader


def _pavement(
    canvas: _Canvas, street: _Street, side: int, slabs: np.ndarray, pitch: float, face: _Face
) -> tuple[np.ndarray, slice]:
    z, off = face.z, face.s if side > 0 else street.walk + 40 - face.s
    tone = 0.86 + 0.16 * _sample(canvas.grain, off / pitch, z / pitch)
    tone += 0.10 * (_sample(canvas.smooth, off * 10, z * 10) - 0.5)
    joints = (off % pitch < 0.05 + 0.002 * z) | (z % pitch < 0.03 + 0.004 * z)
    color = (tone - joints * (2 / (10 + z)))[:, None] * slabs
    color[off < 0.30 + 0.004 * z] = 0.80
    color[off < 0.09 + 0.003 * z] = 0.46
    color *= np.clip(0.62 + 0.5 * np.abs(street.walk - off), 0, 1)[:, None]
    return color * _sunlit(canvas, street, street.kerb(side) + side * off, z), _ALL


def _facade(canvas: _Canvas, rng: np.random.Generator, wall: np.ndarray, height: float) -> Shader:
    """Return the shader of a street front: wall, windows, shops, bands and cornice."""
    trim, accent = wall + (0.9 - wall) * rng.uniform(0.4, 0.9), _pick(rng, _ACCENTS)
    bay, glazed, seed = rng.uniform(1.6, 2.4), rng.uniform(0.40, 0.58), int(rng.integers(_TILE))
    shop = rng.random() < 0.6

    def shader(face: _Face) -> tuple[np.ndarray, slice]:
        s, t = face.s / bay, face.t
        tone = 0.78 + 0.14 * _sample(canvas.grain, face.s * 3, t * 7)
        color = (tone + 0.16 * _sample(canvas.smooth, face.s * 6, t * 6 + seed))[:, None] * wall
        column, floor = np.floor(s), np.floor(t / 3)
        x, y = np.abs(s - column - 0.5) * 2, t - floor * 3
        upper = (t > 3 * shop) & (floor * 3 + 2.4 < height)
        color[upper & (x < glazed + 0.13) & (y > 0.72) & (y < 2.52)] = trim
        pane = upper & (x < glazed) & (x > 0.05) & (y > 0.90) & (y < 2.38)
        if shop:
            color[t < 3] = accent * np.float32(0.75)
            color[(t > 2.35) & (t < 2.95)] = accent
            pane |= (x < 0.86) & (t > 0.45) & (t < 2.15)
        room = _sample(canvas.grain, column * 7 + seed, floor * 13)[pane]
        glass = _palette("1f2936") + canvas.horizon * (0.06 + 0.3 * room + 0.1 * y[pane])[:, None]
        color[pane] = np.where((room > 0.88)[:, None], _palette("facc7a"), glass)
        color[(t > height - 0.35) | ((t > 2.95) & (t < 3.12))] = trim
        # Less sky reaches the foot of a wall, and the street throws light on its lower floors.
        color *= (np.clip(0.70 + 0.2 * t, 0, 1) * np.clip(1.14 - 0.033 * t, 0.8, 1.1))[:, None]
        return color * face.light, _ALL

    return shader


def _draw_house(
    canvas: _Canvas, rng: np.random.Generator, wall_x: float, z: float, length: float
) -> None:
    side = 1 if wall_x > 0 else -1
    height = 3.0 * int(rng.integers(2, 4)) + rng.uniform(-0.3, 0.5)
    wall, tile = _pick(rng, _WALLS, 0.08), _pick(rng, _ROOFS)
    steep, wide = 1.5, 5.0
    start, across = z + (length if side > 0 else 0), (0.0, 0.0, -side * length)

    def roof(face: _Face) -> tuple[np.ndarray, slice]:
        rows = 0.8 + 0.4 * _sample(canvas.grain, face.s * 2, face.t * 5)
        return rows[:, None] * tile * face.light, _ALL

    def gable(face: _Face) -> tuple[np.ndarray, np.ndarray]:
        rise = height + steep * np.minimum(np.minimum(face.s, wide - face.s), 1)
        tone = 0.84 + 0.3 * _sample(canvas.smooth, face.s * 9, face.t * 9)
        return tone[:, None] * wall * face.light, face.t < rise

    canvas.paint(((wall_x, height, start), across, (side * 1.0, steep, 0.0)), _BUILDING, roof)
    corner = (wall_x if side > 0 else wall_x - wide, 0.0, z)
    canvas.paint((corner, (wide, 0.0, 0.0), (0.0, height + steep, 0.0)), _BUILDING, gable)
    front = ((wall_x, 0.0, start), across, (0.0, height, 0.0))
    canvas.paint(front, _BUILDING, _facade(canvas, rng, wall, height))


def _draw_row(canvas: _Canvas, street: _Street, side: int, rng: np.random.Generator) -> None:
    plots, z = [], rng.uniform(-5, 0)
    while z < 38:
        stop = z + rng.uniform(7, 12)
        if stop > 2:
            plots.append((max(z, _NEAR), stop))
        z = stop + (rng.uniform(2.5, 4) if rng.random() < 0.15 else 0)
    for start, stop in reversed(plots):
        _draw_house(canvas, rng, street.wall(side), start, stop - start)


def _draw_shadow(canvas: _Canvas, thing: _Thing) -> None:
    """Darken the ground around the foot of a thing, and along its shadow away from the sun."""
    reach = min(thing.height, 4.0) / canvas.sun[1]
    tip = (thing.x - canvas.sun[0] * reach, max(thing.z - canvas.sun[2] * reach, 1.5))
    left, right = min(thing.x, tip[0]) - thing.wide - 1, max(thing.x, tip[0]) + thing.wide + 1
    near = max(min(thing.z, tip[1]) - thing.deep - 1, _NEAR)
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
    ground = (label == _ROAD) | (label == _PAVEMENT)  # walls behind it keep their light
    canvas.color[face.pixels] *= (1 - np.maximum(contact, cast) * ground)[:, None]


def _capsules(u: np.ndarray, v: np.ndarray, strokes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each tapered stroke, the points in it and their sideways place (-1 to 1)."""
    start_u, start_v, end_u, end_v, radius, end_radius = strokes.T[:6, :, None]
    du, dv = end_u - start_u, end_v - start_v
    off_u, off_v = u - start_u, v - start_v
    along = np.clip((off_u * du + off_v * dv) / np.maximum(du * du + dv * dv, 1e-6), 0, 1)
    off_u, off_v = off_u - along * du, off_v - along * dv
    radius = radius + (end_radius - radius) * along
    return off_u * off_u + off_v * off_v <= radius * radius, off_u / radius


def _strokes(canvas: _Canvas, center: float, *strokes: tuple) -> Shader:
    """Return a shader of rounded strokes (two ends, two radii, colour), the last one on top."""
    table = np.array([(*stroke[:-1], *stroke[-1]) for stroke in strokes[::-1]], np.float32)

    def shader(face: _Face) -> tuple[np.ndarray, np.ndarray]:
        inside, sideways = _capsules(face.s - center, face.t, table)
        top = inside.argmax(0)
        sideways = np.clip(sideways[top, np.arange(len(top))], -1, 1)
        bulge = np.sqrt(1 - sideways * sideways)
        lit = np.clip(canvas.sun[0] * sideways - canvas.sun[2] * bulge, 0, 1)
        color = table[top, 6:] * canvas.light(lit * 0.7 + 0.25)
        return color * (0.62 + 0.38 * bulge)[:, None], inside.any(0)

    return shader


def _draw_tree(canvas: _Canvas, rng: np.random.Generator, x: float, z: float, crown: float) -> None:
    trunk, half = rng.uniform(1.7, 2.3), crown * 1.3
    bark, leaves = _palette("5c4230")[0] * rng.uniform(0.8, 1.2), _pick(rng, _LEAVES, 0.10)
    wood = _strokes(canvas, half, (0, 0, 0, trunk + crown, 0.20, 0.12, bark))
    canvas.paint(_board(x, z, half, trunk + crown), _TREE, wood)
    middle = np.array((half, crown * 1.2, 0))
    clumps = (rng.uniform(-0.72, 0.72, (9, 3)) * crown + middle).astype(np.float32)
    radius = (rng.uniform(0.36, 0.54, (9, 1)) * crown).astype(np.float32)

    def foliage(face: _Face) -> tuple[np.ndarray, np.ndarray]:
        leaf = _sample(canvas.grain, face.s * 9, face.t * 9)
        u, v = (face.s - clumps[:, :1]) / radius, (face.t - clumps[:, 1:2]) / radius
        rest = 1.05 - u * u - v * v - 0.5 * leaf
        front = np.sqrt(np.maximum(rest, 0))
        best = np.where(rest > 0, front * radius + clumps[:, 2:], -9).argmax(0)
        u, v, front = (part[best, np.arange(len(best))] for part in (u, v, front))
        lit = u * canvas.sun[0] + v * canvas.sun[1] - 0.7 * front * canvas.sun[2]
        tone = 0.44 + 0.42 * leaf + 0.45 * _sample(canvas.smooth, face.s * 20, face.t * 20)
        tone *= np.clip(0.55 + 0.27 * face.t / crown, 0.45, 1.1)
        return tone[:, None] * leaves * canvas.light(0.3 + 0.75 * np.clip(lit, -0.5, 1)), front > 0

    corner, across, _ = _board(x, z, half, 0)
    quad = ((corner[0], trunk - crown * 0.25, z), across, (0.0, crown * 2.5, 0.0))
    canvas.paint(quad, _TREE, foliage)


class _Car:
    """A car heading along `forward`, built from flat faces; `x`, `z` is below its rear."""

    def __init__(self, rng: np.random.Generator, x: float, z: float, forward: Vector) -> None:
        self.base, self.forward = (x, 0.0, z), forward
        self.body = _BODIES[rng.integers(len(_BODIES))]
        self.deck, self.top, self.length = self.body[4:]
        self.half, self.color = rng.uniform(0.86, 0.93), _pick(rng, _PAINTS)

    def thing(self, canvas: _Canvas) -> _Thing:
        x, _, z = self._place(self.length / 2, 0, 0)
        axes = (self.half, self.length / 2)
        return _Thing(
            x, z, *(axes[::-1] if self.forward[0] else axes), 1.0, partial(self._paint, canvas)
        )

    def _vector(self, ahead: float, right: float, up: float) -> Vector:
        x, _, z = self.forward
        return (x * ahead + z * right, up, z * ahead - x * right)

    def _place(self, ahead: float, right: float, up: float) -> Vector:
        x, y, z = (a + b for a, b in zip(self.base, self._vector(ahead, right, up), strict=True))
        return (x, y, z)

    def _paint(self, canvas: _Canvas) -> None:
        rear, front, roof_rear, roof_front = self.body[:4]
        outline, sill = _outline(0, self.length, self.half), _outline(rear, front, self.half)
        roof = _outline(roof_rear, roof_front, self.half - 0.16)
        canvas.paint(self._lid(outline, self.deck), _CAR, self._sheet)
        shaders = (partial(self._end, False), self._flank, partial(self._end, True), self._flank)
        for (quad, _), shader in zip(
            self._panels(outline, outline, 0, self.deck), shaders, strict=True
        ):
            canvas.paint(quad, _CAR, shader)
        # The cabin stands on the body and hides part of it, so it comes last.
        for quad, trims in self._panels(sill, roof, self.deck, self.top):
            canvas.paint(quad, _CAR, partial(self._glass, canvas, quad, trims))
        canvas.paint(self._lid(roof, self.top), _CAR, self._sheet)

    def _lid(self, outline: list, height: float) -> tuple[Vector, Vector, Vector]:
        (rear, left), _, (front, right), _ = outline
        across, along = self._vector(0, right - left, 0), self._vector(front - rear, 0, 0)
        return self._place(rear, left, height), across, along

    def _panels(self, base: list, top: list, low: float, high: float) -> list:
        """Return the four sides between two outlines, and how much each narrows at its ends."""
        panels = []
        for i in range(4):
            a, b, c, d = base[i], base[i - 3], top[i], top[i - 3]
            axis = 1 - i % 2  # rear and front run across the car, the flanks along it
            lean = (c[0] - a[0], 0.0) if axis else (0.0, c[1] - a[1])
            across = self._vector(b[0] - a[0], b[1] - a[1], 0)
            quad = (self._place(*a, low), across, self._vector(*lean, high - low))
            panels.append((quad, (abs(c[axis] - a[axis]), abs(d[axis] - b[axis]))))
        return panels

    def _sheet(self, face: _Face) -> tuple[np.ndarray, slice]:
        return np.broadcast_to(self.color * face.light, (len(face.s), 3)), _ALL

    def _enamel(self, face: _Face) -> np.ndarray:
        # Glossy paint mirrors the sky above the crease and the road below it.
        gloss = 0.78 + 0.33 * np.minimum(face.t, 1) + np.float32(0.10) * (face.t > 0.62)
        return gloss[:, None] * self.color

    def _flank(self, face: _Face) -> tuple[np.ndarray, np.ndarray]:
        color = self._enamel(face)
        off = np.abs(face.s - self.length / 2)
        color[off < 0.03] *= 0.55
        wheel = (off - 0.31 * self.length) ** 2 + (face.t - 0.33) ** 2
        color[wheel < 0.40**2] = 0.05
        color[wheel < 0.19**2] = 0.58
        return color * face.light, (face.t > 0.24) | (wheel < 0.33**2)

    def _end(self, is_front: bool, face: _Face) -> tuple[np.ndarray, np.ndarray]:
        color, off, drop = self._enamel(face), np.abs(face.s - self.half), self.deck - face.t
        color[face.t < 0.34] = 0.10
        if is_front:
            color[(off < 0.48) & (np.abs(drop - 0.26) < 0.09)] = 0.07
        lamps = (off > self.half - 0.40) & (off < self.half - 0.05) & (np.abs(drop - 0.24) < 0.12)
        color[lamps] = (1.5, 1.45, 1.2) if is_front else (1.1, 0.1, 0.08)
        color[(off < 0.26) & (np.abs(face.t - 0.44) < 0.065)] = _WHITE
        tyres = (off > self.half - 0.26) & (off < self.half - 0.03)
        return color * face.light, (face.t > 0.22) | tyres

    def _glass(
        self, canvas: _Canvas, quad: tuple, trims: tuple[float, float], face: _Face
    ) -> tuple[np.ndarray, np.ndarray]:
        wide, high = _length(quad[1]), _length(quad[2])
        rise = face.t / high
        rim = np.minimum(face.s - trims[0] * rise, wide - face.s - trims[1] * rise)
        pillar = (wide > 2 * self.half) & (np.abs(face.s - wide / 2) < 0.06)
        color = self._enamel(face)
        pane = (rim > 0.10) & (np.abs(rise - 0.48) < 0.40) & ~pillar
        color[pane] = _palette("141c26") + canvas.horizon * (0.16 + 0.34 * rise[pane])[:, None]
        return color * face.light, rim > 0


def _outline(rear: float, front: float, half: float) -> list[tuple[float, float]]:
    """Return corners (ahead, right) in the order in which each side is seen left to right."""
    return [(rear, -half), (rear, half), (front, half), (front, -half)]


def _draw_person(canvas: _Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    tall, step, way = rng.uniform(0.93, 1.07), rng.uniform(0.08, 0.28), rng.choice((-1, 1))
    top, legs = _pick(rng, _CLOTHES), _pick(rng, _TROUSERS)
    skin, hair, shoe = _pick(rng, _SKIN), _pick(rng, _HAIR), _BLACK
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
        strokes.append((-hand * way, hip - 0.2, -hand * way, hip, 0.14, 0.11, _pick(rng, _ACCENTS)))
    scaled = ((*(tall * part for part in stroke[:6]), stroke[6]) for stroke in strokes)
    canvas.paint(_board(x, z, 0.6, 2.0), _PERSON, _strokes(canvas, 0.6, *scaled))


def _post_radius(z: float) -> float:
    """Return half a post's width, never less than a pixel and a half in the smallest images."""
    return max(0.07, 0.0165 * z)


def _draw_lamp(canvas: _Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    radius, tall, metal = _post_radius(z), rng.uniform(3.7, 4.6), _pick(rng, _METAL, 0.03)
    half = 0.75  # the board is centred between the post and the tip of its arm
    post, top = 0.45 if x > 0 else -0.45, tall + 0.25
    shader = _strokes(
        canvas,
        half,
        (post, 0, post, tall, radius, radius, metal),
        (post, 0, post, 0.6, radius * 1.25, radius * 1.25, metal * 0.9),
        (post, tall, -post, top, radius * 0.8, radius * 0.8, metal),
        (-0.4 * post, top, -1.2 * post, top, 0.14, 0.11, metal * 0.8),
    )
    canvas.paint(_board(x - post, z, half, tall + 0.5), _POLE, shader)


def _plate_edge(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return 0 in the middle of a plate and 1 on its edge."""
    if shape == "round":
        return np.sqrt(x * x + y * y)
    if shape == "triangle":
        return np.maximum(-y / 0.72, (np.abs(x) * 1.7 + y) / 0.95)
    if shape == "diamond":
        return np.abs(x) + np.abs(y)
    return np.maximum(np.abs(x) / 0.82, np.abs(y))


def _draw_sign(canvas: _Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    radius, tall = _post_radius(z), rng.uniform(2.1, 2.7)
    half = max(rng.uniform(0.42, 0.52), 0.05 * z)
    post = _strokes(canvas, radius, (0, 0, 0, tall, radius, radius, _pick(rng, _METAL, 0.03)))
    canvas.paint(_board(x, z, radius, tall), _POLE, post)
    shape, border, field, symbol, wide, high = _PLATES[rng.integers(len(_PLATES))]

    def plate(face: _Face) -> tuple[np.ndarray, np.ndarray]:
        u, v = face.s / half - 1, face.t / half - 1
        edge = _plate_edge(shape, u, v)
        color = np.where((edge < 0.74)[:, None], field, border)
        color[(np.abs(u) < wide) & (np.abs(v) < high) & (edge < 0.74)] = symbol
        # Plates are retroreflective: they stay bright with the sun behind them.
        return color * np.maximum(face.light, 0.85) * (0.94 + 0.10 * v)[:, None], edge <= 1

    quad = (x - half, tall - half, z), (2 * half, 0.0, 0.0), (0.0, 2 * half, 0.0)
    canvas.paint(quad, _SIGN, plate)


def _furniture(
    canvas: _Canvas, street: _Street, side: int, rng: np.random.Generator
) -> list[_Thing]:
    """Return the trees, the lamp, the sign and the walkers of one pavement."""
    things, kerb = [], street.kerb(side)
    z = rng.uniform(7.5, 12)
    while z < 26:
        x, crown = street.wall(side) - side * rng.uniform(0.9, 1.3), rng.uniform(1.3, 1.9)
        things.append(_Thing(x, z, 0.5, 0.4, 4.0, partial(_draw_tree, canvas, rng, x, z, crown)))
        z += rng.uniform(7, 10)
    x, z = kerb + side * 0.45, rng.uniform(8, 12)
    z = canvas.in_view(x, z)
    things.append(_Thing(x, z, 0.2, 0.2, 4.5, partial(_draw_lamp, canvas, rng, x, z)))
    z = canvas.in_view(x, rng.uniform(5.5, 8.5), 0.92)
    things.append(_Thing(x, z, 0.2, 0.2, 2.6, partial(_draw_sign, canvas, rng, x, z)))
    for _ in range(rng.integers(1, 3)):
        x = kerb + side * rng.uniform(0.8, 1.6)
        things.append(_walker(canvas, rng, x, rng.uniform(4.8, 7)))
    return things


def _walker(canvas: _Canvas, rng: np.random.Generator, x: float, z: float) -> _Thing:
    z = canvas.in_view(x, z, 0.80)  # further in than the signs, whose posts would hide it
    return _Thing(x, z, 0.32, 0.28, 1.7, partial(_draw_person, canvas, rng, x, z))


def _traffic(canvas: _Canvas, street: _Street, rng: np.random.Generator) -> list[_Thing]:
    """Return the cars along both kerbs, sometimes one across, and a walker on the zebra."""
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
            cars.append(_Car(rng, x, start, (0.0, 0.0, heading)))
            z += rng.uniform(6, 11)
    if end < 20:
        heading = 1.0 if rng.random() < 0.5 else -1.0
        cars.append(_Car(rng, middle - heading * rng.uniform(1, 3), end, (heading, 0.0, 0.0)))
    things = [car.thing(canvas) for car in cars]
    if street.crossing < _FAR:
        x, z = middle + rng.uniform(-2.2, 2.2), street.crossing + rng.uniform(0.3, 1.8)
        things.append(_walker(canvas, rng, x, z))
    return things


def _develop(canvas: _Canvas, rng: np.random.Generator) -> np.ndarray:
    """Return the picture with a vignette, more contrast and the noise of a sensor."""
    corner = canvas.ray_x * canvas.ray_x + canvas.ray_y * canvas.ray_y
    color = canvas.color.reshape(*corner.shape, 3)
    color = np.clip(color * (1.06 - 0.14 * corner)[..., None], 0, 1)
    color += np.float32(0.35) * (color * color * (3 - 2 * color) - color)
    color += (rng.random(color.shape, np.float32) - 0.5) * 0.035
    return (np.clip(color, 0, 1) * 255 + 0.5).astype(np.uint8)


def draw(seed: int, size: tuple[int, int] = (128, 192)) -> tuple[np.ndarray, np.ndarray]:
    """Draw one street scene.

    Args:
        seed: Any non-negative integer; it decides everything about the scene.
        size: Height and width in pixels.

    Returns:
        The image, uint8 (height, width, 3) in RGB, and its label, uint8 (height, width), whose
        values index `CLASS_NAMES`. The same seed and size give the same bytes on any machine.

    Raises:
        ValueError: If the size is smaller than 64 x 96.
    """
    if size[0] < _MIN_SIZE[0] or size[1] < _MIN_SIZE[1]:
        raise ValueError(f"size must be at least {_MIN_SIZE}, got {tuple(size)}")
    rng = np.random.default_rng(seed)
    canvas = _Canvas(rng, size)
    left, crossing = -rng.uniform(2.3, 4.2), rng.uniform(4.4, 6) if rng.random() < 0.45 else _FAR
    street = _Street(left, left + rng.uniform(6.0, 6.8), rng.uniform(2.8, 3.3), crossing)
    _draw_sky(canvas, rng)
    _draw_skyline(canvas, rng)
    _draw_ground(canvas, street, rng)
    for side in (-1, 1):
        _draw_row(canvas, street, side, rng)
    things = _traffic(canvas, street, rng)
    things += _furniture(canvas, street, -1, rng) + _furniture(canvas, street, 1, rng)
    for thing in things:
        if thing.z < 14:  # further away a shadow is a line of pixels
            _draw_shadow(canvas, thing)
    for thing in sorted(things, key=lambda thing: -thing.z):
        thing.paint()
    step = 1 if rng.random() < 0.5 else -1  # half of the scenes are mirrored
    image, label = _develop(canvas, rng), canvas.label.reshape(size)
    return np.ascontiguousarray(image[:, ::step]), np.ascontiguousarray(label[:, ::step])
