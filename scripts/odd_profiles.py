"""Colour profiles, written out tag by tag (ICC.1:2022), for odd_images.py."""

import struct

# sRGB and Display P3 after adaptation to D50: the columns of red, green and blue
PRIMARIES = {
    "srgb": [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)],
    "p3": [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)],
}
WHITE = (0.96420, 1.0, 0.82491)


def fixed(value):
    return struct.pack(">i", round(value * 65536))


def xyz(values):
    return b"XYZ \0\0\0\0" + b"".join(fixed(value) for value in values)


def text(words):
    """`multiLocalizedUnicodeType`."""
    data = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def profile(space, tags, kind=b"mntr", connection=b"XYZ "):
    tags = {"desc": text("for tests"), "cprt": text("public domain"), "wtpt": xyz(WHITE), **tags}
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += struct.pack(">4sII", name.encode(), at + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(data), bytes(4), 0x04300000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(fixed(value) for value in WHITE)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + data


def rgb_profile(name):
    """Of sRGB, of Display P3, or of sRGB whose red and blue are exchanged (`swap`)."""
    red, green, blue = PRIMARIES["srgb" if name == "swap" else name]
    if name == "swap":
        red, blue = blue, red
    # parametricCurveType, function 3: sRGB's curve (IEC 61966-2-1)
    values = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]
    curve = b"para\0\0\0\0\0\3\0\0" + b"".join(fixed(value) for value in values)
    tags = {"rXYZ": xyz(red), "gXYZ": xyz(green), "bXYZ": xyz(blue), "rTRC": curve, "gTRC": curve, "bTRC": curve}
    return profile(b"RGB ", tags)


def grey_profile():
    """Of grey whose samples are linear light."""
    return profile(b"GRAY", {"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})


def cmyk_profile():
    """Of a press whose L*a*b* is a linear function of its inks: so every way to interpolate gives the same."""
    nodes = b""
    for node in range(16):
        cyan, magenta, yellow, black = ((node >> bit) & 1 for bit in (3, 2, 1, 0))
        light = 250 - 45 * cyan - 50 * magenta - 20 * yellow - 110 * black
        a, b = 128 - 30 * cyan + 50 * magenta - 4 * yellow, 128 - 35 * cyan - 5 * magenta + 60 * yellow
        nodes += bytes([light, a, b])
    identity = b"".join(fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4 + nodes + bytes(range(256)) * 3
    return profile(b"CMYK", {"A2B0": table, "A2B1": table, "A2B2": table}, b"prtr", b"Lab ")
