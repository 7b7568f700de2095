"""Which strings are hardest for a T5 tokenizer, and which ids does transformers give them?

For `golden.py t5` and `check_t5.py`. `python scripts/golden_t5.py` makes the tokenizers of tests/models/t5 again, after
which `golden.py t5` must write tests/golden/t5.json again.

No published vocabulary is needed: sentencepiece makes one with the settings of T5's. transformers 5 has one class for
`spiece.model` and `tokenizer.json`, T5Tokenizer; diffusers' pipelines load it by its other name, T5TokenizerFast.
"""

import contextlib
import functools
import io
import json
import random
import tempfile
import unicodedata
from pathlib import Path

import golden_tokens
import sentencepiece
from golden_tokens import SPACES, characters, digest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests" / "models" / "t5"
CAPTIONS = """
a photograph of an astronaut riding a horse on the moon, cinematic lighting, highly detailed
an oil painting of a small yellow bird in the snow, soft brush strokes, by the river at night
une aquarelle d'un chat endormi près de la fenêtre, lumière du matin, très détaillée
ein Gemälde von einem Fuchs im verschneiten Wald, große Bäume, weiches Licht
una fotografía de una niña con un paraguas rojo bajo la lluvia, fondo desenfocado
um barco à vela ao pôr do sol, pintura a óleo, cores quentes
картина маслом: старый маяк на берегу моря, буря, высокая детализация
портрет девушки с жемчужной серёжкой, мягкий свет
μια γάτα που κοιμάται στον ήλιο δίπλα στη θάλασσα
夜の街を歩く猫、水彩画、高精細、柔らかい光
一只在月球上骑马的宇航员，电影般的灯光，高清
눈 덮인 숲 속의 작은 집, 따뜻한 불빛, 유화
صورة لحصان أبيض يركض على شاطئ البحر عند الغروب
तालाब के किनारे बैठा एक मोर, सुनहरी रोशनी
ภาพวาดสีน้ำของแมวบนหลังคา
một bức tranh sơn dầu về con thuyền trên sông
""".strip().split("\n")
SPECIAL = (
    "</s> <pad> <unk> <extra_id_0> <extra_id_99> <extra_id_100> <extra_id_7>x x<extra_id_8> </S> <s> <PAD> </s></s> "
    "<extra_id_0><extra_id_1> <pad><unk> \u2581 \u2581\u2581 a\u2581b \u2581</s> \uff1cpad\uff1e </\u200bs> </s\u0301> "
    "<extra_id_ extra_id_1> <user> a<user>b <USER> <control> x<control> <0x41> <unk\ufe0f> </s>'s"
).split(" ")
WORDS = "masterpiece photograph internationalisation cat \u732b \u043a\u043e\u0448\u043a\u0430 8k f/1.8".split()
PLACES = [0, 0x300, 0x3000, 0xFF00]
SYMBOLS = {"user_defined_symbols": ["<user>"], "control_symbols": ["<control>"]}


def piece(rng):
    kinds = [
        lambda: rng.choice(SPECIAL),
        lambda: rng.choice(SPACES) + rng.choice(SPECIAL) + rng.choice(SPACES),
        lambda: rng.choice(SPACES + "   ") * rng.randint(1, 5),
        lambda: rng.choice(CAPTIONS),
        lambda: " ".join(rng.sample(rng.choice(CAPTIONS).split(" "), 1) * rng.randint(1, 4)),
        lambda: rng.choice(WORDS) * rng.randint(1, 30),
        lambda: rng.choice(["", ".", "\u3000", "\u0301", "\u200d", "\ufb01", "\ufdfa", "\uff21\uff22", "\u2460"]),
        lambda: bytes(rng.randrange(256) for _ in range(rng.randint(1, 40))).decode("utf-8", "replace"),
        lambda: "".join(chr(rng.choice(PLACES) + rng.randrange(256)) for _ in range(rng.randint(1, 20))),
        lambda: unicodedata.normalize(rng.choice(["NFD", "NFKD", "NFC"]), rng.choice(CAPTIONS)),
        lambda: characters(rng, rng.choice([*golden_tokens.RANGES]), 60),
    ]
    return rng.choice(kinds)() if rng.random() < 0.5 else golden_tokens.piece(rng)


def strings(count, seed=5_000):
    """`count` strings, always the same ones: the captions, then mixtures of every kind of text above."""
    rng = random.Random(seed)
    yield from ["", " ", "\n", "x" * 3000, "\U0001f436" * 500, "a " * 300, "\u0301", *CAPTIONS, *SPECIAL][:count]
    for _ in range(count - 7 - len(CAPTIONS) - len(SPECIAL)):
        glue = rng.choice(["", " ", " ", ", ", rng.choice(SPACES)])
        yield glue.join(piece(rng) for _ in range(rng.choice([1, 1, 2, 3, 5, 8])))


