"""Is petal faster or slower than onnxruntime from Python, on the same graphs with the same request?

    cargo build --release
    python scripts/compare.py --work ../petal-compare               an SD 1.5-sized model, random weights, 512x512
    python scripts/compare.py --work ../petal-compare --scale tiny  tests/models/sd1: seconds, a check of this script

The model is built and exported into WORK once (about 12 GB of memory, 4.3 GB of disk, minutes). Then petal and
compare_onnxruntime.py run alternately, each in a process of its own, whose peak memory the parent reads from wait4.
Imports of torch stay out of this process: the kernel counts a parent's memory towards a child that it forks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
PROMPT, NEGATIVE = "a dog in space", "blurry"
GUIDANCE = 7.5
SCALES = {"sd15": (512, 512, 8), "tiny": (64, 48, 4)}  # width, height, VAE factor


# ---------------------------------------------------------------------------------------------- the model

TEXT = dict(
    vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768, bos_token_id=49406, eos_token_id=49407,
    pad_token_id=1,
)  # fmt: skip
UNET = dict(
    sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), cross_attention_dim=768, attention_head_dim=8,
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
)  # fmt: skip
VAE = dict(
    in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=512,
    scaling_factor=0.18215,
)  # fmt: skip


def big_tokenizer(tiny):
    """The tiny vocabulary with as many unused words as CLIP's has, so that the special ids are CLIP's too."""
    words = [word for word in json.loads(tiny["tokenizer/vocab.json"]) if not word.startswith("<|")]
    words += [f"<unused {i}>" for i in range(49406 - len(words))] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = json.dumps({word: i for i, word in enumerate(words)}, ensure_ascii=False)
    return {**tiny, "tokenizer/vocab.json": vocab}


def build(folder, attention):
    """Random weights that keep the size of what flows through them, exported by export.py. Run as `--build`."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from export import Options, Parts, export_parts, read_json, tokenizer_files
    from tiny_models import fill

    random = torch.Generator().manual_seed(0)
    models = ROOT / "tests" / "models" / "sd1"
    text = CLIPTextModel(CLIPTextConfig(**TEXT))
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    unet, vae = unet.to_empty(device="cpu"), vae.to_empty(device="cpu")
    for module in (text, unet, vae):
        fill(module, random)
    own = lambda model: json.loads(json.dumps(dict(model.config)))
    vae_config = {"_class_name": "AutoencoderKL", **own(vae)}
    configs = {
        "model_index.json": read_json(models / "model_index.json"),
        "scheduler/scheduler_config.json": read_json(models / "scheduler" / "scheduler_config.json"),
        "text_encoder/config.json": text.config.to_dict(),
        "unet/config.json": {"_class_name": "UNet2DConditionModel", **own(unet)},
        "vae_encoder/config.json": vae_config,
        "vae_decoder/config.json": vae_config,
    }
    parts = Parts(text, unet, vae, configs=configs, texts=big_tokenizer(tokenizer_files(models)))
    del unet, vae
    export_parts(parts, folder, Options(attention=attention))
    (folder / "complete").touch()


