"""Pictures for fuzzing: a PNG writer and reader of the tests' own, and ways to damage files.

The reader follows the PNG specification (ISO/IEC 15948) and shares no code with the one that is
tested: zlib, the five filters and the seven passes, written out pixel by pixel.
"""

import io
import struct
import zlib

import numpy as np
import PIL.Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [  # bits and colour type
    *((bits, 0) for bits in (1, 2, 4, 8, 16)),
    *((bits, 3) for bits in (1, 2, 4, 8)),
    *((bits, color) for color in (2, 4, 6) for bits in (8, 16)),
]
LABEL_KINDS = [kind for kind in KINDS if kind[1] in (0, 3) or kind in ((8, 2), (8, 4), (8, 6))]
# First column and row, and steps, of the seven passes.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
PASSES = (*PASSES, (0, 1, 1, 2))


HARMLESS = (  # chunks that change no pixel
    (b"gAMA", struct.pack(">I", 45455)),
    (b"sRGB", b"\0"),
    (b"sBIT", b"\4"),
    (b"pHYs", struct.pack(">IIB", 1, 2, 0)),
    (b"tEXt", b"Software\0a painter"),
    (b"abCd", bytes(8)),
)


class BrokenPictureError(Exception):
    """The reader cannot tell the pixels."""


def chunk(kind, body):
    crc = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + crc


def header(width, height, bits, color, interlace=0):
    return struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace)


