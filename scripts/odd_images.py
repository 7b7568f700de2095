"""Odd and hostile image files, and what reading each must give: tests/images/odd/, with index.json.

    python scripts/odd_images.py

Each entry of the index names a file, what it is, and either the picture that it shows (`picture`, a PNG file beside it,
with `tolerance` levels of 255 that pixels may be away from it) or words of the error (`error`). What is expected is
computed here, from the pixels that were put in, by Pillow, numpy or LittleCMS; where Pillow reads the file as well, it
is asked whether it agrees.
Files that would be large, the bombs, are packed (`.gz`).
"""

import gzip
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from odd_profiles import cmyk_profile, grey_profile, rgb_profile

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


# ---------------------------------------------------------------------------------------------------------------- PNG


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


def plain_pngs():
    wide = SCENE.astype(np.int64) * 257 + STEPS[..., None] % 200 - 100
    wide_grey, wide_alpha = GREY.astype(np.int64) * 257 + STEPS - 128, ALPHA.astype(np.int64) * 257
    wide = wide.clip(0, 65535)
    for interlaced in [False, True]:
        end = "-interlaced.png" if interlaced else ".png"
        say = ", interlaced" if interlaced else ""
        add("rgb" + end, "RGB" + say, png(SCENE, interlaced=interlaced), SCENE, agree=True)
        add("rgba" + end, "RGB with alpha" + say, png(RGBA, 8, 6, interlaced), RGBA, agree=True)
        add("grey" + end, "grey" + say, png(GREY, 8, 0, interlaced), GREY, agree=True)
        both = np.dstack([GREY, ALPHA])
        add("grey-alpha" + end, "grey with alpha" + say, png(both, 8, 4, interlaced), with_alpha(GREY), agree=True)
        add("rgb-16" + end, "RGB, 16 bits" + say, png(wide, 16, 2, interlaced), eight(wide, 16))
        both = np.dstack([wide, wide_alpha])
        add("rgba-16" + end, "RGB with alpha, 16 bits" + say, png(both, 16, 6, interlaced), eight(both, 16))
        add("grey-16" + end, "grey, 16 bits" + say, png(wide_grey, 16, 0, interlaced), eight(wide_grey, 16))
        both = np.dstack([wide_grey, wide_alpha])
        add(
            "grey-alpha-16" + end,
            "grey with alpha, 16 bits" + say,
            png(both, 16, 4, interlaced),
            np.dstack([*[eight(wide_grey, 16)] * 3, ALPHA]),
        )
        for depth in [1, 2, 4]:
            values = STEPS % (1 << depth)
            name = f"grey-{depth}{end}"
            add(name, f"grey, {depth} bit{say}", png(values, depth, 0, interlaced), eight(values, depth), agree=True)
        for depth in [1, 2, 4, 8]:
            values = STEPS % (1 << depth)
            palette = SCENE.reshape(-1, 3)[: 1 << depth]
            data = png(values, depth, 3, interlaced, chunk(b"PLTE", palette.tobytes()))
            add(f"palette-{depth}{end}", f"palette, {depth} bit{say}", data, palette[values], agree=True)


def with_alpha(grey):
    return np.dstack([grey, grey, grey, ALPHA])


