"""Train petal-mini, the small text-to-image model that petal draws with out of the box, on a CPU in about an hour and a half.

python scripts/train_demo.py --work ../petal-train --out ../petal-train/mini-diffusers
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from PIL import Image

import demo_data
import demo_fetch
import demo_model

HELD_OUT = 256  # pictures kept from training, to measure the autoencoder on
SHEET_PROMPTS = (
    "a dog in space",
    "a cat on the beach",
    "a rocket in space",
    "a penguin in the snow",
    "a taxi in the city",
    "a dog on the beach",
    "a cat in the forest",
    "an astronaut in the desert",
    "a frog under the sea",
    "a unicorn in the forest",
    "a castle in the snow",
    "a sailboat by the sea",
    "a panda in the city",
    "an owl on a white background",
    "robot in space",
    "a photo of a lion in the desert",
)


class Run:
    """One stage's clock, log and checkpoint. The learning rate follows the clock, so a stage always ends on time."""

    def __init__(self, options, name, minutes):
        self.file, self.log_file = options.work / f"{name}.pt", options.work / f"{name}.jsonl"
        self.seconds, self.spent, self.step, self.mark = minutes * 60, 0.0, 0, time.monotonic()
        self.losses, self.last = [], {}

    def tick(self):
        """Start a step; False once the stage's time is used up. Judged by the shared clock, before this process adds
        its own time, so that all processes agree. Pauses over a minute (a sleeping machine) do not count."""
        in_time, now = self.spent < self.seconds, time.monotonic()
        self.spent += min(now - self.mark, 60)
        self.mark = now
        self.step += in_time
        return in_time

    def rate(self, peak, warmup=150):
        """Cosine from `peak` to a fiftieth of it, after a linear warm-up in steps."""
        done = min(self.spent / self.seconds, 1)
        return peak * min(1, self.step / warmup) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * done)))

    def note(self, loss):
        self.losses.append(loss.item())

    def due(self, what, seconds):
        """True once every so many seconds of the clock on the wall, for each `what` by itself."""
        now = time.monotonic()
        if now - self.last.setdefault(what, now) < seconds:
            return False
        self.last[what] = now
        return True

    def log(self, **values):
        line = {
            "step": self.step,
            "minutes": round(self.spent / 60, 2),
            "loss": round(float(np.mean(self.losses)), 5),
            **values,
        }
        self.losses.clear()
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(self.file.stem, line, flush=True)

    def save(self, **state):
        save_atomically({"spent": self.spent, "step": self.step, **state}, self.file)

    def load(self):
        state = torch.load(self.file, weights_only=True)
        self.spent, self.step = state["spent"], state["step"]
        return state


def save_atomically(state, path):
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def work_together(rank, stage, options, meeting):
    """One of several processes that train the same weights, one thread each: on a busy machine that wastes far less
    than threads that wait for each other inside every operation."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.threads)
    stage(options)
    torch.distributed.destroy_process_group()


def run_together(stage, options):
    meeting = options.work / f"meeting-{os.getpid()}-{time.monotonic_ns()}"
    torch.multiprocessing.spawn(work_together, (stage, options, meeting), nprocs=options.threads)
    meeting.unlink(missing_ok=True)


def is_first():
    return torch.distributed.get_rank() == 0


def share_gradients(weights, run):
    """Average the gradients of all processes; the clock rides along, so that all of them stop after the same step."""
    flat = torch.cat([torch.tensor([run.spent]), *(w.grad.flatten() for w in weights)])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    run.spent = flat[0].item()
    parts = flat[1:].split([w.numel() for w in weights])
    for w, part in zip(weights, parts):
        w.grad.copy_(part.view_as(w.grad))
    torch.nn.utils.clip_grad_norm_(weights, 1.0)


def make_pictures(options):
    """Compose the training set once: putting a picture together costs more than training on it."""
    file = options.work / "pictures.npz"
    if not (options.resume and file.exists()):
        data = demo_fetch.find_or_fetch(options.work)
        pictures, subjects, places = demo_data.build_pictures(data, options.pictures, options.threads)
        np.savez(file, pictures=pictures, subjects=subjects, places=places)


def make_tokenizer(options):
    if not (options.resume and (options.work / "tokenizer" / "merges.txt").exists()):
        data = demo_fetch.find_or_fetch(options.work)
        demo_model.train_tokenizer(options.work / "tokenizer", demo_data.words_for_vocabulary(data))


def as_batch(pictures):
    """uint8 [n, 64, 64, 3] to floats in -1..1, [n, 3, 64, 64], channels last in memory."""
    return (
        torch.from_numpy(pictures)
        .permute(0, 3, 1, 2)
        .float()
        .div(127.5)
        .sub(1)
        .contiguous(memory_format=torch.channels_last)
    )


def edges(x):
    """What a picture changes from pixel to pixel, across and down."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def likeness(y, x):
    """How far `y` is from `x`, with as much weight on outlines as on colours."""
    sharpness = sum(F.l1_loss(a, b) for a, b in zip(edges(y), edges(x)))
    return F.mse_loss(y, x) + 0.5 * F.l1_loss(y, x) + 0.5 * sharpness


