"""Where do samplers end on a denoiser that can be written down? For `golden.py samplers`.

k-diffusion runs what it has; the rest is in `golden_formulas.py`. Everything is in float64.
"""

import math
from functools import partial

import golden_formulas as formulas
import torch
from golden_formulas import SHAPE, Exploding, Flow, Model, ramp
from golden_schedules import discrete, makers

STEPS = 25
KEPT = [0, 13, 26, 39, 52, 65]  # the places whose final values are written, in both images
CHURN = {"s_churn": 10.0, "s_tmin": 0.1, "s_tmax": 10.0, "s_noise": 1.01}

OWN = ["euler_cfg_pp", "euler_ancestral_cfg_pp", "res_multistep", "res_multistep_ancestral", "er_sde"]
OWN += ["ipndm", "ipndm_v", "heunpp2", "gradient_estimation", "restart", "lcm"]
OWN += ["seeds_2", "seeds_3", "exp_heun_2_x0", "exp_heun_2_x0_sde", "res_2s"]
OWN = {name: getattr(formulas, name) for name in OWN}
NOT_OF_FLOWS = ["res_multistep", "res_multistep_ancestral", "restart", "exp_heun_2_x0"]
OF_FLOWS = {
    "euler_ancestral": formulas.ancestral,
    "dpm_2_ancestral": partial(formulas.ancestral, middle=formulas.log_middle),
    "dpmpp_2s_ancestral": partial(formulas.ancestral, middle=formulas.ratio_middle),
    "dpmpp_sde": formulas.dpmpp_sde,
    "dpmpp_2m_sde": formulas.multistep_sde,
    "dpmpp_2m_sde_heun": partial(formulas.multistep_sde, solver_type="heun"),
    "dpmpp_3m_sde": partial(formulas.multistep_sde, order=3),
    **{name: run for name, run in OWN.items() if name not in NOT_OF_FLOWS},
}
CHURNING = ["euler", "heun", "dpm_2"]
PLAIN = [*CHURNING, "lms", "dpmpp_2m"]
NOISY = ["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"]
SLOPES = ["euler", "heun", "dpm_2", "lms", "dpm_fast", "dpm_adaptive"]  # the same for both processes without noise


def counted_noise():
    """Draw k, counted in the order of the calls."""
    calls = iter(range(10_000))
    return lambda *_: (lambda k: ramp(lambda i: math.sin(1 + 7.13 * k + 0.61 * i)))(next(calls))


def asked_levels(sampling, name, sigmas):
    """Between which levels a sampler of k-diffusion asks for noise, in the order of its calls."""
    asked, options = [], {"solver_type": "heun"} if name.endswith("heun") else {}

    def noise(start, end):
        asked.append([float(f"{float(sigma):.12g}") for sigma in (start, end)])
        return torch.zeros(SHAPE)

    run = getattr(sampling, f"sample_{name.removesuffix('_heun')}")
    run(Model(Exploding), torch.zeros(SHAPE), torch.tensor(sigmas), disable=True, noise_sampler=noise, **options)
    return asked


def of_k_diffusion(sampling, name, process, x, sigmas, options):
    """A run of the package's own sampler; those that churn draw their noise from torch."""
    levels = torch.tensor(sigmas)
    noise, model = counted_noise(), Model(process)
    options = {"disable": True, **options}
    if name == "dpmpp_2m_sde_heun":
        name, options = "dpmpp_2m_sde", {"solver_type": "heun", **options}
    if name in ("dpm_fast", "dpm_adaptive"):
        count = {"n": len(sigmas) - 1} if name == "dpm_fast" else {}
        run = getattr(sampling, f"sample_{name}")
        return run(model, x, float(levels[levels > 0].min()), sigmas[0], noise_sampler=noise, **count, **options)
    if name in PLAIN:
        randn_like, torch.randn_like = torch.randn_like, noise
        try:
            return getattr(sampling, f"sample_{name}")(model, x, levels, **options)
        finally:
            torch.randn_like = randn_like
    return getattr(sampling, f"sample_{name}")(model, x, levels, noise_sampler=noise, **options)


