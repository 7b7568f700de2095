"""Which pictures and captions does the demo model learn from? A table of subjects, one of places, and how they meet."""

import json
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import demo_scenes as scenes

# name: (emoji label of the sprite, other words for it, how often it is drawn relative to the rest)
SUBJECTS = {
    "dog": ("dog face", ("puppy", "doggy"), 2.0),
    "cat": ("cat face", ("kitten", "kitty"), 2.0),
    "rocket": ("rocket", ("spaceship", "rocket ship"), 2.0),
    "penguin": ("penguin", (), 2.0),
    "taxi": ("taxi", ("yellow cab", "yellow taxi"), 2.0),
    "fox": ("fox", ("red fox",), 1.0),
    "panda": ("panda", ("panda bear",), 1.0),
    "rabbit": ("rabbit face", ("bunny",), 1.0),
    "lion": ("lion", (), 1.0),
    "frog": ("frog", ("green frog",), 1.0),
    "owl": ("owl", (), 1.0),
    "elephant": ("elephant", (), 1.0),
    "unicorn": ("unicorn", (), 1.0),
    "octopus": ("octopus", (), 1.0),
    "astronaut": ("astronaut", ("spaceman", "cosmonaut"), 1.0),
    "robot": ("robot", (), 1.0),
    "ghost": ("ghost", (), 1.0),
    "car": ("automobile", ("red car",), 1.0),
    "sailboat": ("sailboat", ("boat", "sailing boat"), 1.0),
    "house": ("house", ("home",), 1.0),
    "castle": ("castle", ("palace",), 1.0),
    "tree": ("deciduous tree", ("green tree",), 1.0),
    "snowman": ("snowman", (), 1.0),
    "apple": ("red apple", ("red apple",), 1.0),
}

# name: (painter, photographs to mix in, phrases that follow the subject, single words)
PLACES = {
    "space": (
        scenes.paint_space,
        (),
        ("in space", "in outer space", "among the stars", "floating in space"),
        ("space", "stars"),
    ),
    "beach": (
        scenes.paint_beach,
        ("beach1",),
        ("on the beach", "at the beach", "on a sandy beach", "by the sea"),
        ("beach",),
    ),
    "snow": (
        scenes.paint_snow,
        ("snow2", "snow4", "snow8"),
        ("in the snow", "in winter", "on the snow"),
        ("snow", "winter"),
    ),
    "city": (
        scenes.paint_city,
        ("city0", "city10", "city11"),
        ("in the city", "in a city", "in town", "on the street"),
        ("city", "street"),
    ),
    "forest": (scenes.paint_forest, (), ("in the forest", "in a forest", "in the woods"), ("forest", "woods")),
    "desert": (
        scenes.paint_desert,
        ("dune5", "desert1", "dune1"),
        ("in the desert", "in a desert", "on a sand dune"),
        ("desert",),
    ),
    "sea": (
        scenes.paint_sea,
        (),
        ("under the sea", "underwater", "in the sea", "in the ocean", "under water"),
        ("ocean", "underwater"),
    ),
    "white": (
        scenes.paint_white,
        (),
        ("on a white background", "on white", "on a plain background"),
        ("white background",),
    ),
}
# of a place's pictures, where it has photographs; painted places are told apart more easily at 64 pixels
PHOTO_SHARE = 0.15

PROPS = ("palm tree", "evergreen tree", "deciduous tree", "cactus", "coral", "ringed planet")
PREFIXES = ("a photo of", "a picture of", "an image of", "a drawing of")
ADJECTIVES = ("cute", "small", "little", "big", "nice", "3d")


def caption(rng, subject, place):
    """A caption for one picture, worded differently every time."""
    _, synonyms, _ = SUBJECTS[subject]
    noun = scenes.choose(rng, synonyms) if synonyms and rng.random() < 0.25 else subject
    _, _, phrases, words = PLACES[place]
    if rng.random() < 0.06:
        return f"{noun}, {scenes.choose(rng, words)}"
    if rng.random() < 0.08:
        noun = f"{scenes.choose(rng, ADJECTIVES)} {noun}"
    article = "an" if noun[0] in "aeiou" and not noun.startswith("unicorn") else "a"
    start = rng.random()
    if start < 0.65:
        noun = f"{article} {noun}"
    elif start < 0.70:
        noun = f"the {noun}"
    elif start < 0.80:
        noun = f"{scenes.choose(rng, PREFIXES)} {article} {noun}"
    if rng.random() < 0.05:
        return noun
    return f"{noun} {phrases[0] if rng.random() < 0.5 else scenes.choose(rng, phrases)}"