def prepare(args):
    """The model folder and the noise file, made by child processes where they are missing."""
    args.work.mkdir(parents=True, exist_ok=True)
    model = ROOT / "tests" / "models" / "sd1"
    if args.scale == "sd15":
        model = args.work / ("sd15" if args.attention == "plain" else "sd15-fused")
        if not (model / "complete").exists():
            print(f"building {model}", file=sys.stderr)
            command = [sys.executable, __file__, "--build", "--attention", args.attention, "--work", str(model)]
            subprocess.run(command, check=True, stdout=sys.stderr)
    width, height, factor = SCALES[args.scale]
    noise = args.work / f"noise-{args.scale}.npy"
    shape = [1, 4, height // factor, width // factor]
    code = f"numpy.random.default_rng(7).standard_normal({shape}, dtype=numpy.float32)"
    subprocess.run([sys.executable, "-c", f"import numpy; numpy.save({str(noise)!r}, {code})"], check=True)
    return model, noise


# ---------------------------------------------------------------------------------------------- the runs


def commands(args, model, noise):
    width, height, _ = SCALES[args.scale]
    size = ["--steps", str(args.steps), "--latents", str(noise), "-W", str(width), "-H", str(height)]
    request = [*size, "-n", NEGATIVE, "--cfg-scale", str(GUIDANCE), "-t", str(args.threads)]
    petal = [str(args.petal), "draw", PROMPT, "-m", str(model), *request, "--sampler", "euler", "--json"]
    python = [sys.executable, str(SCRIPTS / "compare_onnxruntime.py"), str(model), PROMPT, *request]
    both = {"petal": petal + args.petal_args.split(), "onnxruntime": python}
    chosen = {name: command for name, command in both.items() if args.only in (None, name)}
    return {name: [*command, "-o", str(args.work / f"{name}.png")] for name, command in chosen.items()}


def run(command, log):
    """Runs one process; returns its JSON, its wall time and its peak memory in MiB."""
    with open(log, "w+b") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    if process.returncode != 0:
        raise SystemExit(f"error: exit code {process.returncode} from `{' '.join(command)}`")
    result = json.loads(text[text.index("{") :])
    return {**result, "wall": wall, "peak": usage.ru_maxrss / 1024}


def numbers(results):
    """The medians over the rounds of one program."""
    steps = [result["step_seconds"] for result in results]
    later = [second for step in steps for second in step[1:]]
    middle = lambda values: statistics.median(values)
    return {
        "load s": middle(r["seconds"]["load"] for r in results),
        "text s": middle(r["seconds"]["encode"] for r in results),
        "first step s": middle(step[0] for step in steps),
        "median later step s": middle(later) if later else float("nan"),
        "decode s": middle(r["seconds"]["decode"] for r in results),
        "whole process s": middle(r["wall"] for r in results),
        "peak memory MiB": middle(r["peak"] for r in results),
    }


def table(columns):
    names = list(columns)
    pair = names == ["petal", "onnxruntime"]
    lines = ["| | " + " | ".join(names + ["petal / onnxruntime"] * pair) + " |"]
    lines.append("|---" * (len(names) + 1 + pair) + "|")
    for metric in columns[names[0]]:
        values = [columns[name][metric] for name in names]
        cells = [f"{value:.0f}" if "MiB" in metric else f"{value:.3f}" for value in values]
        ratio = [f"{values[0] / values[1]:.2f}"] if pair else []
        lines.append(f"| {metric} | " + " | ".join(cells + ratio) + " |")
    return "\n".join(lines)


def pixel_difference(work):
    import numpy as np
    from PIL import Image

    a, b = (np.asarray(Image.open(work / f"{name}.png").convert("RGB"), dtype=int) for name in ("petal", "onnxruntime"))
    return f"largest pixel difference {abs(a - b).max()} of 255, mean {abs(a - b).mean():.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--work", type=Path, required=True, metavar="DIR", help="where the model, the noise and the pictures are kept")
    add("--scale", choices=list(SCALES), default="sd15", help="tiny: tests/models/sd1, to try this script")
    add("--steps", type=int, default=4)
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=2)
    add("--attention", choices=["plain", "fused"], default="plain", help="as in export.py")
    add("--petal", type=Path, default=ROOT / "target" / "release" / "petal", metavar="FILE", help="petal's binary")
    add("--petal-args", default="", metavar="ARGS", help="further arguments for petal, in one string")
    add("--only", choices=["petal", "onnxruntime"], help="run one of the two")
    add("--build", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        return build(args.work, args.attention)
    if args.only != "onnxruntime" and not args.petal.exists():
        raise SystemExit(f"error: no `{args.petal}`\n\nhint: run `cargo build --release`, or pass `--only onnxruntime`")
    model, noise = prepare(args)
    todo = commands(args, model, noise)
    results = {name: [] for name in todo}
    for number in range(args.rounds):
        for name, command in todo.items():
            print(f"round {number + 1} of {args.rounds}: {name}", file=sys.stderr)
            results[name].append(run(command, args.work / f"{name}.json"))
    print(table({name: numbers(rounds) for name, rounds in results.items()}))
    if len(todo) == 2:
        print("\n" + pixel_difference(args.work))


if __name__ == "__main__":
    main()
