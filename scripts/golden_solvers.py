"""What do diffusers' solvers make of a denoiser that can be written down, with each of their options?

For `golden.py diffusers_solvers`. Every run goes through the class's own `step`. Its tables of noise levels are
replaced by the same numbers with 9 digits, in 64 bits, so that nothing but the method is compared.
"""

import inspect
import itertools
import math

import diffusers
import torch
from golden_denoiser import BEND, SHAPE, denoise, fresh_noise, ramp

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
HIGHEST = 1e10  # stands for a level without signal
SHOWN = [0, 17, 35, 40, 53, 71]  # values of the final latents that are written
DYNAMIC = {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.2}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
ZERO = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
FEW, SOME = (2, 5, 25), (1, 2, 5, 25)
MIN = {"final_sigmas_type": "sigma_min"}


def rounded(levels):
    return torch.tensor([float(f"{level:.9g}") for level in levels], dtype=torch.float64)


class Subject:
    """A scheduler of diffusers, seen as noise levels and steps."""

    def __init__(self, name, options, steps):
        kind = getattr(diffusers, name + "Scheduler")
        known = inspect.signature(kind.__init__).parameters
        self.name, self.steps = name, steps
        self.scheduler = kind(**{key: value for key, value in {**SD, **options}.items() if key in known})
        self.table = hasattr(self.scheduler, "alphas_cumprod")
        self.by_timestep = name in ("DDIM", "DDPM", "PNDM", "LCM", "TCD")
        self.flow = "FlowMatch" in name or options.get("use_flow_sigmas", False)
        self.exploding = name in ("HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "LMSDiscrete") or (
            name.startswith("EDM") or name == "DPMSolverSDE"
        )
        self.prediction = options.get("prediction_type", "epsilon")
        if "FlowMatch" in name:
            self.prediction = "flow_prediction"
        elif name == "IPNDM":
            self.prediction = "v_prediction"
        self.scheduler.set_timesteps(steps)
        self.sharpen()
        inspect.getmodule(kind).randn_tensor = fresh_noise()
        if name == "DPMSolverSDE":
            self.scheduler.noise_sampler = fresh_noise()

    def sharpen(self):
        scheduler = self.scheduler
        if self.by_timestep:
            kept = scheduler.alphas_cumprod.double()
            self.levels = rounded(((1 - kept) / kept).sqrt().clamp(max=HIGHEST))
            scheduler.alphas_cumprod = torch.where(kept > 0, 1 / (1 + self.levels**2), kept)
            if float(getattr(scheduler, "final_alpha_cumprod", 1)) < 1:
                scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
        elif self.name == "IPNDM":
            self.levels = rounded((scheduler.betas / scheduler.alphas).double().clamp(max=HIGHEST))
            inner = self.levels < HIGHEST
            scheduler.alphas = torch.where(inner, 1 / (1 + self.levels**2).sqrt(), scheduler.alphas.double())
            scheduler.betas = torch.where(inner, self.levels * scheduler.alphas, scheduler.betas.double())
        else:
            for table in ("sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down"):
                if hasattr(scheduler, table):
                    setattr(scheduler, table, rounded(getattr(scheduler, table)))
            if "Ancestral" in self.name:
                self.sharpen_ancestral()

    def sharpen_ancestral(self):
        """In 32 bits the class loses digits in `sigmas_down`; these are its formulas."""
        scheduler = self.scheduler
        sigma, below = scheduler.sigmas[::2], torch.cat([scheduler.sigmas[1::2], torch.zeros(1)])[: self.steps + 1]
        up = below * (1 - (below / sigma).square()).clamp(min=0).sqrt()
        down = below**2 / sigma
        middle = torch.where(down > 0, (sigma * down).sqrt(), 0.0)
        for table, values in (("up", up), ("down", down), ("interpol", middle)):
            spread = torch.cat([values[:1], values[1:].repeat_interleave(2), values[-1:]])
            setattr(scheduler, f"sigmas_{table}", spread)

    def level_of(self, timestep):
        if timestep < 0:
            final = float(getattr(self.scheduler, "final_alpha_cumprod", 1))
            return 0.0 if final == 1 else float(self.levels[0])
        return float(self.levels[int(timestep)])

    def level(self, index, timestep):
        """Where the network is asked."""
        scheduler = self.scheduler
        if self.by_timestep:
            return self.level_of(timestep)
        if self.name == "IPNDM":
            return float(self.levels[index])
        if "KDPM2" in self.name and index % 2:
            return float(scheduler.sigmas_interpol[index - ("Ancestral" in self.name)])
        if self.name == "DPMSolverSDE" and index % 2:
            return float(scheduler.mid_point_sigma)
        return float(scheduler.sigmas[index])

    def output(self, x, sigma):
        """What a network would say: `x` in the units of the class."""
        if self.flow:
            kept = length = max(1 - sigma, 1e-9)
            clean = denoise(x / kept, sigma / kept)
        else:
            length = 1 if self.exploding else (1 + sigma**2) ** 0.5
            clean = denoise(x * length, sigma)
            x, length = x * length, (1 + sigma**2) ** 0.5
        if self.name.startswith("EDM"):
            data = self.scheduler.config.sigma_data
            variance = sigma**2 + data**2
            sign = 1 if self.prediction == "epsilon" else -1
            return (clean - data**2 / variance * x) * variance**0.5 / (sign * sigma * data)
        noise = (x - (length if self.flow else 1) * clean) / sigma
        if self.prediction == "flow_prediction":
            return noise - clean
        return {"epsilon": noise, "sample": clean, "v_prediction": (noise - sigma * clean) / length}[self.prediction]

    def grid(self):
        """The run's levels, its end included, and timesteps."""
        scheduler = self.scheduler
        if self.name == "PNDM":
            timesteps = [int(t) for t in scheduler._timesteps[::-1]]
        else:
            timesteps = [float(t) for t in scheduler.timesteps]
        if "KDPM2" in self.name or "Heun" in self.name or self.name == "DPMSolverSDE":
            timesteps = [timesteps[0], *timesteps[2::2]]
            levels = [float(scheduler.sigmas[0]), *(float(s) for s in scheduler.sigmas[1::2])][: self.steps + 1]
            return {"sigmas": levels, "timesteps": [round(t, 4) for t in timesteps]}
        if self.by_timestep:
            levels = [self.level_of(t) for t in timesteps]
            if self.name in ("DDPM", "LCM", "TCD"):
                levels.append(float(self.levels[0]) if self.name == "TCD" else 0.0)
            else:
                levels.append(self.level_of(timesteps[-1] - 1000 // self.steps))
        else:
            levels = [float(s) for s in (self.levels if self.name == "IPNDM" else scheduler.sigmas)]
        return {"sigmas": levels, "timesteps": [round(t, 4) for t in timesteps]}

    def transitions(self, options):
        """The levels that DDIM and PNDM find by counting timesteps."""
        if self.name not in ("DDIM", "PNDM"):
            return {}
        timesteps, levels = self.grid()["timesteps"], self.grid()["sigmas"]
        far, found = 1000 // self.steps, {}
        ends = [self.level_of(t - far) for t in timesteps]
        if ends != levels[1:]:
            found["ends"] = ends
        if self.name == "PNDM" and not options["skip_prk_steps"]:
            half = far // 2
            middles = [int(t) + half for t in timesteps[1:4]]
            stages = [(t - half, m, m - half) for t, m in zip(timesteps, middles)]
            found["runge_kutta"] = [[self.level_of(t) for t in stage] for stage in stages]
        elif self.name == "PNDM" and self.steps > 1 and self.level_of(timesteps[1] + far) != levels[0]:
            found["restart"] = self.level_of(timesteps[1] + far)
        return found


def solve(name, steps, options, strength):
    """The final latents of `steps` steps, as the class itself scales them."""
    subject = Subject(name, options, steps)
    scheduler = subject.scheduler
    if "tau" in strength:
        tau = strength["tau"]
        scheduler.tau_func = lambda _: tau
    x = ramp(lambda i: math.sin(0.5 + 1.7 * i))
    first = subject.grid()["sigmas"][0]
    if subject.exploding:
        x = x * (1 + first**2) ** 0.5
    elif subject.flow:
        x = x * first
    eta = {"eta": strength["eta"]} if "eta" in strength else {}
    skipped = strength.get("skipped", 0)
    if skipped:
        scheduler.set_begin_index(skipped)
    for index, timestep in list(enumerate(scheduler.timesteps))[skipped:]:
        output = subject.output(x, subject.level(index, timestep))
        x = scheduler.step(output, timestep, x, **eta).prev_sample.double()
    return subject, x


def named(name, counts, *choices, strength=None, **options):
    """Cases of a class: each number of steps with each combination of `choices`, which are lists of options."""
    for steps in counts:
        for combination in itertools.product(*choices):
            changed = {key: value for choice in combination for key, value in choice.items()}
            yield name, steps, {**options, **changed}, strength or {}


def option(key, *values):
    return [{key: value} for value in values]


def dpm_cases():
    types = option("solver_type", "midpoint", "heun")
    multi, single = "DPMSolverMultistep", "DPMSolverSinglestep"
    clean, noise = ["dpmsolver++", "sde-dpmsolver++"], ["dpmsolver", "sde-dpmsolver"]
    clean, noise = option("algorithm_type", *clean), option("algorithm_type", *noise)
    yield from named(multi, (1,), clean)
    yield from named(multi, FEW, clean, types, solver_order=2)
    yield from named(multi, FEW, clean, solver_order=3)
    yield from named(multi, FEW, noise, types, solver_order=2, **MIN)
    yield from named(multi, FEW, noise[:1], solver_order=3, **MIN)
    yield from named(multi, (5,), [*clean, *noise], solver_order=1, **MIN)
    flags = [{"lower_order_final": False}, {"euler_at_final": True}]
    yield from named(multi, (5, 25), flags, option("solver_order", 2, 3), **MIN)
    yield from named(multi, (5, 25), use_karras_sigmas=True, **MIN)
    predictions = option("prediction_type", "v_prediction", "sample")
    yield from named(multi, (5,), predictions, [clean[0], noise[0]], **MIN)
    yield from named(multi, (5,), [clean[0], noise[0]], **DYNAMIC, **MIN)
    yield from named(multi, (5,), clean, **FLOW)
    yield from named(multi, (5, 25), clean, solver_order=3, **ZERO)
    yield from named(multi, (5, 25), noise, **ZERO, **MIN)
    yield from named(single, (1, 2, 5, 6, 25), option("solver_order", 2, 3), types)
    yield from named(single, (2, 6, 25), [{"solver_order": 3}], types, algorithm_type="sde-dpmsolver++")
    yield from named(single, (6,), option("solver_order", 2, 3), types, algorithm_type="dpmsolver", **MIN)
    yield from named(single, (6,), option("solver_order", 2, 3), types, option("lower_order_final", False, True), **MIN)
    yield from named(single, (6,), solver_order=2, algorithm_type="sde-dpmsolver++", lower_order_final=True)
    yield from named(single, (5,), solver_order=1, algorithm_type="dpmsolver", **MIN)
    later = {"skipped": 14}
    yield from named(multi, (20,), solver_order=3, strength=later, **MIN)
    yield from named(single, (21,), option("solver_order", 2, 3), strength=later)
    yield from named("EDMDPMSolverMultistep", (5, 25), option("solver_order", 2, 3))


def unipc_cases():
    name = "UniPCMultistep"
    kinds = option("solver_type", "bh1", "bh2")
    yield from named(name, SOME, option("solver_order", 2, 3))
    yield from named(name, SOME, option("solver_order", 2, 3), solver_type="bh1", **MIN)
    yield from named(name, (5, 25), option("solver_order", 1, 4))
    yield from named(name, FEW, option("solver_order", 2, 3), kinds, predict_x0=False, **MIN)
    bases = option("predict_x0", False, True)
    yield from named(name, (5,), option("solver_order", 2, 3), bases, lower_order_final=False, **MIN)
    yield from named(name, (5, 25), solver_order=3, disable_corrector=[0, 2])
    yield from named(name, (20,), solver_order=3, disable_corrector=[0, 15], strength={"skipped": 14})
    yield from named(name, (5,), option("prediction_type", "v_prediction", "sample"), bases, **MIN)
    yield from named(name, (5,), **DYNAMIC)
    yield from named(name, (5, 25), solver_order=3, use_karras_sigmas=True, **MIN)
    yield from named(name, (5,), solver_order=3, **FLOW)
    yield from named(name, (5, 25), solver_order=3, **ZERO)
    yield from named(name, (5, 25), solver_order=2, predict_x0=False, **ZERO, **MIN)
    name = "DEISMultistep"
    yield from named(name, (20,), solver_order=3, strength={"skipped": 14})
    yield from named(name, SOME, option("solver_order", 2, 3))
    yield from named(name, (5,), option("solver_order", 1, 3), option("lower_order_final", False))
    yield from named(name, (5, 25), solver_order=3, use_karras_sigmas=True)
    yield from named(name, (5,), option("prediction_type", "v_prediction", "sample"))
    yield from named(name, (5,), **DYNAMIC)
    yield from named(name, (5,), **FLOW)


def sa_cases():
    name = "SASolver"
    orders = [{"predictor_order": p, "corrector_order": c} for p, c in ((1, 1), (2, 2), (3, 2), (2, 3), (3, 4))]
    yield from named(name, FEW, orders)
    yield from named(name, (1,))
    yield from named(name, (25,), orders, strength={"tau": 0.0})
    yield from named(name, (5, 25), orders[1:], strength={"tau": 0.6}, algorithm_type="noise_prediction")
    yield from named(name, (5, 25), orders[1:3], strength={"tau": 1.0})
    yield from named(name, (5,), orders[1:4], lower_order_final=False)
    yield from named(name, (5, 25), orders[1:3], use_karras_sigmas=True)
    yield from named(name, (5,), option("prediction_type", "v_prediction", "sample"))
    yield from named(name, (5,), **DYNAMIC)
    yield from named(name, (5,), **FLOW)


def first_cases():
    clips = [
        {"clip_sample": True, "clip_sample_range": 0.7},
        {"clip_sample": False, **DYNAMIC},
    ]
    spacings = option("timestep_spacing", "linspace", "trailing")
    plain = {"clip_sample": False}
    for eta in (0.0, 0.5, 1.0):
        yield from named("DDIM", (1, 5, 25), steps_offset=1, strength={"eta": eta}, **plain)
    yield from named("DDIM", (5,), clips, strength={"eta": 0.5})
    yield from named("DDIM", (5,), option("prediction_type", "v_prediction", "sample"), set_alpha_to_one=False, **plain)
    yield from named("DDIM", (5, 7), spacings, strength={"eta": 0.5}, **plain)
    yield from named("DDIM", (5,), **ZERO, **plain)
    for name in ("DDPM", "LCM", "TCD"):
        yield from named(name, (4,), **ZERO, **plain, strength={"eta": 0.0} if name == "TCD" else None)
    kinds = option("variance_type", "fixed_small", "fixed_small_log", "fixed_large")
    yield from named("DDPM", (2, 5), kinds, **plain)
    yield from named("DDPM", (1, 5, 25), kinds[::2], timestep_spacing="trailing", **plain)
    yield from named("DDPM", (5,), clips)
    yield from named("DDPM", (5,), option("prediction_type", "v_prediction", "sample"), **plain)
    predictions = option("prediction_type", "epsilon", "v_prediction")
    yield from named("PNDM", SOME, predictions, skip_prk_steps=True, steps_offset=1)
    yield from named("PNDM", (5, 7, 25), predictions, skip_prk_steps=False)
    yield from named("PNDM", (7,), spacings, option("skip_prk_steps", True, False), set_alpha_to_one=True)
    yield from named("IPNDM", SOME)


def distilled_cases():
    counts = (1, 2, 4, 8)
    yield from named("LCM", counts, option("timestep_scaling", 10.0, 0.003))
    yield from named("LCM", (4,), [{"clip_sample": True, "clip_sample_range": 0.7}])
    yield from named("LCM", (4,), option("prediction_type", "v_prediction", "sample"))
    for eta in (0.0, 0.3, 1.0):
        yield from named("TCD", counts, strength={"eta": eta})
    yield from named("TCD", (4,), option("prediction_type", "v_prediction", "sample"), strength={"eta": 0.3})


def older_cases():
    """Classes whose samplers are those of k-diffusion."""
    predictions = option("prediction_type", "epsilon", "v_prediction")
    for name in ("HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "LMSDiscrete", "DPMSolverSDE"):
        yield from named(name, (2, 7), predictions)
    yield from named("HeunDiscrete", (5,), clip_sample=True, clip_sample_range=0.7)
    yield from named("FlowMatchEulerDiscrete", (5,), option("stochastic_sampling", False, True), shift=3.0)
    yield from named("FlowMatchHeunDiscrete", (5,), shift=3.0)
    yield from named("EDMEuler", (5,))


def solvers():
    grids, results = [], []
    cases = (dpm_cases, unipc_cases, sa_cases, first_cases, distilled_cases, older_cases)
    for name, steps, options, strength in itertools.chain.from_iterable(cases() for cases in cases):
        subject, final = solve(name, steps, options, strength)
        if not torch.isfinite(final).all():
            raise ValueError(f"{name} {options} {steps}: not finite")
        grid = subject.grid()
        if grid not in grids:
            grids.append(grid)
        changed = {**subject.transitions(options), **strength}
        final = [float(f"{value:.8g}") for value in final.flatten()[SHOWN].tolist()]
        results.append({"class": name, "grid": grids.index(grid), "options": options, **changed, "final": final})
    about = {"defaults": SD, "bend": BEND, "shape": list(SHAPE), "shown": SHOWN, "highest": HIGHEST}
    return {"about": about, "grids": grids, "results": results}
