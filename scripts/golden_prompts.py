"""Which weights, schedules and chunks must petal make of a prompt? For `golden.py prompts` and `check_prompts.py`."""

import random
import struct
from hashlib import sha256

from golden_tokens import characters, ids, tokenizer
from reference_prompts import chunks, digest, fragments, parts, schedule

# (prompt, fragments) and (prompt, steps, entries): the examples in the documentation of stable-diffusion-webui
EMPHASISED = [
    ("normal text", [["normal text", 1.0]]),
    ("an (important) word", [["an ", 1.0], ["important", 1.1], [" word", 1.0]]),
    ("(unbalanced", [["unbalanced", 1.1]]),
    (r"\(literal\]", [["(literal]", 1.0]]),
    ("(unnecessary)(parens)", [["unnecessaryparens", 1.1]]),
    (
        "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
        [["a ", 1.0], ["house", 1.5730000000000004], [" ", 1.1], ["on", 1.0], [" a ", 1.1], ["hill", 0.55]]
        + [[", sun, ", 1.1], ["sky", 1.4641000000000006], [".", 1.1]],
    ),
]
LANDSCAPE = (
    "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6]"
    "[ in background:0.25] [shoddy:masterful:0.5]"
)
SCHEDULED = [
    ("test", 10, [[10, "test"]]),
    ("a [b:3]", 10, [[3, "a "], [10, "a b"]]),
    ("a [b: 3]", 10, [[3, "a "], [10, "a b"]]),
    ("a [[[b]]:2]", 10, [[2, "a "], [10, "a [[b]]"]]),
    ("[(a:2):3]", 10, [[3, ""], [10, "(a:2)"]]),
    ("a [b : c : 1] d", 10, [[1, "a b  d"], [10, "a  c  d"]]),
    ("a[b:[c:d:2]:1]e", 10, [[1, "abe"], [2, "ace"], [10, "ade"]]),
    ("a [unbalanced", 10, [[10, "a [unbalanced"]]),
    ("a [b:.5] c", 10, [[5, "a  c"], [10, "a b c"]]),
    # the documentation has "a  c" and "a {b|d{ c" here and says that this does not work; it gives the text itself
    ("a [{b|d{:.5] c", 10, [[10, "a [{b|d{:.5] c"]]),
    ("((a][:b:c [d:3]", 10, [[3, "((a][:b:c "], [10, "((a][:b:c d"]]),
    ("[a|(b:1.1)]", 10, [[step, "(b:1.1)" if step % 2 == 0 else "a"] for step in range(1, 11)]),
    ("[fe|]male", 10, [[step, "male" if step % 2 == 0 else "female"] for step in range(1, 11)]),
    ("[fe|||]male", 10, [[step, "female" if step % 4 == 1 else "male"] for step in range(1, 11)]),
    (
        LANDSCAPE,
        100,
        [
            [25, "fantasy landscape with a mountain and an oak in foreground shoddy"],
            [50, "fantasy landscape with a lake and an oak in foreground in background shoddy"],
            [60, "fantasy landscape with a lake and an oak in foreground in background masterful"],
            [75, "fantasy landscape with a lake and an oak in background masterful"],
            [100, "fantasy landscape with a lake and a christmas tree in background masterful"],
        ],
    ),
]
SECOND = [  # (prompt, steps, steps of the first pass, entries)
    ("a [b:c:0.5]", 10, 20, [[10, "a c"]]),
    ("a [b:c:1.5]", 10, 20, [[5, "a b"], [10, "a c"]]),
    ("a [b:c:1.0]", 10, 20, [[10, "a c"]]),
    ("a [b:c:2.5]", 10, 20, [[10, "a b"]]),
    ("a [b:3]", 10, 20, [[10, "a b"]]),
    ("a [b:20]", 10, 20, [[10, "a b"]]),
    ("a [b:23]", 10, 20, [[3, "a "], [10, "a b"]]),
    ("a [b::40]", 10, 20, [[10, "a b"]]),
    ("[a|b]", 3, 20, [[1, "a"], [2, "b"], [3, "a"]]),
    ("[[a:b:22]:[c:d:1.7]:1.4]", 10, 20, [[2, "a"], [3, "b"], [7, "c"], [10, "d"]]),
]
ODD = [
    *["", " ", "()", "[]", "(", "]", "(:1.2)", "[:1]", "[::1]", "[|]", "a|b", "(a|b) [c:d:1]", "[a|b:1]", "x\\"],
    *["[a\\:b:1]", "\\[a:1]", "[a:b:1e1]x", "[a:b:5e-1]x", "[a:b: +3 ]", "[a:b:-1]", "[(a:b:c):1]", "[a:b:0]"],
    *["[a:b:1.5]", "[[a:b:2]]", "[a:1:2]", "([a:b:2]:1.2)", "[a ] b:2]", "[ [a:b:2]", "[a:b:1.]"],
    *["a\n[b\\\n:2]", "[a:\\\\:2]", "[a:b:1e999]", "[a:b:\u00a02\u3000]", "(a:.5)"],
    *["(a: 1.3 )", "(a:-1)", "(a:+1)", "(a:1e3)", "(a:1.2.3)"],
    *["(a:.)"],
    *["a:1.2)", "(a\n:\n1.3\n)", "(a [b) c]", "(a:0)(b:-0)", "\\", "\\a", "\\\\(a)", "(a\\)", "((((((((((a"],
    *["(a (b:2)) [c] d]", "([a])", "(((([[[[a]]]]))))b", "[[[(a) b] c] d] e", "(((a [b) c) d] e"],
    *["a BREAK b", "BREAK", "BREAK BREAK", "aBREAK", "a\u72acBREAK", "BREAK,BREAK", "(a BREAK b)", "(a BREAK b:1)"],
    *["([BREAK])", "(BRE\\AK:-1)", "a\x1cBREAK\x1fb", "a\u00a0BREAK\u3000b", "break", "\u0e34BREAK"],
    *["a AND b", "a:1.2 AND b : -0.5 AND c:", "AND", "aAND b", "a:1", "(a:1) AND [b:c:1]:2.", "a :.5\n"],
    *["a:1:2", "::3"],
    *[", ".join(["red"] * n) for n in (30, 37, 38, 39, 60)],
    *["1 " * n for n in (74, 75, 76, 150, 151)],
    *["1 " * a + "," + "1 " * b for a, b in ((53, 23), (54, 22), (55, 20), (55, 21), (74, 1), (75, 1), (75, 0))],
    *["1 " * 60 + "(,:1.2)" + "(1 1 1:1.3)" * 9, "1 " * 75 + "BREAK 1", "1 <|endoftext|> 2", "<|startoftext|>"],
]
WORDS = "a dog, in space, oil painting caf\u00e9 \u72ac \U0001f436 8k BREAK AND , . - it's red_fox <|endoftext|>"
WORDS = WORDS.split(" ")
NUMBERS = ["1", "2", "3", "0.5", ".25", "1.", "1.3", "-1", "+2", "0", "0.999", "1e1", "1e-1"]
ODD_NUMBERS = ["1.2.3", ".", "", " 2 ", "20", "a"]


