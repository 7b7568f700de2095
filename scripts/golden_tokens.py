"""Which strings are hardest for a CLIP tokenizer, and which ids does transformers give them?

For `golden.py hard_tokens` and `check_tokens.py`.
"""

import json
import random
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "models" / "sd1" / "tokenizer"
SPACES = (
    "\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2007\u200a\u2028\u2029\u202f\u205f\u3000\u180e"
)
INVISIBLE = (
    "\u200b\u200c\u200d\u200e\u200f\u2060\u2066\u2069\u202a\u202e\ufeff\u00ad\u034f\u061c\ufe0e\ufe0f"
    "\U000e0001\U000e0067"
)
CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
WORDS = (
    "a dog in space, oil painting; masterpiece best quality 8k uhd don't they're we'll I'd I'm you've it's rock'n'roll "
    "'S 'RE ''s photo_of f/1.8 (x:1.2) [y|z] AND BREAK caf\u00e9 na\u00efve STRASSE stra\u00dfe \u0130stanbul \u01c5 "
    "\ufb01ne \u212b \u2126"
).split(" ")
SPECIAL = (
    "<|startoftext|> <|endoftext|> <|endoftext|><|endoftext|> <|ENDOFTEXT|> <|endoftext| |endoftext|> "
    "<|startoftext|>x x<|endoftext|>y </w> dog</w> <|EndOfText|> <| endoftext |> <|pad|> <|start\u200boftext|> "
    "\u0120dog \u00c4\u00a0 ! <|endoftext|>'s"
).split(" ")
PEOPLE = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
EMOJI = (
    f"\U0001f436 \U0001f469\u200d\U0001f680 {PEOPLE} \U0001f1eb\U0001f1f7 \u2764\ufe0f \U0001f44d\U0001f3fd "
    f"1\ufe0f\u20e3 {FLAG} \u2603 \U0001fae0 \u00a9\ufe0f"
).split(" ")
NUMBERS = (
    "0 1 12 3.14 1,000 2024-01-01 \u0663\u0664 \uff11\uff12 \u00bd \u00b2 \u2167 \u3007 \u4e00 "
    "\u0be7 \U0001d7d8 \u2460 1e3 0x1F"
).split(" ")
# (first, last) of ranges of letters, marks and signs; unassigned points are drawn too
RANGES = {
    "latin": (0x21, 0x24F),
    "marks": (0x300, 0x36F),
    "greek": (0x370, 0x52F),
    "hebrew": (0x591, 0x5F4),
    "arabic": (0x600, 0x6FF),
    "indic": (0x900, 0xDFF),
    "thai": (0xE01, 0xE5B),
    "jamo": (0x1100, 0x11FF),
    "extended": (0x1E00, 0x1FFF),
    "signs": (0x2010, 0x2BFF),
    "kana": (0x3001, 0x30FF),
    "chinese": (0x4E00, 0x9FFF),
    "hangul": (0xAC00, 0xD7A3),
    "forms": (0xF900, 0xFFEF),
    "private": (0xE000, 0xE0FF),
    "maths": (0x1D400, 0x1D7FF),
    "pictures": (0x1F000, 0x1FAFF),
    "historic": (0x10000, 0x11FFF),
    "rare": (0x20000, 0x2FA1F),
    "tags": (0xE0000, 0xE01EF),
}


def characters(rng, name, most=8):
    first, last = RANGES[name]
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, most)))


def piece(rng):
    kinds = [
        lambda: rng.choice(WORDS),
        lambda: rng.choice(WORDS).upper(),
        lambda: rng.choice(SPECIAL),
        lambda: rng.choice(EMOJI),
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(SPACES) * rng.randint(1, 3),
        lambda: rng.choice(INVISIBLE),
        lambda: rng.choice(CONTROLS),
        lambda: rng.choice("aeiouAEIOU\u0391\u3042\u0915") + characters(rng, "marks", 4),
        lambda: bytes(rng.randrange(256) for _ in range(rng.randint(1, 12))).decode("utf-8", "replace"),
        lambda: "".join(rng.choice("'\"!?.,;:<>|/\\()[]{}@#$%^&*-_=+~`") for _ in range(rng.randint(1, 5))),
    ]
    kinds += [lambda name=name: characters(rng, name) for name in RANGES] * 2
    return rng.choice(kinds)()


def strings(count, seed=20_000):
    """`count` strings, always the same ones: mixtures of every kind of character above, with and without spaces."""
    rng = random.Random(seed)
    for _ in range(count):
        glue = rng.choice(["", " ", " ", ", ", rng.choice(SPACES)])
        yield glue.join(piece(rng) for _ in range(rng.choice([1, 1, 2, 3, 5, 8])))


def tokenizer(folder=FOLDER):
    from transformers import CLIPTokenizer, logging

    logging.set_verbosity_error()
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    merges = [tuple(line.split(" ")) for line in lines if line]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def digest(ids):
    """Of the ids as little-endian 32-bit numbers."""
    return sha256(b"".join(id.to_bytes(4, "little") for id in ids)).hexdigest()[:16]


def hard_tokens():
    from golden import write

    clip = tokenizer()
    results = []
    for text in strings(600):
        tokens = ids(clip, text)
        results.append({"text": text, "ids": tokens} if len(tokens) <= 8 else {"text": text, "digest": digest(tokens)})
    about = "ids without start and end; digest: 16 digits of the SHA-256 of the ids as little-endian 32-bit numbers"
    write("tokens_hard.json", {"tokenizer": "tests/models/sd1/tokenizer", "about": about, "results": results})
