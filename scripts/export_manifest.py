"""What must models.toml say of an exported folder? Its entry, with the SHA-256 of every file."""

import hashlib
import json
from pathlib import Path

FAMILIES = [("Flux", "flux"), ("StableDiffusion3", "sd3"), ("StableDiffusionXL", "sdxl"), ("", "sd")]


def sha256(file):
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def entry(folder, about):
    """`about`: the fields name, about, licence and source."""
    folder = Path(folder)
    kind = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    family = next(family for beginning, family in FAMILIES if kind.startswith(beginning))
    fields = {"name": about["name"], "family": family} | about
    lines = ["[[model]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())]
    lines += ["", "[model.files]"]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return "\n".join([*lines, *(f'"{file}" = "{sha256(folder / file)}"' for file in files)]) + "\n"


def write_entry(folder, about):
    """Writes `FOLDER.models.toml` beside the folder, for petal's `--catalogue`."""
    folder = Path(folder)
    file = folder.with_name(f"{folder.name}.models.toml")
    file.write_text(entry(folder, about), encoding="utf-8")
    return file
