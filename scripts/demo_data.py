"""Which pictures does the demo model learn from? Sprites over places, put together with torch on any device."""

from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import demo_scenes as scenes
from demo_captions import LAYOUTS, PLACES, caption
from demo_fetch import read_lines
from demo_subjects import sprite_files

# place: (painter, photographs to mix in, how often it is drawn relative to the rest)
PAINTERS = {
    "space": (scenes.paint_space, (), 1.4),
    "beach": (scenes.paint_beach, ("beach1",), 1.4),
    "snow": (scenes.paint_snow, ("snow2", "snow4", "snow8"), 1.4),
    "city": (scenes.paint_city, ("city0", "city10", "city11"), 1.4),
    "forest": (scenes.paint_forest, (), 1.0),
    "desert": (scenes.paint_desert, ("dune5", "desert1", "dune1"), 1.0),
    "sea": (scenes.paint_sea, (), 1.0),
    "white": (scenes.paint_white, (), 1.0),
    "sunset": (scenes.paint_sunset, (), 0.8),
    "night": (scenes.paint_night, (), 0.8),
    "meadow": (scenes.paint_meadow, (), 0.8),
    "mountains": (scenes.paint_mountains, (), 0.8),
}
PHOTO_SHARE = 0.08  # of a place's pictures, where it has photographs; painted places are learned sooner
PROPS = ("palm tree", "evergreen tree", "deciduous tree", "cactus", "coral", "ringed planet")

# share of each layout; the plain case is the most, since freedom of size and place is paid for in training time
LAYOUT_SHARES = (0.79, 0.05, 0.04, 0.035, 0.035, 0.05)
# layout: size of the subject's longer side, centre across, centre down; all in sides of the picture, with freedom
LAYOUT_BOXES = {
    "middle": ((0.66, 0.76), (0.47, 0.53), (0.51, 0.56)),
    "small": ((0.34, 0.42), (0.44, 0.56), (0.54, 0.62)),
    "big": ((0.90, 1.00), (0.48, 0.52), (0.50, 0.54)),
    "left": ((0.46, 0.54), (0.26, 0.31), (0.54, 0.60)),
    "right": ((0.46, 0.54), (0.69, 0.74), (0.54, 0.60)),
    "pair": ((0.44, 0.50), (0.26, 0.29), (0.54, 0.58)),
}
MARGIN = 1.3  # a texture's side, measured in sprites; the shadow needs the room


@dataclass
class Records:
    """What is in each picture of a set: arrays [n]. `second` is the first subject again where there is only one."""

    first: np.ndarray
    second: np.ndarray
    place: np.ndarray
    layout: np.ndarray

    def __len__(self):
        return len(self.first)

    def __getitem__(self, pick):
        return Records(self.first[pick], self.second[pick], self.place[pick], self.layout[pick])

    def save(self, file):
        np.savez(file, **vars(self))

    @classmethod
    def load(cls, file):
        return cls(**np.load(file))


def random_records(rng, subjects, count):
    weights = np.array([subject.weight for subject in subjects])
    places = np.array([weight for _, _, weight in PAINTERS.values()])
    first, other = rng.choice(len(subjects), (2, count), p=weights / weights.sum())
    layout = rng.choice(len(LAYOUTS), count, p=LAYOUT_SHARES)
    other = np.where(other == first, (first + 1) % len(subjects), other)
    second = np.where(layout == LAYOUTS.index("pair"), other, first)
    return Records(first, second, rng.choice(len(places), count, p=places / places.sum()), layout)


def captions(rng, subjects, records, unsaid=0.0):
    """Words for each picture; a share of `unsaid` says nothing, which is what guidance compares against."""
    places, lines = list(PLACES), []
    for first, second, place, layout in zip(records.first, records.second, records.place, records.layout):
        shown = [subjects[first]] if first == second else [subjects[first], subjects[second]]
        said = rng.random() >= unsaid
        lines.append(caption(rng, shown, places[place], LAYOUTS[layout]) if said else "")
    return lines


def words_for_vocabulary(subjects):
    """Text that the tokenizer is trained on: captions, and every name by itself."""
    rng = np.random.default_rng(1)
    records = random_records(rng, subjects, max(20_000, 60 * len(subjects)))
    names = [name for subject in subjects for name in (subject.name, *subject.synonyms, *subject.chinese)]
    return captions(rng, subjects, records) + 20 * names


# ------------------------------------------------------------------------------------------------ pictures


def open_sprite(path, side=160):
    """A sprite without its empty border, its longer side scaled to `side`."""
    image = Image.open(path).convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox())
    scale = side / max(image.size)
    return image.resize([max(1, round(extent * scale)) for extent in image.size], Image.LANCZOS)


