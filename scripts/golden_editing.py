"""What do diffusers' pipelines make of pictures and masks before and after drawing? `python scripts/golden.py editing`.

Writes tests/golden/crop_regions.json, which part is drawn when only what is around the mask is, and tests/golden/editing.json:
resizing, blurring, putting back, and the mask that networks are given.
"""

import functools
import random

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from scipy import ndimage

PICTURE = (20, 14)


def crop_regions():
    """`get_crop_region` for 300 random rectangles."""
    from golden import write

    dice = random.Random(4)
    cases = []
    while len(cases) < 300:
        picture = (dice.randint(8, 200), dice.randint(8, 200))
        left, top = dice.randrange(picture[0]), dice.randrange(picture[1])
        bounds = (left, top, dice.randint(left + 1, picture[0]), dice.randint(top + 1, picture[1]))
        wanted = (8 * dice.randint(1, 20), 8 * dice.randint(1, 20))
        padding = dice.choice([0, 4, 32])
        mask = np.zeros(picture[::-1], np.uint8)
        mask[bounds[1] : bounds[3], bounds[0] : bounds[2]] = 255
        region = VaeImageProcessor.get_crop_region(Image.fromarray(mask), *wanted, pad=padding)
        case = {"picture": picture, "bounds": bounds, "padding": padding, "wanted": wanted, "region": region}
        cases.append(case)
    write("crop_regions.json", {"cases": cases})


def values(image):
    """Two hexadecimal digits for each byte."""
    return image.tobytes().hex()


def entry(image):
    return {"size": image.size, "values": values(image)}


def resized(picture):
    """`VaeImageProcessor.resize` in its three modes. `crop` where whole pixels are cut off; `fill` with even margins, or it leaves a black line."""
    processor = VaeImageProcessor()
    sizes = {
        "default": [(16, 24), (40, 28), (33, 7)],
        "crop": [(28, 28), (40, 20), (30, 42)],
        "fill": [(20, 20), (30, 14), (10, 31), (44, 12)],
    }
    modes = [(mode, size) for mode, of_mode in sizes.items() for size in of_mode]
    made = [(mode, processor.resize(picture, size[1], size[0], mode)) for mode, size in modes]
    return [{"mode": mode, **entry(image)} for mode, image in made]


def blurred(mask):
    """Pillow's blur, three boxes one after the other, and the Gaussian itself, which scipy cuts off at three deviations."""
    gaussian = functools.partial(ndimage.gaussian_filter, np.asarray(mask, float), mode="nearest", truncate=3)
    exact = {by: Image.fromarray(np.rint(gaussian(by)).astype(np.uint8)) for by in [1, 2.5, 4, 8]}
    pillow = {by: VaeImageProcessor.blur(mask, by) for by in exact}
    return [{"deviation": by, "gaussian": values(exact[by]), "pillow": values(pillow[by])} for by in exact]


def overlaid(picture, drawn, mask):
    """`apply_overlay`, without and with a region that a drawing of its size is put into."""
    processor = VaeImageProcessor()
    region = (3, 2, 15, 12)
    inside = Image.new("L", PICTURE)
    inside.paste(mask.crop(region), region[:2])
    whole = processor.apply_overlay(mask, picture, drawn)
    part = processor.apply_overlay(inside, picture, drawn.crop((0, 0, 12, 10)), region)
    return {"whole": values(whole), "region": region, "inside": values(inside), "part": values(part)}


def nearest(mask, factor):
    """The mask as StableDiffusionInpaintPipeline gives it to a network: made of black and white, then the nearest."""
    binary = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True, do_resize=False)
    pixels = binary.preprocess(mask)
    size = (mask.height // factor, mask.width // factor)
    latent = torch.nn.functional.interpolate(pixels, size=size)
    return {"factor": factor, **entry(mask), "latent": latent.flatten().tolist()}


def editing():
    from golden import write

    dice = np.random.default_rng(11)

    def smooth(size, mode):
        depth = (3,) if mode == "RGB" else ()
        coarse = dice.integers(0, 256, (5, 7, *depth), dtype=np.uint8)
        return Image.fromarray(coarse, mode).resize(size, Image.Resampling.BICUBIC)

    picture, drawn, soft = smooth(PICTURE, "RGB"), smooth(PICTURE, "RGB"), smooth(PICTURE, "L")
    hard = np.zeros((30, 40), np.uint8)
    hard[0:12, 25:33] = 255
    hard[17:19, 4:30] = 200
    grey = Image.fromarray(dice.integers(0, 256, (16, 24), dtype=np.uint8))
    content = {
        "picture": entry(picture),
        "drawn": entry(drawn),
        "soft": entry(soft),
        "resized": resized(picture),
        "hard": entry(Image.fromarray(hard)),
        "blurred": blurred(Image.fromarray(hard)),
        "overlaid": overlaid(picture, drawn, soft),
        "nearest": [nearest(grey, factor) for factor in (4, 8)],
    }
    write("editing.json", content)