def words_for_vocabulary(data):
    """Text the tokenizer is trained on: every subject and place many times, and the names of all emoji once."""
    rng = np.random.default_rng(1)
    lines = [caption(rng, s, p) for s in SUBJECTS for p in PLACES for _ in range(12)]
    for sprite in read_lines(data / "sprites.jsonl"):
        lines.append(" ".join([sprite["label"], *sprite["tags"]]))
    return lines


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass
class Artwork:
    """The sprites and photographs that pictures are put together from, opened once per process."""

    subjects: dict
    props: dict
    photos: dict

    @classmethod
    def open(cls, data):
        files = {}
        for sprite in read_lines(data / "sprites.jsonl"):
            files.setdefault(sprite["label"], data / sprite["file"])
        subjects = {name: open_sprite(files[label]) for name, (label, _, _) in SUBJECTS.items()}
        stems = {
            Path(b["file"]).stem.removeprefix("es_"): data / b["file"] for b in read_lines(data / "backgrounds.jsonl")
        }
        photos = {place: [open_photo(stems[s]) for s in wanted] for place, (_, wanted, _, _) in PLACES.items()}
        return cls(subjects, {label: open_sprite(files[label]) for label in PROPS}, photos)


def open_sprite(path):
    image = Image.open(path).convert("RGBA").resize((160, 160), Image.LANCZOS)
    return image.crop(image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())


def open_photo(path):
    image = Image.open(path).convert("RGB")
    scale = 192 / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.LANCZOS)


def compose(rng, art, subject, place):
    """One training picture, uint8 [64, 64, 3]: the subject, large and near the middle, over the place."""
    paint, _, _, _ = PLACES[place]
    photos = art.photos[place]
    if photos and rng.random() < PHOTO_SHARE:
        image = scenes.crop_photo(rng, scenes.choose(rng, photos))
    else:
        image = paint(rng, art.props)
    sprite = art.subjects[subject]
    # little freedom of size and place: it is paid for in training time, several times over
    scale = scenes.SIDE * rng.uniform(0.66, 0.76) / max(sprite.size)
    sprite = sprite.resize([max(1, round(side * scale)) for side in sprite.size], Image.BILINEAR)
    sprite = sprite.rotate(rng.uniform(-4, 4), Image.BICUBIC, expand=True)
    left = round(64 + rng.uniform(-5, 5) - sprite.width / 2)
    top = round(68 + rng.uniform(-4, 4) - sprite.height / 2)
    if place != "space":
        drop_shadow(image, sprite, left, top + 4)
    image.paste(sprite, (left, top), sprite)
    return np.asarray(image.resize((64, 64), Image.BOX))


def drop_shadow(image, sprite, left, top):
    shade = Image.new("L", image.size, 0)
    shade.paste(sprite.getchannel("A").point(lambda a: a * 0.4), (left, top))
    image.paste((10, 10, 30), mask=shade.filter(ImageFilter.GaussianBlur(4)))


def compose_many(job):
    """A run of pictures with its own seed: (pictures [n, 64, 64, 3], subject indices [n], place indices [n])."""
    data, seed, count = job
    rng, art = np.random.default_rng(seed), Artwork.open(data)
    weights = np.array([weight for _, _, weight in SUBJECTS.values()])
    subjects = rng.choice(len(SUBJECTS), count, p=weights / weights.sum())
    places = rng.integers(0, len(PLACES), count)
    names, grounds = list(SUBJECTS), list(PLACES)
    pictures = np.stack([compose(rng, art, names[s], grounds[p]) for s, p in zip(subjects, places)])
    return pictures, subjects, places


def build_pictures(data, count, processes):
    """The whole set: pictures [count, 64, 64, 3], subjects [count], places [count]."""
    jobs = [(data, 1000 + i, min(1000, count - i * 1000)) for i in range((count + 999) // 1000)]
    with Pool(processes) as pool:
        parts = pool.map(compose_many, jobs, chunksize=1)
    return tuple(np.concatenate(column) for column in zip(*parts))