def texture(path, side):
    """A sprite in the middle of a square with room around it: colours times opacity, opacity, shadow; [5, side, side].
    Colours come multiplied, so that blending between pixels leaves no dark rims."""
    sprite = open_sprite(path, round(side / MARGIN))
    square = Image.new("RGBA", (side, side))
    square.paste(sprite, ((side - sprite.width) // 2, (side - sprite.height) // 2))
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 255
    alpha = pixels[3:]
    return torch.cat([pixels[:3] * alpha, alpha, blur(alpha, 0.035 * side)])


def blur(channel, sigma):
    """Gaussian blur of [1, h, w]."""
    reach = int(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    once = F.conv2d(channel[None], kernel, padding=(0, reach))
    return F.conv2d(once, kernel.transpose(2, 3), padding=(reach, 0))[0]


def paint_places(job):
    """`count` pictures of one place, uint8 [count, side, side, 3]."""
    data, place, count, side, seed = job
    rng, files = np.random.default_rng(seed), sprite_files(data)
    props = {label: open_sprite(files[label]) for label in PROPS}
    paint, wanted, _ = PAINTERS[place]
    stems = {Path(b["file"]).stem.removeprefix("es_"): data / b["file"] for b in read_lines(data / "backgrounds.jsonl")}
    photos = [Image.open(stems[stem]).convert("RGB") for stem in wanted]
    pictures = np.empty((count, side, side, 3), np.uint8)
    for i in range(count):
        if photos and rng.random() < PHOTO_SHARE:
            image = scenes.crop_photo(rng, scenes.choose(rng, photos))
        else:
            image = paint(rng, props)
        pictures[i] = np.asarray(image.resize((side, side), Image.BOX))
    return pictures


class Composer:
    """Everything that pictures are put together from, on one device: textures of the subjects, and a bank of places."""

    def __init__(self, data, subjects, side, backgrounds, processes, device="cpu", seed=0):
        jobs = [(data, place, backgrounds, side, [seed, number]) for number, place in enumerate(PAINTERS)]
        with Pool(processes) as pool:
            bank = pool.map(paint_places, jobs, chunksize=1)
        self.bank = torch.from_numpy(np.concatenate(bank)).to(device)  # [places * backgrounds, side, side, 3]
        textures = torch.stack([texture(subject.file, side) for subject in subjects])
        self.textures = textures.mul(255).round().byte().to(device)
        self.side, self.backgrounds, self.device = side, backgrounds, device
        boxes = torch.tensor([LAYOUT_BOXES[name] for name in LAYOUTS])  # [layouts, size/across/down, low/high]
        self.boxes = boxes.to(device)

    def on_device(self, numbers):
        return torch.from_numpy(numbers).to(self.device)

    def compose(self, records):
        """Pictures in 0..1, [n, 3, side, side], of random sizes, places and backgrounds within the records."""
        count = len(records)
        place, layout = self.on_device(records.place), self.on_device(records.layout)
        pick = place * self.backgrounds + torch.randint(self.backgrounds, (count,), device=self.device)
        image = self.bank[pick].permute(0, 3, 1, 2).float() / 255
        flip = torch.rand(count, 1, 1, 1, device=self.device) < 0.5
        image = torch.where(flip, image.flip(3), image)
        boxes = self.boxes[layout]
        low, high = boxes.unbind(2)
        size, across, down = (low + (high - low) * torch.rand(count, 3, device=self.device)).unbind(1)
        shade = 0.4 * (place != list(PLACES).index("space"))
        image = self.put(image, self.on_device(records.first), size, across, down, shade)
        pairs = np.flatnonzero(records.second != records.first)
        if len(pairs):
            at = self.on_device(pairs)
            second = self.on_device(records.second[pairs])
            image[at] = self.put(image[at], second, size[at], 1 - across[at], down[at], shade[at])
        return image

    def put(self, image, subject, size, across, down, shade):
        """Lay one subject and its shadow over each picture."""
        angle = (torch.rand(len(image), device=self.device) - 0.5) * 0.14
        layers = self.textures[subject].float() / 255
        body = self.sample(layers[:, :4], angle, size, across, down)
        shadow = self.sample(layers[:, 4:], angle, size, across, down + 0.03) * shade.view(-1, 1, 1, 1)
        dark = torch.tensor([0.04, 0.04, 0.12], device=self.device).view(1, 3, 1, 1)
        image = image * (1 - shadow) + dark * shadow
        return image * (1 - body[:, 3:]) + body[:, :3]

    def sample(self, layers, angle, size, across, down):
        cos, sin = torch.cos(angle) / (size * MARGIN), torch.sin(angle) / (size * MARGIN)
        x, y = 2 * across - 1, 2 * down - 1
        rows = torch.stack([cos, sin, -cos * x - sin * y, -sin, cos, sin * x - cos * y], 1).view(-1, 2, 3)
        grid = F.affine_grid(rows, [len(layers), layers.shape[1], self.side, self.side], align_corners=False)
        return F.grid_sample(layers, grid, align_corners=False)
