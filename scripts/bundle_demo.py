"""Puts an exported model into petal: copies its files and writes their SHA-256 into models.toml.

    python scripts/bundle_demo.py path/to/onnx-folder

The folder is what `scripts/export.py --weights fp16 --inline` made of the model that `scripts/train_demo.py` trained.
"""

import hashlib
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "engine/models/petal-mini"
CATALOGUE = ROOT / "models.toml"
LARGEST = 24_000_000  # bytes in all, since the files become part of the program


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    source = Path(sys.argv[1])
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    if size > LARGEST:
        sys.exit(f"{source} has {size} bytes, more than {LARGEST}")
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(source, TARGET)
    table = "".join(f'"{name}" = "{digest}"\n' for name, digest in hashes(TARGET).items())
    text = CATALOGUE.read_text()
    # the table of the first model reaches to the next table or the end
    pattern = re.compile(r'(name = "petal-mini".*?\[model\.files\]\n)[^\[]*', re.DOTALL)
    text, count = pattern.subn(lambda match: match[1] + table, text)
    if count != 1:
        sys.exit(f"{CATALOGUE} has no entry for petal-mini")
    CATALOGUE.write_text(text)
    print(f"{size} bytes in {TARGET}, hashes in {CATALOGUE}")


if __name__ == "__main__":
    main()