# ---------------------------------------------------------------------------------------------- models


def train(path, lines, size, **settings):
    """A unigram model with the settings of T5's, but for those given."""
    usual = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "model_type": "unigram", "minloglevel": 2}
    usual |= {"character_coverage": 1.0, "vocab_size": size, "num_threads": 1}
    model = io.BytesIO()
    settings = {**usual, **settings}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **settings)
    path.write_bytes(model.getvalue())


def few_rules():
    """A hundredth of NFKC: the table of all of it, nmt_nfkc, takes 230 KB."""
    codes = [0xBD, 0x132, 0x2122, 0x2460, *range(0xFB00, 0xFB07), 0xFDFA, *range(0xFF01, 0xFF5F)]
    rules = {(code,): unicodedata.normalize("NFKC", chr(code)) for code in codes}
    rules |= {(code,): " " for code in [9, 10, 13, 0xA0, 0x3000, *range(0x2000, 0x200C)]}
    rules |= {(code,): "" for code in [*range(1, 9), 0x7F, 0xAD]}
    rules |= {(ord(letter), 0x301): unicodedata.normalize("NFC", letter + "\u0301") for letter in "aeiouAEIOU"}
    return "".join(f"{hexes(source)}\t{hexes(map(ord, target))}\n" for source, target in sorted(rules.items()))


def hexes(codes):
    return " ".join(f"{code:X}" for code in codes)


def token(text, strip=False):
    sides = {"lstrip": strip, "rstrip": strip}
    return {"content": text, "single_word": False, **sides, "normalized": False, "special": True}


def older_config(size, limit=512):
    """`tokenizer_config.json` as transformers 4 writes it for T5: its extra ids take the whitespace beside them."""
    extra = [f"<extra_id_{number}>" for number in range(100)]
    added = {0: token("<pad>"), 1: token("</s>"), 2: token("<unk>")}
    added |= {size + 99 - number: token(text, strip=True) for number, text in enumerate(extra)}
    added = {str(id): added[id] for id in sorted(added)}
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_class": "T5Tokenizer"}
    config = {"added_tokens_decoder": added, "additional_special_tokens": extra, "extra_ids": 100, "legacy": True}
    return {**config, "model_max_length": limit, **names}


def older_json(spiece):
    """`tokenizer.json` as transformers 4 writes it for T5: other steps than those of transformers 5."""
    inner = json.loads(tokenizer(spiece.parent).backend_tokenizer.to_str())
    inner |= {"truncation": None, "padding": None}
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}
    inner["normalizer"] = {"type": "Sequence", "normalizers": [inner["normalizer"], strip, spaces]}
    inner["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    for added in inner["added_tokens"]:
        added["lstrip"] = added["rstrip"] = "extra_id" in added["content"]
    return inner


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    dump = functools.partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
    lines = [f"{dump(key)}: {dump(value)}" for key, value in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def tiny_models():
    """tests/models/t5: a `spiece.model` alone, and a `tokenizer.json` with what is published beside it."""
    spiece = MODELS / "tokenizer_2" / "spiece.model"
    spiece.parent.mkdir(parents=True, exist_ok=True)
    lines = [*CAPTIONS, *(ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    # the model keeps the path of its rules: a name alone
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        Path("rules.tsv").write_text(few_rules(), encoding="utf-8")
        train(spiece, lines, 520, normalization_rule_tsv="rules.tsv", character_coverage=0.9995, **SYMBOLS)
    write(MODELS / "tokenizer_3" / "tokenizer.json", older_json(spiece))
    write(MODELS / "tokenizer_3" / "tokenizer_config.json", older_config(520))


def tokenizer(folder):
    from transformers import T5TokenizerFast, logging

    logging.set_verbosity_error()
    return T5TokenizerFast.from_pretrained(str(folder))


def results(folders, texts):
    """Ids of each text by each of the `folders`, without end and padding."""
    tokenizers = {folder.name: tokenizer(folder) for folder in folders}
    for text in texts:
        entry = {"text": text}
        for name, t5 in tokenizers.items():
            ids = t5(text, add_special_tokens=False).input_ids
            entry[name] = ids if len(ids) <= 8 else digest(ids)
        yield entry


def t5():
    from golden import write as write_golden

    folders = [MODELS / "tokenizer_2", MODELS / "tokenizer_3"]
    about = "ids without the end; a text: 16 digits of the SHA-256 of the ids as little-endian 32-bit numbers"
    content = {"model": "tests/models/t5", "about": about, "results": list(results(folders, strings(320)))}
    write_golden("t5.json", content)


if __name__ == "__main__":
    tiny_models()
    for file in sorted(MODELS.rglob("*.*")):
        print(f"wrote {file.relative_to(ROOT)}, {file.stat().st_size} bytes")
