class Thing(NamedTuple):
    """Something that stands on the ground, with the half axes of its contact shadow."""

    x: float
    z: float
    wide: float
    deep: float
    height: float
    paint: Callable[[], None]


def draw_shadow(canvas: Canvas, thing: Thing) -> None:
    """Darken the ground around the foot of a thing, and along its shadow away from the sun."""
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
    """Return a shader of rounded strokes (two ends, two radii, colour), the last one on top."""
    table = np.array([(*stroke[:-1], *stroke[-1]) for stroke in strokes[::-1]], np.float32)

    def shader(face: Face) -> tuple[np.ndarray, np.ndarray]:
        inside, sideways = _capsules(face.s - center, face.t, table)
        top = inside.argmax(0)
        sideways = np.clip(sideways[top, np.arange(len(top))], -1, 1)
        bulge = np.sqrt(1 - sideways * sideways)
        lit = np.clip(canvas.sun[0] * sideways - canvas.sun[2] * bulge, 0, 1)
        color = table[top, 6:] * canvas.light(lit * 0.7 + 0.25)
        return color * (0.62 + 0.38 * bulge)[:, None], inside.any(0)

    return shader


def _capsules(u: np.ndarray, v: np.ndarray, strokes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each tapered stroke, the points in it and their sideways place (-1 to 1)."""
    start_u, start_v, end_u, end_v, radius, end_radius = strokes.T[:6, :, None]
    du, dv = end_u - start_u, end_v - start_v
    off_u, off_v = u - start_u, v - start_v
    along = np.clip((off_u * du + off_v * dv) / np.maximum(du * du + dv * dv, 1e-6), 0, 1)
    off_u, off_v = off_u - along * du, off_v - along * dv
    radius = radius + (end_radius - radius) * along
    return off_u * off_u + off_v * off_v <= radius * radius, off_u / radius
