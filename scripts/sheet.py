"""Draws a sheet of what petal-mini knows: every subject in some place, seed 0, by petal itself.

    cargo build --release
    python scripts/sheet.py tests/images/readme/subjects.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import demo_data

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 8
PHRASES = ["in space", "on the beach", "in the snow", "in the city", "in the forest", "in the desert", "under the sea"]


def article(name: str) -> str:
    return "an" if name[0] in "aeio" else "a"


def main() -> None:
    prompts = [f"{article(name)} {name} {PHRASES[k % len(PHRASES)]}" for k, name in enumerate(demo_data.SUBJECTS)]
    side, rows = 64, -(-len(prompts) // COLUMNS)
    sheet = Image.new("RGB", (side * COLUMNS, side * rows))
    with tempfile.TemporaryDirectory() as folder:
        for k, prompt in enumerate(prompts):
            path = Path(folder) / "picture.png"
            subprocess.run([ROOT / "target/release/petal", prompt, "-q", "-o", path], check=True, stdout=subprocess.DEVNULL)
            sheet.paste(Image.open(path), (k % COLUMNS * side, k // COLUMNS * side))
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