def noise(rng):
    """Signs of the grammar in any order, with words between them."""
    signs = [*"()[]():[]|,", "\\", ":", " ", " ", "\\(", "\\]", "\n", "AND", "BREAK", "\u00a0"]
    pick = lambda: rng.choice(signs) if rng.random() < 0.55 else rng.choice(WORDS + NUMBERS + ODD_NUMBERS)
    return "".join(pick() for _ in range(rng.randint(1, 40)))


def structure(rng, depth=3):
    """Groups that mean something, within one another, now and then with a fault."""
    out = []
    for _ in range(rng.randint(1, 2 if depth < 3 else 4)):
        inner = (lambda: structure(rng, depth - 1)) if depth else (lambda: rng.choice(WORDS))
        number = rng.choice(NUMBERS)
        kind = rng.randrange(9)
        if kind < 2:
            out.append(" ".join(rng.choice(WORDS[:-1]) for _ in range(rng.randint(1, 4))))
        elif kind == 2:
            out.append(f"({inner()}:{number})")
        elif kind == 3:
            out.append(rng.choice(["({})", "[{}]", "(({}))", "({}", "[{}", "{})", "{}]"]).format(inner()))
        elif kind in (4, 5):
            before = rng.choice(["", ":", inner() + ":"])
            out.append(f"[{before}{inner()}:{number}]")
        elif kind == 6:
            out.append("[" + "|".join(rng.choice([inner, str])() for _ in range(rng.randint(2, 4))) + "]")
        elif kind == 7:
            out.append(rng.choice([" AND ", f" :{number} AND ", " BREAK ", "\\(", "\\["]))
        else:
            out.append(characters(rng, rng.choice(["latin", "chinese", "arabic", "indic", "marks"]), 4))
    return rng.choice(["", " ", ", "]).join(out)