def vae_loss(vae, x):
    posterior = vae.encode(x).latent_dist
    kl = -0.5 * (1 + posterior.logvar - posterior.mean**2 - posterior.var).mean()
    # so much KL that a latent carries noise of about 0.05: the UNet's small mistakes then cost the decoder little
    return likeness(vae.decode(posterior.sample()).sample, x) + 3e-4 * kl


@torch.no_grad()
def psnr(vae, pictures):
    x = as_batch(pictures)
    y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    return (10 * torch.log10(4 / ((y - x) ** 2).mean((1, 2, 3)))).mean().item()


def vae_batch(rng, pictures, size, crop):
    """Quarter-size crops first, since steps count for more than pixels; then half as many whole pictures, for the
    borders and norms that drawing will meet."""
    if not crop:
        return as_batch(pictures[rng.integers(0, len(pictures), size // 2)])
    top, left = rng.integers(0, 33, 2)
    return as_batch(pictures[rng.integers(0, len(pictures), size), top : top + 32, left : left + 32])


def train_vae(options):
    torch.manual_seed(0)
    vae = demo_model.build_vae().to(memory_format=torch.channels_last)
    weights = list(vae.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-4, betas=(0.9, 0.99))
    run = Run(options, "vae", options.vae_minutes)
    if options.resume and run.file.exists():
        state = run.load()
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
    pictures = np.load(options.work / "pictures.npz")["pictures"]
    rng = np.random.default_rng(run.step * 8 + torch.distributed.get_rank())
    torch.manual_seed(rng.integers(1 << 30))
    while run.tick():
        x = vae_batch(rng, pictures[:-HELD_OUT], options.vae_batch, crop=run.spent < 0.7 * run.seconds)
        loss = vae_loss(vae, x)
        optimizer.zero_grad()
        loss.backward()
        share_gradients(weights, run)
        optimizer.param_groups[0]["lr"] = run.rate(2e-3)
        optimizer.step()
        run.note(loss)
        if is_first() and run.step % 200 == 0:
            run.log(psnr=round(psnr(vae, pictures[-32:]), 2))
        if is_first() and run.due("checkpoint", 120):
            run.save(vae=vae.state_dict(), optimizer=optimizer.state_dict())
    if is_first():
        run.save(vae=vae.state_dict(), optimizer=optimizer.state_dict())
        run.log(psnr_held_out=round(psnr(vae, pictures[-HELD_OUT:]), 2))


def load_vae(options):
    """The autoencoder as trained or, once the latents are measured, as evened out by `encode_pictures`."""
    vae, measured = demo_model.build_vae(), options.work / "latents.pt"
    if measured.exists():
        stored = torch.load(measured)
        vae.register_to_config(scaling_factor=stored["scaling_factor"])
        polished = options.work / "decoder.pt"
        vae.load_state_dict(torch.load(polished)["vae"] if polished.exists() else stored["vae"])
    else:
        vae.load_state_dict(torch.load(options.work / "vae.pt")["vae"])
    return vae.eval()


@torch.no_grad()
def encode_pictures(options):
    """Store the whole set as latents, [n, 4, 16, 16], so that the UNet's training never pays for the VAE."""
    for stale in ("latents.pt", "decoder.pt"):
        (options.work / stale).unlink(missing_ok=True)
    pictures, vae = np.load(options.work / "pictures.npz")["pictures"], load_vae(options)
    latents = torch.cat(
        [vae.encode(as_batch(pictures[i : i + 64])).latent_dist.mean for i in range(0, len(pictures), 64)]
    )
    factor = round(1 / latents.std().item(), 5)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    demo_model.even_out(vae, mean, std * factor)
    latents = (latents - mean.view(4, 1, 1)) / std.view(4, 1, 1)
    preview = demo_model.preview_factors(latents[:2000], as_batch(pictures[:2000]) / 2 + 0.5)
    stored = {"latents": latents.half(), "preview": preview, "scaling_factor": factor, "vae": vae.state_dict()}
    save_atomically(stored, options.work / "latents.pt")


def train_decoder(options):
    """A last polish of the decoder alone: latents stay what the UNet learned, pictures get sharper."""
    vae, run = load_vae(options), Run(options, "decoder", options.decoder_minutes)
    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=1e-4, betas=(0.9, 0.99))
    pictures, latents = (
        np.load(options.work / "pictures.npz")["pictures"],
        torch.load(options.work / "latents.pt")["latents"],
    )
    rng = np.random.default_rng(torch.distributed.get_rank())
    while run.tick():
        pick = rng.integers(0, len(pictures) - HELD_OUT, options.vae_batch // 2)
        z = latents[pick].float()
        # a little noise, so that the UNet's own small mistakes are smoothed over and not drawn
        z = (z + 0.1 * torch.randn_like(z)).contiguous(memory_format=torch.channels_last)
        loss = likeness(vae.decode(z / vae.config.scaling_factor).sample, as_batch(pictures[pick]))
        optimizer.zero_grad()
        loss.backward()
        share_gradients(weights, run)
        optimizer.param_groups[0]["lr"] = run.rate(1e-3, warmup=30)
        optimizer.step()
        run.note(loss)
        if is_first() and run.step % 100 == 0:
            run.log(psnr=round(psnr(vae, pictures[-32:]), 2))
    if is_first():
        run.save(vae=vae.state_dict())
        run.log(psnr_held_out=round(psnr(vae, pictures[-HELD_OUT:]), 2))


class Average:
    """An exponential moving average of weights: steadier pictures than the last step's own."""

    def __init__(self, modules, decay):
        self.live, self.decay, self.updates = modules, decay, 0
        self.copies = [copy.deepcopy(m).requires_grad_(False).eval() for m in modules]

    @torch.no_grad()
    def update(self):
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))  # short memory while weights still move fast
        for copied, live in zip(self.copies, self.live):
            torch._foreach_lerp_(list(copied.parameters()), list(live.parameters()), 1 - decay)


def middling_times(count):
    """Times in 0..1, mostly from the middle of the schedule where subjects take shape (logit-normal, Esser et al.
    2024), a quarter uniform. One from each of `count` equal slices of probability, for less variance."""
    u = (torch.randperm(count) + torch.rand(count)) / count
    middle = torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)))
    return torch.where(torch.rand(count) < 0.25, u, middle).clamp(max=0.9999)


