SKY, ROAD, PAVEMENT, BUILDING, TREE, CAR, PERSON, POLE, SIGN = range(len(CLASS_NAMES))


NEAR, FAR = 1.0, 400.0


ALL = slice(None)


# zenith, horizon, sunlight, ambient light; haze range in metres; cloud cover
_MOODS = (
    (palette("3875d1 bddbf5 d0c4a6 757f91"), 190.0, 0.45),
    (palette("576bb3 ffc78c e69e5c 787385"), 140.0, 0.50),
    (palette("99a8ba d6dbe0 424240 b3b8bf"), 100.0, 0.80),
    (palette("6b99db fce3d1 d0ae90 7a7f91"), 120.0, 0.35),
)


Vector = tuple[float, float, float]


class Face(NamedTuple):
    """The visible pixels of a surface: where they are on it, in metres, and its light."""

    s: np.ndarray
    t: np.ndarray
    z: np.ndarray
    light: np.ndarray
    pixels: np.ndarray  # indices into the flattened image


Shader = Callable[["Face"], tuple[np.ndarray, np.ndarray | slice]]  # colours, which to keep


class Canvas:
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
        self.smooth, self.grain = smooth_tile(rng), rng.random((TILE, TILE), np.float32)
        colors, haze, clouds = _MOODS[rng.integers(len(_MOODS))]
        self.zenith, self.horizon, self.sunlight, self.ambient = colors * jitter(rng, 0.05)
        self.haze, self.clouds = haze * rng.uniform(0.8, 1.3), clouds + rng.uniform(-0.2, 0.2)
        side = 1 if rng.random() < 0.5 else -1
        east, up, ahead = rng.uniform((0.25, 0.45, -1.0), (1.0, 0.9, 0.7)).tolist()
        self.sun = _unit((side * east, up, ahead))

    def project(self, corner: Vector, across: Vector, up: Vector) -> Face | None:
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
        scale = 1 / np.maximum(self._along(window, normal), facing / FAR)
        s = self._along(window, _cross(up, origin)) * scale
        t = self._along(window, _cross(origin, across)) * scale
        inside = (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
        s, t, z = s[inside] * length(across), t[inside] * length(up), scale[inside] * facing
        light = self.light(max(0.0, -_dot(_unit(normal), self.sun)))
        return Face(s, t, z, light, self.index[window][inside]) if len(s) else None

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
            columns.append(self.center_x + self.focal * x / max(z, NEAR))
            rows.append(self.horizon_y - self.focal * y / max(z, NEAR))
        return _span(rows, self.index.shape[0]), _span(columns, self.index.shape[1])


def board(x: float, z: float, half: float, height: float) -> tuple[Vector, Vector, Vector]:
    """Return an upright quad turned to the camera, its foot in the middle of its lower edge."""
    return (x - half, 0.0, z), (2 * half, 0.0, 0.0), (0.0, height, 0.0)


def length(vector: Vector) -> float:
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
