"""What is in a diffusers folder? Its networks in memory, its configurations, and its tokenizers in the files of old."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, FluxTransformer2DModel, SD3Transformer2DModel
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

TEXT_ENCODERS = ["text_encoder", "text_encoder_2", "text_encoder_3"]
TOKENIZERS = ["tokenizer", "tokenizer_2", "tokenizer_3"]
NETWORKS = {  # class in model_index.json -> class that reads it
    "UNet2DConditionModel": UNet2DConditionModel,
    "SD3Transformer2DModel": SD3Transformer2DModel,
    "FluxTransformer2DModel": FluxTransformer2DModel,
    "AutoencoderKL": AutoencoderKL,
}


@dataclass
class Parts:
    """A pipeline in memory: its networks, and the small files that travel beside them."""

    text_encoder: torch.nn.Module = None
    unet: torch.nn.Module = None
    vae: torch.nn.Module = None
    tiny: torch.nn.Module = None  # an AutoencoderTiny
    configs: dict = field(default_factory=dict)  # path inside OUT -> JSON value
    texts: dict = field(default_factory=dict)  # path inside OUT -> text, or bytes
    text_encoder_2: torch.nn.Module = None
    text_encoder_3: torch.nn.Module = None
    transformer: torch.nn.Module = None


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def portable(config):
    """Without the path of the machine it was made on, and without numbers that JSON does not have: diffusers writes
    `"lambda_min_clipped": -Infinity`, which is what a missing key means there."""
    infinite = lambda value: isinstance(value, float) and not math.isfinite(value)
    return {key: value for key, value in config.items() if key != "_name_or_path" and not infinite(value)}


def t5_files(folder, part):
    """T5's files, as they are; without what transformers notes of the machine."""
    texts = {}
    for name in ("spiece.model", "tokenizer.json", "special_tokens_map.json"):
        if (folder / name).exists():
            texts[f"{part}/{name}"] = (folder / name).read_bytes()
    if f"{part}/tokenizer.json" not in texts:
        raise SystemExit(f"error: `{folder}` has no tokenizer.json\n\nhint: save the tokenizer with transformers")
    config = read_json(folder / "tokenizer_config.json")
    config = {name: value for name, value in portable(config).items() if name not in ("is_local", "local_files_only")}
    texts[f"{part}/tokenizer_config.json"] = json.dumps(config, indent=2) + "\n"
    return texts


def tokenizer_files(src, part="tokenizer"):
    """CLIP's four files. transformers 5 writes only `tokenizer.json`; vocabulary and merges are inside it."""
    folder, texts = Path(src) / part, {}
    if read_json(Path(src) / "model_index.json")[part][1].startswith("T5"):
        return t5_files(folder, part)
    config = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        config |= read_json(folder / name) if (folder / name).exists() else {}
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        vocab, merges = read_json(folder / "vocab.json"), (folder / "merges.txt").read_text(encoding="utf-8")
    else:
        model = read_json(folder / "tokenizer.json")["model"]
        pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        vocab, merges = model["vocab"], "\n".join(["#version: 0.2", *pairs, ""])
    word = lambda token: token["content"] if isinstance(token, dict) else token
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special = {key: word(config.get(key, default)) for key, default in names.items()}
    special["pad_token"] = word(config.get("pad_token", special["eos_token"]))
    length = config.get("model_max_length", 77)
    config = {"add_prefix_space": False, **special, "do_lower_case": True, "errors": "replace"}
    config |= {"model_max_length": length if length < 1 << 30 else 77, "tokenizer_class": "CLIPTokenizer"}
    vocab = dict(sorted(vocab.items(), key=lambda item: item[1]))
    texts[f"{part}/vocab.json"] = json.dumps(vocab, ensure_ascii=False)
    texts[f"{part}/merges.txt"] = merges
    texts[f"{part}/special_tokens_map.json"] = json.dumps(special, indent=2) + "\n"
    texts[f"{part}/tokenizer_config.json"] = json.dumps(config, indent=2) + "\n"
    return texts


def text_encoder(folder):
    """CLIP's text model, from weights with or without the `text_model.` prefix."""
    config = read_json(folder / "config.json")
    projects = "CLIPTextModelWithProjection" in config.get("architectures", [])
    model = (CLIPTextModelWithProjection if projects else CLIPTextModel)(CLIPTextConfig(**config))
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise SystemExit(f"error: no weights in `{folder}`")
    if files[0].suffix == ".safetensors":
        from safetensors.torch import load_file as load
    else:
        load = lambda file: torch.load(file, weights_only=True)
    state = {k.removeprefix("text_model."): v.float() for file in files for k, v in load(file).items()}
    state.pop("embeddings.position_ids", None)
    if projects:
        model.text_projection.load_state_dict({"weight": state.pop("text_projection.weight")})
    inner = getattr(model, "text_model", model)
    inner.load_state_dict(state)
    return model


def read_pipeline(src, taesd=None):
    """The parts of a diffusers folder, and the tiny autoencoder of another."""
    src = Path(src)
    index = portable(read_json(src / "model_index.json"))
    has = lambda part: index.get(part, [None])[0] is not None
    parts = Parts(configs={"model_index.json": index})
    names = [name for name in (*TEXT_ENCODERS, "unet", "transformer", "vae") if has(name)]
    places = {"scheduler/scheduler_config.json": ["scheduler/scheduler_config.json"]}
    for name in names:
        targets = ["vae_encoder", "vae_decoder"] if name == "vae" else [name]
        places[f"{name}/config.json"] = [f"{target}/config.json" for target in targets]
    for place, targets in places.items():
        parts.configs |= {target: portable(read_json(src / place)) for target in targets}
    for name in TOKENIZERS:
        parts.texts |= tokenizer_files(src, name) if has(name) else {}
    if (src / "preview.json").exists():
        parts.texts["preview.json"] = (src / "preview.json").read_text(encoding="utf-8")
    for name in names:
        setattr(parts, name, network(src, name, index[name][1]))
    if taesd is not None:
        parts.tiny = AutoencoderTiny.from_pretrained(taesd, torch_dtype=torch.float32)
        parts.configs["vae_tiny_decoder/config.json"] = portable(read_json(Path(taesd) / "config.json"))
    return parts


def network(src, name, kind):
    if kind.startswith("CLIPText"):
        return text_encoder(src / name)
    if kind == "T5EncoderModel":
        return T5EncoderModel.from_pretrained(src / name, dtype=torch.float32)
    if kind not in NETWORKS:
        raise SystemExit(f"error: `{kind}` of `{src / name}` cannot be exported")
    return NETWORKS[kind].from_pretrained(src, subfolder=name, torch_dtype=torch.float32)