def denoising_loss(unet, text, x):
    """Mean squared error of the velocity; its built-in weight on the clean picture is SNR + 1."""
    noise = demo_model.training_noise()
    t = (middling_times(len(x)) * noise.config.num_train_timesteps).long()
    eps = torch.randn_like(x)
    noisy = noise.add_noise(x, eps, t).contiguous(memory_format=torch.channels_last)
    return F.mse_loss(unet(noisy, t, text).sample, noise.get_velocity(x, eps, t))


def reading_loss(reader, text, ids, subjects, places):
    """How badly a linear map reads subject and place from the text's padding. The UNet attends mostly to padding:
    this teaches the text encoder in minutes to spread the meaning there; denoising alone takes far longer to."""
    told = ids[:, 2] != ids[:, 76]  # not the empty caption
    scores = reader(text[told][:, 20::8]).transpose(1, 2)  # [captions, subjects + places, positions]
    kinds = len(demo_data.SUBJECTS)
    return sum(
        F.cross_entropy(part, torch.from_numpy(wanted)[told, None].expand(-1, part.shape[2]))
        for part, wanted in ((scores[:, :kinds], subjects), (scores[:, kinds:], places))
    )


def draw_sheet(options, average, tokenizer, step):
    vae = load_vae(options)
    unet, text_encoder = average.copies
    latents = demo_model.draw_latents(unet, text_encoder, tokenizer, SHEET_PROMPTS)
    pictures = (demo_model.decode(vae, latents).permute(0, 2, 3, 1) * 255).byte().numpy()
    rows = [np.concatenate(list(pictures[i : i + 8]), 1) for i in range(0, len(pictures), 8)]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.BICUBIC).save(options.work / f"sheet-{step:06}.png")


def random_captions(rng, subjects, places):
    """New words for each picture; one in ten says nothing, which is what guidance compares against."""
    names, grounds = list(demo_data.SUBJECTS), list(demo_data.PLACES)
    return [
        "" if rng.random() < 0.1 else demo_data.caption(rng, names[s], grounds[p]) for s, p in zip(subjects, places)
    ]


