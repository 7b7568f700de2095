"""Does petal cut 20,000 strings into the tokens that transformers' CLIPTokenizer gives?

    python scripts/check_tokens.py                  with the tiny tokenizer of tests/models
    python scripts/check_tokens.py --merges PATH    with a real vocabulary: bpe_simple_vocab_16e6.txt.gz of open_clip

Writes strings and ids to a temporary file, and has the test `tokens_are_those_of_a_file` read it.
"""

import argparse
import gzip
import json
import os
import subprocess
import tempfile
from pathlib import Path

from golden_tokens import FOLDER, ids, strings, tokenizer

ROOT = Path(__file__).resolve().parent.parent
SIZE = 49408  # of CLIP's vocabulary: 512 bytes, merges, start and end


def byte_letters():
    """The letters that stand for the 256 bytes (Radford et al. 2019): printable ones for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + at) for at in range(len(others))]


def unpack(path, folder):
    """The published list of merges as `vocab.json` and `merges.txt`."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : SIZE - 512 - 2 + 1]
    letters = byte_letters()
    words = letters + [letter + "</w>" for letter in letters] + [line.replace(" ", "") for line in lines]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: id for id, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77}), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--merges", type=Path, help="bpe_simple_vocab_16e6.txt.gz")
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = FOLDER
        if options.merges:
            folder = Path(temporary) / "tokenizer"
            unpack(options.merges, folder)
        clip = tokenizer(folder)
        results = [{"text": text, "ids": ids(clip, text)} for text in strings(options.count)]
        tokens = sum(len(result["ids"]) for result in results)
        file = Path(temporary) / "tokens.json"
        file.write_text(json.dumps({"model": str(folder.parent), "results": results}), encoding="utf-8")
        print(f"{len(results)} strings, {tokens} tokens, a vocabulary of {len(clip)}", flush=True)
        test = ["cargo", "test", "-p", "petal-engine", "tokens_are_those_of_a_file", "--", "--ignored", "--nocapture"]
        subprocess.run(test, cwd=ROOT, env={**os.environ, "PETAL_TOKENS_FILE": str(file)}, check=True)


if __name__ == "__main__":
    main()
