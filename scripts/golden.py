"""Which numbers must petal's samplers, schedules, noise, tokens and pictures agree with?

    python scripts/golden.py            writes tests/golden/*.json
    python scripts/golden.py samplers   writes one of them; also schedules, diffusers_schedulers,
                                        diffusers_runs, betas, noise, tokens
    python scripts/golden.py pictures   draws tests/images/*.png with diffusers and the models of tiny_models.py

Everything comes from k-diffusion, diffusers, transformers or torch; what they lack (LCM, the schedules that are
ComfyUI's) is written out here from its formula. Every file begins with the versions that made it.
"""

import argparse
import functools
import json
import math
import sys
import types
from importlib import metadata, util
from pathlib import Path

import diffusers
import torch

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
GOLDEN, IMAGES = ROOT / "tests" / "golden", ROOT / "tests" / "images"
PACKAGES = ["torch", "numpy", "k-diffusion", "diffusers", "transformers", "tokenizers", "scipy", "pillow"]
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COUNTS = [1, 2, 5, 20]


def write(name, content, folder=GOLDEN):
    """One value per line at the second level, so that a changed number is a changed line."""
    versions = {package: metadata.version(package) for package in PACKAGES}
    made_by = {"script": "scripts/golden.py", "python": sys.version.split()[0], **versions}
    lines = [f"{json.dumps(key)}: {pretty(value)}" for key, value in {"made_by": made_by, **content}.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {(folder / name).relative_to(ROOT)}, {(folder / name).stat().st_size} bytes", flush=True)


def pretty(value):
    dump = functools.partial(json.dumps, allow_nan=False)
    if isinstance(value, dict):
        inner = [f"  {dump(key)}: {dump(item)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + "\n}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join("  " + dump(item) for item in value) + "\n]"
    return dump(value)


def floats(tensor):
    """As many digits as the type holds: 9 for float32, 17 for float64."""
    digits = 9 if tensor.dtype == torch.float32 else 17
    return [float(f"{value:.{digits}g}") for value in tensor.flatten().tolist()]


@functools.cache
def k_diffusion():
    """k-diffusion's `sampling` and `external` alone: its `__init__` imports training code and torchvision."""
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(util.find_spec("k_diffusion").submodule_search_locations)
    stubs = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms")}
    stubs["torchvision.transforms"].functional = None
    sys.modules.update({"k_diffusion": package, **stubs})
    from k_diffusion import external, sampling

    for name in stubs:
        del sys.modules[name]
    return sampling, external


# ---------------------------------------------------------------------------------------------- samplers

PLAIN = ["euler", "heun", "dpm_2", "lms", "dpmpp_2m"]
NOISY = ["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "lcm"]
SHAPE = [2, 4, 3, 3]
VARIANCE = 0.25


def sample_lcm(model, x, sigmas, noise_sampler, disable=True):
    """Latent Consistency Models, Luo et al. 2023, algorithm 3: denoise fully, then add noise for the next level."""
    for sigma, sigma_next in zip(sigmas, sigmas[1:]):
        denoised = model(x, sigma * x.new_ones([x.shape[0]]))
        x = denoised if sigma_next == 0 else denoised + sigma_next * noise_sampler(sigma, sigma_next)
    return x


def samplers():
    """Final values on data ~ N(mu, 0.25), for which the perfect denoiser is known in closed form."""
    sampling, _ = k_diffusion()
    torch.set_default_dtype(torch.float64)
    index = torch.arange(math.prod(SHAPE), dtype=torch.float64).view(SHAPE)
    mu = torch.cos(0.37 * index)
    model = lambda x, s: mu + VARIANCE / (VARIANCE + s.view(-1, 1, 1, 1) ** 2) * (x - mu)
    grids = {
        "karras": sampling.get_sigmas_karras(12, 0.03, 14.6),
        "exponential": sampling.get_sigmas_exponential(12, 0.03, 14.6),
    }
    results = []
    for grid, sigmas in grids.items():
        x = torch.sin(0.5 + 1.7 * index) * sigmas[0]
        for name in PLAIN + NOISY:
            calls = [0]

            def noise(*_):
                calls[0] += 1
                return torch.sin(1 + 7.13 * (calls[0] - 1) + 0.61 * index)

            run = sample_lcm if name == "lcm" else getattr(sampling, f"sample_{name}")
            final = run(model, x, sigmas, disable=True, **({"noise_sampler": noise} if name in NOISY else {}))
            results.append({"sampler": name, "schedule": grid, "noise_draws": calls[0], "final": floats(final)})
    torch.set_default_dtype(torch.float32)
    about = {
        "denoiser": "D(x, s) = mu + 0.25 / (0.25 + s^2) (x - mu), mu_i = cos(0.37 i)",
        "start": "x_i = sin(0.5 + 1.7 i) * sigmas[0]",
        "noise": "draw k, from 0, counted in the order of the calls: sin(1 + 7.13 k + 0.61 i)",
        "options": "eta = 1, s_noise = 1, s_churn = 0, dpmpp_sde r = 1/2, dpmpp_2m_sde midpoint, lms order 4; float64",
    }
    sigmas = {name: floats(values) for name, values in grids.items()}
    write("samplers.json", {"about": about, "shape": SHAPE, "sigmas": sigmas, "results": results})


# ---------------------------------------------------------------------------------------------- schedules


def sd_sigmas():
    """SD 1's 1000 noise levels, float64: betas = linspace(sqrt(.00085), sqrt(.012))^2."""
    betas = torch.linspace(SD["beta_start"] ** 0.5, SD["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    return ((1 - alphas) / alphas).sqrt()


def schedules():
    """Noise levels from high to low, then 0, over SD 1's table."""
    sampling, external = k_diffusion()

    class Table(external.DiscreteSchedule):
        def t_to_sigma(self, t):  # as in k-diffusion, without its rounding of t to float32
            low, high, w = t.floor().long(), t.ceil().long(), t.frac()
            return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()

    torch.set_default_dtype(torch.float64)
    table = Table(sd_sigmas(), quantize=False)
    low, high = float(table.sigma_min), float(table.sigma_max)
    makers = {
        "normal": table.get_sigmas,
        "karras": lambda n: sampling.get_sigmas_karras(n, low, high),
        "exponential": lambda n: sampling.get_sigmas_exponential(n, low, high),
        "sgm_uniform": lambda n: sampling.append_zero(table.t_to_sigma(torch.linspace(999, 0, n + 1)[:-1])),
        "simple": lambda n: sampling.append_zero(table.sigmas[[-(1 + int(i * 1000 / n)) for i in range(n)]]),
    }
    results = [
        {"schedule": name, "n": n, "sigmas": floats(make(n))} for name, make in makers.items() for n in COUNTS
    ]
    torch.set_default_dtype(torch.float32)
    about = {
        "table": "betas = linspace(sqrt(.00085), sqrt(.012), 1000)^2, sigma = sqrt((1 - cumprod(1 - beta)) / cumprod)",
        "normal": "linspace(999, 0, n), mapped to sigma by linear interpolation of log sigma (k-diffusion get_sigmas)",
        "karras": "rho 7, from the table's ends (k-diffusion)",
        "exponential": "uniform in log sigma, from the table's ends (k-diffusion)",
        "sgm_uniform": "linspace(999, 0, n + 1) without its last, mapped as in normal (ComfyUI's meaning)",
        "simple": "entries -(1 + int(i * 1000 / n)) of the table (ComfyUI's meaning)",
    }
    ends = {"sigma_min": low, "sigma_max": high}
    write("schedules.json", {"about": about, **ends, "results": results})


def betas():
    """Entries of alphas_cumprod as diffusers computes them (float32)."""
    places = [0, 1, 2, 10, 100, 250, 499, 500, 750, 900, 997, 998, 999]
    kinds = {
        "linear": {"beta_start": 0.0001, "beta_end": 0.02},
        "scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012},
        "squaredcos_cap_v2": {},
    }
    results = []
    for kind, ends in kinds.items():
        scheduler = diffusers.DDIMScheduler(beta_schedule=kind, **ends)
        entry = {"beta_schedule": kind, **ends, "alphas_cumprod": floats(scheduler.alphas_cumprod[places])}
        results.append({**entry, "betas": floats(scheduler.betas[places])})
    write("betas.json", {"indices": places, "results": results})


def scheduler_cases():
    """(class, options): every spacing, Karras on and off where the class has it."""
    karras = ["EulerDiscrete", "HeunDiscrete", "DPMSolverMultistep", "LMSDiscrete"]
    for name in [*karras, "EulerAncestralDiscrete", "DDIM", "PNDM"]:
        extra = {"skip_prk_steps": True} if name == "PNDM" else {}
        if name in ("DDIM", "PNDM"):
            extra["set_alpha_to_one"] = False
        for spacing in ("leading", "linspace", "trailing"):
            options = {**SD, **extra, "timestep_spacing": spacing, "steps_offset": 1}
            yield name, options
            if name in karras:
                yield name, {**options, "use_karras_sigmas": True}
            if name == "EulerDiscrete":
                yield name, {**options, "use_exponential_sigmas": True}


def diffusers_schedulers():
    """Timesteps and sigmas after set_timesteps(n)."""
    results = []
    for name, options in scheduler_cases():
        for n in [*COUNTS, 50]:
            scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
            changed = {key: value for key, value in options.items() if key not in SD and key != "steps_offset"}
            entry = {"class": f"{name}Scheduler", "options": changed, "n": n}
            try:
                scheduler.set_timesteps(n)
            except (ValueError, IndexError, ZeroDivisionError) as error:
                results.append({**entry, "error": f"{type(error).__name__}: {error}"})
                continue
            entry["timesteps"] = [float(f"{t:.9g}") for t in scheduler.timesteps.tolist()]
            if name in ("DDIM", "PNDM"):
                alphas = scheduler.alphas_cumprod[[min(int(t), 999) for t in scheduler.timesteps]]
                entry["alphas_cumprod"] = floats(alphas)
                entry["sigmas"] = floats(((1 - alphas) / alphas).sqrt())
                entry["final_alpha_cumprod"] = floats(torch.as_tensor(scheduler.final_alpha_cumprod))[0]
            else:
                entry["sigmas"] = floats(scheduler.sigmas)
                entry["init_noise_sigma"] = floats(torch.as_tensor(scheduler.init_noise_sigma))[0]
            results.append(entry)
    about = {
        "betas": SD,
        "steps_offset": 1,
        "sigmas": "the scheduler's own list; DDIM and PNDM: sqrt((1 - a) / a) of each timestep (of 999 for 1000)",
    }
    write("diffusers_schedulers.json", {"about": about, "results": results})


# ---------------------------------------------------------------------------------------------- noise and tokens


def noise():
    """torch.randn of a CPU generator; from 16 values on torch uses another algorithm than below."""
    results = []
    for seed in (0, 1, 42, 2**32 - 1, 1234567890123):
        for size in (1, 5, 15, 16, 17, 31, 64, 1000):
            values = floats(torch.randn(size, generator=torch.Generator().manual_seed(seed)))
            kept = {"values": values} if size <= 64 else {"first": values[:8], "last": values[-8:]}
            results.append({"seed": seed, "size": size, **kept})
    sequences = []
    for seed, shapes in ((7, [[1, 4, 3, 3], [1, 4, 3, 3]]), (7, [[5], [16], [3], [17]])):
        generator = torch.Generator().manual_seed(seed)
        draws = [{"shape": shape, "values": floats(torch.randn(shape, generator=generator))} for shape in shapes]
        sequences.append({"seed": seed, "draws": draws})
    write("noise.json", {"results": results, "sequences": sequences})


def texts():
    """Strings that tokenizers stumble over, long ones, and a grid of plain prompts."""
    out = json.loads((SCRIPTS / "golden_texts.json").read_text(encoding="utf-8"))
    out += ["dog " * 100, "x" * 500, "\U0001f436" * 60, " ".join(str(n) for n in range(60)), "caf\u00e9 " * 50]
    subjects = ["a dog", "a cat", "an astronaut", "the quick brown fox", "a small yellow bird"]
    places = ["in space", "on the moon", "by the river", "in the snow"]
    styles = ["oil painting", "watercolour, night", "photograph, studio lighting"]
    return out + [f"{a} {b}, {c}" for a in subjects for b in places for c in styles]


def tokens():
    """CLIP token ids with the tiny tokenizer of tests/models, start and end of text included, not truncated."""
    from transformers import CLIPTokenizer, logging

    logging.set_verbosity_error()
    folder = ROOT / "tests" / "models" / "sd1" / "tokenizer"
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
    results = [{"text": text, "ids": tokenizer(text).input_ids} for text in texts()]
    padded = [
        {"text": text, "ids": tokenizer(text, padding="max_length", truncation=True).input_ids}
        for text in ("", "a dog in space", "dog " * 100)
    ]
    write("tokens.json", {"tokenizer": "tests/models/sd1/tokenizer", "results": results, "padded_to_77": padded})


# ---------------------------------------------------------------------------------------------- runs of diffusers


def diffusers_runs():
    from golden_runs import runs

    content = runs()
    results = [{**result, "final": floats(result["final"])} for result in content.pop("results")]
    write("diffusers_runs.json", {**content, "results": results})


NUMBERS = [samplers, schedules, diffusers_schedulers, diffusers_runs, betas, noise, tokens]


def main():
    names = [make.__name__ for make in NUMBERS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="?", choices=[*names, "pictures"], help="default: all files of numbers")
    what = parser.parse_args().what
    if what == "pictures":
        from golden_pictures import pictures

        pictures()
    for make in NUMBERS:
        if what in (None, make.__name__):
            make()


if __name__ == "__main__":
    main()
