"""Train petal-mini, the small text-to-image model that petal draws with out of the box.

python scripts/train_demo.py --work ../petal-train --out ../petal-train/mini-diffusers
python scripts/train_demo.py --preset gpu --slice 8 --work ../petal-train --out ../petal-train/mini-diffusers

The first is for a processor, 128x128 pixels of a hundred subjects in two hours of two cores. The second is for a GPU,
256x256 pixels of every subject; it ends after 8 minutes and goes on where it was when it is called again. Where a
stage's checkpoint lies in --work, it goes on from there; remove the folder to start over.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import demo_captions
import demo_data
import demo_fetch
import demo_model
import demo_subjects
from demo_run import Average, Optimizer, Run, descend, is_first, rank, run_together, save_atomically

HELD_OUT = 256  # pictures kept from training, to watch the autoencoder on
SHEET_PROMPTS = (
    "a dog in space",
    "a cat on the beach",
    "a rocket in space",
    "a penguin in the snow",
    "a taxi in the city",
    "a fox in the forest",
    "a dog on the beach",
    "an astronaut in the desert",
    "a frog under the sea",
    "a unicorn in a meadow",
    "a castle in the mountains",
    "a sailboat at sunset",
    "a robot in the city at night",
    "an owl on a white background",
    "a giraffe in the desert",
    "a hamburger on the beach",
    "a guitar in space",
    "a whale in the city",
    "a strawberry in the snow",
    "a train in the mountains",
    "太空中的狗",
    "雪地里的熊猫",
    "a small cat in the snow",
    "a cat and a dog in the snow",
)


@dataclass
class Preset:
    """What differs between a processor and a GPU."""

    size: demo_model.Size
    subjects: callable
    pictures: int  # composed once: to train on where composing anew is too dear, else to measure on
    backgrounds: int  # of each place
    fresh: bool  # compose every training picture anew, on the device
    vae_minutes: float
    vae_batch: int  # whole pictures, in all processes together; crops are four times as many
    unet_minutes: float
    batch: int  # in all processes together
    rate: float
    decoder_minutes: float


PRESETS = {
    "cpu": Preset(demo_model.SMALL, demo_subjects.chosen, 20_000, 400, False, 22, 6, 80, 32, 5e-3, 7),
    "gpu": Preset(demo_model.LARGE, demo_subjects.every, 4_096, 400, True, 6, 96, 20, 512, 5e-3, 3),
}


def subjects_of(options):
    return options.preset.subjects(demo_fetch.find_or_fetch(options.work), options.work)


def open_composer(options):
    data = demo_fetch.find_or_fetch(options.work)
    side, backgrounds = options.preset.size.side, options.backgrounds
    return demo_data.Composer(data, subjects_of(options), side, backgrounds, os.cpu_count(), options.device)


def start_run(options, name, minutes):
    return Run(options.work, name, minutes, options.slice_ends)


def half_precision(options):
    """Networks compute in 16 bits: faster on a GPU, and on processors that multiply bfloat16."""
    return torch.autocast(options.device.type, torch.bfloat16)


def fast(module, options):
    return torch.compile(module) if options.device.type == "cuda" else module


def for_networks(pictures):
    """Pictures in -1..1, channels last in memory."""
    return pictures.mul(2).sub(1).contiguous(memory_format=torch.channels_last)


class Stored:
    """The pictures composed once, and what is in them."""

    def __init__(self, options):
        self.pictures = np.load(options.work / "pictures.npy", mmap_mode="r")  # uint8 [n, side, side, 3]
        self.records = demo_data.Records.load(options.work / "records.npz")
        self.device = options.device

    def __len__(self):
        return len(self.pictures)

    def get(self, pick):
        pictures = torch.from_numpy(np.ascontiguousarray(self.pictures[pick])).to(self.device)
        return for_networks(pictures.permute(0, 3, 1, 2).float() / 255)

    def train_batch(self, rng, count):
        return self.get(np.sort(rng.integers(0, len(self) - HELD_OUT, count)))

    def held_out(self, count=HELD_OUT):
        return self.get(np.arange(len(self) - count, len(self)))


class Fresh:
    """Pictures that nobody saw before, composed on the device as fast as they are asked for."""

    def __init__(self, options):
        self.composer, self.subjects = open_composer(options), subjects_of(options)

    def batch(self, rng, count):
        records = demo_data.random_records(rng, self.subjects, count)
        return for_networks(self.composer.compose(records)), records

    def train_batch(self, rng, count):
        return self.batch(rng, count)[0]


def make_pictures(options):
    if (options.work / "records.npz").exists():
        return
    torch.manual_seed(1)
    composer, rng, count = open_composer(options), np.random.default_rng(1), options.pictures
    records = demo_data.random_records(rng, subjects_of(options), count)
    shape = (count, composer.side, composer.side, 3)
    pictures = np.lib.format.open_memmap(options.work / "pictures.npy", "w+", np.uint8, shape)
    for start in range(0, count, 128):
        part = slice(start, start + 128)
        composed = composer.compose(records[part]).permute(0, 2, 3, 1)
        pictures[part] = composed.mul(255).round().byte().cpu().numpy()
    pictures.flush()
    records.save(options.work / "records.npz")


def make_tokenizer(options):
    if not (options.work / "tokenizer" / "merges.txt").exists():
        lines = demo_data.words_for_vocabulary(subjects_of(options))
        demo_model.train_tokenizer(options.work / "tokenizer", lines, options.preset.size.merges)


# ---------------------------------------------------------------------------------------------- the autoencoder


def edges(x):
    """What a picture changes from pixel to pixel, across and down."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def likeness(y, x):
    """How far `y` is from `x`, with as much weight on outlines as on colours."""
    sharpness = sum(F.l1_loss(a, b) for a, b in zip(edges(y), edges(x)))
    return F.mse_loss(y, x) + 0.5 * F.l1_loss(y, x) + 0.5 * sharpness


