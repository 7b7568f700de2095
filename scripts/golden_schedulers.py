"""Which timesteps and noise levels do diffusers' scheduler classes choose, for every option of every class?

For `golden.py diffusers_schedulers`. One option is varied at a time, with those that it needs to have an effect, then
the configurations that well-known models bring are moved to every class with `from_config`. Equal lists are written
once; of lists longer than 8 numbers, the sum and 5 of them.
"""

import inspect
import logging
import math
import warnings

import diffusers
import numpy as np
import torch

STEPS = [1, 2, 5, 20, 50]
TOKENS = 1024  # the length of the sequence that a picture is, for dynamic shifting
HUGE = 1e10  # stands for the level where no signal is left
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
# each entry: what is varied, and what it needs beside it
SPACINGS = ("leading", "linspace", "trailing")
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
TRAINED = [float(f"{beta:.4g}") for beta in torch.linspace(0.002, 0.12, 64).tolist()]
VARIED = {
    "num_train_timesteps": [{"num_train_timesteps": 500}],
    "beta_start": [{"beta_start": 0.0001}],
    "beta_end": [{"beta_end": 0.02}],
    "beta_schedule": [{"beta_schedule": kind} for kind in ("linear", "squaredcos_cap_v2")],
    "trained_betas": [{"trained_betas": TRAINED, "num_train_timesteps": len(TRAINED)}],
    "interpolation_type": [{"interpolation_type": "log_linear"}],
    "use_karras_sigmas": [{"use_karras_sigmas": True}],
    "use_exponential_sigmas": [{"use_exponential_sigmas": True}],
    "use_beta_sigmas": [{"use_beta_sigmas": True}],
    "use_lu_lambdas": [{"use_lu_lambdas": True}],
    "use_flow_sigmas": [FLOW, {**FLOW, "use_karras_sigmas": True}],
    "flow_shift": [{"flow_shift": 3.0, **FLOW}],
    "sigma_min": [{"sigma_min": 0.1, kind: True} for kind in ("use_karras_sigmas", "use_beta_sigmas")],
    "sigma_max": [{"sigma_max": 5.0, kind: True} for kind in ("use_karras_sigmas", "use_exponential_sigmas")],
    "timestep_spacing": [{"timestep_spacing": spacing} for spacing in SPACINGS],
    "steps_offset": [{"steps_offset": 1, "timestep_spacing": "leading"}],
    "timestep_type": [{"timestep_type": "continuous", "prediction_type": "v_prediction"}],
    "rescale_betas_zero_snr": [{**ZERO, "timestep_spacing": spacing} for spacing in ("leading", "trailing")],
    "final_sigmas_type": [{"final_sigmas_type": "sigma_min", "use_karras_sigmas": on} for on in (False, True)],
    "lambda_min_clipped": [{"lambda_min_clipped": -2.0, "timestep_spacing": spacing} for spacing in SPACINGS],
    "set_alpha_to_one": [{"set_alpha_to_one": on} for on in (True, False)],
    "skip_prk_steps": [
        {"skip_prk_steps": True},
        {"skip_prk_steps": False},
        {"skip_prk_steps": True, "timestep_spacing": "linspace"},
    ],
    "original_inference_steps": [{"original_inference_steps": 100}],
    "shift": [{"shift": 3.0}, {"shift": 3.0, "use_karras_sigmas": True}],
    "use_dynamic_shifting": [{"use_dynamic_shifting": True, **FLOW}],
    "time_shift_type": [{"time_shift_type": "linear", "use_dynamic_shifting": True, **FLOW}],
    "base_shift": [{"base_shift": 0.7, "use_dynamic_shifting": True}],
    "max_shift": [{"max_shift": 1.5, "use_dynamic_shifting": True}],
    "base_image_seq_len": [{"base_image_seq_len": 512, "use_dynamic_shifting": True}],
    "max_image_seq_len": [{"max_image_seq_len": 2048, "use_dynamic_shifting": True}],
    "shift_terminal": [{"shift_terminal": 0.1, **FLOW}, {"shift_terminal": 0.02, "use_dynamic_shifting": True, **FLOW}],
}
# these leave the levels alone: one number of steps is enough
STEADY = {
    "prediction_type": ["epsilon", "v_prediction", "sample"],
    "solver_order": [1, 3],
    "algorithm_type": [
        *("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"),
        *("deis", "data_prediction", "noise_prediction"),
    ],
    "solver_type": ["midpoint", "heun", "bh1", "bh2", "logrho"],
    "lower_order_final": [False],
    "euler_at_final": [True],
    "thresholding": [True],
    "dynamic_thresholding_ratio": [0.9],
    "sample_max_value": [2.0],
    "clip_sample": [True],
    "clip_sample_range": [2.0],
    "variance_type": ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"],
    "timestep_scaling": [5.0],
    "predict_x0": [False],
    "disable_corrector": [[0, 1]],
    "predictor_order": [3],
    "corrector_order": [1],
    "noise_sampler_seed": [7],
    "stochastic_sampling": [True],
}
KINDS = ["exp", "laplace", "sigmoid"]  # beta schedules of few classes
CLASSES = [
    *("EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete", "KDPM2Discrete"),
    *("KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep", "DPMSolverSDE", "UniPCMultistep"),
    *("DEISMultistep", "SASolver", "DDIM", "DDPM", "PNDM", "IPNDM", "LCM", "TCD", "FlowMatchEulerDiscrete"),
    "FlowMatchHeunDiscrete",
]
TWICE = ("HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE", "FlowMatchHeunDiscrete")


