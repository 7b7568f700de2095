"""How is an odd image file made, byte by byte, and noted with what reading it must give? Used by odd_images.py."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent.parent / "tests/images/odd"
LARGEST = 4096  # longer files are packed
ENTRIES, PICTURES = {}, {}
WIDTH, HEIGHT = 23, 17  # no multiple of any block


def scene():
    """Smooth, without symmetry: red grows to the right, green downwards, and blue falls along both."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = 40 + 190 * x / (WIDTH - 1), 30 + 180 * y / (HEIGHT - 1)
    blue = 220 - 90 * x / (WIDTH - 1) - 80 * y / (HEIGHT - 1)
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


SCENE = scene()
GREY = SCENE.astype(int).mean(axis=-1).round().astype(np.uint8)
ALPHA = np.linspace(0, 255, WIDTH * HEIGHT).round().astype(np.uint8).reshape(HEIGHT, WIDTH)
RGBA = np.dstack([SCENE, ALPHA])
# numbers of colours: all from 0 to 255
STEPS = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * 7 + np.arange(HEIGHT)[:, None]) % 256


def add(name, what, data, picture=None, tolerance=0, error=None, drawable=True, agree=False):
    """Notes a file: it shows `picture` (an array, RGB or RGBA), or gives an error with the words `error`."""
    assert name not in ENTRIES, name
    assert (picture is None) != (error is None), name
    entry = {"file": name, "what": what}
    if len(data) > LARGEST:
        entry["file"] += ".gz"
        (FOLDER / entry["file"]).write_bytes(gzip.compress(data, 9, mtime=0))
    else:
        (FOLDER / name).write_bytes(data)
    if error is not None:
        entry["error"] = error
    else:
        picture = np.repeat(picture[..., None], 3, -1) if picture.ndim == 2 else picture
        entry["size"] = [picture.shape[1], picture.shape[0]]
        entry["picture"], entry["tolerance"] = expected(picture), tolerance
        if not drawable:
            entry["undrawable"] = f"{picture.shape[1]}x{picture.shape[0]}"
        if agree:
            theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB" if picture.shape[2] == 3 else "RGBA"))
            away = np.abs(theirs.astype(int) - picture.astype(int)).max()
            assert theirs.shape == picture.shape and away <= tolerance, (name, theirs.shape, away)
    ENTRIES[name] = entry


def expected(picture):
    """The name of the PNG file with these pixels; one file serves all that show the same."""
    if (picture == picture[0, 0]).all() and picture.size > 100_000:
        return {"plain": picture[0, 0].tolist()}
    key = (picture.shape, picture.tobytes())
    if key not in PICTURES:
        PICTURES[key] = f"expected-{len(PICTURES) + 1}.png"
        Image.fromarray(np.ascontiguousarray(picture)).save(FOLDER / PICTURES[key], optimize=True)
    return PICTURES[key]


def chunk(name, data, crc=None):
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body) if crc is None else crc)


SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")


def ihdr(width, height, depth=8, kind=2, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))


def samples(values, depth):
    """The rows of samples, packed, each after a filter byte of 0."""
    values = values.reshape(values.shape[0], -1)
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    bits = ((values[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(values.shape[0], -1)
    return b"".join(b"\0" + np.packbits(row).tobytes() for row in bits.astype(np.uint8))


PASSES = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)]


def png(values, depth=8, kind=2, interlaced=False, before=b"", after=b""):
    """A PNG file of the samples `values`, with the chunks `before` and `after` around its pixels."""
    parts = [values[y::down, x::across] for x, across, y, down in PASSES] if interlaced else [values]
    data = zlib.compress(b"".join(samples(part, depth) for part in parts if part.size), 9)
    size = (values.shape[1], values.shape[0])
    return SIGNATURE + ihdr(*size, depth, kind, int(interlaced)) + before + chunk(b"IDAT", data) + after + END


def eight(values, depth):
    return ((values.astype(np.int64) * 255 * 2 + (1 << depth) - 1) // (2 * ((1 << depth) - 1))).astype(np.uint8)


# what a viewer has to do with the stored picture, and its inverse
TURNS = [
    lambda a: a,
    lambda a: a[:, ::-1],
    lambda a: a[::-1, ::-1],
    lambda a: a[::-1],
    lambda a: a.swapaxes(0, 1),
    lambda a: np.rot90(a, 1),
    lambda a: a[::-1, ::-1].swapaxes(0, 1),
    lambda a: np.rot90(a, -1),
]


def saved(image, kind, **options):
    buffer = io.BytesIO()
    (Image.fromarray(np.ascontiguousarray(image)) if isinstance(image, np.ndarray) else image).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def jpeg(image, **options):
    return saved(image, "JPEG", **{"quality": 97, "subsampling": 0, **options})


def split(data):
    at = data.index(b"IDAT")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    return data[: at - 4] + b"".join(chunk(b"IDAT", data[k : k + 1]) for k in range(at + 4, at + 4 + length)) + END
