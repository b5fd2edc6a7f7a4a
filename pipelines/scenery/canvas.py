"""The canvas: camera and light, image and label under construction, colours and noise."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# The order of the classes; `datasets.scenes` has their names and colours (a test compares them).
SKY, ROAD, PAVEMENT, BUILDING, TREE, CAR, PERSON, POLE, SIGN = range(9)

NEAR, FAR = 1.0, 400.0  # metres
ALL = slice(None)  # what a shader answers when it keeps every pixel
TILE = 128  # a power of two, so that wrapping an index is one bitwise "and"

Vector = tuple[float, float, float]  # x to the right, y up, z ahead
Quad = tuple[Vector, Vector, Vector]  # a corner, the edge across, the edge up


def palette(colors: str) -> np.ndarray:
    """Parses colours.

    Args:
        colors: Six hexadecimal digits per colour, separated by spaces.

    Returns:
        float32 (colours, 3) between 0 and 1.
    """
    return np.array([list(bytes.fromhex(color)) for color in colors.split()], np.float32) / 255


RED, WHITE, BLUE, YELLOW, BLACK = palette("d61217 f7f7f2 0d47b8 fccc0d 141417")
ACCENTS = palette("7d3531 35594f 3a4a69 a58a55")
LEAVES = palette("4d8021 386e26 668729 7a7a1f")
# zenith, horizon, sunlight, ambient light; haze range in metres; cloud cover
_MOODS = (
    (palette("3875d1 bddbf5 d0c4a6 757f91"), 190.0, 0.45),
    (palette("576bb3 ffc78c e69e5c 787385"), 140.0, 0.50),
    (palette("99a8ba d6dbe0 424240 b3b8bf"), 100.0, 0.80),
    (palette("6b99db fce3d1 d0ae90 7a7f91"), 120.0, 0.35),
)


class Face(NamedTuple):
    """The visible pixels of a surface.

    Attributes:
        s: Place of each on the surface, across, in metres.
        t: The same, up.
        z: Distance of each from the camera.
        light: Light on the surface, (3,).
        pixels: Indices into the flattened image.
    """

    s: np.ndarray
    t: np.ndarray
    z: np.ndarray
    light: np.ndarray
    pixels: np.ndarray


# Gives the colours of the pixels, and which of them to keep.
Shader = Callable[[Face], tuple[np.ndarray, np.ndarray | slice]]


class Canvas:
    """Image and label under construction, with the camera and the light they are seen in.

    Args:
        rng: Decides the camera, the weather and the light.
        size: Height and width in pixels.

    Attributes:
        color: float32 (pixels, 3), row by row.
        label: uint8 (pixels,).
        ray_x: (1, width), how far each column looks to the right, one metre ahead.
        ray_y: (height, 1), how far each row looks up.
        horizon_y: Row of the horizon.
        smooth: Cloud-like noise to be sampled.
        grain: White noise to be sampled.
        zenith: Colour of the sky above.
        horizon: Colour of the sky at the horizon.
        sunlight: Colour of the sun's light.
        ambient: Colour of the light in the shade.
        clouds: Cover of the sky.
        sun: Unit vector towards the sun.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]):
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
        self.smooth, self.grain = smooth_tile(rng), rng.random((TILE, TILE), np.float32)
        colors, haze, clouds = _MOODS[rng.integers(len(_MOODS))]
        self.zenith, self.horizon, self.sunlight, self.ambient = colors * jitter(rng, 0.05)
        self.haze, self.clouds = haze * rng.uniform(0.8, 1.3), clouds + rng.uniform(-0.2, 0.2)
        side = 1 if rng.random() < 0.5 else -1
        east, up, ahead = rng.uniform((0.25, 0.45, -1.0), (1.0, 0.9, 0.7)).tolist()
        self.sun = _unit((side * east, up, ahead))

    def project(self, corner: Vector, across: Vector, up: Vector) -> Face | None:
        """Finds the pixels of a parallelogram.

        Args:
            corner: Where it begins.
            across: Edge that runs to the right, seen from its visible side.
            up: Edge that runs away from the viewer's feet.

        Returns:
            The pixels; None when it is out of view or faces away.
        """
        origin = (corner[0], corner[1] - self.eye, corner[2])
        normal = _cross(across, up)
        facing = _dot(origin, normal)
        if facing < 1e-6:
            return None
        window = self._window(origin, across, up)
        # Every ray d meets the plane where z * d = origin + s * across + t * up; the triple
        # products below solve that for z, s and t at once.
        scale = 1 / np.maximum(self._along(window, normal), facing / FAR)
        s = self._along(window, _cross(up, origin)) * scale
        t = self._along(window, _cross(origin, across)) * scale
        inside = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
        s, t, z = s[inside] * length(across), t[inside] * length(up), scale[inside] * facing
        light = self.light(max(0.0, -_dot(_unit(normal), self.sun)))
        return Face(s, t, z, light, self.index[window][inside]) if len(s) else None

    def light(self, toward_sun: float | np.ndarray) -> np.ndarray:
        """Returns the light on a surface whose normal has this cosine to the sun."""
        return self.ambient + self.sunlight * np.asarray(toward_sun, np.float32)[..., None]

    def paint(self, quad: Quad, class_id: int, shader: Shader) -> None:
        """Colours and labels a surface, hazed by distance.

        Args:
            quad: Arguments of `project`.
            class_id: Label of its pixels.
            shader: Gives their colours, and which of them to keep.
        """
        face = self.project(*quad)
        if face is None:
            return
        color, keep = shader(face)
        color = color + (self.horizon - color) * (face.z / (face.z + self.haze))[:, None]
        pixels = face.pixels[keep]
        self.color[pixels] = color[keep]
        self.label[pixels] = class_id

    def in_view(self, x: float, z: float, reach: float = 0.85) -> float:
        """Returns the distance, at least `z`, that brings `x` within `reach` of the way out."""
        room = self.center_x if x < 0 else self.index.shape[1] - self.center_x
        return max(z, abs(x) * self.focal / (reach * room))

    def _along(self, window: tuple[slice, slice], vector: Vector) -> np.ndarray:
        x, y, z = vector
        return self.ray_x[:, window[1]] * x + (self.ray_y[window[0]] * y + z)

    def _window(self, origin: Vector, across: Vector, up: Vector) -> tuple[slice, slice]:
        columns, rows = [], []
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            x, y, z = (o + i * a + j * u for o, a, u in zip(origin, across, up, strict=True))
            columns.append(self.center_x + self.focal * x / max(z, NEAR))
            rows.append(self.horizon_y - self.focal * y / max(z, NEAR))
        return _span(rows, self.index.shape[0]), _span(columns, self.index.shape[1])