def split(content):
    """Splits a PNG into its chunks."""
    chunks, position = [], len(SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        chunks.append((kind, content[position + 8 : position + 8 + length]))
        position += 12 + length
        if kind == b"IEND":
            break
    return chunks


def join(chunks):
    return SIGNATURE + b"".join(chunk(*each) for each in chunks)


def write(samples, bits, color, rng, *, interlace=False, extra=()):
    """Writes a PNG of (height, width, channels) samples with filters drawn at random."""
    height, width, _ = samples.shape
    rows = b""
    for part in _parts(samples) if interlace else [samples]:
        rows += _filtered(part, bits, rng)
    pixels = zlib.compress(rows, rng.choice((0, 1, 9)))
    cut = rng.randrange(len(pixels))
    chunks = [(b"IHDR", header(width, height, bits, color, int(interlace))), *extra]
    return join([*chunks, (b"IDAT", pixels[:cut]), (b"IDAT", pixels[cut:]), (b"IEND", b"")])


def _parts(samples):
    parts = [samples[y::down, x::right] for x, y, right, down in PASSES]
    return [part for part in parts if part.size]


def _packed(part, bits):
    """Packs each row of samples into bytes."""
    height, width, channels = part.shape
    places = part.reshape(height, width * channels, 1).astype(np.uint32) >> np.arange(bits)[::-1]
    return np.packbits((places & 1).astype(np.uint8).reshape(height, -1), axis=1)


def _filtered(part, bits, rng):
    rows, step = _packed(part, bits), max(1, part.shape[2] * bits // 8)
    above, content = [0] * rows.shape[1], bytearray()
    for row in rows.tolist():
        kind = rng.randrange(5)
        content.append(kind)
        for i, value in enumerate(row):
            content.append((value - _predict(kind, row, above, i, step)) & 255)
        above = row
    return bytes(content)


def _predict(kind, row, above, i, step):
    left, up = (row[i - step], above[i]) if i >= step else (0, above[i])
    corner = above[i - step] if i >= step else 0
    if kind == 4:
        guess = left + up - corner
        return min((left, up, corner), key=lambda value: abs(guess - value))
    return (0, left, up, (left + up) // 2)[kind]


def read(content):
    """Reads a PNG: (height, width, channels) samples, bits and colour type.

    Raises:
        BrokenPictureError: If the file does not tell all of its pixels.
    """
    chunks = split(content)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise BrokenPictureError("no header")
    width, height, bits, color, *_, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if (bits, color) not in KINDS or not 0 < width * height < 2**20:
        raise BrokenPictureError("header")
    try:
        inflate = zlib.decompressobj()
        packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
        rows = inflate.decompress(packed, 2**22)
    except zlib.error as error:
        raise BrokenPictureError("pixels") from error
    samples = np.zeros((height, width, CHANNELS[color]), np.uint16)
    for x, y, right, down in PASSES if interlace else ((0, 0, 1, 1),):
        part = samples[y::down, x::right]
        if part.size:
            rows = _unfilter(part, rows, bits)
    return samples, bits, color


def _unfilter(part, rows, bits):
    """Fills a part with the samples that some bytes hold; returns the bytes behind them."""
    height, width, channels = part.shape
    size, step = -(-width * channels * bits // 8), max(1, channels * bits // 8)
    above = [0] * size
    for line in range(height):
        kind, filtered = rows[:1], rows[1 : 1 + size]
        if len(filtered) < size or kind[0] > 4:
            raise BrokenPictureError("rows")
        row = []
        for i, value in enumerate(filtered):
            row.append(value)
            row[i] = (value + _predict(kind[0], row, above, i, step)) & 255
        places = np.unpackbits(np.array(row, np.uint8))[: width * channels * bits]
        weights = 1 << np.arange(bits, dtype=np.uint32)[::-1]
        part[line] = (places.reshape(-1, bits) @ weights).reshape(width, channels)
        above, rows = row, rows[1 + size :]
    return rows


def read_label(content):
    """Reads what a label holds: values, or colours.

    Raises:
        BrokenPictureError: If it is none.
    """
    samples, bits, color = read(content)
    if color in (0, 3):
        return samples[..., 0]
    if bits == 8 and (color == 2 or (samples[..., -1] == 255).all()):  # the last is alpha
        return samples[..., 0] if color == 4 else samples[..., :3]
    raise BrokenPictureError("no label")


def draw_png(rng, kinds=KINDS, size=None):
    """Draws a PNG of any kind."""
    bits, color = rng.choice(kinds)
    height, width = size or (rng.randint(1, 11), rng.randint(1, 19))
    shape, most = (height, width, CHANNELS[color]), min(2**bits, rng.choice((3, 256, 65536)))
    samples = np.random.default_rng(rng.getrandbits(32)).integers(0, most, shape)
    if color in (4, 6) and rng.random() < 0.8:
        samples[..., -1] = 2**bits - 1
    extra = [rng.choice(HARMLESS)] if rng.random() < 0.2 else []
    if color == 3:
        colors = rng.choice((int(samples.max()) + 1, 2**bits))
        extra.append((b"PLTE", rng.randbytes(3 * min(colors, 256))))
        if rng.random() < 0.4:
            extra.append((b"tRNS", rng.randbytes(rng.randint(1, min(colors, 256)))))
    elif color == 0 and rng.random() < 0.3:
        extra.append((b"tRNS", struct.pack(">H", rng.randrange(most))))
    return write(samples, bits, color, rng, interlace=rng.random() < 0.4, extra=extra)


def draw_jpeg(rng, size=None):
    """Draws a JPEG: gray, colour or CMYK, progressive or not, maybe with EXIF or a second one."""
    height, width = size or (rng.randint(1, 40), rng.randint(1, 40))
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (height, width, 3))
    picture = PIL.Image.fromarray(pixels.astype(np.uint8)).convert(rng.choice(("L", "RGB", "CMYK")))
    options = {"quality": rng.choice((5, 50, 95)), "progressive": rng.random() < 0.5}
    if rng.random() < 0.3:
        exif = PIL.Image.Exif()
        exif[0x0112] = rng.choice((0, 1, 1, 6, 9))
        options["exif"] = exif
    if rng.random() < 0.3:
        options["restart_marker_rows"] = 1
    several = picture.mode == "RGB" and rng.random() < 0.2
    if several:
        options |= {"save_all": True, "append_images": [picture.resize((5, 7))]}
    buffer = io.BytesIO()
    picture.save(buffer, "MPO" if several else "JPEG", **options)
    return buffer.getvalue()


# Damage

BOMB = zlib.compress(b"b" * 10**7)


def damage(content, rng):
    """Damages a file in one of many ways; some leave it as good as it was."""
    ways = [flip, flip, cut, drop, repeat, splice, append, fill]
    if content.startswith(SIGNATURE):
        ways += [edit_chunk] * 6 + [edit_header] * 3 + [edit_pixels] * 4 + [shuffle_chunks] * 4
    elif content.startswith(b"\xff\xd8"):
        ways += [edit_segment] * 6 + [shuffle_segments] * 4
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(ways)(content, rng)
    return content


def flip(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 9))):
        if damaged:
            damaged[rng.randrange(len(damaged))] ^= rng.choice((1, 2, 128, rng.randint(1, 255)))
    return bytes(damaged)


def cut(content, rng):
    return content[: rng.randint(0, len(content))]


def drop(content, rng):
    start = rng.randint(0, len(content))
    return content[:start] + content[start + rng.choice((1, 4, 100)) :]


def repeat(content, rng):
    start = rng.randint(0, len(content))
    end = start + rng.choice((1, 4, 100))
    return content[:end] + content[start:]


def splice(content, rng):
    start = rng.randint(0, len(content))
    return content[:start] + rng.randbytes(rng.choice((1, 4, 30))) + content[start:]


def append(content, rng):
    return content + rng.choice((b"\0" * 50, b"trailer", content, rng.randbytes(40)))


def fill(content, rng):
    start = rng.randint(0, len(content))
    return content[:start] + rng.choice((b"\0", b"\xff")) * (len(content) - start)


def edit_chunk(content, rng):
    """Damages what a chunk holds, and makes its checksum right again."""
    chunks = split(content)
    if not chunks:
        return content
    index = rng.randrange(len(chunks))
    kind, body = chunks[index]
    ways = (flip, flip, cut, drop, repeat, splice)
    chunks[index] = kind, rng.choice(ways)(body, rng)
    return join(chunks)


def edit_header(content, rng):
    chunks = split(content)
    if not chunks or len(chunks[0][1]) != 13:
        return content
    fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    index = rng.randrange(7)
    sides = (0, 1, (fields[0] + 1) % 2**32, fields[1], 60000, 9000, 2**31 - 1, 2**32 - 1)
    choices = (sides, sides, (1, 2, 4, 8, 16, 3, 0), (0, 2, 3, 4, 6, 1, 5), (1,), (1,), (0, 1, 2))
    fields[index] = rng.choice(choices[index])
    chunks[0] = chunks[0][0], struct.pack(">IIBBBBB", *fields)
    return join(chunks)


def edit_pixels(content, rng):
    """Damages the pixels before they are compressed: every checksum is right again."""
    chunks = split(content)
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    try:
        rows = zlib.decompressobj().decompress(packed, 2**22)
    except zlib.error:
        return content
    pixels = zlib.compress(rng.choice((flip, flip, cut, drop, repeat, splice, append))(rows, rng))
    first = next((i for i, (kind, _) in enumerate(chunks) if kind == b"IDAT"), len(chunks))
    rest = [each for each in chunks[first:] if each[0] != b"IDAT"]
    return join([*chunks[:first], (b"IDAT", pixels), *rest])


def shuffle_chunks(content, rng):
    chunks = split(content)
    if not chunks:
        return content
    index, other = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    way = rng.randrange(5)
    if way == 0:
        chunks[index], chunks[other] = chunks[other], chunks[index]
    elif way == 1:
        chunks.insert(other, chunks[index])
    elif way == 2:
        del chunks[index]
    else:
        chunks.insert(rng.choice((index, 1)), _other_chunk(rng))
    return join(chunks)


def _other_chunk(rng):
    exif = PIL.Image.Exif()
    exif[0x0112] = rng.choice((0, 1, 3, 8))
    return rng.choice(
        (
            *HARMLESS,
            (b"tRNS", rng.randbytes(rng.choice((1, 2, 6)))),
            (b"PLTE", rng.randbytes(3 * rng.randint(1, 9))),
            (b"IHDR", header(3, 2, 8, 0)),
            (b"IDAT", b""),
            (b"IEND", b""),
            (b"acTL", struct.pack(">II", 2, 0)),
            (b"fcTL", struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 1, 0)),
            (b"eXIf", exif.tobytes()),
            (b"eXIf", rng.randbytes(20)),
            (b"tEXt", b"Raw profile type exif\0" + rng.randbytes(30).hex().encode()),
            (b"zTXt", b"a\0\0" + BOMB),
            (b"iCCP", b"a\0\0" + zlib.compress(b"b")),
            (b"ABCD", b"\0" * 8),
            (b"abCd", b"\0" * 8),
        )
    )


