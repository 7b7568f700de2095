"""How long does the same picture take with onnxruntime alone, from Python? Started by compare.py.

    python scripts/compare_onnxruntime.py MODEL PROMPT --steps 4 --latents noise.npy -W 512 -H 512 -t 2 -o out.png

Euler's method on a folder of export.py, default session options, every session loaded at the start, both halves of the
guidance in one batch of two. Prints one JSON object with `seconds` and `step_seconds`, as `petal draw --json` does.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

LONGEST = 77
PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def tokenize(folder, text):
    """CLIP's ids, padded to 77 with the end of text."""
    vocab = read_json(folder / "vocab.json")
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    ids = [start, *tokenizer.encode(text).ids[: LONGEST - 2], end]
    return ids + [end] * (LONGEST - len(ids))


def noise_levels(config, steps):
    """diffusers' EulerDiscreteScheduler: timesteps, sigmas with a final 0, and the size of the starting noise."""
    count = config["num_train_timesteps"]
    ends = config["beta_start"] ** 0.5, config["beta_end"] ** 0.5
    if config["beta_schedule"] != "scaled_linear":
        raise SystemExit("error: only beta_schedule scaled_linear is compared")
    alphas = np.cumprod(1 - np.linspace(*ends, count) ** 2)
    table = ((1 - alphas) / alphas) ** 0.5
    spacing = config.get("timestep_spacing", "leading")
    if spacing == "leading":
        timesteps = (np.arange(steps) * (count // steps)).round()[::-1] + config.get("steps_offset", 0)
    elif spacing == "trailing":
        timesteps = np.arange(count, 0, -count / steps).round() - 1
    else:
        timesteps = np.linspace(0, count - 1, steps)[::-1]
    sigmas = np.append(np.interp(timesteps, np.arange(count), table), 0)
    size = (sigmas[0] ** 2 + 1) ** 0.5 if spacing == "leading" else sigmas[0]
    return timesteps, sigmas, size


def load(folder, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    names = ["text_encoder", "unet", "vae_decoder"]
    providers = ["CPUExecutionProvider"]
    return [onnxruntime.InferenceSession(folder / name / "model.onnx", options, providers=providers) for name in names]


def denoise(unet, context, latents, config, args):
    """Euler from the first noise level to 0, with guidance; returns the latents and the seconds of each step."""
    timesteps, sigmas, size = noise_levels(config, args.steps)
    x, seconds = latents * np.float32(size), []
    for t, sigma, following in zip(timesteps, sigmas, sigmas[1:]):
        began = time.perf_counter()
        scaled = (np.concatenate([x, x]) / (sigma**2 + 1) ** 0.5).astype(np.float32)
        inputs = {"sample": scaled, "timestep": np.array(t, dtype=np.float32), "encoder_hidden_states": context}
        negative, positive = unet.run(None, inputs)[0]  # each [4, height / factor, width / factor]
        output = negative + args.cfg_scale * (positive - negative)
        if config.get("prediction_type", "epsilon") == "v_prediction":
            denoised = x[0] / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5
            output = (x[0] - denoised) / sigma
        x = (x + output * (following - sigma)).astype(np.float32)
        seconds.append(time.perf_counter() - began)
    return x, seconds


def draw(args):
    clock = [time.perf_counter()]
    text, unet, decoder = load(args.model, args.threads)
    clock.append(time.perf_counter())
    ids = [tokenize(args.model / "tokenizer", prompt) for prompt in (args.negative_prompt, args.prompt)]
    context = text.run(["last_hidden_state"], {"input_ids": np.array(ids, dtype=np.int64)})[0]  # [2, 77, width]
    clock.append(time.perf_counter())
    config = read_json(args.model / "scheduler" / "scheduler_config.json")
    latents, step_seconds = denoise(unet, context, np.load(args.latents), config, args)
    clock.append(time.perf_counter())
    scale = read_json(args.model / "vae_decoder" / "config.json")["scaling_factor"]
    picture = decoder.run(None, {"latent_sample": latents / np.float32(scale)})[0][0]  # [3, height, width], -1 to 1
    clock.append(time.perf_counter())
    pixels = ((picture / 2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    if pixels.shape[:2] != (args.height, args.width):
        raise SystemExit(f"error: the latents make a picture of {pixels.shape}")
    Image.fromarray(pixels).save(args.out)
    names = ["load", "encode", "denoise", "decode"]
    seconds = {name: b - a for name, a, b in zip(names, clock, clock[1:])}
    print(json.dumps({"seconds": seconds, "step_seconds": step_seconds}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("model", type=Path)
    add("prompt")
    add("-n", "--negative-prompt", default="")
    add("--steps", type=int, default=4)
    add("--cfg-scale", type=float, default=7.5)
    add("--latents", type=Path, required=True, help="unit noise, .npy, [1, 4, height / factor, width / factor]")
    add("-W", "--width", type=int, default=512)
    add("-H", "--height", type=int, default=512)
    add("-t", "--threads", type=int, default=2)
    add("-o", "--out", type=Path, default=Path("out.png"))
    draw(parser.parse_args())


if __name__ == "__main__":
    main()
