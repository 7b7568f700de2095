"""Which pictures must petal draw with the other families? Run as `python scripts/golden.py families`.

    python scripts/golden_families.py sd3   draws those of one model anew

Draws with the pipelines of diffusers, float32, the models of tiny_families.py, 8 steps, their own schedulers and
nothing but a seed: what an autoencoder draws, the first noise and the noise of the steps come from one CPU generator.
Writes tests/images/families/NAME.png, the picture and the mask that some begin with, and index.json. There a field has
the name of the argument of diffusers; what is not there was left to the pipeline of `class`, `negative_prompt: null`
too. `without` names parts that the pipeline did not have. `moved` is how far, of 255, noise that differs by 1e-6 moves
the reference's own picture.
"""

import contextlib
import inspect
import json
import sys

import diffusers
import numpy as np
import torch
from PIL import Image

from export import portable
from golden import IMAGES, write
from tiny_models import make_pipeline

FOLDER = IMAGES / "families"
WIDTH, HEIGHT, SEED, STEPS = 48, 32, 7, 8  # not square: a swapped width and height shows
SQUARE = 4  # masks follow squares of pixels, as large as those of the latents or larger
REQUEST = {"prompt": "a dog in space", "negative_prompt": "blurry", "width": WIDTH, "height": HEIGHT}
STABLE = 0.3  # of 255
IMAGE, MASK = {"init_image": "init.png"}, {"init_image": "init.png", "mask_image": "mask.png"}
SIZES = {"original_size": [512, 384], "crops_coords_top_left": [16, 8], "target_size": [768, 1024]}


def sdxl():
    yield from refined()
    xl = "StableDiffusionXL{}Pipeline".format
    guided = {"guidance_scale": 5.0}
    yield "text", xl(""), guided
    yield "empty", xl(""), guided | {"negative_prompt": None}
    yield "unguided", xl(""), {"guidance_scale": 1.0}
    yield "sizes", xl(""), guided | SIZES
    yield "ancestral", xl(""), guided | {"scheduler": "EulerAncestralDiscreteScheduler"}
    yield "image", xl("Img2Img"), guided | IMAGE
    yield "image-0.7", xl("Img2Img"), guided | IMAGE | {"strength": 0.7}
    yield "inpaint", xl("Inpaint"), guided | MASK
    yield "inpaint-0.6", xl("Inpaint"), guided | MASK | {"strength": 0.6}
    yield "inpaint-ancestral", xl("Inpaint"), guided | MASK | {"scheduler": "EulerAncestralDiscreteScheduler"}
    yield "inpaint-1", xl("Inpaint"), guided | MASK | {"strength": 1.0}


def sdxl_refiner():
    refine, guided = "StableDiffusionXLImg2ImgPipeline", {"guidance_scale": 5.0}
    yield "image", refine, guided | IMAGE
    yield "empty", refine, guided | IMAGE | {"negative_prompt": None, "strength": 0.6}
    scores = {"aesthetic_score": 7.0, "negative_aesthetic_score": 4.0}
    yield "scores", refine, guided | IMAGE | scores | {"strength": 0.7, "original_size": [512, 384]}


def refined():
    """A base model ends early and the refiner goes on; one generator serves both."""
    refiner = {"model": "sdxl-refiner", "class": "StableDiffusionXLImg2ImgPipeline"}
    ancestral = {"scheduler": "EulerAncestralDiscreteScheduler"}
    for name, part, fields in (("refined", 0.8, {}), ("refined-0.4", 0.4, {}), ("refined-ancestral", 0.6, ancestral)):
        start = {"refiner": refiner | {"denoising_start": part}}
        yield name, "StableDiffusionXLPipeline", {"guidance_scale": 5.0, "denoising_end": part} | fields | start


def sd1_lcm():
    lcm = "LatentConsistencyModel{}Pipeline".format
    yield "text-4", lcm(""), {"guidance_scale": 8.5, "steps": 4}
    yield "text-8", lcm(""), {"guidance_scale": 2.0}
    yield "image-4", lcm("Img2Img"), {"guidance_scale": 8.5, "steps": 4} | IMAGE
    yield "image-0.5", lcm("Img2Img"), {"guidance_scale": 8.5, "strength": 0.5} | IMAGE


