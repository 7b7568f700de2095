"""What do diffusers' own classes make of a denoiser that can be written down? For `golden.py diffusers_runs`.

Covers the samplers that k-diffusion lacks (DDIM, PNDM, LCM) and runs that do not end at no noise.
"""

import inspect
import math

import diffusers
import torch

CLASSES = ["DPMSolverMultistepScheduler", "DDIMScheduler", "PNDMScheduler", "LCMScheduler"]
OPTIONS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "final_sigmas_type": "sigma_min",
}
SHAPE = (2, 4, 3, 3)
BEND = 0.1


def ramp(function):
    return torch.tensor([function(i) for i in range(72)], dtype=torch.float64).reshape(SHAPE)


def denoise(x, sigma):
    """The exact denoiser of data ~ N(cos(0.37 i), 0.25), and a bend that no multistep method follows exactly."""
    variance = 0.25 + sigma**2
    mean = ramp(lambda i: math.cos(0.37 * i))
    return 0.25 / variance * x + sigma**2 / variance * mean + BEND * torch.sin(3 * x / (1 + sigma**2) ** 0.5)


def fresh_noise():
    count = iter(range(1000))
    return lambda *_, **__: (lambda k: ramp(lambda i: math.sin(1 + 7.13 * k + 0.61 * i)))(next(count))


def run(name, steps):
    """The final latents of `steps` steps, in 64 bits, as the class itself scales them."""
    kind = getattr(diffusers, name)
    known = inspect.signature(kind.__init__).parameters
    scheduler = kind(**{option: value for option, value in OPTIONS.items() if option in known})
    scheduler.set_timesteps(steps)
    inspect.getmodule(kind).randn_tensor = fresh_noise()
    levels = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt().double()
    x = ramp(lambda i: math.sin(0.5 + 1.7 * i)) * float(scheduler.init_noise_sigma)
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "sigmas"):
            if scheduler.step_index is None:
                scheduler._init_step_index(timestep)
            sigma = float(scheduler.sigmas[scheduler.step_index])
        else:
            sigma = float(levels[int(timestep)])
        exploding = x * (1 + sigma**2) ** 0.5  # these classes keep unit variance
        noise = (exploding - denoise(exploding, sigma)) / sigma
        x = scheduler.step(noise, timestep, x).prev_sample
    return x


def runs():
    results = [{"class": name, "steps": steps, "final": run(name, steps)} for name in CLASSES for steps in (1, 4, 20)]
    return {"options": OPTIONS, "bend": BEND, "shape": SHAPE, "results": results}