def fields(name):
    """The options of a class and their defaults."""
    known = inspect.signature(getattr(diffusers, f"{name}Scheduler").__init__).parameters
    return {key: parameter.default for key, parameter in known.items() if key != "self"}


def cases(name):
    """(option that is varied, options) of a class; the first varies nothing."""
    known = fields(name)
    plain = {key: value for key, value in SD.items() if key in known}
    yield "betas", {}
    yield "nothing", plain
    for field, variants in VARIED.items():
        extra = [{"beta_schedule": kind} for kind in KINDS] if field == "beta_schedule" else []
        for options in [*variants, *extra] if field in known else []:
            kept = {key: value for key, value in options.items() if key in known}
            if kept != {} and (name, field) != ("IPNDM", "trained_betas"):
                yield field, {**plain, **kept}
    for field, values in STEADY.items():
        for value in values if field in known else []:
            yield field, {**plain, field: value}


def shift(config):
    """`mu` of the pipelines of SD 3 and Flux for a picture of `TOKENS`."""
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    slope = (config.get("max_shift", 1.15) - config.get("base_shift", 0.5)) / (high - low)
    return TOKENS * slope + config.get("base_shift", 0.5) - slope * low


def ratios(alphas):
    """Noise against signal; where no signal is left, `HUGE`."""
    return [math.sqrt((1 - a) / a) if a > 0 else HUGE for a in alphas.double().tolist()]


def levels(name, scheduler, n):
    """The noise levels of a run, each once, the end included."""
    if name == "IPNDM":
        pairs = zip(scheduler.betas.tolist(), scheduler.alphas.tolist())
        return [beta / alpha if alpha > 1e-6 else HUGE for beta, alpha in pairs]
    if not hasattr(scheduler, "sigmas"):
        timesteps = scheduler._timesteps[::-1].tolist() if name == "PNDM" else scheduler.timesteps.tolist()
        own = ratios(scheduler.alphas_cumprod[[int(t) for t in timesteps]])
        if name in ("DDPM", "LCM"):
            return [*own, 0.0]
        last = int(timesteps[-1]) - scheduler.config.num_train_timesteps // n
        if name == "TCD":
            last = 0
        end = scheduler.alphas_cumprod[last] if last >= 0 else scheduler.final_alpha_cumprod
        return own + ratios(torch.as_tensor([float(end)]))
    sigmas = scheduler.sigmas.double().tolist()
    if name == "EulerDiscrete":
        sigmas = sigmas[: len(scheduler.timesteps) + 1]  # of log-linear levels, the last is not reached
    # two classes end in more zeros than they use
    return [sigmas[0], *sigmas[1:-1:2], sigmas[-1]][: n + 1] if name in TWICE else sigmas


def timesteps(name, scheduler, n):
    """The timesteps of a run.

    KDPM2AncestralDiscrete computes those of its second halves from differences in 32 bits, which keep few digits, and
    not the same ones on every machine; these are its formulas in 64 bits, by which a second half is at the next level.
    """
    own = scheduler.timesteps.double().tolist()
    if name == "KDPM2AncestralDiscrete":
        logs = scheduler.log_sigmas.numpy()
        own[1:-1:2] = [float(scheduler._sigma_to_t(np.float64(s), logs)) for s in levels(name, scheduler, n)[1:-1]]
    return own


def run(scheduler):
    """The final number of a run on one pixel: whether the class can do it at all."""
    if hasattr(scheduler, "set_begin_index"):
        # as the pipelines of SDXL, SD 3 and Flux do; else a first timestep that occurs twice ends the run
        scheduler.set_begin_index(0)
    x = torch.full((1, 1, 1, 1), 0.3) * float(getattr(scheduler, "init_noise_sigma", 1))
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, timestep)
        x = scheduler.step(0.5 * torch.tanh(x) + 0.1, timestep, x).prev_sample
    return x.item()


class Lists:
    """Every list once."""

    def __init__(self):
        self.known = {}

    def number(self, values):
        short = lambda value: float(f"{value:.8g}")
        kept = [short(value) for value in values]
        if len(values) > 8:
            places = [round(i * (len(values) - 1) / 4) for i in range(5)]
            kept = [len(values), short(math.fsum(values)), *[kept[place] for place in places]]
            return self.known.setdefault(("s", *kept), len(self.known))
        return self.known.setdefault(("w", *kept), len(self.known))

    def table(self):
        return {str(i): {"sampled" if key[0] == "s" else "whole": list(key[1:])} for key, i in self.known.items()}