def sd3():
    three = "StableDiffusion3{}Pipeline".format
    guided, no_t5 = {"guidance_scale": 4.0}, {"without": ["text_encoder_3", "tokenizer_3"]}
    yield "text", three(""), guided
    yield "empty", three(""), guided | {"negative_prompt": None}
    yield "unguided", three(""), {"guidance_scale": 1.0}
    yield "image", three("Img2Img"), guided | IMAGE
    yield "image-0.9", three("Img2Img"), guided | IMAGE | {"strength": 0.9}
    yield "inpaint", three("Inpaint"), guided | MASK
    yield "inpaint-0.8", three("Inpaint"), guided | MASK | {"strength": 0.8}
    yield "inpaint-1", three("Inpaint"), guided | MASK | {"strength": 1.0}
    yield "no-t5", three(""), guided | no_t5
    yield "no-t5-image", three("Img2Img"), guided | no_t5 | IMAGE


def flux_dev():
    flux = "Flux{}Pipeline".format
    yield "text", flux(""), {"guidance_scale": 3.5}
    yield "guided", flux(""), {"guidance_scale": 8.0}
    yield "negative", flux(""), {"guidance_scale": 3.5, "true_cfg_scale": 2.0}
    yield "image", flux("Img2Img"), {"guidance_scale": 3.5} | IMAGE
    yield "image-0.9", flux("Img2Img"), {"guidance_scale": 3.5, "strength": 0.9} | IMAGE
    yield "inpaint", flux("Inpaint"), {"guidance_scale": 3.5} | MASK
    yield "inpaint-0.8", flux("Inpaint"), {"guidance_scale": 3.5, "strength": 0.8} | MASK
    yield "inpaint-1", flux("Inpaint"), {"guidance_scale": 3.5, "strength": 1.0} | MASK


def flux_schnell():
    """Its authors made it for prompts of 256 tokens and four steps."""
    flux, short = "Flux{}Pipeline".format, {"max_sequence_length": 256}
    yield "text", flux(""), short
    yield "text-4", flux(""), short | {"steps": 4}
    yield "image", flux("Img2Img"), short | IMAGE
    yield "inpaint-0.8", flux("Inpaint"), short | {"strength": 0.8} | MASK


# folder of tests/models -> its pictures
CASES = {"sdxl": sdxl, "sdxl-refiner": sdxl_refiner, "sd1-lcm": sd1_lcm, "sd3": sd3}
CASES |= {"flux-dev": flux_dev, "flux-schnell": flux_schnell}


