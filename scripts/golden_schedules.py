"""Through which noise levels does a schedule go? For `golden.py schedules`.

What k-diffusion and diffusers have is asked of them; what only stable-diffusion-webui (`modules/sd_schedulers.py`),
Forge or ComfyUI (`comfy/samplers.py`) have is written out from its formula. Everything is in float64 but for the
timesteps of `turbo`, which Forge rounds in float32.
"""

import math

import diffusers
import numpy as np
import torch
from scipy import stats

COUNTS = [1, 2, 5, 20, 50]
UNEVEN = [7, 30, 300, 999]  # where the number of levels is not the number of steps
LAST = 999
ALIGNED = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]


def sd_sigmas():
    """SD 1's 1000 noise levels, float64: betas = linspace(sqrt(.00085), sqrt(.012))^2."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    return ((1 - kept) / kept).sqrt()


def discrete(external):
    """k-diffusion's table of SD 1's levels, without its rounding of timesteps to float32."""

    class Table(external.DiscreteSchedule):
        def t_to_sigma(self, t):
            low, high, w = t.floor().long(), t.ceil().long(), t.frac()
            return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()

    return Table(sd_sigmas(), quantize=False)


def at(table, timesteps):
    return table.t_to_sigma(torch.as_tensor(timesteps, dtype=torch.float64)).tolist()


def normal(table, n):
    """webui's and ComfyUI's normal_scheduler: even between the timesteps of the highest and the lowest level."""
    return at(table, np.linspace(float(table.sigma_to_t(table.sigma_max)), float(table.sigma_to_t(table.sigma_min)), n))


def sgm_uniform(table, n):
    """webui's sgm_uniform, ComfyUI's normal_scheduler with sgm: one timestep more, and without the last."""
    start, end = (float(table.sigma_to_t(sigma)) for sigma in (table.sigma_max, table.sigma_min))
    return at(table, np.linspace(start, end, n + 1)[:-1])


def simple(table, n):
    """webui's and ComfyUI's simple_scheduler."""
    return [float(table.sigmas[-(1 + int(i * (len(table.sigmas) / n)))]) for i in range(n)]


def timesteps(table, n):
    """webui's get_timesteps for DDIM and PLMS; its samplers end at the first. One step ends at the lowest level."""
    chosen = sorted({min(t + 1, 999) for t in range(0, 1000, 1000 // n)}, reverse=True)
    return [float(table.sigmas[t]) for t in (chosen if len(chosen) > 1 else [*chosen, 0])]


def ddim_uniform(table, n):
    """webui's and ComfyUI's ddim_scheduler, the levels of Song et al.'s timesteps 1, 1 + c, 1 + 2 c ..."""
    return table.sigmas[1 :: max(len(table.sigmas) // n, 1)].flip(0).tolist()


def beta_comfyui(table, n):
    """ComfyUI's beta_scheduler: quantiles of Beta(0.6, 0.6) as timesteps, each once."""
    quantiles = stats.beta.ppf(1 - np.linspace(0, 1, n, endpoint=False), 0.6, 0.6)
    timesteps = np.rint(quantiles * LAST).astype(int)
    return [float(table.sigmas[t]) for i, t in enumerate(timesteps) if i == 0 or t != timesteps[i - 1]]


def beta(_, n, low, high):
    """webui's beta_scheduler, which is diffusers' own: quantiles of Beta(0.6, 0.6) as levels."""
    return diffusers.DPMSolverMultistepScheduler()._convert_to_beta(torch.tensor([high, low]), n).tolist()


def kl_optimal(_, n, low, high):
    """webui's kl_optimal, n + 1 levels that end in the lowest: Sabour et al. 2024, theorem 3.1."""
    return [math.tan(i / n * math.atan(low) + (1 - i / n) * math.atan(high)) for i in range(n + 1)]


def kl_optimal_comfyui(_, n, low, high):
    """ComfyUI's kl_optimal_scheduler; of one step, which is not a number there, as stable-diffusion.cpp has it."""
    places = np.arange(n) / max(n - 1, 1)
    return np.tan(places * math.atan(low) + (1 - places) * math.atan(high)).tolist()


def linear_quadratic(_, n, __, high, threshold=0.025):
    """ComfyUI's linear_quadratic_schedule (Mochi): straight for half of the steps, then a parabola that joins it."""
    if n == 1:
        return [high]
    straight = n // 2
    rest, missing = n - straight, straight - threshold * n
    square = missing / (straight * rest**2)
    slope = threshold / straight - 2 * missing / rest**2
    done = [i * threshold / straight for i in range(straight)]
    done += [square * i**2 + slope * i + square * straight**2 for i in range(straight, n)]
    return [(1 - share) * high for share in done]


def align_your_steps(_, n, *__):
    """webui's get_align_your_steps_sigmas: Sabour et al. 2024, interpolated in log sigma."""
    logs = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(ALIGNED)), np.log(ALIGNED[::-1]))
    return np.exp(logs)[::-1].tolist()


def turbo(table, n):
    """Forge's turbo_scheduler."""
    timesteps = torch.arange(1, n + 1).to(torch.float32) * float(1000.0 / n) - 1
    return [float(table.sigmas[t]) for t in timesteps.flip(0).round().long().clip(0, LAST)]


def lu(low, high, n):
    """diffusers' use_lu_lambdas, given log sigma as DPMSolverMultistepScheduler gives it."""
    lambdas = torch.tensor([math.log(high), math.log(low)])
    return np.exp(diffusers.DPMSolverMultistepScheduler()._convert_to_lu(lambdas, n)).tolist()


def rounded(levels):
    return [float(f"{sigma:.12g}") for sigma in levels]


def makers(sampling, table, low, high):
    """How to make the levels of each schedule, by the names it has in its origins, without a final 0."""
    by_range = [beta, kl_optimal, kl_optimal_comfyui, linear_quadratic, align_your_steps]
    by_table = [normal, sgm_uniform, simple, ddim_uniform, timesteps, beta_comfyui, turbo]
    return {
        **{make.__name__: (lambda n, make=make: make(table, n)) for make in by_table},
        **{make.__name__: (lambda n, make=make: make(table, n, low, high)) for make in by_range},
        "uniform": lambda n: table.get_sigmas(n)[:-1].tolist(),
        "karras": lambda n, **rho: sampling.get_sigmas_karras(n, low, high, **rho)[:-1].tolist(),
        "exponential": lambda n: sampling.get_sigmas_exponential(n, low, high)[:-1].tolist(),
        "polyexponential": lambda n, **rho: sampling.get_sigmas_polyexponential(n, low, high, **rho)[:-1].tolist(),
    }


def schedules():
    """Noise levels from high to low over SD 1's table, the end included."""
    from golden import k_diffusion, write

    sampling, external = k_diffusion()
    torch.set_default_dtype(torch.float64)
    table = discrete(external)
    low, high = float(table.sigma_min), float(table.sigma_max)
    kinds = makers(sampling, table, low, high)

    def levels(name, n, **rho):
        end = [] if name in ("kl_optimal", "timesteps") else [0.0]
        return rounded(kinds[name](n, **rho) + end)

    results = [{"schedule": name, "n": n, "sigmas": levels(name, n)} for name in kinds for n in COUNTS]
    for name, rho in (("karras", 3.0), ("karras", 0.5), ("polyexponential", 2.5), ("polyexponential", 0.4)):
        results += [{"schedule": name, "rho": rho, "n": n, "sigmas": levels(name, n, rho=rho)} for n in (1, 12)]
    lengths = [{"schedule": name, "n": n, "levels": len(levels(name, n))} for name in kinds for n in UNEVEN]
    by_lu = [{"n": n, "sigmas": rounded(lu(low, high, n))} for n in COUNTS[:4]]
    quantiles = [
        {"alpha": a, "beta": b, "n": 12, "levels": rounded(stats.beta.ppf(np.linspace(1, 0, 12), a, b))}
        for a, b in ((0.6, 0.6), (0.5, 0.7), (2, 5), (0.1, 3), (10, 10), (10, 0.1))
    ]
    torch.set_default_dtype(torch.float32)
    about = {
        "table": "betas = linspace(sqrt(.00085), sqrt(.012), 1000)^2, sigma = sqrt((1 - cumprod(1 - beta)) / cumprod)",
        "karras, exponential, polyexponential, uniform": "k-diffusion's own; rho 7 and 1 where none is given",
        "beta, lu": "diffusers' own _convert_to_beta and _convert_to_lu",
        "quantiles": "scipy.stats.beta.ppf of linspace(1, 0, n)",
        "others": "the formulas in scripts/golden_schedules.py",
    }
    ends = {"sigma_min": low, "sigma_max": high}
    others = {"lengths": lengths, "lu": by_lu, "quantiles": quantiles}
    write("schedules.json", {"about": about, **ends, "results": results, **others})