def transparent_pngs():
    palette, values = SCENE.reshape(-1, 3)[:16], STEPS % 16
    opacity = np.full(16, 255)
    opacity[:3] = [0, 100, 200]
    data = png(values, 4, 3, before=chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", bytes([0, 100, 200])))
    shown = np.dstack([palette[values], opacity[values]]).astype(np.uint8)
    add("palette-transparent.png", "palette whose first colours are transparent", data, shown, agree=True)
    key = GREY[3, 4]
    shown = np.dstack([GREY, GREY, GREY, np.where(GREY == key, 0, 255)]).astype(np.uint8)
    data = png(GREY, 8, 0, before=chunk(b"tRNS", struct.pack(">H", key)))
    add("grey-transparent.png", "grey, one level of it transparent", data, shown, agree=True)
    key = SCENE[3, 4]
    shown = np.dstack([SCENE, np.where((SCENE == key).all(-1), 0, 255)]).astype(np.uint8)
    data = png(SCENE, before=chunk(b"tRNS", struct.pack(">HHH", *key)))
    add("rgb-transparent.png", "RGB, one colour of it transparent", data, shown, agree=True)


def coloured_pngs():
    swapped = SCENE[..., ::-1]
    iccp = lambda profile: chunk(b"iCCP", b"a\0\0" + zlib.compress(profile))
    add("profile-swap.png", "a profile in which red is blue", png(SCENE, before=iccp(rgb_profile("swap"))), swapped, 1)
    add("profile-srgb.png", "the profile of sRGB", png(SCENE, before=iccp(rgb_profile("srgb"))), SCENE)
    data = png(RGBA, 8, 6, before=iccp(rgb_profile("swap")))
    add("profile-swap-alpha.png", "a profile, and alpha", data, np.dstack([swapped, ALPHA]), 1)
    p3 = converted(Image.fromarray(SCENE), rgb_profile("p3"))
    add("profile-p3.png", "Display P3", png(SCENE, before=iccp(rgb_profile("p3"))), p3, 2)
    data = png(SCENE.astype(np.int64) * 257, 16, before=iccp(rgb_profile("p3")))
    add("profile-p3-16.png", "Display P3, 16 bits", data, p3, 2)
    linear = encoded(GREY / 255)
    add("profile-grey.png", "grey with a linear profile", png(GREY, 8, 0, before=iccp(grey_profile())), linear, 1)
    both = chunk(b"gAMA", struct.pack(">I", 100_000)) + iccp(rgb_profile("srgb"))
    add("profile-over-gamma.png", "a profile counts, not a `gAMA`", png(SCENE, before=both), SCENE)
    for name, what in [("p3", "RGB"), ("grey", "grey"), ("cmyk", "CMYK")]:
        profile = {"p3": rgb_profile("p3"), "grey": grey_profile(), "cmyk": cmyk_profile()}[name]
        if name != "p3":
            data = png(SCENE, before=iccp(profile))
            add(f"profile-of-{name}-in-rgb.png", f"RGB with a profile for {what}", data, error="colour profile is for")
        data = png(SCENE, before=iccp(profile[: len(profile) // 2]))
        add(f"profile-{name}-cut.png", f"half a profile for {what}", data, error="colour profile")
    gamma = lambda value: chunk(b"gAMA", struct.pack(">I", value))
    add("gamma-1.png", "`gAMA` of linear light", png(SCENE, before=gamma(100_000)), encoded(SCENE / 255), 1)
    add("gamma-srgb.png", "`gAMA` of sRGB", png(SCENE, before=gamma(45_455)), SCENE)
    add("gamma-0.png", "`gAMA` of nothing", png(SCENE, before=gamma(0)), SCENE)
    shown = encoded((SCENE / 255) ** (1 / 0.55))
    add("gamma-055.png", "`gAMA` of 0.55", png(SCENE, before=gamma(55_000)), shown, 1)
    add(
        "srgb-over-gamma.png",
        "`sRGB` counts, not a `gAMA`",
        png(SCENE, before=chunk(b"sRGB", b"\0") + gamma(100_000)),
        SCENE,
    )
    add("cicp-p3.png", "`cICP` of Display P3", png(SCENE, before=chunk(b"cICP", bytes([12, 13, 0, 1]))), p3, 2)
    add(
        "cicp-pq.png",
        "`cICP` of high dynamic range",
        png(SCENE, before=chunk(b"cICP", bytes([9, 16, 0, 1]))),
        error="high dynamic range",
    )


def encoded(light):
    """8-bit sRGB of linear light (IEC 61966-2-1)."""
    return (
        (255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).round().astype(np.uint8)
    )


def converted(image, profile):
    """As LittleCMS converts it to sRGB."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"))


# -------------------------------------------------------------------------------------------------------- orientation


def exif(orientation, big_endian=True):
    order = ">" if big_endian else "<"
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


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


def orientations():
    for number, turn in enumerate(TURNS, 1):
        stored = turn(SCENE)
        says = f"orientation {number}"
        data = exif(number, number % 2 == 1)
        add(f"turned-{number}.jpg", says, jpeg(stored, exif=b"Exif\0\0" + data), SCENE, 8)
        add(f"turned-{number}.png", says, png(stored, before=chunk(b"eXIf", data)), SCENE)
        add(f"turned-{number}.webp", says, saved(stored, "WEBP", lossless=True, exif=data), SCENE)
    add(
        "turned-6-alpha.png",
        "orientation 6, and alpha",
        png(TURNS[5](RGBA), 8, 6, before=chunk(b"eXIf", exif(6))),
        RGBA,
    )
    add(
        "turned-6-after.png",
        "orientation 6, said after the pixels",
        png(TURNS[5](SCENE), after=chunk(b"eXIf", exif(6))),
        SCENE,
    )
    for number in [0, 9, 65535]:
        add(
            f"turned-{number}.png",
            f"orientation {number}, which is none",
            png(SCENE, before=chunk(b"eXIf", exif(number))),
            SCENE,
        )
    circle = b"MM\0*\0\0\0\x08\xff\xff" + struct.pack(">HHII", 0x8769, 4, 1, 8) * 200
    add("exif-circle.png", "EXIF whose directories go in a circle", png(SCENE, before=chunk(b"eXIf", circle)), SCENE)


# ------------------------------------------------------------------------------------------------------ JPEG and WebP


def jpegs():
    plain = jpeg(SCENE)
    add("rgb.jpg", "baseline", plain, SCENE, 8, agree=True)
    for name, subsampling in [("422", 1), ("420", 2)]:
        add(f"subsampled-{name}.jpg", f"chroma {name}", jpeg(SCENE, subsampling=subsampling), SCENE, 20, agree=True)
    add("progressive.jpg", "progressive", jpeg(SCENE, progressive=True), SCENE, 8, agree=True)
    add("progressive-420.jpg", "progressive, 420", jpeg(SCENE, progressive=True, subsampling=2), SCENE, 20, agree=True)
    add("restarts.jpg", "a restart after each row", jpeg(SCENE, restart_marker_rows=1), SCENE, 8, agree=True)
    add("grey.jpg", "grey", jpeg(GREY), GREY, 8, agree=True)
    add("grey-progressive.jpg", "grey, progressive", jpeg(GREY, progressive=True), GREY, 8, agree=True)
    add("adobe-rgb.jpg", "RGB, not turned into YCbCr", jpeg(SCENE, keep_rgb=True), SCENE, 8, agree=True)
    add(
        "profile-swap.jpg",
        "a profile in which red is blue",
        jpeg(SCENE, icc_profile=rgb_profile("swap")),
        SCENE[..., ::-1],
        8,
    )
    add(
        "profile-grey.jpg", "grey with a linear profile", jpeg(GREY, icc_profile=grey_profile()), encoded(GREY / 255), 8
    )
    add("profile-cut.jpg", "half a profile", jpeg(SCENE, icc_profile=rgb_profile("swap")[:200]), error="colour profile")
    add("trailing.jpg", "text after the end", plain + b"more text" * 20, SCENE, 8, agree=True)
    add("filled.jpg", "fill bytes before a marker", plain[:2] + b"\xff" * 9 + plain[2:], SCENE, 8)
    frame = plain.index(b"\xff\xc0")
    patched = lambda at, data: plain[:at] + data + plain[at + len(data) :]
    add("arithmetic.jpg", "arithmetic coding", patched(frame, b"\xff\xc9"), error="arithmetic-coded")
    add("lossless.jpg", "lossless coding", patched(frame, b"\xff\xc3"), error="lossless JPEG")
    add("hierarchical.jpg", "hierarchical coding", patched(frame, b"\xff\xc5"), error="hierarchical JPEG")
    add("twelve-bit.jpg", "12 bits for each sample", patched(frame + 4, b"\x0c"), error="12 bits per sample")
    add("no-height.jpg", "a height of 0", patched(frame + 5, b"\0\0"), error="no pixels")
    add("two-components.jpg", "2 components", patched(frame + 9, b"\x02"), error="JPEG|components|damaged|cut off")
    add("lie.jpg", "claims 65535x65535", patched(frame + 5, b"\xff" * 4), error="too large")
    add("lie-small.jpg", "claims 4000x4000, has 23x17", patched(frame + 5, b"\x0f\xa0\x0f\xa0"), error="too few bytes")
    inks()
    for name, end in [("head", 30), ("frame", frame + 8), ("pixels", len(plain) * 3 // 4), ("end", len(plain) - 2)]:
        add(f"cut-{name}.jpg", f"cut off in the {name}", plain[:end], error="cut off")
    scan = chunkless_scan(plain)
    add("no-pixels.jpg", "nothing between the scan's head and the end", plain[:scan] + b"\xff\xd9", error="too few bytes")
    add("no-tables.jpg", "without quantisation tables", plain.replace(b"\xff\xdb", b"\xff\xec"), error="damaged")
    many = jpeg(np.zeros((2000, 2000, 3), np.uint8), progressive=True, quality=50)
    last = many.rindex(b"\xff\xda")
    many = many[:last] + many[last:-2] * 2000 + many[-2:]
    add("many-scans.jpg", "2000 scans, each over the whole picture", many, error="scans")


def chunkless_scan(data):
    """Where the coded pixels of a JPEG file begin."""
    at = data.index(b"\xff\xda")
    return at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]


def inks():
    """CMYK, as Adobe's programs store it: the light that is left."""
    ink = np.dstack([(255.0 - SCENE) * 0.8, 20.0 + GREY / 4]).round().astype(np.uint8)
    left = 255 - ink.astype(float)
    shown = (left[..., :3] * left[..., 3:] / 255).round().astype(np.uint8)
    image = Image.frombytes("CMYK", (WIDTH, HEIGHT), ink.tobytes())
    cmyk = jpeg(image)
    theirs = np.asarray(Image.open(io.BytesIO(cmyk)))
    assert np.abs(theirs.astype(int) - ink).max() <= 8
    add("cmyk.jpg", "CMYK", cmyk, shown, 10)
    add("cmyk-progressive.jpg", "CMYK, progressive", jpeg(image, progressive=True), shown, 10)
    # YCCK: YCbCr of the ink as if it were light, and black as what is left of it (ITU-T T.872, 6.5.3)
    turned = np.dstack([np.asarray(Image.fromarray(ink[..., :3].copy()).convert("YCbCr")), 255 - ink[..., 3]])
    stored = 255 - turned  # Pillow stores the complement
    ycck = jpeg(Image.frombytes("CMYK", (WIDTH, HEIGHT), stored.tobytes()))
    at = ycck.index(b"Adobe")
    ycck = ycck[: at + 11] + b"\x02" + ycck[at + 12 :]
    theirs = np.asarray(Image.open(io.BytesIO(ycck)))
    assert np.abs(theirs.astype(int) - ink).max() <= 10, np.abs(theirs.astype(int) - ink).max()
    add("ycck.jpg", "YCCK", ycck, shown, 12)
    profile = cmyk_profile()
    add("profile-cmyk.jpg", "CMYK with a profile", jpeg(image, icc_profile=profile), converted(image, profile), 12)


def webps():
    add("rgb.webp", "lossless", saved(SCENE, "WEBP", lossless=True), SCENE, agree=True)
    add("rgba.webp", "lossless, with alpha", saved(RGBA, "WEBP", lossless=True, exact=True), RGBA, agree=True)
    lossy = saved(SCENE, "WEBP", quality=95)
    add("lossy.webp", "lossy", lossy, SCENE, 24, agree=True)
    add("lossy-alpha.webp", "lossy, with alpha", saved(RGBA, "WEBP", quality=95, exact=True), RGBA, 40)
    data = saved(SCENE, "WEBP", lossless=True, icc_profile=rgb_profile("swap"))
    add("profile-swap.webp", "a profile in which red is blue", data, SCENE[..., ::-1], 1)
    frames = [Image.fromarray(picture) for picture in [SCENE, 255 - SCENE, SCENE[::-1]]]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, duration=100)
    add("animated.webp", "an animation", data, SCENE)
    plain = saved(SCENE, "WEBP", lossless=True)
    for name, end in [("head", 14), ("frame", 24), ("pixels", len(plain) // 2)]:
        add(f"cut-{name}.webp", f"cut off in the {name}", plain[:end], error="cut off|damaged")
    lie = plain[:21] + struct.pack("<I", 16382 | 16382 << 14) + plain[25:]
    add("lie.webp", "claims 16383x16383", lie, error="too large|only")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\xff" * 2 + plain[12:]
    add("lie-canvas.webp", "a canvas of 16777216x16777216", riff(extended), error="damaged|too large")
    profile = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes([0x20, 0, 0, 0])
        + struct.pack("<I", WIDTH - 1)[:3]
        + struct.pack("<I", HEIGHT - 1)[:3]
    )
    profile += b"ICCP" + struct.pack("<I", 5 << 20) + bytes(5 << 20) + plain[12:]
    add("long-profile.webp", "5 MiB of colour profile", riff(profile), error="4 MiB")


def riff(data):
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data


# -------------------------------------------------------------------------------------------------------- GIF and BMP


def gifs():
    palette = SCENE.reshape(-1, 3)[:256]
    image = Image.frombytes("P", (WIDTH, HEIGHT), STEPS.astype(np.uint8).tobytes())
    image.putpalette(palette.tobytes())
    shown = palette[STEPS]
    add("palette.gif", "256 colours", saved(image, "GIF", interlace=0), shown, agree=True)
    add("interlaced.gif", "interlaced", saved(image, "GIF", interlace=1), shown, agree=True)
    data = saved(image, "GIF", transparency=7, interlace=0)
    clear = np.dstack([np.where((STEPS == 7)[..., None], 0, shown), np.where(STEPS == 7, 0, 255)]).astype(np.uint8)
    add("transparent.gif", "one colour transparent", data, clear)
    other = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    data = saved(image, "GIF", save_all=True, append_images=[other] * 3, duration=50)
    add("animated.gif", "an animation", data, shown)
    one = b"\x2c\1\0\1\0\1\0\1\0\0\2\2\x44\1\0"  # one pixel at 1, 1, of colour 0
    small = lambda size, frame: (
        b"GIF89a" + struct.pack("<HH", *size) + b"\x80\0\0" + b"\x09\x63\xc8\x04\x05\x06" + frame + b";"
    )
    shown = np.zeros((3, 2, 4), np.uint8)
    shown[1, 1] = [9, 99, 200, 255]
    add("part.gif", "a frame of one pixel in a picture of six", small((2, 3), one), shown, drawable=False)
    add("beyond.gif", "a frame beyond the edge", small((1, 1), one), error="damaged")
    add("no-frame.gif", "no frame", small((5, 5), b""), error="no picture|cut off|damaged")
    add("lie.gif", "claims 65535x65535", small((65535, 65535), one), error="too large")
    add("lie-ratio.gif", "claims 8000x8000 in 35 bytes", small((8000, 8000), one), error="only 35 bytes")
    add(
        "many-frames.gif",
        "20000 frames",
        small((WIDTH, HEIGHT), one * 20000),
        np.pad(shown[1:2, 1:2], ((1, HEIGHT - 2), (1, WIDTH - 2), (0, 0))),
    )
    zeros = Image.frombytes("P", (4000, 4000), bytes(16_000_000))
    zeros.putpalette(bytes([9, 99, 200]) + bytes(765))
    add(
        "zeros.gif",
        "4000x4000 of one colour",
        saved(zeros, "GIF", interlace=0),
        np.full((4000, 4000, 3), [9, 99, 200], np.uint8),
    )
    plain = saved(image, "GIF", interlace=0)
    for name, end in [("head", 9), ("palette", 100), ("pixels", len(plain) * 3 // 4)]:
        add(f"cut-{name}.gif", f"cut off in the {name}", plain[:end], error="cut off|damaged")


def bmps():
    add("rgb.bmp", "24 bits", saved(SCENE, "BMP"), SCENE, agree=True)
    add("grey.bmp", "8 bits of grey", saved(GREY, "BMP"), GREY, agree=True)
    bits = Image.fromarray((STEPS % 2 * 255).astype(np.uint8)).convert("1", dither=Image.Dither.NONE)
    add("bits.bmp", "1 bit", saved(bits, "BMP"), (STEPS % 2 * 255).astype(np.uint8), agree=True)
    plain = saved(SCENE, "BMP")
    upside = plain[:22] + struct.pack("<i", -HEIGHT) + plain[26:]
    add("top-down.bmp", "from top to bottom", upside, SCENE[::-1], agree=True)
    add("lie.bmp", "claims 30000x30000", plain[:18] + struct.pack("<ii", 30000, 30000) + plain[26:], error="too large")
    add("lie-small.bmp", "claims 4000x4000", plain[:18] + struct.pack("<ii", 4000, 4000) + plain[26:], error="cut off")
    add(
        "lie-negative.bmp", "claims a width of -5", plain[:18] + struct.pack("<ii", -5, 5) + plain[26:], error="damaged"
    )
    for name, end in [("head", 20), ("pixels", len(plain) // 2)]:
        add(f"cut-{name}.bmp", f"cut off in the {name}", plain[:end], error="cut off|damaged")


# -------------------------------------------------------------------------------------------- bombs, damage, strangers


def zeros(length):
    """`length` zero bytes, packed, without ever having them all."""
    packer, part = zlib.compressobj(9), bytes(1 << 20)
    done = b"".join(packer.compress(part) for _ in range(length >> 20)) + packer.compress(
        bytes(length & ((1 << 20) - 1))
    )
    return done + packer.flush()


def bombs():
    data = zlib.compress(b"\0")
    add("lie.png", "claims 60000x60000", SIGNATURE + ihdr(60000, 60000) + chunk(b"IDAT", data) + END, error="too large")
    add(
        "lie-largest.png",
        "claims 4294967295x1",
        SIGNATURE + ihdr(2**32 - 1, 1) + chunk(b"IDAT", data) + END,
        error="too large|damaged|Invalid",
    )
    add(
        "lie-small.png",
        "claims 4000x4000",
        SIGNATURE + ihdr(4000, 4000) + chunk(b"IDAT", data) + END,
        error="cut off|damaged|data",
    )
    huge = 300 << 20
    note = b"Comment\0"
    add("ztxt.png", "300 MiB of packed text", png(SCENE, before=chunk(b"zTXt", note + b"\0" + zeros(huge))), SCENE)
    add("itxt.png", "300 MiB of packed text", png(SCENE, after=chunk(b"iTXt", note + b"\1\0\0\0" + zeros(huge))), SCENE)
    add(
        "iccp.png",
        "300 MiB of packed profile",
        png(SCENE, before=chunk(b"iCCP", b"a\0\0" + zeros(huge))),
        error="colour profile",
    )
    rows = lambda width, height: SIGNATURE + ihdr(width, height) + chunk(b"IDAT", zeros((3 * width + 1) * height)) + END
    add("zeros-huge.png", "10000x10000 black pixels", rows(10_000, 10_000), error="only")
    add("zeros.png", "4000x4000 black pixels", rows(4000, 4000), np.zeros((4000, 4000, 3), np.uint8))
    more = chunk(b"IDAT", zeros(huge))
    add(
        "surplus.png",
        "300 MiB of pixels more than there is room for",
        png(SCENE)[:-12] + more + END,
        picture=SCENE,
    )
    surplus = SIGNATURE + ihdr(WIDTH, HEIGHT) + chunk(b"IDAT", zeros(huge)) + END
    add("surplus-one.png", "300 MiB of pixels in one chunk", surplus, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    add("many-chunks.png", "100000 chunks", png(SCENE, before=chunk(b"teSt", b"") * 100_000), SCENE)
    add("many-texts.png", "20000 texts", png(SCENE, before=chunk(b"tEXt", b"a\0b") * 20_000), SCENE)
    add(
        "long-chunk.png",
        "a chunk of 4294967295 bytes",
        SIGNATURE + ihdr(3, 3) + b"\xff\xff\xff\xffteSt",
        error="cut off|damaged|length|data",
    )
    add("long-text.png", "a text of 20 MiB", png(SCENE, before=chunk(b"tEXt", b"a\0" + b"b" * (20 << 20))), SCENE)
    add("long-exif.png", "20 MiB of EXIF", png(SCENE, before=chunk(b"eXIf", bytes(20 << 20))), error="metadata is longer")


def damaged():
    plain = png(SCENE)
    for name, end in [("signature", 8), ("head", 20), ("pixels", len(plain) * 2 // 3), ("end", len(plain) - 12)]:
        add(f"cut-{name}.png", f"cut off at the {name}", plain[:end], error="cut off|damaged|data")
    add("crc-head.png", "a wrong sum of the head", plain[:29] + b"abcd" + plain[33:], error="CRC")
    add("crc-pixels.png", "a wrong sum of the pixels", plain[:-16] + b"abcd" + plain[-12:], error="CRC")
    add("crc-text.png", "a wrong sum of a text", png(SCENE, before=chunk(b"tEXt", b"a\0b", 1)), SCENE)
    add("no-pixels.png", "no pixels", SIGNATURE + ihdr(9, 9) + END, error="IDAT")
    add("no-palette.png", "no palette", png(STEPS % 16, 4, 3), error="palette|PLTE")
    beyond = png(np.full((HEIGHT, WIDTH), 9), 4, 3, before=chunk(b"PLTE", bytes([5, 6, 7] * 3)))
    add("beyond-palette.png", "colours that the palette has not", beyond, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    few = SIGNATURE + ihdr(WIDTH, HEIGHT) + chunk(b"IDAT", zlib.compress(samples(SCENE[:9], 8))) + END
    add("few-rows.png", "fewer rows than it says", few, error="cut off|data|damaged")
    wrong = SIGNATURE + ihdr(WIDTH, HEIGHT) + chunk(b"IDAT", zlib.compress(b"\x09" + samples(SCENE, 8)[1:])) + END
    add("filter.png", "an unknown filter", wrong, error="filter")
    raw = SIGNATURE + ihdr(WIDTH, HEIGHT) + chunk(b"IDAT", b"no zlib data at all") + END
    add("no-zlib.png", "pixels that are not packed", raw, error="deflate|zlib|damaged|corrupt")
    add("depth-3.png", "3 bits for each sample", SIGNATURE + ihdr(9, 9, 3) + END, error="depth")
    add("kind-5.png", "colours of the kind 5", SIGNATURE + ihdr(9, 9, 8, 5) + END, error="color type|colour")
    add("no-width.png", "a width of 0", SIGNATURE + ihdr(0, 9) + END, error="no pixels")
    add("trailing.png", "a ZIP file after the end", plain + b"PK\3\4" * 99, SCENE, agree=True)
    add("split.png", "pixels in chunks of one byte", split(plain), SCENE, agree=True)
    frames = [Image.fromarray(picture) for picture in [SCENE, 255 - SCENE]]
    add("animated.png", "an animation", saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), SCENE)
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    add("animated-default.png", "an animation with a picture for plain viewers", data, SCENE)


def split(data):
    at = data.index(b"IDAT")
    length = struct.unpack(">I", data[at - 4 : at])[0]
    return data[: at - 4] + b"".join(chunk(b"IDAT", data[k : k + 1]) for k in range(at + 4, at + 4 + length)) + END


def strangers():
    for name, data, words in [
        ("empty.png", b"", "it is empty"),
        ("byte.png", b"\x89", "no PNG, JPEG"),
        ("text.png", b"hello, I am a picture\n", "no PNG, JPEG"),
        ("zeros.jpg", bytes(500), "no PNG, JPEG"),
        ("a.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "an AVIF file"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file"),
        ("a.tif", saved(SCENE, "TIFF"), "a TIFF file"),
        ("b.tif", b"MM\0*\0\0\0\x08\0\0", "a TIFF file"),
        ("a.psd", b"8BPS\0\1" + bytes(20), "a Photoshop file"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        ("b.svg", b"<?xml version='1.0'?><svg/>", "an SVG"),
        ("a.pdf", b"%PDF-1.7\n", "a PDF file"),
        ("a.jxl", b"\xff\x0a" + bytes(20), "a JPEG XL file"),
        ("b.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        ("riff.webp", b"RIFF\x10\0\0\0WAVEfmt ", "no PNG, JPEG"),
    ]:
        add(name, "another kind of file" if len(data) > 1 else "nearly nothing", data, error=words)
    add("named-wrongly.jpg", "a PNG file that is named otherwise", png(SCENE), SCENE, agree=True)


def tiny():
    one, column = SCENE[:1, :1], SCENE[:, :1].repeat(20, 0)
    add("one.png", "one pixel", png(one), one, drawable=False, agree=True)
    add("one.jpg", "one pixel", jpeg(one), one, 8, drawable=False, agree=True)
    add("one.webp", "one pixel", saved(one, "WEBP", lossless=True), one, drawable=False, agree=True)
    add("one.bmp", "one pixel", saved(one, "BMP"), one, drawable=False, agree=True)
    add("column.png", "a column", png(column), column, drawable=False, agree=True)
    row = column.swapaxes(0, 1)
    add("row.jpg", "a row", jpeg(row), row, 8, drawable=False, agree=True)
    add("row-interlaced.png", "a row, interlaced", png(row, interlaced=True), row, drawable=False, agree=True)
    seven = SCENE[:8, :7]
    add("seven.webp", "seven pixels wide", saved(seven, "WEBP", lossless=True), seven, drawable=False, agree=True)
    add("eight.png", "eight pixels wide", png(SCENE[:8, :8]), SCENE[:8, :8], agree=True)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for make in [
        plain_pngs,
        transparent_pngs,
        coloured_pngs,
        orientations,
        jpegs,
        webps,
        gifs,
        bmps,
        bombs,
        damaged,
        strangers,
        tiny,
    ]:
        make()
    (FOLDER / "index.json").write_text(
        "[\n" + ",\n".join(" " + json.dumps(entry) for entry in ENTRIES.values()) + "\n]\n"
    )
    total = sum(file.stat().st_size for file in FOLDER.iterdir())
    print(f"{len(ENTRIES)} files, {len(PICTURES)} expected pictures, {total} bytes")


if __name__ == "__main__":
    main()
