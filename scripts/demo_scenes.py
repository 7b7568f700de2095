"""What does each place of the demo pictures look like? Small painters, one per place, all drawing 128x128 RGB."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 128  # twice the picture's side: the final halving smooths edges


def mix(a, b, t):
    """The colour `t` of the way from `a` to `b`; `t` may be an array [h, w]."""
    t = np.asarray(t, np.float32)[..., None]
    return np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t


def picture(array):
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def gradient(top, bottom, height=SIDE):
    return np.repeat(mix(top, bottom, np.linspace(0, 1, height)[:, None]), SIDE, axis=1)


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
    x = np.arange(SIDE)
    bend = np.sin(x * rng.uniform(0.02, 0.05) + rng.uniform(0, 6.3))
    return level + height * (bend + 0.3 * np.sin(x * rng.uniform(0.08, 0.12) + rng.uniform(0, 6.3)))


def fill_below(canvas, outline, top, bottom):
    """Paint everything under `outline`, shading from `top` at the outline to `bottom` at the lower edge."""
    y = np.arange(SIDE)[:, None]
    depth = (y - outline) / np.maximum(SIDE - outline, 1)
    under = np.clip(y - outline + 0.5, 0, 1)[..., None]
    return canvas * (1 - under) + mix(top, bottom, np.clip(depth, 0, 1)) * under


def choose(rng, options):
    return options[rng.integers(len(options))]


def stand(image, prop, x, foot, height, fade=None):
    """Put a sprite with its foot at (x, foot); `fade` = (colour, amount) washes it out as distance or frost does."""
    width = max(1, int(prop.width * height / prop.height))
    prop = prop.resize((width, int(height)), Image.BILINEAR)
    if fade:
        wash = Image.new("RGBA", prop.size, fade[0] + (255,))
        wash.putalpha(prop.getchannel("A"))
        prop = Image.blend(prop, wash, fade[1])
    image.paste(prop, (int(x - width / 2), int(foot - height)), prop)


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
        x, y = rng.uniform(0, SIDE, 2)
        size = choose(rng, [0.7, 0.7, 0.9, 1.5])
        draw.ellipse(
            (x - size, y - size, x + size, y + size),
            fill=choose(rng, [(255, 255, 255), (210, 225, 255), (255, 240, 210)]),
        )
    if rng.random() < 0.2:
        stand(image, props["ringed planet"], edge_x(rng), rng.uniform(30, 45), rng.uniform(22, 32))
    return image


def paint_beach(rng, props):
    sky = choose(
        rng, [((70, 160, 235), (190, 230, 250)), ((90, 180, 240), (225, 240, 250)), ((250, 150, 90), (255, 215, 150))]
    )
    canvas = gradient(*sky)
    canvas = fill_below(canvas, np.full(SIDE, rng.uniform(50, 64)), (20, 110, 180), (60, 200, 205))
    shore = wave(rng, rng.uniform(82, 92), 3)
    canvas = fill_below(canvas, shore - 3, (250, 252, 250), (250, 252, 250))
    canvas = fill_below(canvas, shore, (232, 205, 150), (246, 222, 165))
    image = picture(canvas)
    if rng.random() < 0.5:
        x, y = rng.uniform(10, 118), rng.uniform(10, 30)
        ImageDraw.Draw(image).ellipse((x - 9, y - 9, x + 9, y + 9), fill=(255, 244, 190))
    if rng.random() < 0.6:
        stand(image, props["palm tree"], edge_x(rng), rng.uniform(92, 105), rng.uniform(60, 85))
    return image


def paint_snow(rng, props):
    canvas = gradient(*choose(rng, [((120, 165, 215), (205, 225, 242)), ((165, 185, 210), (220, 230, 240))]))
    canvas = fill_below(canvas, wave(rng, rng.uniform(55, 66), 8), (190, 208, 230), (220, 232, 245))
    image = picture(canvas)
    for _ in range(rng.integers(2, 5)):
        stand(
            image,
            props["evergreen tree"],
            edge_x(rng),
            rng.uniform(76, 92),
            rng.uniform(30, 48),
            ((235, 243, 252), 0.45),
        )
    canvas = fill_below(
        np.asarray(image, np.float32), wave(rng, rng.uniform(80, 90), 4), (236, 243, 252), (250, 252, 255)
    )
    image = picture(canvas)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(20, 45)):
        x, y = rng.uniform(0, SIDE), rng.uniform(0, 90)
        draw.ellipse((x - 1.2, y - 1.2, x + 1.2, y + 1.2), fill=(255, 255, 255))
    return image


def building(draw, rng, left, wall, window):
    width, top = rng.integers(12, 22), rng.uniform(14, 70)
    draw.rectangle((left, top, left + width, 112), fill=tuple(int(c + rng.integers(-14, 15)) for c in wall))
    for x in range(int(left) + 3, int(left + width) - 2, 5):
        for y in range(int(top) + 4, 108, 7):
            if rng.random() < 0.6:
                draw.rectangle((x, y, x + 2, y + 3), fill=window)
    return left + width


def paint_city(rng, props):
    sky, wall, window = choose(
        rng,
        [
            (((120, 180, 235), (220, 235, 245)), (110, 125, 150), (200, 225, 245)),
            (((90, 80, 150), (245, 165, 120)), (70, 65, 100), (255, 215, 130)),
            (((18, 22, 60), (70, 60, 120)), (40, 45, 80), (255, 220, 120)),
        ],
    )
    image = picture(gradient(*sky))
    draw = ImageDraw.Draw(image)
    left = -rng.integers(0, 10)
    while left < SIDE:
        left = building(draw, rng, left, wall, window) + rng.integers(0, 3)
    draw.rectangle((0, 108, SIDE, SIDE), fill=(84, 86, 96))
    draw.rectangle((0, 105, SIDE, 109), fill=(165, 165, 170))
    for x in range(int(rng.integers(-20, 0)), SIDE, 28):
        draw.rectangle((x, 118, x + 14, 120), fill=(235, 235, 225))
    return image


def paint_forest(rng, props):
    canvas = gradient(*choose(rng, [((150, 205, 150), (70, 130, 70)), ((190, 220, 170), (80, 140, 70))]))
    image = picture(fill_below(canvas, wave(rng, 96, 3), (88, 128, 60), (58, 100, 44)))
    for foot in np.sort(rng.uniform(84, 110, rng.integers(9, 14))):
        tree = props["evergreen tree" if rng.random() < 0.65 else "deciduous tree"]
        far = (110 - foot) / 26
        stand(image, tree, rng.uniform(0, SIDE), foot, rng.uniform(60, 90) - 20 * far, ((120, 175, 125), 0.45 * far))
    return image


def paint_desert(rng, props):
    canvas = gradient(
        *choose(
            rng,
            [((240, 165, 95), (252, 220, 160)), ((95, 170, 225), (240, 225, 190)), ((225, 120, 80), (250, 200, 130))],
        )
    )
    image = picture(canvas)
    x, y = rng.uniform(12, 116), rng.uniform(12, 34)
    ImageDraw.Draw(image).ellipse((x - 9, y - 9, x + 9, y + 9), fill=(255, 246, 205))
    canvas = fill_below(
        np.asarray(image, np.float32), wave(rng, rng.uniform(58, 68), 8), (222, 160, 90), (200, 130, 65)
    )
    canvas = fill_below(canvas, wave(rng, rng.uniform(76, 86), 6), (235, 180, 105), (205, 140, 70))
    image = picture(fill_below(canvas, wave(rng, rng.uniform(98, 106), 4), (240, 190, 115), (222, 160, 85)))
    if rng.random() < 0.5:
        stand(image, props["cactus"], edge_x(rng), rng.uniform(84, 100), rng.uniform(28, 42))
    return image


def paint_sea(rng, props):
    canvas = gradient((90, 205, 230), (8, 50, 120))
    x = np.arange(SIDE)[None, :] + np.arange(SIDE)[:, None] * rng.uniform(-0.5, 0.5)
    rays = np.clip(np.sin(x * rng.uniform(0.1, 0.16) + rng.uniform(0, 6.3)), 0, 1) * np.linspace(1, 0, SIDE)[:, None]
    canvas += rays[..., None] * 34
    canvas = fill_below(canvas, wave(rng, rng.uniform(110, 117), 3), (190, 175, 130), (150, 140, 115))
    image = picture(canvas)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(8, 18)):
        x, y, r = rng.uniform(0, SIDE), rng.uniform(0, 108), rng.uniform(1.5, 4)
        draw.ellipse((x - r, y - r, x + r, y + r), outline=(215, 242, 252), width=1)
    if rng.random() < 0.6:
        stand(image, props["coral"], edge_x(rng), rng.uniform(116, 124), rng.uniform(22, 36))
    return image


def paint_white(rng, props):
    return Image.new("RGB", (SIDE, SIDE), (int(rng.integers(248, 256)),) * 3)


def crop_photo(rng, photo):
    """A random square of the photograph, mirrored half the time and blurred a little so that the subject stands out."""
    side = int(min(photo.size) * rng.uniform(0.75, 1.0))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in photo.size)
    image = photo.resize((SIDE, SIDE), Image.BILINEAR, box=(left, top, left + side, top + side))
    if rng.random() < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    return image.filter(ImageFilter.GaussianBlur(0.8))
