"""Does petal cut 5,000 strings into the tokens that transformers' T5Tokenizer gives, whatever files a folder holds?

    python scripts/check_t5.py                  with vocabularies of 8,000 pieces made from this repository's texts
    python scripts/check_t5.py --spiece PATH    with a published spiece.model too

Writes tokenizers, strings and ids to a temporary folder, and has the test `t5_tokens_are_those_of_transformers` read
them.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from golden_t5 import CAPTIONS, ROOT, SYMBOLS, older_config, older_json, results, strings, tokenizer, train, write

SIZE = 8000


def texts_of_the_repository():
    """Lines of prose and code in many letters: captions count for more, since they are few."""
    for files in ["*.md", "tests/*.md", "scripts/*.py", "engine/src/**/*.rs", "cli/**/*.rs"]:
        for file in sorted(ROOT.glob(files)):
            yield from file.read_text(encoding="utf-8").splitlines()
    yield from CAPTIONS * 20
    for text in json.loads((ROOT / "scripts" / "golden_texts.json").read_text(encoding="utf-8")):
        yield from [text.replace("\n", " ")] * 3


def folders_of(spiece, root):
    """The folders that hold the model in the file `spiece`, as they are found."""
    name = spiece.stem
    alone = root / f"{name}-alone"
    alone.mkdir()
    shutil.copy(spiece, alone / "spiece.model")
    base = tokenizer(alone)
    size = len(base) - 100
    # what the slow tokenizer of transformers 4 writes
    slow = root / f"{name}-slow"
    shutil.copytree(alone, slow)
    write(slow / "tokenizer_config.json", older_config(size))
    # what transformers 5 writes
    new = root / f"{name}-new"
    base.save_pretrained(new)
    # what the fast tokenizer of transformers 4 writes, beside the model it is made from
    older = root / f"{name}-older"
    shutil.copytree(slow, older)
    write(older / "tokenizer.json", older_json(alone / "spiece.model"))
    # and what it wrote before it listed added tokens
    oldest = root / f"{name}-oldest"
    config = older_config(size)
    del config["added_tokens_decoder"]
    write(oldest / "tokenizer_config.json", config)
    roles = ("eos_token", "pad_token", "unk_token", "additional_special_tokens")
    write(oldest / "special_tokens_map.json", {key: config[key] for key in roles})
    shutil.copy(older / "tokenizer.json", oldest)
    # a tokenizer.json alone
    single = root / f"{name}-single"
    single.mkdir()
    shutil.copy(older / "tokenizer.json", single)
    return [alone, slow, new, older, oldest, single]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--spiece", type=Path, help="a spiece.model of T5")
    parser.add_argument("--count", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        lines = list(texts_of_the_repository())
        nfkc = {"normalization_rule_name": "nmt_nfkc", "num_threads": 2}
        models = {"plain": {}, "symbols": {**SYMBOLS, "character_coverage": 0.9995}}
        spieces = []
        for name, settings in models.items():
            spieces.append(root / f"{name}.model")
            train(spieces[-1], lines, SIZE, **nfkc, **settings)
        if options.spiece:
            spieces.append(root / "published.model")
            shutil.copy(options.spiece, spieces[-1])
        folders = [folder for spiece in spieces for folder in folders_of(spiece, root)]
        for folder in folders:
            print(f"{folder.name}: {sorted(file.name for file in folder.iterdir())}", flush=True)
        file = root / "strings.json"
        found = list(results(folders, strings(options.count)))
        file.write_text(json.dumps({"model": str(root), "results": found}), encoding="utf-8")
        print(f"{len(found)} strings, {len(folders)} folders, vocabularies of {SIZE} pieces and more", flush=True)
        test = ["cargo", "test", "-p", "petal-engine", "--lib", "t5_tokens_are_those", "--", "--nocapture"]
        subprocess.run(test, cwd=ROOT, env={**os.environ, "PETAL_T5_STRINGS": str(file)}, check=True)


if __name__ == "__main__":
    main()
