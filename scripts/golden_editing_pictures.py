"""Which pictures must petal make of others? Run as `python scripts/golden.py editing_pictures`.

Draws with diffusers, float32, from the weights that tiny_models.py makes: masked denoising with a model of 4 channels,
inpainting with one of 9, instruct-pix2pix with one of 8. Writes tests/images/editing/NAME.png, the pictures and masks
that they begin with, the noise latents.npy, and index.json, which says how each was made. diffusers gives back the
whole decoded picture: outside a mask it is not the input, unless it was drawn from a crop.
"""

import diffusers
import numpy as np
import torch
from PIL import Image
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline

from export import portable
from golden import IMAGES, write
from tiny_models import make_pipeline

FOLDER = IMAGES / "editing"
WIDTH, HEIGHT, FACTOR = 48, 32, 4  # not square: a swapped width and height shows
COMMON = {"prompt": "a dog in space", "negative_prompt": "blurry", "guidance_scale": 3.0, "num_inference_steps": 8}
SEED = 7
LEADING = {"timestep_spacing": "leading"}
SCHEDULERS = {  # short name -> class, None for the model's own; options
    "own": (None, {}),
    "pndm": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", LEADING),
    "euler-trailing": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "euler-a": ("EulerAncestralDiscreteScheduler", LEADING),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
    "heun": ("HeunDiscreteScheduler", LEADING),
    "ddim": ("DDIMScheduler", {**LEADING, "clip_sample": False}),
    "lms": ("LMSDiscreteScheduler", LEADING),
}
SOLVERS = list(SCHEDULERS)[2:]
# A latent is free in petal as soon as one of its pixels is; in diffusers, where its first pixel is. Networks that take a
# mask are given diffusers' one. So masks for the others follow the squares of the latents.
MASKS = {"sd1": "mask-squares.png", "sd1-inpaint": "mask.png"}


def cases():
    """File name -> (model, scheduler, how the picture differs from COMMON)."""
    out = {}
    for model, name in (("sd1", "masked"), ("sd1-inpaint", "inpaint")):
        add = lambda key, scheduler="euler", **fields: out.update({
            f"{name}-{key}": (model, scheduler, {"mask": MASKS[model]} | fields)
        })
        for scheduler in ("own", *SOLVERS):
            add(scheduler, scheduler)
        for scheduler in ("own", "euler", "euler-a", "dpmpp-2m", "heun", "ddim"):
            add(f"strength-{scheduler}", scheduler, strength=0.6)
        add("latents", "dpmpp-2m", latents="latents.npy")
        add("unguided", guidance_scale=1.0)
        if model == "sd1-inpaint":
            add("crop", mask="mask-small.png", padding_mask_crop=3)
    for scheduler in ("own", "pndm", *SOLVERS):
        out[f"edit-{scheduler}"] = ("sd1-edit", scheduler, {"image_guidance_scale": 1.5})
    for key, text, image in (("image", 3.0, 2.5), ("plain", 3.0, 1.0), ("unguided", 1.0, 1.5)):
        out[f"edit-{key}"] = ("sd1-edit", "euler", {"guidance_scale": text, "image_guidance_scale": image})
    out["edit-latents"] = ("sd1-edit", "dpmpp-2m", {"image_guidance_scale": 1.5, "latents": "latents.npy"})
    for scheduler in ("euler", "ddim"):
        out[f"soft-{scheduler}"] = ("sd1", scheduler, {"mask": "mask-soft.png", "strength": 0.8})
    return out


