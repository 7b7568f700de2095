"""Which image files claim what is not so, are broken, or are none at all? Used by odd_images.py."""

import zlib

import numpy as np
from PIL import Image

from odd_files import END, HEIGHT, SCENE, SIGNATURE, STEPS, WIDTH
from odd_files import add, chunk, eight, ihdr, jpeg, png, samples, saved, split


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