def inputs():
    """A disc and a bar on a slope of colours, and a mask that frees an ellipse."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    pixels = np.stack([5 * x, 255 - 7 * y, 3 * (x + y)], -1)
    pixels[(x - 15) ** 2 + (y - 16) ** 2 < 80] = (230, 40, 60)
    pixels[(x > 33) & (x < 41) & (y > 5)] = (20, 30, 120)
    mask = 255.0 * ((x - 26) ** 2 / 1.8 + (y - 15) ** 2 < 100)
    mask = np.kron(mask[::SQUARE, ::SQUARE], np.ones((SQUARE, SQUARE)))
    drawn = {"init.png": pixels, "mask.png": mask}
    return {name: Image.fromarray(found.clip(0, 255).astype(np.uint8)) for name, found in drawn.items()}


@contextlib.contextmanager
def noise_moved(by):
    """Every number that diffusers draws, moved a little."""
    usual, other = torch.randn, torch.Generator().manual_seed(99)

    def moved(*shape, **options):
        drawn = usual(*shape, **options)
        return drawn + by * usual(drawn.shape, generator=other, dtype=drawn.dtype)

    torch.randn = moved
    try:
        yield
    finally:
        torch.randn = usual


def arguments(pipeline, fields, images):
    """What the pipeline is called with."""
    call = {**REQUEST, "steps": STEPS, **fields}
    call["num_inference_steps"] = call.pop("steps")
    for name in ("scheduler", "without", "refiner"):
        call.pop(name, None)
    for name, argument in (("init_image", "image"), ("mask_image", "mask_image")):
        if name in call:
            call[argument] = images[call.pop(name)]
    for name in ("width", "height", "negative_prompt"):  # some take the size of the picture, some no negative prompt
        if name not in inspect.signature(pipeline.__call__).parameters:
            del call[name]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in call.items()}


def draw(pipeline, call, moved=0.0, refiner=None):
    """One picture, `[height, width, 3]`, 0 to 255. `refiner`: a second pipeline, and what that is called with."""
    with noise_moved(moved) if moved else contextlib.nullcontext():
        generator = torch.Generator().manual_seed(SEED)
        call = {**call, "generator": generator}
        if refiner is not None:
            latents = pipeline(**call, output_type="latent").images
            pipeline, call = refiner[0], {**refiner[1], "image": latents, "generator": generator}
        if isinstance(pipeline, diffusers.StableDiffusion3InpaintPipeline):
            return decode(pipeline, pipeline(**call, output_type="latent").images)
        return pipeline(**call, output_type="np").images[0] * 255


@torch.no_grad()
def decode(pipeline, latents):
    """As the text to image pipeline decodes: that of inpainting with SD 3 forgets `shift_factor`."""
    config = pipeline.vae.config
    pixels = pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
    return pipeline.image_processor.postprocess(pixels, output_type="np")[0] * 255


def prepare(components, kind, fields):
    """A pipeline of that class, with another scheduler or without some of its parts."""
    missing = {name: None for name in fields.get("without", [])}
    settings = {"requires_safety_checker": False} if "safety_checker" in components else {}
    pipeline = getattr(diffusers, kind)(**{**components, **missing}, **settings)
    if components.get("text_encoder") is None:  # a refiner
        pipeline.register_to_config(requires_aesthetics_score=True, force_zeros_for_empty_prompt=False)
    own = components["scheduler"]
    title = fields.get("scheduler", type(own).__name__)
    pipeline.scheduler = getattr(diffusers, title).from_config(own.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def second(refiner, fields, call):
    """The refiner's pipeline and its arguments: those of the base, but for where it begins."""
    pipeline = prepare(make_pipeline(refiner["model"]).components, refiner["class"], fields)
    taken = ("prompt", "negative_prompt", "guidance_scale", "num_inference_steps")
    return pipeline, {name: call[name] for name in taken} | {"denoising_start": refiner["denoising_start"]}


def draw_case(model, components, case, images):
    """Draws a picture, and returns its entry."""
    name, kind, fields = case
    pipeline = prepare(components, kind, fields)
    call = arguments(pipeline, fields, images)
    refiner = fields.get("refiner")
    if refiner is not None:
        refiner = second(refiner, fields, call)
    pixels, moved = draw(pipeline, call, 0.0, refiner), draw(pipeline, call, 1e-6, refiner)
    file, moved = f"{model}-{name}.png", float(np.abs(pixels - moved).max())
    if not moved < STABLE:
        raise SystemExit(f"error: {file}: noise that differs by 1e-6 moves the picture by {moved:.2f} of 255")
    Image.fromarray(pixels.round().astype(np.uint8)).save(FOLDER / file, optimize=True)
    entry = {"file": file, "model": model, "class": kind, **fields}
    entry |= {"pixel_std": round(float(pixels.std()), 2), "moved": float(f"{moved:.2g}")}
    print(entry, flush=True)
    config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
    return {**entry, "config": {"_class_name": type(pipeline.scheduler).__name__, **config}}


def families(models=()):
    """Draws all, or those of `models` anew."""
    torch.set_num_threads(1)  # sums split among threads round differently
    FOLDER.mkdir(parents=True, exist_ok=True)
    images, entries = inputs(), []
    for name, image in images.items():
        image.save(FOLDER / name, optimize=True)
    drawn = json.loads((FOLDER / "index.json").read_text())["pictures"] if models else []
    for model, cases in CASES.items():
        if models and model not in models:
            entries += [entry for entry in drawn if entry["model"] == model]
            continue
        components = make_pipeline(model).components
        entries += [draw_case(model, components, case, images) for case in cases()]
    write("index.json", {"request": {**REQUEST, "steps": STEPS, "seed": SEED}, "pictures": entries}, FOLDER)


if __name__ == "__main__":
    families(sys.argv[1:])
