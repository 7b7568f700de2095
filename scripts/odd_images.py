"""Odd and hostile image files, and what reading each must give: tests/images/odd/, with index.json.

    python scripts/odd_images.py

Each entry of the index names a file, what it is, and either the picture that it shows (`picture`, a PNG file beside it,
with `tolerance` levels of 255 that pixels may be away from it) or words of the error (`error`). What is expected is
computed here, from the pixels that were put in, by Pillow, numpy or LittleCMS; where Pillow reads the file as well, it
is asked whether it agrees.
Files that would be large, the bombs, are packed (`.gz`).
"""

import io
import json
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from odd_files import ALPHA, ENTRIES, FOLDER, GREY, HEIGHT, PICTURES, RGBA, SCENE, STEPS, TURNS, WIDTH
from odd_files import add, chunk, eight, expected, jpeg, png, saved
from odd_hostile import bombs, damaged, strangers, tiny
from odd_profiles import cmyk_profile, grey_profile, rgb_profile


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


def exif(orientation, big_endian=True):
    order = ">" if big_endian else "<"
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


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