def vae_loss(vae, x, options):
    with half_precision(options):
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).mean()
    # so much KL that a latent carries noise of about 0.05: the UNet's small mistakes then cost the decoder little
    return likeness(y.float(), x) + 2e-4 * kl


@torch.no_grad()
def psnr(vae, pictures):
    values = []
    for x in pictures.split(32):
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(10 * torch.log10(4 / ((y - x) ** 2).mean((1, 2, 3))))
    return torch.cat(values).mean().item()


def vae_batch(rng, source, count, run):
    """Crops of a quarter of the picture first, since steps count for more than pixels; then whole pictures, for the
    borders and norms that drawing will meet."""
    if run.done > 0.7:
        return source.train_batch(rng, count)
    x = source.train_batch(rng, 4 * count)
    side = x.shape[-1] // 2
    top, left = 8 * rng.integers(0, side // 8 + 1, 2)
    return x[..., top : top + side, left : left + side].contiguous(memory_format=torch.channels_last)


def seed_all(run):
    """Each process and each start draws other numbers."""
    seed = run.step * 8 + rank()
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def train_vae(options):
    torch.manual_seed(0)
    vae = demo_model.build_vae(options.preset.size).to(options.device, memory_format=torch.channels_last)
    optimizer = Optimizer(vae)
    run = start_run(options, "vae", options.vae_minutes)
    if run.file.exists():
        state = run.load(options.device)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
    stored = Stored(options)
    source = Fresh(options) if options.preset.fresh else stored
    rng, count, pause = seed_all(run), options.vae_batch // options.processes, False
    while not pause and run.tick():
        loss = vae_loss(vae, vae_batch(rng, source, count, run), options)
        pause = descend(loss, optimizer, run, 6e-3)
        run.note(loss)
        if is_first() and run.step % 200 == 0:
            run.log(psnr=round(psnr(vae, stored.held_out(32)), 2))
        if is_first() and (pause or run.due("checkpoint", 120)):
            run.save(vae=vae.state_dict(), optimizer=optimizer.state_dict())
    if is_first() and not pause and run.losses:
        run.save(vae=vae.state_dict(), optimizer=optimizer.state_dict())
        run.log(psnr_held_out=round(psnr(vae, stored.held_out()), 2))


def load_vae(options):
    """The autoencoder as trained or, once the latents are measured, as evened out by `encode_pictures`."""
    vae, measured = demo_model.build_vae(options.preset.size), options.work / "latents.pt"
    if measured.exists():
        stored = torch.load(measured, map_location="cpu")
        vae.register_to_config(scaling_factor=stored["scaling_factor"])
        polished = options.work / "decoder.pt"
        vae.load_state_dict(torch.load(polished, map_location="cpu")["vae"] if polished.exists() else stored["vae"])
    else:
        vae.load_state_dict(torch.load(options.work / "vae.pt", map_location="cpu")["vae"])
    return vae.eval().to(options.device, memory_format=torch.channels_last)


@torch.no_grad()
def encode_pictures(options):
    """Store the whole set as latents, [n, 4, grid, grid], so that the UNet's training never pays for the VAE."""
    if (options.work / "latents.pt").exists():
        return
    pictures, vae = Stored(options), load_vae(options)
    parts = []
    with half_precision(options):
        for start in range(0, len(pictures), 64):
            pick = np.arange(start, min(start + 64, len(pictures)))
            parts.append(vae.encode(pictures.get(pick)).latent_dist.mean.float().cpu())
    latents = torch.cat(parts)
    factor = round(1 / latents.std().item(), 5)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    demo_model.even_out(vae.cpu(), mean, std * factor)
    latents = (latents - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    seen = pictures.get(np.arange(min(2000, len(latents)))).cpu() / 2 + 0.5
    preview = demo_model.preview_factors(latents[: len(seen)], seen)
    stored = {"latents": latents.half(), "preview": preview, "scaling_factor": factor, "vae": vae.state_dict()}
    save_atomically(stored, options.work / "latents.pt")


def train_decoder(options):
    """A last polish of the decoder alone: latents stay what the UNet learned, pictures get sharper."""
    run = start_run(options, "decoder", options.decoder_minutes)
    vae = load_vae(options)
    optimizer = Optimizer(vae.decoder, [vae.post_quant_conv])
    if run.file.exists():
        optimizer.load_state_dict(run.load(options.device)["optimizer"])
    stored, factor = Stored(options), vae.config.scaling_factor
    source = Fresh(options) if options.preset.fresh else stored
    rng, count, pause = seed_all(run), options.vae_batch // options.processes, False
    while not pause and run.tick():
        x = source.train_batch(rng, count)
        with half_precision(options):
            with torch.no_grad():
                z = vae.encode(x).latent_dist.mean * factor
            # a little noise, so that the UNet's own small mistakes are smoothed over and not drawn
            y = vae.decode((z + 0.1 * torch.randn_like(z)) / factor).sample
        loss = likeness(y.float(), x)
        pause = descend(loss, optimizer, run, 2e-3, warmup=30)
        run.note(loss)
        if is_first() and run.step % 100 == 0:
            run.log(psnr=round(psnr(vae, stored.held_out(32)), 2))
    if is_first() and run.losses:
        run.save(vae=vae.state_dict(), optimizer=optimizer.state_dict())
        run.log(psnr_held_out=round(psnr(vae, stored.held_out()), 2))


# ------------------------------------------------------------------------------- the text encoder and the UNet


def middling_times(count, device):
    """Times in 0..1, mostly from the middle of the schedule where subjects take shape (logit-normal, Esser et al.
    2024), a quarter uniform. One from each of `count` equal slices of probability, for less variance."""
    u = (torch.randperm(count, device=device) + torch.rand(count, device=device)) / count
    middle = torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)))
    return torch.where(torch.rand(count, device=device) < 0.25, u, middle).clamp(max=0.9999)


