"""What does each place of the demo pictures look like? Small painters, one per place.

They think in a square of 128 by 128 units and draw on a canvas of SIDE by SIDE pixels; whoever needs other sizes
resizes the canvas, which smooths the edges as well.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256
UNIT = SIDE / 128  # pixels


def mix(a, b, t):
    """The colour `t` of the way from `a` to `b`; `t` may be an array [h, w]."""
    t = np.asarray(t, np.float32)[..., None]
    return np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t


def picture(array):
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def gradient(top, bottom):
    return np.repeat(mix(top, bottom, np.linspace(0, 1, SIDE)[:, None]), SIDE, axis=1)


def cloud(rng, cells=4, octaves=3):
    """Value noise in 0..1, [SIDE, SIDE]: random grids enlarged smoothly, each finer one half as strong."""
    total = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(octaves):
        grid = Image.fromarray(rng.random((cells << octave, cells << octave), np.float32))
        total += np.asarray(grid.resize((SIDE, SIDE), Image.BICUBIC)) / 2**octave
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def wave(rng, level, height):
    """A smooth outline: the y of a hill, dune or shore for every x, [SIDE]."""
    x = np.arange(SIDE) / UNIT
    bend = np.sin(x * rng.uniform(0.02, 0.05) + rng.uniform(0, 6.3))
    return level + height * (bend + 0.3 * np.sin(x * rng.uniform(0.08, 0.12) + rng.uniform(0, 6.3)))


def peaks(rng, level, height):
    """A jagged outline, [SIDE]: mountains with straight flanks."""
    x = np.sort(rng.uniform(0, 128, 7))
    y = level - height * np.where(np.arange(9) % 2, rng.uniform(0.5, 1.0, 9), rng.uniform(0, 0.3, 9))
    return np.interp(np.arange(SIDE) / UNIT, np.concatenate([[-10], x, [138]]), y)


def fill_below(canvas, outline, top, bottom):
    """Paint everything under `outline`, shading from `top` at the outline to `bottom` at the lower edge."""
    y = np.arange(SIDE)[:, None] / UNIT
    depth = (y - outline) / np.maximum(128 - outline, 1)
    under = np.clip((y - outline) * UNIT + 0.5, 0, 1)[..., None]
    return canvas * (1 - under) + mix(top, bottom, np.clip(depth, 0, 1)) * under


def choose(rng, options):
    return options[rng.integers(len(options))]


def disc(draw, x, y, radius, fill=None, **line):
    box = [UNIT * value for value in (x - radius, y - radius, x + radius, y + radius)]
    draw.ellipse(box, fill=fill, **line)


def box(draw, left, top, right, bottom, fill):
    draw.rectangle([UNIT * value for value in (left, top, right, bottom)], fill=fill)


def stand(image, prop, x, foot, height, fade=None):
    """Put a sprite with its foot at (x, foot); `fade` = (colour, amount) washes it out as distance or frost does."""
    height *= UNIT
    width = max(1, int(prop.width * height / prop.height))
    prop = prop.resize((width, int(height)), Image.BILINEAR)
    if fade:
        wash = Image.new("RGBA", prop.size, fade[0] + (255,))
        wash.putalpha(prop.getchannel("A"))
        prop = Image.blend(prop, wash, fade[1])
    image.paste(prop, (int(UNIT * x - width / 2), int(UNIT * foot - height)), prop)


def edge_x(rng):
    """An x near the left or right border, where a prop stays visible beside the subject."""
    return rng.uniform(6, 24) if rng.random() < 0.5 else rng.uniform(104, 122)


def paint_space(rng, props):
    colours = [(70, 40, 150), (150, 40, 110), (30, 80, 160), (20, 120, 130), (120, 50, 160)]
    sky = np.zeros((SIDE, SIDE, 3), np.float32) + np.array([8, 8, 24])
    for _ in range(2):
        strength = np.clip(cloud(rng, 3) - 0.45, 0, 1) * rng.uniform(0.6, 1.7)
        sky += strength[..., None] * np.array(choose(rng, colours))
    image = picture(sky)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(45, 90)):
        x, y = rng.uniform(0, 128, 2)
        colour = choose(rng, [(255, 255, 255), (210, 225, 255), (255, 240, 210)])
        disc(draw, x, y, choose(rng, [0.45, 0.6, 0.8, 1.3]), colour)
    if rng.random() < 0.2:
        stand(image, props["ringed planet"], edge_x(rng), rng.uniform(30, 45), rng.uniform(22, 32))
    return image


def paint_beach(rng, props):
    sky = choose(rng, [((70, 160, 235), (190, 230, 250)), ((90, 180, 240), (225, 240, 250))])
    canvas = gradient(*sky)
    canvas = fill_below(canvas, np.full(SIDE, rng.uniform(50, 64)), (20, 110, 180), (60, 200, 205))
    shore = wave(rng, rng.uniform(82, 92), 3)
    canvas = fill_below(canvas, shore - 3, (250, 252, 250), (250, 252, 250))
    canvas = fill_below(canvas, shore, (232, 205, 150), (246, 222, 165))
    image = picture(canvas)
    if rng.random() < 0.5:
        disc(ImageDraw.Draw(image), rng.uniform(10, 118), rng.uniform(10, 30), 9, (255, 244, 190))
    if rng.random() < 0.6:
        stand(image, props["palm tree"], edge_x(rng), rng.uniform(92, 105), rng.uniform(60, 85))
    return image


def paint_snow(rng, props):
    canvas = gradient(*choose(rng, [((120, 165, 215), (205, 225, 242)), ((165, 185, 210), (220, 230, 240))]))
    canvas = fill_below(canvas, wave(rng, rng.uniform(55, 66), 8), (190, 208, 230), (220, 232, 245))
    image = picture(canvas)
    for _ in range(rng.integers(2, 5)):
        frost = ((235, 243, 252), 0.45)
        stand(image, props["evergreen tree"], edge_x(rng), rng.uniform(76, 92), rng.uniform(30, 48), frost)
    ground = wave(rng, rng.uniform(80, 90), 4)
    image = picture(fill_below(np.asarray(image, np.float32), ground, (236, 243, 252), (250, 252, 255)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(20, 45)):
        disc(draw, rng.uniform(0, 128), rng.uniform(0, 90), 1.2, (255, 255, 255))
    return image


def building(draw, rng, left, wall, window, lit):
    width, top = rng.integers(12, 22), rng.uniform(14, 70)
    box(draw, left, top, left + width, 112, tuple(int(c + rng.integers(-14, 15)) for c in wall))
    for x in range(int(left) + 3, int(left + width) - 2, 5):
        for y in range(int(top) + 4, 108, 7):
            if rng.random() < lit:
                box(draw, x, y, x + 2, y + 3, window)
    return left + width


def paint_street(rng, sky, wall, window, lit, road):
    image = picture(gradient(*sky))
    draw = ImageDraw.Draw(image)
    left = -rng.integers(0, 10)
    while left < 128:
        left = building(draw, rng, left, wall, window, lit) + rng.integers(0, 3)
    box(draw, 0, 108, 128, 128, road)
    box(draw, 0, 105, 128, 109, tuple(c + 70 for c in road))
    for x in range(int(rng.integers(-20, 0)), 128, 28):
        box(draw, x, 118, x + 14, 120, (235, 235, 225))
    return image


def paint_city(rng, props):
    sky = choose(rng, [((120, 180, 235), (220, 235, 245)), ((150, 175, 205), (225, 230, 235))])
    wall = choose(rng, [(110, 125, 150), (135, 130, 140), (150, 125, 115)])
    return paint_street(rng, sky, wall, (200, 225, 245), 0.6, (84, 86, 96))


def paint_night(rng, props):
    sky = choose(rng, [((10, 14, 45), (50, 45, 100)), ((18, 18, 60), (85, 55, 120))])
    return paint_street(rng, sky, (38, 42, 76), (255, 215, 115), 0.5, (40, 42, 58))


def paint_forest(rng, props):
    canvas = gradient(*choose(rng, [((150, 205, 150), (70, 130, 70)), ((190, 220, 170), (80, 140, 70))]))
    image = picture(fill_below(canvas, wave(rng, 96, 3), (88, 128, 60), (58, 100, 44)))
    for foot in np.sort(rng.uniform(84, 110, rng.integers(9, 14))):
        tree = props["evergreen tree" if rng.random() < 0.65 else "deciduous tree"]
        far = (110 - foot) / 26
        stand(image, tree, rng.uniform(0, 128), foot, rng.uniform(60, 90) - 20 * far, ((120, 175, 125), 0.45 * far))
    return image


def paint_desert(rng, props):
    skies = [((240, 165, 95), (252, 220, 160)), ((95, 170, 225), (240, 225, 190)), ((225, 120, 80), (250, 200, 130))]
    image = picture(gradient(*choose(rng, skies)))
    disc(ImageDraw.Draw(image), rng.uniform(12, 116), rng.uniform(12, 34), 9, (255, 246, 205))
    canvas = np.asarray(image, np.float32)
    canvas = fill_below(canvas, wave(rng, rng.uniform(58, 68), 8), (222, 160, 90), (200, 130, 65))
    canvas = fill_below(canvas, wave(rng, rng.uniform(76, 86), 6), (235, 180, 105), (205, 140, 70))
    image = picture(fill_below(canvas, wave(rng, rng.uniform(98, 106), 4), (240, 190, 115), (222, 160, 85)))
    if rng.random() < 0.5:
        stand(image, props["cactus"], edge_x(rng), rng.uniform(84, 100), rng.uniform(28, 42))
    return image


def paint_sea(rng, props):
    canvas = gradient((90, 205, 230), (8, 50, 120))
    x = (np.arange(SIDE)[None, :] + np.arange(SIDE)[:, None] * rng.uniform(-0.5, 0.5)) / UNIT
    rays = np.clip(np.sin(x * rng.uniform(0.1, 0.16) + rng.uniform(0, 6.3)), 0, 1) * np.linspace(1, 0, SIDE)[:, None]
    canvas += rays[..., None] * 34
    canvas = fill_below(canvas, wave(rng, rng.uniform(110, 117), 3), (190, 175, 130), (150, 140, 115))
    image = picture(canvas)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(8, 18)):
        x, y, radius = rng.uniform(0, 128), rng.uniform(0, 108), rng.uniform(1.5, 4)
        disc(draw, x, y, radius, outline=(215, 242, 252), width=round(UNIT))
    if rng.random() < 0.6:
        stand(image, props["coral"], edge_x(rng), rng.uniform(116, 124), rng.uniform(22, 36))
    return image


def paint_sunset(rng, props):
    """A low red sun over a calm sea."""
    skies = [((95, 55, 130), (255, 150, 80)), ((60, 45, 110), (250, 120, 95)), ((140, 60, 110), (255, 190, 95))]
    image = picture(gradient(*choose(rng, skies)))
    horizon, x = rng.uniform(72, 82), rng.uniform(16, 112)
    disc(ImageDraw.Draw(image), x, horizon - rng.uniform(0, 10), rng.uniform(13, 18), (255, 225, 140))
    canvas = fill_below(np.asarray(image, np.float32), np.full(SIDE, horizon), (205, 95, 90), (55, 40, 95))
    across, down = np.meshgrid(np.arange(SIDE) / UNIT, np.arange(SIDE) / UNIT)
    glitter = np.exp(-(((across - x) / 12) ** 2)) * (down > horizon) * (0.6 + 0.4 * np.sin(down * 1.3))
    return picture(canvas + glitter[..., None] * np.array([110, 80, 30]))


def paint_meadow(rng, props):
    canvas = gradient(*choose(rng, [((85, 165, 240), (205, 232, 250)), ((110, 190, 245), (225, 242, 250))]))
    canvas = fill_below(canvas, wave(rng, rng.uniform(58, 68), 6), (135, 195, 105), (110, 180, 85))
    image = picture(fill_below(canvas, wave(rng, rng.uniform(78, 88), 4), (115, 190, 75), (70, 150, 55)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(14, 30)):
        x, y = rng.uniform(0, 128), rng.uniform(92, 126)
        disc(draw, x, y, 1.6, choose(rng, [(255, 255, 255), (255, 225, 80), (240, 120, 160)]))
    return image


def paint_mountains(rng, props):
    canvas = gradient(*choose(rng, [((95, 155, 220), (215, 230, 242)), ((140, 165, 205), (230, 225, 225))]))
    ridge = peaks(rng, rng.uniform(70, 80), rng.uniform(48, 62))
    canvas = fill_below(canvas, ridge, (250, 252, 255), (250, 252, 255))
    snow = ridge + 9 + 3 * np.sin(np.arange(SIDE) / UNIT * 0.7 + rng.uniform(0, 6.3))
    canvas = fill_below(canvas, snow, (118, 122, 145), (90, 95, 115))
    return picture(fill_below(canvas, wave(rng, rng.uniform(88, 96), 4), (120, 150, 90), (85, 120, 65)))


def paint_white(rng, props):
    return Image.new("RGB", (SIDE, SIDE), (int(rng.integers(248, 256)),) * 3)


def crop_photo(rng, photo):
    """A random square of the photograph, blurred a little so that the subject stands out."""
    side = int(min(photo.size) * rng.uniform(0.75, 1.0))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in photo.size)
    image = photo.resize((SIDE, SIDE), Image.BILINEAR, box=(left, top, left + side, top + side))
    return image.filter(ImageFilter.GaussianBlur(0.8 * UNIT))