def inputs():
    """A picture with edges and slopes, and masks."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    sky = np.stack([40 + 3 * x, 90 + 2 * y, 200 - 2 * x - y], axis=-1)
    disc = (x - 30) ** 2 + (y - 12) ** 2 < 64
    sky[disc] = [230, 200, 60]
    sky[y > 24 + 2 * np.sin(x / 4)] = [50, 110, 40]
    ring = (x - 29.5) ** 2 / 1.6 + (y - 14.5) ** 2 < 90
    slope = np.clip((x + y / 2 - 10) / 40, 0, 1) * 255
    squares = lambda mask: np.kron(mask[::FACTOR, ::FACTOR], np.ones((FACTOR, FACTOR)))
    small = (abs(x - 18) < 5) & (abs(y - 12.5) < 2)  # with 3 pixels around it, of the shape of the picture
    masks = {"mask": ring * 255, "mask-squares": squares(ring * 255), "mask-soft": squares(slope)}
    masks |= {"mask-small": small * 255}
    pictures = {"picture": sky, **masks}
    return {f"{name}.png": Image.fromarray(pixels.clip(0, 255).astype(np.uint8)) for name, pixels in pictures.items()}


def soften(pipeline, mask, image, latents):
    """Differential diffusion (Levin & Fried 2023) as a callback: before evaluation i of n, what a mask of m has not set
    free, because 1 - m > i / n, is the picture with the first noise."""
    kept = 1 - torch.from_numpy(np.asarray(mask)[::FACTOR, ::FACTOR] / 255.0)  # [height, width]

    def after_step(pipe, step, timestep, tensors):
        timesteps, n = pipe.timesteps_taken, len(pipe.timesteps_taken)
        if step + 1 == n:
            tensors["latents"] = torch.where(kept > (n - 1) / n, image, tensors["latents"])
            return tensors
        noisy = pipe.scheduler.add_noise(image, latents, timesteps[step + 1 : step + 2])
        return {"latents": torch.where(kept > (step + 1) / n, noisy, tensors["latents"])}

    return after_step


def draw_soft(pipeline, fields, images):
    """Image to image with a soft mask; the order of random numbers is that of the inpainting pipeline."""
    generator = torch.Generator().manual_seed(SEED)
    before = generator.clone_state()
    pixels = pipeline.image_processor.preprocess(images["picture.png"], height=HEIGHT, width=WIDTH)
    image = pipeline.vae.encode(pixels).latent_dist.sample(before) * pipeline.vae.config.scaling_factor
    noise = torch.randn(image.shape, generator=before)
    take = pipeline.get_timesteps

    def remember(*args, **kwargs):
        timesteps, steps = take(*args, **kwargs)
        pipeline.timesteps_taken = timesteps
        return timesteps, steps

    pipeline.get_timesteps = remember
    callback = soften(pipeline, images[fields.pop("mask")], image, noise)
    return pipeline(
        image=images["picture.png"], generator=generator, callback_on_step_end=callback, output_type="np", **fields
    )


def draw(pipeline, fields, images):
    """One picture, as pixels of 0 to 255."""
    fields = {**COMMON, **fields}
    if isinstance(pipeline, StableDiffusionImg2ImgPipeline):
        pixels = draw_soft(pipeline, fields, images).images[0]
    else:
        if "latents" in fields:
            fields["latents"] = torch.from_numpy(np.load(FOLDER / fields["latents"]))
        if "mask" in fields:
            fields |= {"mask_image": images[fields.pop("mask")], "width": WIDTH, "height": HEIGHT}
        kind = "pil" if "padding_mask_crop" in fields else "np"
        generator = torch.Generator().manual_seed(SEED)
        picture = pipeline(image=images["picture.png"], generator=generator, output_type=kind, **fields).images[0]
        pixels = np.asarray(picture) / 255.0 if kind == "pil" else picture
    return (pixels * 255).round().astype(np.uint8)  # [height, width, 3]


def editing_pictures():
    torch.set_num_threads(1)  # sums split among threads round differently
    FOLDER.mkdir(parents=True, exist_ok=True)
    images = inputs()
    for name, image in images.items():
        image.save(FOLDER / name, optimize=True)
    shape = (1, 4, HEIGHT // FACTOR, WIDTH // FACTOR)
    np.save(FOLDER / "latents.npy", torch.randn(shape, generator=torch.Generator().manual_seed(SEED + 1)).numpy())
    pipelines = {name: make_pipeline(name) for name in ("sd1", "sd1-inpaint", "sd1-edit")}
    plain = pipelines["sd1"].components
    kinds = {"masked": StableDiffusionInpaintPipeline(**plain, requires_safety_checker=False)}
    kinds |= {"soft": StableDiffusionImg2ImgPipeline(**plain, requires_safety_checker=False)}
    kinds |= {"inpaint": pipelines["sd1-inpaint"], "edit": pipelines["sd1-edit"]}
    own = {name: pipeline.scheduler for name, pipeline in pipelines.items()}
    entries = []
    for name, (model, scheduler, fields) in cases().items():
        pipeline = kinds[name.split("-")[0]]
        pipeline.set_progress_bar_config(disable=True)
        title, options = SCHEDULERS[scheduler]
        kind = getattr(diffusers, title) if title else type(own[model])
        pipeline.scheduler = kind.from_config(own[model].config, **options)
        pixels = draw(pipeline, fields, images)
        Image.fromarray(pixels).save(FOLDER / f"{name}.png", optimize=True)
        config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
        config = {"_class_name": kind.__name__, **config}
        entry = {"file": f"{name}.png", "model": model, "seed": SEED, **fields}
        entries.append({**entry, "pixel_std": round(float(pixels.std()), 2), "config": config})
    texts = {name: COMMON[name] for name in ("prompt", "negative_prompt", "guidance_scale")}
    size = {"width": WIDTH, "height": HEIGHT}
    common = {**texts, "steps": COMMON["num_inference_steps"], "init_image": "picture.png", **size}
    write("index.json", {"request": common, "pictures": entries}, FOLDER)