def edit_segment(content, rng):
    """Damages what a JPEG segment holds, its length kept or made right again."""
    segments, rest = _segments(content)
    if not segments:
        return content
    index = rng.randrange(len(segments))
    marker, body = segments[index]
    if rng.random() < 0.2:
        marker = rng.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xD8, 0xD9, 0x01, 0xDD, 0xE1, 0xFE))
    ways = (flip, flip, flip, cut, drop, repeat, splice)
    segments[index] = marker, rng.choice(ways)(body, rng)
    return _join_segments(segments, rest)


def shuffle_segments(content, rng):
    segments, rest = _segments(content)
    if not segments:
        return content
    index, other = rng.randrange(len(segments)), rng.randrange(len(segments))
    way = rng.randrange(6)
    if way == 0:
        segments[index], segments[other] = segments[other], segments[index]
    elif way == 1:
        segments.insert(other, segments[index])
    elif way == 2:
        del segments[index]
    elif way == 3:
        segments.insert(index, (rng.choice((0xC0, 0xDD, 0xE0, 0xFE, 0xEE)), rng.randbytes(12)))
    elif way == 4:
        rest = rng.choice((flip, cut, drop, repeat, splice))(rest, rng)
    else:
        return b"\xff\xd8" + content
    return _join_segments(segments, rest)


