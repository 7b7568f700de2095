"""Which picture does diffusers draw a second time, larger? Run as `python scripts/golden.py hires`.

The second pass of stable-diffusion-webui ("hires fix"), put together from parts of diffusers, with the tiny models of
tiny_models.py in float32: StableDiffusionPipeline draws latents from a seed, torch.nn.functional.interpolate makes them
larger (or they are decoded, and Pillow makes the pixels larger), and StableDiffusionImg2ImgPipeline draws over them with a
new CPU generator of the same seed. Of a schedule of int(steps / min(strength, 0.999)) steps it takes the last `steps`, as
`setup_img2img_steps` of stable-diffusion-webui does for a second pass. Writes tests/images/hires/NAME.png and hires.json
beside them, whose `config` is a whole scheduler_config.json and whose `hires` is what petal is asked for.
"""

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from torch.nn.functional import interpolate

from export import portable
from golden import IMAGES, write
from golden_seeds import CASES
from tiny_models import make_pipeline

WIDTH, HEIGHT, SEED, STEPS = 32, 24, 7, 20
GUIDANCE = 2.0  # the random weights are chaotic at 7.5: see golden_img2img.py
REQUEST = {"prompt": "a dog in space", "negative_prompt": "blurry"}
MODES = {  # upscaler -> how torch calls it
    "latent": {"mode": "bilinear"},
    "latent_bicubic_antialiased": {"mode": "bicubic", "antialias": True},
    "latent_nearest_exact": {"mode": "nearest-exact"},
}
SAMPLERS = ["euler", "euler-ancestral", "ddim", "dpm-multistep", "pndm"]
OTHER = {"prompt": "a cat on the moon", "negative_prompt": "low quality", "cfg_scale": 3.0}
PICTURES = [  # file, model, scheduler, what is asked of the second pass
    *((f"sd1-{name}", "sd1", name, {}) for name in SAMPLERS),
    *((f"sd1-{name}-0.4-8", "sd1", name, {"strength": 0.4, "steps": 8}) for name in SAMPLERS),
    ("sd1-bicubic", "sd1", "euler", {"upscaler": "latent_bicubic_antialiased", "scale": 1.5}),
    ("sd1-nearest", "sd1", "ddim", {"upscaler": "latent_nearest_exact", "width": 56}),
    ("sd1-full", "sd1", "dpm-multistep", {"strength": 1.0}),
    ("sd1-prompt", "sd1", "euler", OTHER),
    # at the usual strength: what is left of pixels that other programs round otherwise by 1 counts more at a lower one, and
    # the encoder with random weights makes 5 of it in the reference itself (1000 of 9216 values moved by 1, strength 0.4)
    ("sd1-lanczos", "sd1", "euler", {"upscaler": "lanczos"}),
    ("sd1-lanczos-ancestral", "sd1", "euler-ancestral", {"upscaler": "lanczos", "scale": 1.5}),
    ("sd2-v-bilinear", "sd2-v", "euler", {}),
]


def enlarged(pipeline, latents, hires):
    """What the second pass draws over: latents, or a picture."""
    scale = hires["width"] / WIDTH if "width" in hires else hires.get("scale", 2)
    factor = pipeline.vae_scale_factor
    size = [int(side * scale) // factor * factor for side in (HEIGHT, WIDTH)]
    if hires.get("upscaler") == "lanczos":
        pixels = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
        (picture,) = pipeline.image_processor.postprocess(pixels)
        return picture.resize(size[::-1], Image.Resampling.LANCZOS)
    return interpolate(latents, size=[side // factor for side in size], **MODES[hires.get("upscaler", "latent")])


@torch.no_grad()
def draw(first, hires):
    """Both passes with `first`; the pixels."""
    generator = torch.Generator().manual_seed(SEED)
    common = {"guidance_scale": GUIDANCE, "output_type": "latent", "generator": generator}
    latents = first(**REQUEST, **common, width=WIDTH, height=HEIGHT, num_inference_steps=STEPS).images
    second = StableDiffusionImg2ImgPipeline(**first.components, requires_safety_checker=False)
    second.set_progress_bar_config(disable=True)
    second.scheduler = type(first.scheduler).from_config(first.scheduler.config)
    steps = hires.get("steps", STEPS)
    whole = int(steps / min(hires.get("strength", 0.7), 0.999))
    words = {name: hires.get(name, REQUEST[name]) for name in REQUEST}
    pixels = second(
        **words, image=enlarged(first, latents, hires), guidance_scale=hires.get("cfg_scale", GUIDANCE), output_type="np",
        num_inference_steps=whole, strength=min((steps + 0.5) / whole, 1.0),  # of which diffusers makes `steps`
        generator=torch.Generator().manual_seed(SEED),
    ).images[0]  # fmt: skip
    return (pixels * 255).round().astype(np.uint8)


def hires():
    torch.set_num_threads(1)  # sums split among threads round differently
    folder = IMAGES / "hires"
    folder.mkdir(parents=True, exist_ok=True)
    pipelines = {model: make_pipeline(model) for model in ("sd1", "sd2-v")}
    own = {model: pipeline.scheduler.config for model, pipeline in pipelines.items()}
    entries = []
    for file, model, name, hires in PICTURES:
        pipeline, (kind, options) = pipelines[model], CASES[name]
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(own[model], **options)
        pixels = draw(pipeline, hires)
        Image.fromarray(pixels).save(folder / f"{file}.png", optimize=True)
        config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
        entry = {"file": f"{file}.png", "model": model, "hires": hires, "pixel_std": round(float(pixels.std()), 2)}
        entries.append({**entry, "config": {"_class_name": f"{kind}Scheduler", **config}})
        print(entry, flush=True)
    request = {**REQUEST, "steps": STEPS, "seed": SEED, "guidance_scale": GUIDANCE, "width": WIDTH, "height": HEIGHT}
    write("hires.json", {"request": request, "pictures": entries}, folder)
