"""How good is the demo model? A classifier names what petal drew, and the autoencoder's round trip is measured.

    python scripts/judge_demo.py --work ../petal-judge --petal target/release/petal path/to/onnx-folder

The classifier is trained once, on compositions with other random numbers than those of training, and first names what
it was not trained on. Then petal draws every chosen subject in four places, one seed each, and both are named. Last,
500 more compositions go through the autoencoder.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import demo_data
import demo_fetch
import demo_model
import demo_subjects
from demo_captions import LAYOUTS, PLACES, with_article
from demo_run import save_atomically

SIDE = 64  # pixels that the classifier looks at
JUDGED = ("space", "beach", "city", "snow")
TRAINING_SEED, HELD_OUT_SEED = 70, 71
HELD_OUT = 2000


class Block(nn.Module):
    def __init__(self, channels, wider):
        super().__init__()
        self.first = nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
        self.across = nn.Conv2d(channels, wider, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(wider) for _ in range(2))

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.across(x))


class Classifier(nn.Module):
    """Names subject and place of a picture."""

    def __init__(self, subjects):
        super().__init__()
        widths = (32, 64, 128, 192)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip((3, *widths), widths)))
        self.subject = nn.Linear(16 * widths[-1], subjects)
        self.place = nn.Linear(16 * widths[-1], len(PLACES))

    def forward(self, x):
        seen = self.blocks(x).flatten(1)
        return self.subject(seen), self.place(seen)


def single_records(rng, subjects, count):
    """Records of one subject each, all subjects alike, with all freedom of size and position."""
    records = demo_data.random_records(rng, subjects, count)
    records.first = records.second = rng.integers(0, len(subjects), count)
    records.layout = rng.choice(len(LAYOUTS) - 1, count, p=(0.6, 0.1, 0.1, 0.1, 0.1))
    return records


def disturb(x):
    """Softer pictures, of other brightness and contrast: what a small model draws."""
    if torch.rand(()) < 0.5:
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    gain = 1 + 0.3 * (torch.rand(len(x), 1, 1, 1) - 0.5)
    shift = 0.2 * (torch.rand(len(x), 3, 1, 1) - 0.5)
    return x * gain + shift + 0.03 * torch.randn_like(x)


def train_classifier(options, subjects, data):
    torch.manual_seed(TRAINING_SEED)
    model = Classifier(len(subjects)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    composer = demo_data.Composer(data, subjects, SIDE, 200, options.processes, seed=TRAINING_SEED)
    rng, start, seconds, step = np.random.default_rng(TRAINING_SEED), time.monotonic(), 60 * options.minutes, 0
    while (spent := time.monotonic() - start) < seconds:
        records = single_records(rng, subjects, 64)
        x = disturb(composer.compose(records)).contiguous(memory_format=torch.channels_last)
        named, where = model(x)
        loss = F.cross_entropy(named, torch.from_numpy(records.first), label_smoothing=0.05)
        loss = loss + 0.5 * F.cross_entropy(where, torch.from_numpy(records.place), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        step += 1
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, step / 100) * (0.01 + 0.99 * (1 - spent / seconds))
        optimizer.step()
        if step % 200 == 0:
            print(f"classifier: step {step}, loss {loss.item():.3f}", flush=True)
    return model


def open_classifier(options, subjects, data):
    file = options.work / "classifier.pt"
    if file.exists():
        model = Classifier(len(subjects))
        model.load_state_dict(torch.load(file))
    else:
        model = train_classifier(options, subjects, data)
        save_atomically(model.state_dict(), file)
    return model.eval()


@torch.no_grad()
def name_all(model, pictures):
    """Subjects and places, [n] each, of pictures [n, 3, SIDE, SIDE]."""
    scores = [model(part) for part in pictures.split(100)]
    return tuple(torch.cat([part[k] for part in scores]).argmax(1).numpy() for k in (0, 1))


def share(found, wanted):
    return round(100 * float(np.mean(np.asarray(found) == np.asarray(wanted))), 1)


def judge_classifier(model, subjects, composer):
    records = single_records(np.random.default_rng(HELD_OUT_SEED), subjects, HELD_OUT)
    pictures = torch.cat([composer.compose(records[i : i + 100]) for i in range(0, HELD_OUT, 100)])
    found, where = name_all(model, F.avg_pool2d(pictures, composer.side // SIDE))
    return {"classifier_subject": share(found, records.first), "classifier_place": share(where, records.place)}


def draw_all(options, subjects):
    """Every subject in the four places by petal: (subjects, places, pictures [n, 3, SIDE, SIDE])."""
    jobs, wanted = [], []
    for number, subject in enumerate(subjects):
        for seed, place in enumerate(JUDGED):
            prompt = f"{with_article(subject.name)} {PLACES[place][0][0]}"
            jobs.append(json.dumps({"prompt": prompt, "seed": seed}))
            wanted.append((number, list(PLACES).index(place)))
    folder = options.work / "drawn"
    folder.mkdir(exist_ok=True)
    command = [options.petal, "draw", "--prompt-file", "-", "--report", options.work / "report.jsonl"]
    command += ["-m", options.model, "--cfg-scale", str(options.guidance), "-q", "-o", folder]
    (options.work / "report.jsonl").unlink(missing_ok=True)
    drawn = subprocess.run(command, input="\n".join(jobs), capture_output=True, text=True, check=True)
    files = drawn.stdout.split("\n")[: len(jobs)]
    pictures = [np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.BOX)) for file in files]
    numbers, places = zip(*wanted)
    return numbers, places, torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def judge_drawings(options, model, subjects):
    numbers, places, pictures = draw_all(options, subjects)
    found, where = name_all(model, pictures)
    by_subject = np.reshape(np.equal(found, numbers), (len(subjects), len(JUDGED))).mean(1)
    missed = [subject.name for subject, right in zip(subjects, by_subject) if right <= 0.25]
    result = {"drawn_subject": share(found, numbers), "drawn_place": share(where, places)}
    for number, place in enumerate(JUDGED):
        result[f"drawn_{place}"] = share(where[number :: len(JUDGED)], places[number :: len(JUDGED)])
    return result | {"seldom_recognised": missed}


def judge_autoencoder(options, subjects, composer):
    """Signal to noise of 500 compositions after encoder and decoder, in dB."""
    encoder, decoder = (
        onnxruntime.InferenceSession(options.model / part / "model.onnx", providers=["CPUExecutionProvider"])
        for part in ("vae_encoder", "vae_decoder")
    )
    records = demo_data.random_records(np.random.default_rng(HELD_OUT_SEED), subjects, 500)
    values = []
    for start in range(0, 500, 20):
        x = composer.compose(records[start : start + 20]) * 2 - 1
        parameters = encoder.run(None, {encoder.get_inputs()[0].name: x.numpy()})[0]
        latents = parameters[:, : demo_model.LATENT]
        y = decoder.run(None, {decoder.get_inputs()[0].name: latents})[0].clip(-1, 1)
        values.append(10 * np.log10(4 / ((y - x.numpy()) ** 2).mean((1, 2, 3))))
    return {"autoencoder_psnr": round(float(np.concatenate(values).mean()), 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="the ONNX folder; without it only the classifier is made")
    parser.add_argument("--work", type=Path, required=True, help="folder for the classifier and the drawn pictures")
    parser.add_argument("--petal", type=Path, default=Path("target/release/petal"))
    parser.add_argument("--guidance", type=float, default=3, help="petal's --cfg-scale (default 3, the model's own)")
    parser.add_argument("--minutes", type=float, default=5, help="time to train the classifier (default 5)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="processes that paint backgrounds")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data = demo_fetch.find_or_fetch(options.work)
    subjects = demo_subjects.chosen(data, options.work)
    model = open_classifier(options, subjects, data)
    torch.manual_seed(HELD_OUT_SEED)
    composer = demo_data.Composer(data, subjects, 2 * SIDE, 40, options.processes, seed=HELD_OUT_SEED)
    print(json.dumps(judge_classifier(model, subjects, composer)), flush=True)
    if options.model:
        print(json.dumps(judge_autoencoder(options, subjects, composer)), flush=True)
        print(json.dumps(judge_drawings(options, model, subjects), indent=1), flush=True)


if __name__ == "__main__":
    main()