def denoising_loss(unet, text, x, noise):
    """Mean squared error of the velocity; its built-in weight on the clean picture is SNR + 1."""
    t = (middling_times(len(x), x.device) * noise.config.num_train_timesteps).long()
    eps = torch.randn_like(x)
    noisy = noise.add_noise(x, eps, t).contiguous(memory_format=torch.channels_last)
    return F.mse_loss(unet(noisy, t, text).sample.float(), noise.get_velocity(x, eps, t))


def reading_loss(reader, text, ids, records):
    """How badly a linear map reads subjects, place and layout from the text's padding. The UNet attends mostly to
    padding: this teaches the text encoder in minutes to spread the meaning there; denoising alone takes far longer."""
    told = ids[:, 2] != ids[:, 76]  # not the empty caption
    scores = reader(text[told][:, 20::8].float())  # [captions, positions, subjects + places + layouts]
    places, layouts = len(demo_captions.PLACES), len(demo_captions.LAYOUTS)
    kinds = scores.shape[2] - places - layouts
    named, where, how = scores.split([kinds, places, layouts], 2)
    wanted = lambda numbers: torch.from_numpy(numbers).to(text.device)[told, None]
    read = lambda part, numbers: F.cross_entropy(part.transpose(1, 2), wanted(numbers).expand(-1, part.shape[1]))
    subject = (read(named, records.first) + read(named, records.second)) / 2
    return subject + read(where, records.place) + read(how, records.layout)


