"""Which numbers must petal's samplers, schedules, noise, tokens and pictures agree with?

    python scripts/golden.py            writes tests/golden/*.json
    python scripts/golden.py samplers   writes one of them; `--help` names them all
    python scripts/golden.py seeds      draws tests/images/seeds/*.png: every sampler of diffusers
    python scripts/golden.py pictures   draws tests/images/*.png with diffusers and the models of tiny_models.py
    python scripts/golden.py editing_pictures   draws tests/images/editing/*.png: inpainting and instruct-pix2pix
    python scripts/golden.py families   draws tests/images/families/*.png: SDXL and others
    python scripts/golden.py hires      draws tests/images/hires/*.png: pictures drawn a second time, larger

Everything comes from k-diffusion, diffusers, transformers or torch; what they lack (LCM, the schedules of
other programs) is written out here from its formula. Every file begins with the versions that made it.
"""

import argparse
import functools
import json
import math
import sys
import types
from importlib import metadata, util
from pathlib import Path

import diffusers
import golden_noise
import torch
from golden_editing import crop_regions, editing
from golden_infotext import infotext
from golden_prompts import prompts
from golden_resize import resize
from golden_samplers import samplers
from golden_schedules import schedules
from golden_t5 import t5
from golden_tokens import hard_tokens

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
GOLDEN, IMAGES = ROOT / "tests" / "golden", ROOT / "tests" / "images"
PACKAGES = ["torch", "numpy", "k-diffusion", "diffusers", "transformers", "tokenizers", "scipy", "pillow"]
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COUNTS = [1, 2, 5, 20]


def write(name, content, folder=GOLDEN):
    """One value per line at the second level, so that a changed number is a changed line."""
    versions = {package: metadata.version(package) for package in PACKAGES}
    made_by = {"script": "scripts/golden.py", "python": sys.version.split()[0], **versions}
    lines = [f"{json.dumps(key)}: {pretty(value)}" for key, value in {"made_by": made_by, **content}.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {(folder / name).relative_to(ROOT)}, {(folder / name).stat().st_size} bytes", flush=True)


def pretty(value):
    dump = functools.partial(json.dumps, allow_nan=False)
    if isinstance(value, dict):
        inner = [f"  {dump(key)}: {dump(item)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join("  " + dump(item) for item in value) + "\n]"
    return dump(value)


def floats(tensor):
    """As many digits as the type holds: 9 for float32, 17 for float64."""
    digits = 9 if tensor.dtype == torch.float32 else 17
    return [float(f"{value:.{digits}g}") for value in tensor.flatten().tolist()]


@functools.cache
def k_diffusion():
    """k-diffusion's `sampling` and `external` alone: its `__init__` imports training code and torchvision."""
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(util.find_spec("k_diffusion").submodule_search_locations)
    stubs = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms")}
    stubs["torchvision.transforms"].functional = None
    sys.modules.update({"k_diffusion": package, **stubs})
    from k_diffusion import external, sampling

    for name in stubs:
        del sys.modules[name]
    return sampling, external


# ---------------------------------------------------------------------------------------------- schedulers


def betas():
    """Entries of alphas_cumprod as diffusers computes them (float32)."""
    places = [0, 1, 2, 10, 100, 250, 499, 500, 750, 900, 997, 998, 999]
    kinds = {
        "linear": {"beta_start": 0.0001, "beta_end": 0.02},
        "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012},
        "squaredcos_cap_v2": {},
    }
    results = []
    for kind, ends in kinds.items():
        scheduler = diffusers.DDIMScheduler(beta_schedule=kind, **ends)
        entry = {"beta_schedule": kind, **ends, "alphas_cumprod": floats(scheduler.alphas_cumprod[places])}
        results.append({**entry, "betas": floats(scheduler.betas[places])})
    write("betas.json", {"indices": places, "results": results})


def diffusers_schedulers():
    from golden_schedulers import schedulers

    write("diffusers_schedulers.json", schedulers())


# ---------------------------------------------------------------------------------------------- noise and tokens


def texts():
    """Strings that tokenizers stumble over, long ones, and a grid of plain prompts."""
    out = json.loads((SCRIPTS / "golden_texts.json").read_text(encoding="utf-8"))
    out += ["dog " * 100, "x" * 500, "\U0001f436" * 60, " ".join(str(n) for n in range(60)), "caf\u00e9 " * 50]
    subjects = ["a dog", "a cat", "an astronaut", "the quick brown fox", "a small yellow bird"]
    places = ["in space", "on the moon", "by the river", "in the snow"]
    styles = ["oil painting", "watercolour, night", "photograph, studio lighting"]
    return out + [f"{a} {b}, {c}" for a in subjects for b in places for c in styles]


def tokens():
    """CLIP token ids with the tiny tokenizer of tests/models, start and end of text included, not truncated."""
    from transformers import CLIPTokenizer, logging

    logging.set_verbosity_error()
    folder = ROOT / "tests" / "models" / "sd1" / "tokenizer"
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
    results = [{"text": text, "ids": tokenizer(text).input_ids} for text in texts()]
    padded = [
        {"text": text, "ids": tokenizer(text, padding="max_length", truncation=True).input_ids}
        for text in ("", "a dog in space", "dog " * 100)
    ]
    write("tokens.json", {"tokenizer": "tests/models/sd1/tokenizer", "results": results, "padded_to_77": padded})


# ---------------------------------------------------------------------------------------------- others


def clip():
    from golden_clip import clip

    clip()


def diffusers_solvers():
    from golden_solvers import solvers

    write("diffusers_solvers.json", solvers())


NUMBERS = [samplers, schedules, diffusers_schedulers, diffusers_solvers, betas]
NUMBERS += [*golden_noise.NUMBERS, tokens, hard_tokens, prompts, clip, infotext]
NUMBERS += [crop_regions, editing, resize, t5]


def main():
    names = [make.__name__ for make in NUMBERS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    choices = [*names, "pictures", "seeds", "img2img", "editing_pictures", "hires", "tiny", "families"]
    parser.add_argument("what", nargs="?", choices=choices, help="default: all files of numbers")
    what = parser.parse_args().what
    if what == "pictures":
        from golden_pictures import pictures

        pictures()
    if what == "editing_pictures":
        from golden_editing_pictures import editing_pictures

        editing_pictures()
    if what == "seeds":
        from golden_seeds import seeds

        seeds()
    if what == "img2img":
        from golden_img2img import img2img

        img2img()
    if what == "tiny":
        from golden_tiny import tiny

        tiny()
    if what == "families":
        from golden_families import families

        families()
    if what == "hires":
        from golden_hires import hires

        hires()
    for make in NUMBERS:
        if what in (None, make.__name__):
            make()


if __name__ == "__main__":
    main()