def _segments(content):
    """Splits a JPEG up to its pixels into segments; returns them, and what follows."""
    segments, position = [], 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        (length,) = struct.unpack_from(">H", content, position + 2)
        if content[position + 1] == 0xDA:
            break
        segments.append((content[position + 1], content[position + 4 : position + 2 + length]))
        position += 2 + length
    return segments, content[position:]


def _join_segments(segments, rest):
    joined = [
        bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in segments
    ]
    return b"\xff\xd8" + b"".join(joined) + rest


# Text


PIECES = (b"\0", b"\xff", b"\xc3\xa9", b" ", b"\t", b",", b":", b"#", b'"', b"-1", b"1e9", b"{")
PIECES = (*PIECES, b"9" * 5000, b" " * 20000, b"[" * 20000, b"\\ud800", b"\xc2\x85", b"../")
ENDS = (b"\r\n", b"\r", b"\n\n", b"\x0b", b"\0")


def damage_text(content, rng):
    """Damages a text file, as bytes."""
    ways = [flip, flip, cut, drop, repeat, splice, append, fill, _insert_piece, _insert_piece]
    return rng.choice((*ways, _change_encoding, _change_lines, _change_lines))(content, rng)


def _insert_piece(content, rng):
    start = rng.randint(0, len(content))
    return content[:start] + rng.choice(PIECES) + content[start:]


def _change_encoding(content, rng):
    codec = rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32"))
    return content.decode(errors="replace").encode(codec)


def _change_lines(content, rng):
    lines = content.splitlines(keepends=True) or [b""]
    way, index = rng.randrange(4), rng.randrange(len(lines))
    if way == 0:
        return content.replace(b"\n", rng.choice(ENDS))
    if way == 1:
        lines[index] = rng.choice(lines)
    elif way == 2:
        rng.shuffle(lines)
    else:
        del lines[index]
    return b"".join(lines)


VALUES = (None, True, False, 0, 1, -1, 255, 256, 2**24, 2**63, 10**400, 0.5, float("nan"), "", "a")
VALUES = (*VALUES, "\0", "\ud800", "a\nb", "../x", [], {}, [1], [[1]], {"a": 1}, [0, 0, 300])


def damage_json(document, rng):
    """Changes a JSON document in place: values of other types, absent and strange keys."""
    parent, key = rng.choice(list(_places(document)))
    way = rng.randrange(4)
    if way == 0:
        del parent[key]
    elif way == 1 and isinstance(parent, list):
        parent.insert(key, parent[rng.randrange(len(parent))])
    elif way == 1:
        parent[rng.choice(("a", "id", "name", "", "\0"))] = parent.pop(key)
    elif way == 2 and type(parent[key]) is int:
        parent[key] += rng.choice((-1, 1, 256))
    else:
        parent[key] = rng.choice(VALUES)


def _places(value):
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
