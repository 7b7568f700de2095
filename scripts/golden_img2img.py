"""Which picture does diffusers draw over another? Run as `python scripts/golden.py img2img`.

StableDiffusionImg2ImgPipeline with the tiny models of tiny_models.py, float32, 20 steps, from a seed alone: the noise with
which the autoencoder draws its latents, the first noise and the noise of the steps come from one CPU generator. Writes
tests/images/img2img/init.png, NAME.png and img2img.json beside them, whose `config` is a whole scheduler_config.json.
"""

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from export import portable
from golden import IMAGES, write
from golden_seeds import CASES, V_ONLY
from tiny_models import PIPELINES, make_pipeline

WIDTH, HEIGHT, SEED, STEPS = 64, 48, 7, 20
# the random weights are chaotic at 7.5: an input that differs by 1e-6 moves the reference's own pictures by up to 71 of 255
# (KDPM2 at 0.3), at 2 by 0.07 at most (LMS at 0.3)
GUIDANCE = 2.0
REQUEST = {"prompt": "a dog in space", "negative_prompt": "blurry"}
STRENGTHS = {"sd1": (0.3, 0.75), "sd2-v": (0.6,)}
MORE = [("sd1", "pndm", 1.0), ("sd1", "euler", 1.0), ("sd1", "ddim", 0.1), ("sd1", "pndm", 0.95), ("sd1", "pndm", 0.05)]
SOME = {"euler", "euler-ancestral", "dpm-multistep", "ddim", "pndm", "ddim-zero-snr"}  # of sd2-v


def init_image():
    """A disc and a bar on a slope of colours, `[height, width, 3]`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    pixels = np.stack([4 * x, 255 - 5 * y, 2 * (x + y)], -1)
    pixels[(x - 20) ** 2 + (y - 24) ** 2 < 150] = (230, 40, 60)
    pixels[(x > 44) & (x < 54) & (y > 6)] = (20, 30, 120)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def cases():
    for model, strengths in STRENGTHS.items():
        for name in CASES:
            if name == "pndm-prk":  # diffusers takes the wrong timesteps, petal refuses it
                continue
            if name in V_ONLY and model == "sd1" or model != "sd1" and name not in SOME:
                continue
            yield from ((model, name, strength) for strength in strengths)
    yield from MORE


def img2img():
    torch.set_num_threads(1)  # sums split among threads round differently
    folder = IMAGES / "img2img"
    folder.mkdir(parents=True, exist_ok=True)
    image = init_image()
    image.save(folder / "init.png", optimize=True)
    pipelines = {name: StableDiffusionImg2ImgPipeline(**make_pipeline(name).components, requires_safety_checker=False) for name in PIPELINES}
    own = {name: pipeline.scheduler.config for name, pipeline in pipelines.items()}
    entries = []
    for model, name, strength in cases():
        pipeline, (kind, options) = pipelines[model], CASES[name]
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(own[model], **options)
        generator = torch.Generator().manual_seed(SEED)
        steps = {"num_inference_steps": STEPS, "strength": strength, "guidance_scale": GUIDANCE}
        pixels = pipeline(**REQUEST, image=image, **steps, generator=generator, output_type="np").images[0]
        pixels = (pixels * 255).round().astype(np.uint8)
        file = f"{model}-{name}-{strength}.png"
        Image.fromarray(pixels).save(folder / file, optimize=True)
        config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
        entry = {"file": file, "model": model, "strength": strength}
        entry["pixel_std"] = round(float(pixels.std()), 2)
        entries.append({**entry, "config": {"_class_name": f"{kind}Scheduler", **config}})
        print(entry, flush=True)
    request = {**REQUEST, "steps": STEPS, "seed": SEED, "guidance_scale": GUIDANCE, "init_image": "init.png", "width": WIDTH, "height": HEIGHT}
    write("img2img.json", {"request": request, "pictures": entries}, folder)