def cases(names):
    """(sampler, schedule, options): every sampler on every schedule, then options, then rectified flow."""
    package = [*PLAIN, *NOISY, "dpmpp_2m_sde_heun"]
    for name in [*package, "dpm_fast", "dpm_adaptive", *OWN]:
        for schedule in names:
            yield name, schedule, {"eta": 1.0} if name in ("dpm_fast", "dpm_adaptive") else {}
    for name in [*NOISY, "dpmpp_2m_sde_heun", "dpm_fast", "dpm_adaptive"]:
        yield name, "karras", {"eta": 0.0}
        yield name, "karras", {"eta": 0.6, "s_noise": 0.9}
    for name in ["euler_ancestral_cfg_pp", "res_multistep_ancestral", "seeds_2", "seeds_3"]:
        yield name, "karras", {"eta": 0.6, "s_noise": 0.9}
    for name in ["er_sde", "restart"]:
        yield name, "karras", {"s_noise": 0.9}
    for name in [*CHURNING, "heunpp2"]:
        yield name, "karras", {"s_churn": 40.0}
        yield name, "karras", CHURN
    for steps in (2, 3, 4, 19, 40):
        for name in ["restart", "dpm_fast", "ipndm_v", "er_sde", "heunpp2"]:
            yield name, f"karras {steps}", {"eta": 0.5} if name == "dpm_fast" else {}
    yield "ddim_cfgpp", "ddim_uniform", {"eta": 0.0}
    yield "ddim_cfgpp", "ddim_uniform", {"eta": 0.7}
    for name in OF_FLOWS:
        yield name, "flow", {}
    for name in SLOPES:
        yield name, "flow", {"eta": 0.0} if name.startswith("dpm_") and name != "dpm_2" else {}
    for name in NOISY:
        yield name, "flow", {"eta": 0.6, "s_noise": 0.9}


def run(sampling, name, schedule, sigmas, options):
    process = Flow if schedule == "flow" else Exploding
    x = ramp(lambda i: math.sin(0.5 + 1.7 * i)) * sigmas[0]
    own = {**OWN, "ddim_cfgpp": formulas.euler_ancestral_cfg_pp}
    if process is Flow and name in OF_FLOWS:
        own = OF_FLOWS
    if name in own:
        return own[name](Model(process), x, sigmas, counted_noise(), **options)
    return of_k_diffusion(sampling, name, process, x, sigmas, options)


def samplers():
    from golden import k_diffusion, write

    sampling, external = k_diffusion()
    torch.set_default_dtype(torch.float64)
    table = discrete(external)
    kinds = makers(sampling, table, float(table.sigma_min), float(table.sigma_max))
    kinds = {name: make for name, make in kinds.items() if name != "uniform"}  # `normal` by its other name
    levels = {name: make(STEPS) + ([] if name == "kl_optimal" else [0.0]) for name, make in kinds.items()}
    levels.update({f"karras {n}": kinds["karras"](n) + [0.0] for n in (2, 3, 4, 19, 40)})
    levels["flow"] = [3 * t / (1 + 2 * t) for t in (0.98 * (1 - k / STEPS) for k in range(STEPS + 1))]
    results = []
    for name, schedule, options in cases(kinds):
        final = run(sampling, name, schedule, levels[schedule], options).flatten()[KEPT]
        numbers = [float(f"{value:.7g}") for value in final.tolist()]
        results.append({"sampler": name, "schedule": schedule, **options, "final": numbers})
    brownian = ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"]
    asked = [{"sampler": name, "asked": asked_levels(sampling, name, levels["karras 4"])} for name in brownian]
    torch.set_default_dtype(torch.float32)
    about = {
        "denoiser": "mu + 0.25 a / (0.25 a^2 + s^2) (x - a mu) + 0.1 sin(3 x / sqrt(a^2 + s^2)), a the alpha of s",
        "negative": "that of CFG++: the above less 0.2 r^2 / (0.25 + r^2) sin(0.37 i), r = s / a",
        "start": "x_i = sin(0.5 + 1.7 i) * sigmas[0]; mu_i = cos(0.37 i)",
        "noise": "draw k, from 0, counted in the order of the calls: sin(1 + 7.13 k + 0.61 i)",
        "schedule": f"that of schedules.json, {STEPS} steps or as many as it says; flow: 3 t / (1 + 2 t) from t 0.98",
        "eta": "1 where none is given",
        "noise_levels": "between which levels noise is asked for, schedule karras 4",
    }
    flow = [float(f"{sigma:.12g}") for sigma in levels["flow"]]
    file = {"about": about, "shape": SHAPE, "indices": KEPT, "flow": flow, "noise_levels": asked, "results": results}
    write("samplers.json", file)
