"""Which T5 do the small models of SD 3 and FLUX.1 read prompts with? Called by tiny_families.py.

A tokenizer that sentencepiece trains, as T5's was: unigram pieces, ids 0, 1 and 2 for padding, end and unknown, no
start, sentinels behind the pieces. T5's normalization (nmt_nfkc) takes a quarter of a megabyte: RULES stand for it.
"""

import io
import json
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from tiny_models import TEXT

PIECES, SENTINELS, LONGEST = 300, 2, 512
MODEL, CONFIG = "spiece.model", "tokenizer_config.json"
RULES = {"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u200b": "", "\ufb01": "fi", "\u2026": "..."}
RULES |= {"e\u0301": "\u00e9", "\u2160": "I", "\u2460": "1", "\u00bd": "1\u20442", "\u2122": "TM"}
RULES |= {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}  # full-width forms


def train(folder):
    """Writes the spiece.model of a T5 tokenizer."""
    points = lambda text: " ".join(f"{ord(letter):X}" for letter in text)
    rules = folder / "rules.tsv"
    rules.write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in RULES.items()), encoding="utf-8")
    lines = [sentence.strip() for line in TEXT.splitlines() for sentence in [line, *line.split(",")]]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type="unigram", vocab_size=PIECES,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2,
        normalization_rule_tsv=str(rules), character_coverage=1.0,
    )  # fmt: skip
    rules.unlink()
    model = ModelProto.FromString(out.getvalue())
    model.normalizer_spec.ClearField("normalization_rule_tsv")  # the path of a scratch file
    model.trainer_spec.ClearField("input")
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))


def make_t5_tokenizer():
    """The tokenizer, with the bytes of its spiece.model."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train(folder)
        config = {"tokenizer_class": "T5Tokenizer", "extra_ids": SENTINELS, "model_max_length": LONGEST}
        (folder / CONFIG).write_text(json.dumps(config))
        tokenizer = T5Tokenizer.from_pretrained(folder)
        tokenizer.sentencepiece = (folder / MODEL).read_bytes()
        return tokenizer


def t5(tokenizer, width):
    """T5's encoder of two layers; as in version 1.1, heads take more or fewer channels than the states have."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=width, d_kv=4, d_ff=16, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False, is_encoder_decoder=True,
        )
    )  # fmt: skip
