"""How near is petal to its references? Writes tests/FIDELITY.md from what the tests print.

    cargo test --workspace --no-fail-fast -- --nocapture --test-threads=1 > tests.log
    python scripts/check_tokens.py >> tests.log; python scripts/check_prompts.py >> tests.log
    python scripts/fidelity.py tests.log

A test prints `fidelity: TOPIC NAME [WORDS] ERROR` for each case that it compares.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "tests" / "FIDELITY.md"
TOPICS = {  # topic -> (heading, what is compared with what, unit of the error, bound)
    "schedulers": (
        "Noise levels and timesteps of `scheduler_config.json`",
        "Every class and option against diffusers, 1 to 50 steps: the largest relative error.",
        "{:.1e}",
        "1e-5",
    ),
    "named": (
        "Noise levels of schedules by name",
        "Against k-diffusion, and the formulas of stable-diffusion-webui and ComfyUI: the largest relative error.",
        "{:.1e}",
        "1e-5",
    ),
    "samplers": (
        "Samplers by name",
        "Final latents after 25 steps on a denoiser that can be written down, against k-diffusion and the formulas of "
        "stable-diffusion-webui and ComfyUI in 64 bits: the largest error, relative to the largest number.",
        "{:.1e}",
        "1e-4",
    ),
    "solvers": (
        "Solvers of diffusers",
        "Final latents of each class and option through the class's own `step`, in 64 bits: the largest error, relative "
        "to the largest number.",
        "{:.1e}",
        "1e-4",
    ),
    "noise": (
        "Noise",
        "Against torch, torchsde and the published algorithms: the largest absolute error.",
        "{:.1e}",
        "2e-6",
    ),
    "texts": ("Prompts", "Differences in token ids, weights and chunks.", "{:.0f}", "0"),
    "pictures": (
        "Pictures from given noise",
        "Whole pictures of tiny models against diffusers, 10 and 20 steps: the largest difference of a colour, of 255.",
        "{:.0f}",
        "2",
    ),
    "seeds": (
        "Pictures from a seed",
        "Whole pictures of tiny SD 1 and SD 2 (v prediction) models against diffusers with a CPU generator, 20 steps, "
        "every sampler that diffusers has: the largest difference of a colour, of 255.",
        "{:.0f}",
        "2",
    ),
    "img2img": (
        "Image to image",
        "Whole pictures of tiny models against StableDiffusionImg2ImgPipeline from a seed, 20 steps, every sampler that "
        "diffusers has, strengths from 0.05 to 1: the largest difference of a colour, of 255.",
        "{:.0f}",
        "2",
    ),
    "editing": (
        "Inpainting and editing",
        "Whole pictures of tiny models against StableDiffusionInpaintPipeline, with ordinary networks and with one of 9 "
        "channels, and StableDiffusionInstructPix2PixPipeline: the largest difference of a colour inside the mask, of 255. "
        "Outside it the picture equals the input. `inpaint-crop` is drawn with `padding_mask_crop`.",
        "{:.0f}",
        "2",
    ),
    "families": (
        "Families",
        "Whole pictures of tiny models of SDXL, its refiner, SD 3 with and without T5, FLUX.1 dev and schnell and LCM from a "
        "seed, 8 steps, the pipeline's own scheduler, against diffusers: text to image, image to image, inpainting; the "
        "largest difference of a colour, of 255.",
        "{:.0f}",
        "2",
    ),
    "conventions": (
        "Conventions of exporters",
        "Whole pictures of one tiny model as different programs export it, against each other, of 255; 1 where its "
        "arithmetic differs: in 16 bits, or one row at a time.",
        "{:.0f}",
        "2",
    ),
    "hires": (
        "Second pass",
        "Whole pictures of a tiny model against the two passes composed of diffusers' parts by stable-diffusion-webui's "
        "rules: the largest difference of a colour, of 255.",
        "{:.0f}",
        "2",
    ),
    "tiny": ("Tiny autoencoder", "A whole picture against diffusers' AutoencoderTiny, of 255.", "{:.0f}", "2"),
    "resize": ("Latents in another size", "Against torch.nn.functional.interpolate: the largest error.", "{:.1e}", "1e-5"),
    "pixels": ("Pixels in another size", "Against Pillow, opaque and transparent pictures, of 255.", "{:.0f}", "0"),
    "redraw": ("Redrawing", "Pictures drawn again from their files: pixels that differ.", "{:.0f}", "0"),
}
LINE = re.compile(r"fidelity: (?!order)(\w+) (\S+) (?:.* )?(\S+)$", re.M)
ORDER = re.compile(r"fidelity: order (.+) (\S+) of (\d+):", re.M)


def read(log):
    """Per topic and name: how many cases, and the largest error."""
    cases = defaultdict(lambda: defaultdict(list))
    for topic, name, error in LINE.findall(log):
        cases[topic][name.rstrip(",")].append(float(error))
    return cases


def section(topic, names):
    heading, about, form, bound = TOPICS[topic]
    lines = [f"## {heading}", about, "", f"| what | cases | worst (bound {bound}) |", "|---|--:|--:|"]
    lines += [f"| {name} | {len(errors)} | {form.format(max(errors))} |" for name, errors in sorted(names.items())]
    return "\n".join(lines)


def orders(log):
    """How fast errors fall: measured where steps are halved, of what theory says (asserted within 0.2)."""
    lines = ["## Order of convergence", orders.__doc__, "", "| what | measured | theory |", "|---|--:|--:|"]
    return "\n".join(lines + [f"| {row[0]} | {row[1]} | {row[2]} |" for row in ORDER.findall(log)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("log", type=Path, help="what the tests printed")
    log = parser.parse_args().log.read_text(encoding="utf-8")
    cases = read(log)
    unknown, missing = cases.keys() - TOPICS.keys(), TOPICS.keys() - cases.keys()
    if unknown or missing:
        raise SystemExit(f"topics without a heading: {sorted(unknown)}; topics without a case: {sorted(missing)}")
    command = "\n".join(line.strip() for line in __doc__.split("\n\n")[1].splitlines())
    head = f"# How near petal is to its references\nWritten by\n```sh\n{command}\n```\n" + (
        "The references' versions stand at the top of each file in `tests/golden` and `tests/images`; every bound is "
        "asserted by the test that prints the line."
    )
    sections = [*(section(topic, cases[topic]) for topic in TOPICS), orders(log)]
    PAGE.write_text("\n\n".join([head, *sections]) + "\n", encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
