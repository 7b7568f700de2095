"""Which part of a picture do diffusers' pipelines draw when only what is around the mask is? `python scripts/golden.py crop_regions`."""

import random

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from PIL import Image



def crop_regions():
    """`get_crop_region` for 300 random rectangles: tests/golden/crop_regions.json."""
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
