def palette(colors: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(color)) for color in colors.split()], np.float32) / 255


RED, WHITE, BLUE, YELLOW, BLACK = palette("d61217 f7f7f2 0d47b8 fccc0d 141417")


ACCENTS = palette("7d3531 35594f 3a4a69 a58a55")


LEAVES = palette("4d8021 386e26 668729 7a7a1f")


TILE = 128  # a power of two, so that wrapping an index is one bitwise "and"


def jitter(rng: np.random.Generator, spread: float) -> np.ndarray:
    return rng.uniform(1 - spread, 1 + spread, 3).astype(np.float32)


def pick(rng: np.random.Generator, palette: np.ndarray, spread: float = 0.06) -> np.ndarray:
    """Return one of the colours, slightly changed so that no two objects are alike."""
    return palette[rng.integers(len(palette))] * jitter(rng, spread)


def smooth_tile(rng: np.random.Generator) -> np.ndarray:
    """Return periodic cloud-like noise between 0 and 1, a sum of ever finer octaves."""
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
    """Look a tile up at `u`, `v`, one unit to a cell and repeating."""
    rows, columns = (np.floor(place).astype(np.int32) & (TILE - 1) for place in (v, u))
    return tile[rows, columns]


def soft_sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Look a tile up with linear interpolation, for patterns larger than a pixel."""
    du, dv = u - np.floor(u), v - np.floor(v)
    upper = sample(tile, u, v) * (1 - du) + sample(tile, u + 1, v) * du
    lower = sample(tile, u, v + 1) * (1 - du) + sample(tile, u + 1, v + 1) * du
    return upper * (1 - dv) + lower * dv
