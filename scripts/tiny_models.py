"""Which small models do petal's tests run on?

    python scripts/tiny_models.py                  writes all of them into tests/models; `--help` names them
    python scripts/tiny_models.py sd1-inpaint      writes one of them
    python scripts/tiny_models.py --diffusers DIR  also keeps the diffusers folders they were exported from

Random weights from fixed seeds, so every run gives the same files. The three `sd1*` folders hold the same weights in
the three conventions that users have: today's optimum, optimum before 1.24, and a 16-bit export. `sd1-inpaint` takes
9 channels (latents, a mask, latents of the masked picture), `sd1-edit` 8 (latents, latents of a picture). The other
families are those of tiny_families.py.
"""

import argparse
import contextlib
import json
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
import transformers

transformers.logging.set_verbosity_error()

from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, PNDMScheduler
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from export import Options, export_parts, read_pipeline

ROOT = Path(__file__).resolve().parent.parent
START, END = "<|startoftext|>", "<|endoftext|>"
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
TEXT = """a dog in space, a cat in space, an astronaut in space, a dog on the moon, a cat on the moon
a photograph of an astronaut riding a horse on the moon, a photograph of a dog, a portrait of a cat
a red apple on a wooden table, a green apple on a red table, a blue house by the sea, a house in the snow
a watercolour painting of the sea at night, an oil painting of a castle on a hill, a painting of a mountain
blurry, low quality, bad anatomy, deformed, worst quality, blurry background, low resolution
highly detailed, sharp focus, studio lighting, high quality, best quality, detailed background
the quick brown fox jumps over the lazy dog, the dog sleeps, the fox runs, the bird sings
a small yellow bird in a tree, a large white tree by the river, a white river in the mountains
they're here and it's raining, we'll see what they've done, i'd say they're right, it's the dog's house"""


def make_tokenizer(**options):
    """A CLIP tokenizer: the whole byte alphabet with and without `</w>`, then merges learnt from TEXT."""
    letters, merges = clip_alphabet(), learn_merges()
    words = [*letters, *[letter + "</w>" for letter in letters], *["".join(pair) for pair in merges], START, END]
    vocab = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77, **options)


def learn_merges():
    """Byte pair encoding in full: the commonest pair first, ties by spelling (`tokenizers` breaks ties at random)."""
    clip = CLIPTokenizer().backend_tokenizer
    pieces = clip.pre_tokenizer.pre_tokenize_str(clip.normalizer.normalize_str(TEXT))
    words = Counter((*word[:-1], word[-1] + "</w>") for word, _ in pieces)
    merges = []
    while True:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            return merges
        merges.append(best)
        words = {merge(word, best): count for word, count in words.items()}


def merge(word, pair):
    out = []
    for letter in word:
        if out and (out[-1], letter) == pair:
            out[-1] += letter
        else:
            out.append(letter)
    return tuple(out)


