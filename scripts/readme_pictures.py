"""Which pictures show what petal does? Draws those of README.md.

    cargo build --release
    python scripts/readme_pictures.py [PROGRAM]

Every picture is petal's, drawn by the model that comes with it; only the mask, a white rounded box on black, is made here.
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "images" / "readme"
DOG, CAT = "a-dog-in-space-0.png", "a-cat-on-the-beach-0.png"
PROMPTS = ("a dog in space", "a cat on the beach", "a rocket in space", "a penguin in the snow", "a taxi in the city")
PICTURES = {  # file -> (prompt, flags); paths are those of FOLDER
    **{f"{prompt.replace(' ', '-')}-0.png": (prompt, []) for prompt in PROMPTS},
    "style.png": ("a lion in space", ["-i", DOG, "--strength", "0.7"]),
    "inpaint.png": ("a cat in the snow", ["-i", CAT, "--mask", "mask.png", "--mask-invert"]),
    "extend.png": ("a castle on the beach", ["-i", CAT, "--extend", "right=128"]),
    "hires.png": ("a dog in space", ["-W", "64", "-H", "64", "--hires", "--hires-upscaler", "lanczos"]),
    "upscale.png": ("a dog in space", ["--upscale"]),
}


def mask():
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).rounded_rectangle((20, 16, 108, 120), 24, fill=255)
    image.save(FOLDER / "mask.png", optimize=True)


def main():
    program = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "petal").resolve()
    mask()
    for file, (prompt, flags) in PICTURES.items():
        print(" ".join(["petal", f'"{prompt}"', *flags, "-o", file]))
        subprocess.run([program, prompt, *flags, "-o", file, "--quiet"], cwd=FOLDER, check=True)


if __name__ == "__main__":
    main()