class Painter:
    """Everything the denoising stage trains: two networks, their averages, and the optimizer."""

    def __init__(self, options, tokenizer):
        torch.manual_seed(0)
        self.unet = demo_model.build_unet().to(memory_format=torch.channels_last)
        self.text_encoder = demo_model.build_text_encoder(tokenizer)
        self.reader = torch.nn.Linear(demo_model.TEXT_WIDTH, len(demo_data.SUBJECTS) + len(demo_data.PLACES))
        self.weights = [*self.unet.parameters(), *self.text_encoder.parameters(), *self.reader.parameters()]
        self.average = Average([self.unet, self.text_encoder], options.ema)
        self.optimizer = torch.optim.AdamW(self.weights, lr=options.rate, weight_decay=1e-2, betas=(0.9, 0.99))
        self.parts = {"unet": self.unet, "text": self.text_encoder, "reader": self.reader, "optimizer": self.optimizer}
        self.parts |= {"unet_ema": self.average.copies[0], "text_ema": self.average.copies[1]}

    def state(self):
        return {"updates": self.average.updates, **{name: part.state_dict() for name, part in self.parts.items()}}

    def load(self, state):
        self.average.updates = state["updates"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def train_unet(options):
    tokenizer = demo_model.open_tokenizer(options.work / "tokenizer")
    painter, run = Painter(options, tokenizer), Run(options, "unet", options.unet_minutes)
    if options.resume and run.file.exists():
        painter.load(run.load())
    data, stored = np.load(options.work / "pictures.npz"), torch.load(options.work / "latents.pt")
    subjects, places, latents = data["subjects"], data["places"], stored["latents"]
    rng = np.random.default_rng(run.step * 8 + torch.distributed.get_rank())
    torch.manual_seed(rng.integers(1 << 30))
    while run.tick():
        pick = rng.integers(0, len(latents), options.batch)
        ids = demo_model.token_ids(tokenizer, random_captions(rng, subjects[pick], places[pick]))
        text = painter.text_encoder(ids)[0]  # [batch, 77, width]
        loss = denoising_loss(painter.unet, text, latents[pick].float())
        reading = reading_loss(painter.reader, text, ids, subjects[pick], places[pick])
        painter.optimizer.zero_grad()
        (loss + 0.1 * reading).backward()
        share_gradients(painter.weights, run)
        painter.optimizer.param_groups[0]["lr"] = run.rate(options.rate)
        painter.optimizer.step()
        painter.average.update()
        run.note(loss)
        if is_first():
            report(options, run, painter, tokenizer, reading)
    if is_first():
        run.save(**painter.state())
        draw_sheet(options, painter.average, tokenizer, run.step)


def report(options, run, painter, tokenizer, reading):
    """What the first process does now and then: a line in the log, a checkpoint, a sheet of pictures to look at."""
    if run.step % 100 == 0:
        run.log(reading=round(reading.item(), 4))
    if run.due("checkpoint", 180):
        run.save(**painter.state())
    if run.due("sheet", 480):
        draw_sheet(options, painter.average, tokenizer, run.step)


def write_folder(options):
    """The trained model in the layout of diffusers, from the averaged weights of the last checkpoint."""
    tokenizer = demo_model.open_tokenizer(options.work / "tokenizer")
    unet, text_encoder = demo_model.build_unet(), demo_model.build_text_encoder(tokenizer)
    state = torch.load(options.work / "unet.pt")
    unet.load_state_dict(state["unet_ema"])
    text_encoder.load_state_dict(state["text_ema"])
    preview = torch.load(options.work / "latents.pt")["preview"]
    demo_model.save_folder(options.out, load_vae(options), unet, text_encoder, options.work / "tokenizer", preview)


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
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], help="which stages to run (default: all, in order)")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, checkpoints, logs and sheets")
    parser.add_argument("--out", type=Path, required=True, help="folder the finished model is written to")
    parser.add_argument("--resume", action="store_true", help="go on from what --work holds instead of starting over")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="training processes, one thread each")
    parser.add_argument("--pictures", type=int, default=8000, help="training pictures to compose")
    parser.add_argument("--vae-minutes", type=float, default=15)
    parser.add_argument("--decoder-minutes", type=float, default=6)
    parser.add_argument("--vae-batch", type=int, default=16, help="crops per process and step")
    parser.add_argument("--unet-minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=12, help="latents per process and step")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate of the UNet")
    parser.add_argument("--ema", type=float, default=0.997, help="how much the averaged weights remember per step")
    return parser.parse_args()


def main():
    options = read_options()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.stages or STAGES:
        print(f"stage {name}", flush=True)
        STAGES[name](options)


if __name__ == "__main__":
    main()