def clip_alphabet():
    """The 256 letters that stand for bytes, in CLIP's order: printable ones first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def fill(module, random, gain=1.0):
    """Random weights that keep the size of what flows through, so that every parameter has an effect."""
    for name, weight in module.named_parameters():
        noise = torch.randn(weight.shape, generator=random)
        if "norm" in name and "linear" not in name:
            value = 0.2 * noise + (1 if name.endswith("weight") else 0)
        elif "embedding" in name and "linear" not in name:
            value = noise
        elif name.endswith("bias"):
            value = 0.1 * noise
        else:
            value = gain * noise / weight[0].numel() ** 0.5
        weight.data.copy_(value)


PIPELINES = {"sd1": 1, "sd2-v": 2}  # name -> seed of the weights
EDITING = {  # name -> seed of the weights, channels that the UNet takes, class
    "sd1-inpaint": (3, 9, StableDiffusionInpaintPipeline),
    "sd1-edit": (4, 8, StableDiffusionInstructPix2PixPipeline),
}


def make_pipeline(name):
    """A tiny SD 1, one that edits, a tiny SD 2 (v prediction, linear projections, GELU, another VAE scale), or one of
    the families of tiny_families.py."""
    if name not in PIPELINES and name not in EDITING:
        from tiny_families import FAMILIES  # builds on this file

        return FAMILIES[name]()
    seed, channels, kind = EDITING.get(name) or (PIPELINES[name], 4, StableDiffusionPipeline)
    second = name == "sd2-v"
    tokenizer = make_tokenizer()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=77, hidden_act="gelu" if second else "quick_gelu", bos_token_id=len(tokenizer) - 2,
            eos_token_id=len(tokenizer) - 1, pad_token_id=len(tokenizer) - 1,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=channels, out_channels=4,
        layers_per_block=1, block_out_channels=(4, 8), norm_num_groups=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=(2, 4) if second else 2, use_linear_projection=second,
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1,
        block_out_channels=(4, 8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, sample_size=64,
        scaling_factor=0.13025 if second else 0.18215,
    )  # fmt: skip
    random = torch.Generator().manual_seed(seed)
    for module in (text, unet, vae):
        fill(module, random)
    if second:
        options = {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
        scheduler = EulerDiscreteScheduler(**BETAS, **options, steps_offset=1)
    elif name == "sd1-edit":
        scheduler = EulerAncestralDiscreteScheduler(**BETAS, steps_offset=1)
    else:
        scheduler = PNDMScheduler(**BETAS, steps_offset=1, set_alpha_to_one=False, skip_prk_steps=True)
    return kind(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, image_encoder=None, requires_safety_checker=False,
    )  # fmt: skip


def make_tiny():
    """A tiny autoencoder for the latents of sd1: four pixels to a latent along each side."""
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4), decoder_block_out_channels=(4, 4, 4), latent_channels=4,
        num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 1), scaling_factor=1.0,
    )  # fmt: skip
    fill(tiny, torch.Generator().manual_seed(4), gain=1.4)
    return tiny


OLD = Options(hidden_states=False)  # as exported before text encoders gave all their states
FAMILY = Options(inline=True, compact=True)
MODELS = {  # folder -> (diffusers folder, options, how the folder differs from today's optimum)
    "sd1": ("sd1", OLD, None),
    "sd1-old": ("sd1", replace(OLD, ids="int32", timestep="vector", inline=True), "old"),
    "sd1-fp16": ("sd1", replace(OLD, half_io=True), None),
    "sd2-v": ("sd2-v", OLD, None),
    "sd1-inpaint": ("sd1-inpaint", OLD, None),
    "sd1-edit": ("sd1-edit", OLD, None),
    "sdxl": ("sdxl", FAMILY, None),
    "sdxl-refiner": ("sdxl-refiner", FAMILY, None),
    "sd1-lcm": ("sd1-lcm", FAMILY, None),
    "sd3": ("sd3", FAMILY, None),
    "flux-dev": ("flux-dev", FAMILY, None),
    "flux-schnell": ("flux-schnell", FAMILY, None),
}
CHECKED = {"sd3.5": ("sd3.5", FAMILY, None)}  # exported when named, to compare its graphs with torch; no test draws it


def save_diffusers(folder, names):
    """Writes the diffusers folders of `names`."""
    for name in names:
        shutil.rmtree(Path(folder) / name, ignore_errors=True)
        pipeline = make_pipeline(name)
        pipeline.save_pretrained(Path(folder) / name)
        for part, component in pipeline.components.items():  # transformers saves no spiece.model
            if hasattr(component, "sentencepiece"):
                (Path(folder) / name / part / "spiece.model").write_bytes(component.sentencepiece)
    make_tiny().save_pretrained(Path(folder) / "tiny")


def make_old(folder):
    """What optimum before 1.24 and diffusers' own converter left out."""
    for part in ("unet", "vae_encoder", "vae_decoder"):
        (folder / part / "config.json").unlink()
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "OnnxStableDiffusionPipeline"
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "models", help="default: tests/models")
    parser.add_argument("--diffusers", type=Path, metavar="DIR", help="keep the diffusers folders here")
    args = parser.parse_args()
    known = MODELS | CHECKED
    if unknown := set(args.names) - set(known):
        parser.error(f"there is no model {', '.join(sorted(unknown))}")
    wanted = {name: known[name] for name in args.names or MODELS}
    with contextlib.ExitStack() as stack:
        folder = args.diffusers or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        save_diffusers(folder, {source for source, *_ in wanted.values()})
        for name, (source, options, kind) in wanted.items():
            print(name)
            out = args.out / name
            shutil.rmtree(out, ignore_errors=True)
            taesd = folder / "tiny" if name == "sd1" else None
            export_parts(read_pipeline(folder / source, taesd), out, options)
            if kind == "old":
                make_old(out)


if __name__ == "__main__":
    main()
