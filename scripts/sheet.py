"""Draws a sheet of what petal-mini knows: 48 prompts, seed 0, by petal itself.

    cargo build --release
    python scripts/sheet.py tests/images/readme/subjects.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from demo_captions import with_article

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 8
PHRASES = ("in space", "on the beach", "in the snow", "in the city", "in the forest", "in the desert", "under the sea")
SUBJECTS = """dog, cat, rocket, penguin, taxi, fox, panda, rabbit, lion, frog, owl, elephant, unicorn, octopus, astronaut,
robot, ghost, car, sailboat, castle, snowman, apple, tiger, pig, monkey, koala, flamingo, turtle, whale, crab, giraffe,
train, airplane, ufo, guitar, banana""".replace("\n", " ").split(", ")
OTHERS = (
    "a horse in a meadow",
    "a dragon in the mountains",
    "a palm tree at sunset",
    "a pumpkin in the city at night",
    "a hamburger on a white background",
    "a small duck in the snow",
    "a big strawberry on the beach",
    "a teddy bear on the left in the forest",
    "a balloon on the right in the city",
    "a cat and a dog in the snow",
    "太空中的狗",
    "海滩上的企鹅",
)


def main() -> None:
    prompts = [f"{with_article(name)} {PHRASES[k % len(PHRASES)]}" for k, name in enumerate(SUBJECTS)] + list(OTHERS)
    with tempfile.TemporaryDirectory() as folder:
        command = [ROOT / "target/release/petal", "draw", "--prompt-file", "-", "--report", f"{folder}/report.jsonl"]
        lines = "\n".join(prompts)
        drawn = subprocess.run(
            [*command, "-q", "-o", folder], input=lines, check=True, stdout=subprocess.PIPE, text=True
        )
        pictures = [Image.open(path).convert("RGB") for path in drawn.stdout.splitlines()]
        side = pictures[0].width
        sheet = Image.new("RGB", (side * COLUMNS, side * -(-len(pictures) // COLUMNS)))
        for k, picture in enumerate(pictures):
            sheet.paste(picture, (k % COLUMNS * side, k // COLUMNS * side))
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
