"""Does petal make of 5,000 random prompts what the reference makes of them?

    python scripts/check_prompts.py

Writes prompts and what they mean to a temporary file, and has the test `prompts_are_those_of_a_file` read it.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from golden_prompts import random_prompts, record
from golden_tokens import tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    clip = tokenizer()
    results = [record(text, steps, clip) for text, steps in random_prompts(options.count, options.seed)]
    texts = sum(len(part["entries"]) for result in results for part in result["parts"])
    print(f"{len(results)} prompts, {texts} texts", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "prompts.json"
        file.write_text(json.dumps({"results": results}), encoding="utf-8")
        test = ["cargo", "test", "-p", "petal-engine", "prompts_are_those_of_a_file", "--", "--ignored", "--nocapture"]
        root = Path(__file__).resolve().parent.parent
        subprocess.run(test, cwd=root, env={**os.environ, "PETAL_PROMPTS_FILE": str(file)}, check=True)


if __name__ == "__main__":
    main()
