"""Which pictures must petal draw with the tiny models? Run as `python scripts/golden.py pictures`.

Draws with diffusers' StableDiffusionPipeline, float32, from the weights that tiny_models.py exports. Writes
tests/images/NAME.png, the starting noise latents.npy, and index.json, which says how each picture was made: its
`config` is a whole scheduler_config.json. Its `clip_skip` is stable-diffusion-webui's: diffusers' is one less.
"""

import diffusers
import numpy as np
import torch
from PIL import Image

from export import portable
from golden import IMAGES, floats, write
from tiny_models import PIPELINES, make_pipeline

WIDTH, HEIGHT, FACTOR = 64, 48, 4  # not square: a swapped width and height shows
REQUEST = {"prompt": "a dog in space", "negative_prompt": "blurry", "guidance_scale": 7.5}
SEED = 7
LEADING, LINSPACE, TRAILING = ({"timestep_spacing": spacing} for spacing in ("leading", "linspace", "trailing"))
EULER, DPM = "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"
CASES = {  # file name -> (model, scheduler class or None for the model's own, options, where the noise comes from)
    "euler-leading": ("sd1", EULER, LEADING, "latents"),
    "euler-trailing": ("sd1", EULER, TRAILING, "latents"),
    "euler-linspace": ("sd1", EULER, LINSPACE, "latents"),
    "euler-karras": ("sd1", EULER, {**LINSPACE, "use_karras_sigmas": True}, "latents"),
    "euler-seed": ("sd1", EULER, LEADING, "seed"),
    "euler-ancestral-seed": ("sd1", "EulerAncestralDiscreteScheduler", LEADING, "seed"),
    "heun": ("sd1", "HeunDiscreteScheduler", LEADING, "latents"),
    "lms": ("sd1", "LMSDiscreteScheduler", LEADING, "latents"),
    "dpmpp-2m": ("sd1", DPM, LINSPACE, "latents"),
    "dpmpp-2m-leading": ("sd1", DPM, LEADING, "latents"),
    "dpmpp-2m-trailing": ("sd1", DPM, TRAILING, "latents"),
    "dpmpp-2m-karras": ("sd1", DPM, {**LINSPACE, "use_karras_sigmas": True}, "latents"),
    "ddim": ("sd1", "DDIMScheduler", {**LEADING, "clip_sample": False}, "latents"),
    "pndm": ("sd1", None, {}, "latents"),
    "sd2-v-euler": ("sd2-v", None, {}, "latents"),
    "sd2-v-euler-leading": ("sd2-v", EULER, LEADING, "latents"),
    "clip-skip": ("sd1", EULER, LEADING, "latents"),
}
CLIP_SKIPS = {"clip-skip": 2}  # all others skip nothing


def prompts(pipeline, clip_skip):
    """Both prompts with the layers skipped: diffusers' own pipeline would skip them for the positive one only."""
    if clip_skip == 1:
        return REQUEST
    embed = lambda text: pipeline.encode_prompt(text, "cpu", 1, False, clip_skip=clip_skip - 1)[0]
    embeds = {f"{name}_embeds": embed(REQUEST[name]) for name in ("prompt", "negative_prompt")}
    return {**embeds, "guidance_scale": REQUEST["guidance_scale"]}


def draw(pipeline, steps, latents, noise, clip_skip):
    """One picture, as pixels of 0 to 255."""
    source = {"latents": latents} if noise == "latents" else {"generator": torch.Generator().manual_seed(SEED)}
    size = {"width": WIDTH, "height": HEIGHT, "num_inference_steps": steps}
    pixels = pipeline(**prompts(pipeline, clip_skip), **size, **source, output_type="np").images[0]  # [height, width, 3], 0 to 1
    return (pixels * 255).round().astype(np.uint8)


def schedule(scheduler):
    """What the scheduler stepped through, to find out where a difference begins."""
    found = {"timesteps": [float(f"{t:.9g}") for t in scheduler.timesteps.tolist()]}
    if hasattr(scheduler, "sigmas"):
        found["sigmas"] = floats(scheduler.sigmas)
    return {**found, "init_noise_sigma": floats(torch.as_tensor(scheduler.init_noise_sigma).float())[0]}


def pictures():
    torch.set_num_threads(1)  # sums split among threads round differently
    IMAGES.mkdir(parents=True, exist_ok=True)
    latents = torch.randn(1, 4, HEIGHT // FACTOR, WIDTH // FACTOR, generator=torch.Generator().manual_seed(SEED))
    np.save(IMAGES / "latents.npy", latents.numpy())
    pipelines = {name: make_pipeline(name) for name in PIPELINES}
    for pipeline in pipelines.values():  # where diffusers 0.42 looks for the final layer norm; transformers 5 moved it
        pipeline.text_encoder.__dict__.setdefault("text_model", pipeline.text_encoder)
    own = {name: pipeline.scheduler for name, pipeline in pipelines.items()}
    entries, skipping = [], []
    for name, (model, scheduler, options, noise) in CASES.items():
        pipeline = pipelines[model]
        pipeline.set_progress_bar_config(disable=True)
        kind = getattr(diffusers, scheduler) if scheduler else type(own[model])
        clip_skip = CLIP_SKIPS.get(name, 1)
        for steps in (10,) if clip_skip > 1 else (10, 20):
            pipeline.scheduler = kind.from_config(own[model].config, **options)
            pixels = draw(pipeline, steps, latents, noise, clip_skip)
            file = f"{name}-{steps}.png"
            Image.fromarray(pixels).save(IMAGES / file, optimize=True)
            config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
            config = {"_class_name": kind.__name__, **config}
            source = {"latents": "latents.npy"} if noise == "latents" else {"seed": SEED}
            entry = {"file": file, "model": model, "scheduler": kind.__name__, "steps": steps, **source}
            entry |= {"pixel_std": round(float(pixels.std()), 2), "config": config}
            if clip_skip > 1:
                entry["clip_skip"] = clip_skip
            (skipping if clip_skip > 1 else entries).append({**entry, **schedule(pipeline.scheduler)})
    request = {**REQUEST, "width": WIDTH, "height": HEIGHT}
    latents_from = f"torch.randn([1, 4, h, w]) of a CPU generator with seed {SEED}; the schedulers scale it"
    write("index.json", {"request": {**request, "latents": latents_from}, "pictures": entries, "skipping": skipping}, IMAGES)