def long(rng):
    """Many tokens, so that chunks are filled, with commas and weights."""
    pick = lambda: rng.choice(["a dog", "red,", "1", ",", "in space, ", "(cat, dog:1.2)", "[ice]", "oil painting"])
    return " ".join(pick() for _ in range(rng.randint(20, 90))) + rng.choice(["", " BREAK 1 1", ", [a:b:1]"])


def random_prompts(count, seed=5_000):
    """(prompt, steps), always the same ones."""
    rng = random.Random(seed)
    for number in range(count):
        make = long if number % 25 == 0 else rng.choice([noise, structure])
        yield make(rng), rng.choice([1, 2, 3, 5, 10])


def short(items, kind, most=70):
    """`items`, pairs of a text and a number, or the digest of their bytes if they are long.

    Weights are written as texts, for not every reader of JSON reads the last bit of a number."""
    if sum(len(str(item)) for item in items) <= most:
        return items if kind == "q" else [[text, None if weight is None else repr(weight)] for text, weight in items]
    hashed = sha256()
    for one, other in items:
        number, text = (one, other) if kind == "q" else (other, one)
        hashed.update(struct.pack(f"<{kind}", 0 if number is None else number) + (text or "").encode("utf-8") + b"\0")
    return hashed.hexdigest()[:16]


def cutter(clip):
    """What `chunks` needs to know of the tokenizer."""
    special = clip.convert_tokens_to_ids([",</w>", "<|startoftext|>", "<|endoftext|>", "<|endoftext|>"])
    return [lambda words: ids(clip, words), *special]


def record(text, steps, clip, before=None):
    """All that is made of a prompt; each part with the fragments and chunks of its last text."""
    out = []
    for part, weight in parts(text):
        entries = schedule(part, steps, before)
        made = chunks(entries[-1][1], *cutter(clip))
        made = {"fragments": short(fragments(entries[-1][1]), "d"), "chunks": len(made), "digest": digest(made)}
        out.append({"weight": weight, "entries": short(entries, "q"), **made})
    return {"text": text, "steps": steps, **pass_before(before), "parts": out}


def pass_before(before):
    return {} if before is None else {"before": before}


def brief(text, steps, clip, before=None):
    """A record of which all but the prompt is a digest: of each part's weight, and the digests of what it holds."""
    hashed = sha256()
    for part, weight in parts(text):
        entries = schedule(part, steps, before)
        made = digest(chunks(entries[-1][1], *cutter(clip)))
        digests = short(entries, "q", -1) + short(fragments(entries[-1][1]), "d", -1) + made
        hashed.update(struct.pack("<d", weight) + digests.encode("ascii"))
    return {"text": text, "steps": steps, **pass_before(before), "parts": hashed.hexdigest()[:16]}


def prompts():
    from golden import write

    for text, wanted in EMPHASISED:
        assert fragments(text) == wanted, text
    for text, steps, wanted in SCHEDULED:
        assert schedule(text, steps) == wanted, text
    for text, steps, before, wanted in SECOND:
        assert schedule(text, steps, before) == wanted, text
    clip = tokenizer()
    documented = [(text, 10) for text, _ in EMPHASISED] + [(text, steps) for text, steps, _ in SCHEDULED]
    chosen = documented + [(text, 4) for text in ODD]
    about = (
        "digests are 16 digits of a SHA-256: of each chunk's ids (64 bits, little-endian) and weights (32-bit floats); "
        "of long entries' and fragments' number (64 bits), text and a zero; a fragment of nulls is a BREAK; "
        "`before` are the steps of the first pass, where a prompt is read for the second"
    )
    results = [record(text, steps, clip) for text, steps in chosen]
    results += [brief(text, steps, clip) for text, steps in random_prompts(300)]
    results += [record(text, steps, clip, before) for text, steps, before, _ in SECOND]
    results += [brief(text, steps, clip, 1 + steps % 3) for text, steps in random_prompts(120, seed=6_000)]
    write("prompts.json", {"reference": "scripts/reference_prompts.py", "about": about, "results": results})
