"""Which picture does diffusers draw over another? Run as `python scripts/golden.py img2img`.

StableDiffusionImg2ImgPipeline with the tiny models of tiny_models.py, float32, 20 steps, from a seed alone: the noise with
which the autoencoder draws its latents, the first noise and the noise of the steps come from one CPU generator. Writes
tests/images/img2img/init.png, NAME.png and img2img.json beside them, whose `config` is a whole scheduler_config.json.

Two more are drawn with noise that is given (tests/images/latents.npy), so that the generator draws for the autoencoder
and the steps alone, and from an encoder that gives latents, not their distribution: encoder.onnx, the means of sd1-old.
"""

import diffusers
import numpy as np
import onnx
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_img2img as module
from PIL import Image

from export import portable
from golden import IMAGES, ROOT, write
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


def plain_encoder(path):
    """The encoder of sd1-old as diffusers' own converter and NVIDIA's demo would have it: `images` to `latent`."""
    model = onnx.load(ROOT / "tests" / "models" / "sd1-old" / "vae_encoder" / "model.onnx")
    graph, helper, types = model.graph, onnx.helper, onnx.TensorProto
    for node in graph.node:
        node.input[:] = ["images" if name == "sample" else name for name in node.input]
    graph.input[0].name = "images"
    bounds = {"latent_from": [0], "latent_to": [4], "latent_axis": [1]}
    graph.initializer.extend(helper.make_tensor(name, types.INT64, [1], value) for name, value in bounds.items())
    graph.node.append(helper.make_node("Slice", ["latent_parameters", *bounds], ["latent"]))
    shape = ["batch", 4, "height", "width"]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("latent", types.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def given(pipeline, name):
    """What the pipeline is called with, and what its entry says, where not all comes from the seed."""
    image, noise = init_image(), torch.from_numpy(np.load(IMAGES / "latents.npy"))
    if name == "given-noise":
        return image, lambda *_, **__: noise, {"latents": "../latents.npy"}
    pixels = pipeline.image_processor.preprocess(image)
    mean = pipeline.vae.encode(pixels).latent_dist.mode() * pipeline.vae.config.scaling_factor
    return mean, module.randn_tensor, {"encoder": "encoder.onnx"}


@torch.no_grad()
def others(pipeline, own, folder):
    plain_encoder(folder / "encoder.onnx")
    usual = module.randn_tensor
    for name in ("given-noise", "plain-encoder"):
        image, module.randn_tensor, source = given(pipeline, name)
        yield draw(pipeline, own, ("sd1", "euler-ancestral", 0.75), image, folder, f"sd1-{name}.png") | source
        module.randn_tensor = usual


def draw(pipeline, own, case, image, folder, file):
    """Draws a picture, and returns its entry."""
    model, name, strength = case
    kind, options = CASES[name]
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(own, **options)
    steps = {"num_inference_steps": STEPS, "strength": strength, "guidance_scale": GUIDANCE}
    generator = torch.Generator().manual_seed(SEED)
    pixels = pipeline(**REQUEST, image=image, **steps, generator=generator, output_type="np").images[0]
    pixels = (pixels * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(folder / file, optimize=True)
    config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
    entry = {"file": file, "model": model, "strength": strength, "pixel_std": round(float(pixels.std()), 2)}
    print(entry, flush=True)
    return {**entry, "config": {"_class_name": f"{kind}Scheduler", **config}}


def img2img():
    torch.set_num_threads(1)  # sums split among threads round differently
    folder = IMAGES / "img2img"
    folder.mkdir(parents=True, exist_ok=True)
    image = init_image()
    image.save(folder / "init.png", optimize=True)
    pipelines = {name: StableDiffusionImg2ImgPipeline(**make_pipeline(name).components, requires_safety_checker=False) for name in PIPELINES}
    own = {name: pipeline.scheduler.config for name, pipeline in pipelines.items()}
    entries = []
    for case in cases():
        model, name, strength = case
        entries.append(draw(pipelines[model], own[model], case, image, folder, f"{model}-{name}-{strength}.png"))
    entries += others(pipelines["sd1"], own["sd1"], folder)
    request = {**REQUEST, "steps": STEPS, "seed": SEED, "guidance_scale": GUIDANCE, "init_image": "init.png", "width": WIDTH, "height": HEIGHT}
    write("img2img.json", {"request": request, "pictures": entries}, folder)