def board(x: float, z: float, half: float, height: float) -> Quad:
    """Returns an upright quad turned to the camera, its foot in the middle of its lower edge."""
    return (x - half, 0.0, z), (2 * half, 0.0, 0.0), (0.0, height, 0.0)


def length(vector: Vector) -> float:
    """Returns the length of a vector."""
    return math.sqrt(_dot(vector, vector))


def _span(places: list[float], limit: int) -> slice:
    return slice(max(math.floor(min(places)), 0), min(math.ceil(max(places)) + 1, limit))


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(vector: Vector) -> Vector:
    x, y, z = (part / length(vector) for part in vector)
    return (x, y, z)


def jitter(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Returns three random factors between 1 - spread and 1 + spread, one per channel."""
    return rng.uniform(1 - spread, 1 + spread, 3).astype(np.float32)


def pick(rng: np.random.Generator, colors: np.ndarray, spread: float = 0.06) -> np.ndarray:
    """Picks a colour and changes it slightly, so that no two objects are alike.

    Args:
        rng: Decides.
        colors: float32 (colours, 3), as from `palette`.
        spread: Largest relative change of a channel.

    Returns:
        float32 (3,).
    """
    return colors[rng.integers(len(colors))] * jitter(rng, spread)


def smooth_tile(rng: np.random.Generator) -> np.ndarray:
    """Returns periodic cloud-like noise between 0 and 1, a sum of ever finer octaves."""
    tile = np.zeros((TILE, TILE), np.float32)
    for cells, weight in ((4, 0.45), (8, 0.26), (16, 0.15), (32, 0.09), (64, 0.05)):
        grid = rng.random((cells, cells), np.float32)
        step = np.arange(TILE // cells, dtype=np.float32) * (cells / TILE)
        blend = (step * step * (3 - 2 * step))[None, :, None]
        for _ in range(2):
            grid = grid[:, None] + (np.roll(grid, -1, 0) - grid)[:, None] * blend
            grid = grid.reshape(TILE, -1).T
        tile += weight * grid
    return tile


def sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Looks a tile up at the nearest cell.

    Args:
        tile: float32 (TILE, TILE); it repeats in both directions.
        u: Places across, one unit a cell.
        v: Places down, of a shape that broadcasts with `u`.

    Returns:
        The values at these places.
    """
    rows, columns = (np.floor(place).astype(np.int32) & (TILE - 1) for place in (v, u))
    return tile[rows, columns]


def soft_sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Looks a tile up with linear interpolation, for patterns larger than a pixel.

    Args:
        tile: As for `sample`.
        u: As for `sample`.
        v: As for `sample`.

    Returns:
        The values at these places.
    """
    du, dv = u - np.floor(u), v - np.floor(v)
    upper = sample(tile, u, v) * (1 - du) + sample(tile, u + 1, v) * du
    lower = sample(tile, u, v + 1) * (1 - du) + sample(tile, u + 1, v + 1) * du
    return upper * (1 - dv) + lower * dv
