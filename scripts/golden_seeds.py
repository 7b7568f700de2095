"""Which picture does every sampler of diffusers draw from a seed? Run as `python scripts/golden.py seeds`.

The tiny models of tiny_models.py, float32, 20 steps, nothing given but a CPU generator: first noise and the noise of the
steps are what diffusers makes of the seed. Writes tests/images/seeds/NAME.png and seeds.json beside them, whose
`config` is a whole scheduler_config.json.
"""

import diffusers
import numpy as np
import torch
from PIL import Image

from export import portable
from golden import IMAGES, write
from tiny_models import PIPELINES, make_pipeline

REQUEST = {"prompt": "a dog in space", "negative_prompt": "blurry", "width": 64, "height": 48}
# the random weights of sd2-v are chaotic at 7.5: noise that differs by 1e-6 moves the reference's own pictures by up to
# 222 of 255 (LCM; Euler 0.4), at 2 by 0.6 at most (LCM; all others 0.03); those of sd1 by 1.9 at 7.5 (PNDM; others 0.2)
GUIDANCE = {"sd1": 7.5, "sd2-v": 2.0}
SEED, STEPS = 7, 20
PLAIN = {"clip_sample": False}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
CASES = {  # name -> (class, options)
    "euler": ("EulerDiscrete", {}),
    "euler-ancestral": ("EulerAncestralDiscrete", {}),
    "heun": ("HeunDiscrete", {}),
    "lms": ("LMSDiscrete", {}),
    "kdpm2": ("KDPM2Discrete", {}),
    "kdpm2-ancestral": ("KDPM2AncestralDiscrete", {}),
    "dpm-multistep": ("DPMSolverMultistep", {}),
    "dpm-multistep-3": ("DPMSolverMultistep", {"solver_order": 3, "use_karras_sigmas": True}),
    "dpm-multistep-sde": ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}),
    "dpm-singlestep": ("DPMSolverSinglestep", {}),
    "dpm-sde": ("DPMSolverSDE", {"noise_sampler_seed": SEED}),
    "ddim": ("DDIM", PLAIN),
    "ddpm": ("DDPM", PLAIN),
    "pndm": ("PNDM", {"skip_prk_steps": True}),
    "pndm-prk": ("PNDM", {"skip_prk_steps": False}),
    "unipc": ("UniPCMultistep", {}),
    "deis": ("DEISMultistep", {}),
    "sa": ("SASolver", {}),
    "lcm": ("LCM", PLAIN),
    "tcd": ("TCD", PLAIN),
    "euler-beta": ("EulerDiscrete", {"use_beta_sigmas": True, "timestep_spacing": "linspace"}),
    "dpm-multistep-lu": ("DPMSolverMultistep", {"use_lu_lambdas": True}),
    "euler-zero-snr": ("EulerDiscrete", ZERO_SNR),
    "ddim-zero-snr": ("DDIM", {**PLAIN, **ZERO_SNR}),
}
V_ONLY = {"euler-zero-snr", "ddim-zero-snr"}  # without signal, noise cannot be told from it


def draw(pipeline, guidance):
    generator = torch.Generator().manual_seed(SEED)
    pixels = pipeline(**REQUEST, guidance_scale=guidance, num_inference_steps=STEPS, generator=generator, output_type="np").images[0]
    return (pixels * 255).round().astype(np.uint8)  # [height, width, 3]


def seeds():
    torch.set_num_threads(1)  # sums split among threads round differently
    folder = IMAGES / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for model in PIPELINES:
        pipeline = make_pipeline(model)
        pipeline.set_progress_bar_config(disable=True)
        own = pipeline.scheduler.config
        for name, (kind, options) in CASES.items():
            if name in V_ONLY and own["prediction_type"] != "v_prediction":
                continue
            pipeline.scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(own, **options)
            pixels = draw(pipeline, GUIDANCE[model])
            file = f"{model}-{name}.png"
            Image.fromarray(pixels).save(folder / file, optimize=True)
            config = {k: v for k, v in portable(pipeline.scheduler.config).items() if not k.startswith("_")}
            entry = {"file": file, "model": model, "guidance_scale": GUIDANCE[model], "pixel_std": round(float(pixels.std()), 2)}
            entries.append({**entry, "config": {"_class_name": f"{kind}Scheduler", **config}})
            print(entry, flush=True)
    write("seeds.json", {"request": {**REQUEST, "steps": STEPS, "seed": SEED}, "pictures": entries}, folder)