def look(name, make, n, lists):
    """[steps, number of its levels, number of its timesteps, init_noise_sigma], or what went wrong."""
    try:
        scheduler = make()
        if getattr(scheduler.config, "use_dynamic_shifting", False):
            scheduler.set_timesteps(n, mu=shift(scheduler.config))
        else:
            scheduler.set_timesteps(n)
        if not math.isfinite(run(scheduler)):
            return [n, "not finite"]
        start = float(getattr(scheduler, "init_noise_sigma", 1.0))
        entry = [lists.number(levels(name, scheduler, n)), lists.number(timesteps(name, scheduler, n))]
        return [n, *entry, float(f"{start:.8g}")]
    except Exception as error:  # noqa: BLE001 - whatever diffusers raises is a result
        return [n, type(error).__name__]


CONFIGS = {
    "SD 1.5": {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        **SD,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    },
    "SD 1.4, as first published": {"_class_name": "DDIMScheduler", **SD, "num_train_timesteps": 1000},
    "SD 2.1": {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": "0.8.0",
        **SD,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    },
    "SDXL": {
        "_class_name": "EulerDiscreteScheduler",
        "_diffusers_version": "0.19.0.dev0",
        **SD,
        "clip_sample": False,
        "interpolation_type": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "sample_max_value": 1.0,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "trained_betas": None,
        "use_karras_sigmas": False,
    },
    "SDXL-Turbo": {
        "_class_name": "EulerAncestralDiscreteScheduler",
        **SD,
        "clip_sample": False,
        "interpolation_type": "linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "sample_max_value": 1.0,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "trailing",
        "trained_betas": None,
    },
    "LCM": {
        "_class_name": "LCMScheduler",
        **SD,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "original_inference_steps": 50,
        "prediction_type": "epsilon",
        "rescale_betas_zero_snr": False,
        "set_alpha_to_one": True,
        "steps_offset": 1,
        "timestep_scaling": 10.0,
        "timestep_spacing": "leading",
    },
    "Playground v2.5, for DPM-Solver": {
        "_class_name": "DPMSolverMultistepScheduler",
        **SD,
        "algorithm_type": "dpmsolver++",
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "solver_order": 2,
        "solver_type": "heun",
        "use_karras_sigmas": True,
        "timestep_spacing": "leading",
        "steps_offset": 1,
    },
    "SD 3": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    "Flux": {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": 3.0,
        "use_dynamic_shifting": True,
    },
}
FLOW_CLASSES = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep", "SASolver")


def pipeline(config):
    """The scheduler of a model as its pipeline holds it: that of SD 1 and 2 corrects old files."""
    scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor"))
    diffusers.StableDiffusionPipeline(**parts, scheduler=scheduler, requires_safety_checker=False)
    return scheduler


def moved(lists):
    """Every model's configuration given to every class that suits it."""
    for model, config in CONFIGS.items():
        flow = "FlowMatch" in config["_class_name"]
        own = config["_class_name"].removesuffix("Scheduler")
        runs = [look(own, lambda c=config: pipeline(c), n, lists) for n in (4, 20)]
        yield {"config": model, "class": own, "own": True, "runs": runs}
        for name in CLASSES:
            kind = getattr(diffusers, f"{name}Scheduler")
            more = {**FLOW, "flow_shift": config.get("shift", 1.0)} if name in FLOW_CLASSES and flow else {}
            if name != "IPNDM" and flow == ("FlowMatch" in name or bool(more)):
                make = lambda: kind.from_config(pipeline(config).config, **more)
                runs = [look(name, make, n, lists) for n in (4, 20)]
                yield {"config": model, "class": name, "own": False, "runs": runs}


def plain(value):
    return None if value is inspect.Parameter.empty or value == -math.inf else value


def schedulers():
    """The content of the golden file."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    lists, results, classes = Lists(), [], []
    for name in CLASSES:
        kind = getattr(diffusers, f"{name}Scheduler")
        classes.append({"class": name, "fields": {key: plain(v) for key, v in fields(name).items()}})
        for field, options in cases(name):
            steps = [5] if field in STEADY else STEPS
            runs = [look(name, lambda: kind(**options), n, lists) for n in steps]
            if all(isinstance(found, str) for _, found, *_ in runs):
                runs = runs[-1:]  # never possible
            shown = {key: value for key, value in options.items() if key not in SD or value != SD[key]}
            if "trained_betas" in shown:
                shown["trained_betas"] = "trained"
            results.append({"class": name, "varied": field, "options": shown, "runs": runs})
    about = {
        "betas": SD,
        "options": "beside these betas, where the class has them and something else than `betas` is varied",
        "runs": "[steps, its list of levels, its list of timesteps, init_noise_sigma] or [steps, what went wrong]",
        "levels": f"each once, the end included, as sqrt((1 - a) / a) of alphas_cumprod; {HUGE:g} where a is 0",
        "timesteps": "in the order in which the network is asked",
        "lists": "whole, or sampled: length, sum, the numbers at 0, 1/4, 1/2, 3/4 and the end",
        "tokens": TOKENS,
        "trained_betas": TRAINED,
    }
    configs = [{"name": name, "file": file} for name, file in CONFIGS.items()]
    others = list(moved(lists))
    content = {"about": about, "classes": classes, "configs": configs, "results": results, "moved": others}
    return {**content, "lists": lists.table()}
