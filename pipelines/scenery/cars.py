"""Cars, built from flat faces: a body, and a cabin on top of it."""

from functools import partial

import numpy as np

from .canvas import ALL, CAR, WHITE, Canvas, Face, Quad, Vector, length, palette, pick
from .things import Thing

_PAINTS = palette("c21a1a 1a459e ebebeb 9ea6b0 24262e edb31f 14757a")
# cabin from rear to front at the deck, then at the roof; height of deck and roof; length
_BODIES = (
    (0.50, 3.30, 1.15, 2.45, 0.90, 1.46, 4.4),
    (0.08, 3.05, 0.55, 2.20, 0.94, 1.54, 3.9),
    (0.05, 3.40, 0.25, 2.75, 1.02, 1.76, 4.5),
    (0.03, 4.20, 0.12, 3.60, 1.10, 2.02, 4.8),
)

Outline = list[tuple[float, float]]  # corners seen from above, (ahead, right)
Panel = tuple[Quad, tuple[float, float]]  # a side, and how much it narrows at its ends


class Car:
    """A car, built from flat faces.

    Args:
        rng: Decides its body and colour.
        x: Place of the middle of its rear.
        z: Distance of its rear.
        forward: Unit vector of its heading, along x or along z.
    """

    def __init__(self, rng: np.random.Generator, x: float, z: float, forward: Vector):
        self.base, self.forward = (x, 0.0, z), forward
        self.body = _BODIES[rng.integers(len(_BODIES))]
        self.deck, self.top, self.length = self.body[4:]
        self.half, self.color = rng.uniform(0.86, 0.93), pick(rng, _PAINTS)

    def thing(self, canvas: Canvas) -> Thing:
        """Returns the car as something to be drawn on a canvas."""
        x, _, z = self._place(self.length / 2, 0, 0)
        wide, deep = self.half, self.length / 2
        if self.forward[0]:
            wide, deep = deep, wide
        return Thing(x, z, wide, deep, 1.0, partial(self._paint, canvas))

    def _vector(self, ahead: float, right: float, up: float) -> Vector:
        x, _, z = self.forward
        return (x * ahead + z * right, up, z * ahead - x * right)

    def _place(self, ahead: float, right: float, up: float) -> Vector:
        x, y, z = (a + b for a, b in zip(self.base, self._vector(ahead, right, up), strict=True))
        return (x, y, z)

    def _paint(self, canvas: Canvas) -> None:
        rear, front, roof_rear, roof_front = self.body[:4]
        outline, sill = _outline(0, self.length, self.half), _outline(rear, front, self.half)
        roof = _outline(roof_rear, roof_front, self.half - 0.16)
        canvas.paint(self._lid(outline, self.deck), CAR, self._sheet)
        shaders = (partial(self._end, False), self._flank, partial(self._end, True), self._flank)
        for (quad, _), shader in zip(
            self._panels(outline, outline, 0, self.deck), shaders, strict=True
        ):
            canvas.paint(quad, CAR, shader)
        # The cabin stands on the body and hides part of it, so it comes last.
        for quad, trims in self._panels(sill, roof, self.deck, self.top):
            canvas.paint(quad, CAR, partial(self._glass, canvas, quad, trims))
        canvas.paint(self._lid(roof, self.top), CAR, self._sheet)

    def _lid(self, outline: Outline, height: float) -> Quad:
        (rear, left), _, (front, right), _ = outline
        across, along = self._vector(0, right - left, 0), self._vector(front - rear, 0, 0)
        return self._place(rear, left, height), across, along

    def _panels(self, base: Outline, top: Outline, low: float, high: float) -> list[Panel]:
        """Returns the four sides between two outlines, and how much each narrows at its ends."""
        panels: list[Panel] = []
        for i in range(4):
            a, b, c, d = base[i], base[i - 3], top[i], top[i - 3]
            axis = 1 - i % 2  # rear and front run across the car, the flanks along it
            lean = (c[0] - a[0], 0.0) if axis else (0.0, c[1] - a[1])
            across = self._vector(b[0] - a[0], b[1] - a[1], 0)
            quad = (self._place(a[0], a[1], low), across, self._vector(*lean, high - low))
            panels.append((quad, (abs(c[axis] - a[axis]), abs(d[axis] - b[axis]))))
        return panels

    def _sheet(self, face: Face) -> tuple[np.ndarray, slice]:
        return np.broadcast_to(self.color * face.light, (len(face.s), 3)), ALL

    def _enamel(self, face: Face) -> np.ndarray:
        # Glossy paint mirrors the sky above the crease and the road below it.
        gloss = 0.78 + 0.33 * np.minimum(face.t, 1) + np.float32(0.10) * (face.t > 0.62)
        return gloss[:, None] * self.color

    def _flank(self, face: Face) -> tuple[np.ndarray, np.ndarray]:
        color = self._enamel(face)
        off = np.abs(face.s - self.length / 2)
        color[off < 0.03] *= 0.55
        wheel = (off - 0.31 * self.length) ** 2 + (face.t - 0.33) ** 2
        color[wheel < 0.40**2] = 0.05
        color[wheel < 0.19**2] = 0.58
        return color * face.light, (face.t > 0.24) | (wheel < 0.33**2)

    def _end(self, is_front: bool, face: Face) -> tuple[np.ndarray, np.ndarray]:
        color, off, drop = self._enamel(face), np.abs(face.s - self.half), self.deck - face.t
        color[face.t < 0.34] = 0.10
        if is_front:
            color[(off < 0.48) & (np.abs(drop - 0.26) < 0.09)] = 0.07
        lamps = (off > self.half - 0.40) & (off < self.half - 0.05) & (np.abs(drop - 0.24) < 0.12)
        color[lamps] = (1.5, 1.45, 1.2) if is_front else (1.1, 0.1, 0.08)
        color[(off < 0.26) & (np.abs(face.t - 0.44) < 0.065)] = WHITE
        tyres = (off > self.half - 0.26) & (off < self.half - 0.03)
        return color * face.light, (face.t > 0.22) | tyres

    def _glass(
        self, canvas: Canvas, quad: Quad, trims: tuple[float, float], face: Face
    ) -> tuple[np.ndarray, np.ndarray]:
        wide, high = length(quad[1]), length(quad[2])
        rise = face.t / high
        rim = np.minimum(face.s - trims[0] * rise, wide - face.s - trims[1] * rise)
        pillar = (wide > 2 * self.half) & (np.abs(face.s - wide / 2) < 0.06)
        color = self._enamel(face)
        pane = (rim > 0.10) & (np.abs(rise - 0.48) < 0.40) & ~pillar
        color[pane] = palette("141c26") + canvas.horizon * (0.16 + 0.34 * rise[pane])[:, None]
        return color * face.light, rim > 0


def _outline(rear: float, front: float, half: float) -> Outline:
    """Returns corners (ahead, right) in the order in which each side is seen left to right."""
    return [(rear, -half), (rear, half), (front, half), (front, -half)]
