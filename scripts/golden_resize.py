"""What do latents and pixels become in another size? torch.nn.functional.interpolate and Pillow, asked for `golden.py resize`."""

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

SHAPE = [1, 1, 6, 5]
SIZES = [[12, 10], [9, 8], [6, 5], [7, 15], [4, 3], [1, 1], [13, 2]]
MODES = [("nearest", False), ("nearest-exact", False), ("bilinear", False), ("bicubic", False)]
MODES += [("bilinear", True), ("bicubic", True)]
LENGTHS = [(37, 111), (64, 96), (96, 97), (100, 63), (48, 127), (1, 9)]  # from, to
FILTERS = ["BILINEAR", "BICUBIC", "LANCZOS"]
PIXELS = [(12, 10), (9, 8), (6, 9), (7, 5), (3, 2), (13, 7)]  # width, height


def name(mode, antialias):
    return f"{mode} antialiased" if antialias else mode


def pixels():
    """Grey values with the hardest edges that there are: what Pillow cuts off between rows and columns counts."""
    values = np.random.default_rng(4).choice([0, 60, 255], (5, 6)).astype(np.uint8)
    results = []
    for filter in FILTERS:
        for size in PIXELS:
            resized = np.asarray(Image.fromarray(values).resize(size, Image.Resampling[filter]))
            results.append({"filter": filter, "size": size, "values": resized.flatten().tolist()})
    return {"width": 6, "height": 5, "values": values.flatten().tolist(), "results": results, "transparent": transparent()}


def transparent():
    """Random colours and opacities; colours are multiplied by opacity on the way, and rounded."""
    values = np.random.default_rng(5).integers(0, 256, (17, 23, 4), np.uint8)
    values[:, :7, 3], values[:, 7:12, 3] = 255, 0
    results = []
    for filter in ["NEAREST", *FILTERS]:
        for size in [(7, 5), (11, 17), (40, 9), (23, 31)]:
            resized = np.asarray(Image.fromarray(values, "RGBA").resize(size, Image.Resampling[filter]))
            results.append({"filter": filter, "size": size, "values": resized.flatten().tolist()})
    return {"values": values.flatten().tolist(), "results": results}


def resize():
    from golden import floats, write

    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    results = []
    for mode, antialias in MODES:
        for size in SIZES:
            resized = interpolate(latents, size=size, mode=mode, antialias=antialias)
            results.append({"mode": name(mode, antialias), "size": size, "values": floats(resized)})
    places = []
    for mode in ("nearest", "nearest-exact"):
        for before, after in LENGTHS:
            ramp = torch.arange(before, dtype=torch.float32)
            taken = interpolate(ramp[None, None], size=after, mode=mode).int().flatten().tolist()
            places.append({"mode": mode, "from": before, "taken": taken})
    about = "height and width of each size; `taken` are the places that each place of the new length takes its value from"
    write("resize.json", {"about": about, "shape": SHAPE, "latents": floats(latents), "results": results, "places": places, "pixels": pixels()})