def draw_sheet(options, average, tokenizer, step):
    vae, (unet, text_encoder) = load_vae(options), average.copies
    latents = demo_model.draw_latents(unet, text_encoder, tokenizer, SHEET_PROMPTS)
    pictures = (demo_model.decode(vae, latents).permute(0, 2, 3, 1) * 255).byte().cpu().numpy()
    rows = [np.concatenate(list(pictures[i : i + 8]), 1) for i in range(0, len(pictures), 8)]
    Image.fromarray(np.concatenate(rows)).save(options.work / f"sheet-{step:06}.png")


class Painter:
    """Everything the denoising stage trains: two networks, their averages, and the optimizer."""

    def __init__(self, options, tokenizer, subjects):
        torch.manual_seed(0)
        size, device = options.preset.size, options.device
        self.unet = demo_model.build_unet(size).to(device, memory_format=torch.channels_last)
        self.text_encoder = demo_model.build_text_encoder(size, tokenizer).to(device)
        kinds = len(subjects) + len(demo_captions.PLACES) + len(demo_captions.LAYOUTS)
        self.reader = torch.nn.Linear(size.text_width, kinds).to(device)
        self.average = Average([self.unet, self.text_encoder], options.ema)
        self.optimizer = Optimizer(self.unet, [self.text_encoder, self.reader], adam_share=0.25, decay=1e-2)
        self.parts = {"unet": self.unet, "text": self.text_encoder, "reader": self.reader, "optimizer": self.optimizer}
        self.parts |= {"unet_ema": self.average.copies[0], "text_ema": self.average.copies[1]}

    def state(self):
        return {"updates": self.average.updates, **{name: part.state_dict() for name, part in self.parts.items()}}

    def load(self, state):
        self.average.updates = state["updates"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


class StoredLatents:
    """The stored pictures' latents."""

    def __init__(self, options):
        self.latents = torch.load(options.work / "latents.pt")["latents"]
        self.records = demo_data.Records.load(options.work / "records.npz")

    def batch(self, rng, count):
        pick = rng.integers(0, len(self.latents), count)
        return self.latents[pick].float(), self.records[pick]


class FreshLatents:
    """Latents of pictures that nobody saw before."""

    def __init__(self, options):
        self.fresh, self.vae, self.options = Fresh(options), load_vae(options), options
        self.encode = fast(self.vae.encoder, options)

    @torch.no_grad()
    def batch(self, rng, count):
        pictures, records = self.fresh.batch(rng, count)
        with half_precision(self.options):
            mean = self.vae.quant_conv(self.encode(pictures))[:, : demo_model.LATENT]
        return mean.float() * self.vae.config.scaling_factor, records


def train_unet(options):
    tokenizer, subjects = demo_model.open_tokenizer(options.work / "tokenizer"), subjects_of(options)
    painter, run = Painter(options, tokenizer, subjects), start_run(options, "unet", options.unet_minutes)
    if run.file.exists():
        painter.load(run.load(options.device))
    source = FreshLatents(options) if options.preset.fresh else StoredLatents(options)
    unet, noise = fast(painter.unet, options), demo_model.training_noise()
    rng, count, pause = seed_all(run), options.batch // options.processes, False
    while not pause and run.tick():
        latents, records = source.batch(rng, count)
        words = demo_data.captions(rng, subjects, records, unsaid=0.1)
        ids = demo_model.token_ids(tokenizer, words).to(options.device)
        with half_precision(options):
            text = painter.text_encoder(ids)[0]  # [batch, 77, width]
            loss = denoising_loss(unet, text, latents, noise)
        reading = reading_loss(painter.reader, text, ids, records)
        pause = descend(loss + 0.1 * reading, painter.optimizer, run, options.rate)
        painter.average.update()
        run.note(loss)
        if is_first():
            report(options, run, painter, tokenizer, reading, pause)
    if is_first() and not pause and run.losses:
        run.save(**painter.state())
        draw_sheet(options, painter.average, tokenizer, run.step)


def report(options, run, painter, tokenizer, reading, pause):
    """What the first process does now and then: a line in the log, a checkpoint, a sheet of pictures to look at."""
    if run.step % 100 == 0:
        run.log(reading=round(reading.item(), 4))
    if pause or run.due("checkpoint", 180):
        run.save(**painter.state())
    if run.due("sheet", 480):
        draw_sheet(options, painter.average, tokenizer, run.step)


def write_folder(options):
    """The trained model in the layout of diffusers, from the averaged weights of the last checkpoint."""
    tokenizer, size = demo_model.open_tokenizer(options.work / "tokenizer"), options.preset.size
    unet, text_encoder = demo_model.build_unet(size), demo_model.build_text_encoder(size, tokenizer)
    state = torch.load(options.work / "unet.pt", map_location="cpu")
    unet.load_state_dict(state["unet_ema"])
    text_encoder.load_state_dict(state["text_ema"])
    preview = torch.load(options.work / "latents.pt", map_location="cpu")["preview"]
    vae = load_vae(options).cpu()
    demo_model.save_folder(options.out, vae, unet, text_encoder, options.work / "tokenizer", preview)


STAGES = {
    "pictures": make_pictures,
    "tokenizer": make_tokenizer,
    "vae": lambda options: run_together(train_vae, options),
    "latents": encode_pictures,
    "unet": lambda options: run_together(train_unet, options),
    "decoder": lambda options: run_together(train_decoder, options),
    "export-folder": write_folder,
}


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("stages", nargs="*", choices=[*STAGES, []], help="which stages to run (default: all, in order)")
    add("--work", type=Path, required=True, help="folder for pictures, checkpoints, logs and sheets")
    add("--out", type=Path, required=True, help="folder the finished model is written to")
    add("--preset", choices=PRESETS, default="cpu", help="sizes, subjects and defaults (default cpu)")
    add("--device", type=torch.device, help="where networks run (default: cuda for the preset gpu, where there is one)")
    add("--processes", type=int, help="training processes, one thread each (default: one a core; 1 on a GPU)")
    add("--slice", type=float, metavar="MINUTES", help="end after so long, to go on when called again")
    add("--pictures", type=int, help="pictures to compose once")
    add("--backgrounds", type=int, help="pictures to paint of each place")
    add("--vae-minutes", type=float)
    add("--unet-minutes", type=float)
    add("--decoder-minutes", type=float)
    add("--vae-batch", type=int, help="whole pictures a step; crops are four times as many")
    add("--batch", type=int, help="latents a step")
    add("--rate", type=float, help="peak learning rate of the UNet")
    add("--ema", type=float, default=0.998, help="how much the averaged weights remember per step")
    options = parser.parse_args()
    options.preset = PRESETS[options.preset]
    for name in vars(options.preset):
        if getattr(options, name, None) is None:
            setattr(options, name, getattr(options.preset, name))
    if options.device is None:
        options.device = torch.device("cuda" if options.preset.fresh and torch.cuda.is_available() else "cpu")
    options.processes = options.processes or (1 if options.device.type == "cuda" else os.cpu_count())
    options.slice_ends = time.time() + 60 * options.slice if options.slice else None
    return options


def main():
    options = read_options()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.stages or STAGES:
        print(f"stage {name}", flush=True)
        STAGES[name](options)
        if options.slice_ends and time.time() > options.slice_ends:
            sys.exit("the time slice is over; call again with the same --work to go on")


if __name__ == "__main__":
    main()
