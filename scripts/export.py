"""How does a Stable Diffusion folder become the ONNX folder that petal reads?

    python scripts/export.py SRC OUT
    python scripts/export.py SRC OUT --weights fp16 --inline
    python scripts/export.py SRC OUT --taesd TINY   also the `AutoencoderTiny` in the folder TINY, for `--vae fast`

SRC is a diffusers folder of the SD 1.x / 2.x kind, made for `StableDiffusionPipeline`, `StableDiffusionInpaintPipeline`
or `StableDiffusionInstructPix2PixPipeline`. OUT gets the layout that `optimum` writes: one `model.onnx` each for
`text_encoder`, `unet`, `vae_encoder` and `vae_decoder`, with `config.json` beside it, the scheduler's configuration and
the tokenizer's four files.

Every graph is run with ONNX Runtime on shapes other than the traced one and compared with torch; the largest absolute
difference is printed, and one above the tolerance ends the program with exit code 1. The same SRC gives the same bytes.
"""

import argparse
import gc
import json
import math
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import numpy as np
import onnx
import onnxruntime
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from export_graphs import Options, text_graph, tiny_graph, unet_graph, vae_graph
from export_weights import move_weights, store_half, tidy

diffusers.utils.logging.set_verbosity_error()


@dataclass
class Parts:
    """A pipeline in memory: its networks, and the small files that travel beside them."""

    text_encoder: torch.nn.Module
    unet: torch.nn.Module
    vae: torch.nn.Module
    tiny: torch.nn.Module = None  # an AutoencoderTiny
    configs: dict = field(default_factory=dict)  # path inside OUT -> JSON value
    texts: dict = field(default_factory=dict)  # path inside OUT -> text


# ---------------------------------------------------------------------------------------------- writing OUT


def trace(graph, options, folder):
    """Traces one network with torch's TorchScript exporter: its node names are the ones that LoRA tools know."""
    names = list(graph.example)
    fused = options.attention == "fused" and graph.name != "text_encoder"
    with tempfile.TemporaryDirectory(dir=folder) as scratch, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        path = Path(scratch) / "model.onnx"
        torch.onnx.export(
            graph.module,
            tuple(graph.example.values()),
            str(path),
            dynamo=False,
            opset_version=options.opset,
            input_names=names,
            output_names=graph.outputs,
            dynamic_axes={name: axes for name, axes in graph.axes.items() if axes},
            custom_opsets={"com.microsoft": 1} if fused else None,
        )
        return onnx.load(path)


def export_graph(graph, options, out):
    """Writes one graph and returns the largest absolute difference from torch, and the tolerance."""
    folder = out / graph.name
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("model.onnx", "model.onnx_data"):
        (folder / stale).unlink(missing_ok=True)
    graph.module.float().eval()
    with torch.no_grad():
        expected = [graph.reference(inputs) for inputs in graph.checks]
    graph.patch()
    graph.module.to(options.dtype)
    for inputs in [graph.example, *graph.checks]:
        inputs.update({k: v.to(options.dtype) if v.is_floating_point() else v for k, v in inputs.items()})
    model = trace(graph, options, folder)
    tidy(model)
    if options.weights == "fp16" and not options.half_io:
        store_half(model)
    if not options.inline:
        move_weights(model, folder)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    del model
    gc.collect()
    return largest_difference(folder / "model.onnx", graph, expected, options)


def largest_difference(path, graph, expected, options):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference, size = 0.0, 1.0
    for inputs, wanted in zip(graph.checks, expected):
        found = session.run(graph.outputs, {name: value.numpy() for name, value in inputs.items()})
        for a, b in zip(found, wanted):
            b = b.numpy()
            if a.shape != b.shape:
                raise SystemExit(f"error: {graph.name} gave shape {a.shape}, torch {b.shape}")
            difference = max(difference, float(np.abs(a.astype(np.float32) - b).max()))
            size = max(size, float(np.abs(b).max()))
    exact = options.weights == "fp32" and not options.half_io
    return difference, (1e-3 if exact else 5e-2) * size


def export_parts(parts, out, options):
    """Writes the whole folder. Exits with code 1 if a graph does not agree with torch."""
    out = Path(out)
    for path, value in parts.configs.items():
        parts.texts[path] = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for path, text in parts.texts.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, encoding="utf-8")
    makers = [
        lambda: text_graph(parts.text_encoder, options),
        lambda: unet_graph(parts.unet, options),
        lambda: vae_graph(parts.vae, options, decode=False),
        lambda: vae_graph(parts.vae, options, decode=True),
    ]
    if parts.tiny is not None:
        makers.append(lambda: tiny_graph(parts.tiny))
    failed = False
    for make in makers:
        graph = make()
        difference, tolerance = export_graph(graph, options, out)
        failed |= not difference <= tolerance
        size = sum(file.stat().st_size for file in (out / graph.name).iterdir())
        agreement = f"max abs difference {difference:.2e} (tolerance {tolerance:.0e})"
        print(f"{graph.name}: {agreement}, {size} bytes", flush=True)
    if failed:
        raise SystemExit("error: an exported graph does not agree with torch")


# ---------------------------------------------------------------------------------------------- reading SRC


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def portable(config):
    """Without the path of the machine it was made on, and without numbers that JSON does not have: diffusers writes
    `"lambda_min_clipped": -Infinity`, which is what a missing key means there."""
    infinite = lambda value: isinstance(value, float) and not math.isfinite(value)
    return {key: value for key, value in config.items() if key != "_name_or_path" and not infinite(value)}


def tokenizer_files(src):
    """CLIP's four files. transformers 5 writes only `tokenizer.json`; vocabulary and merges are inside it."""
    folder, texts = Path(src) / "tokenizer", {}
    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
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
    texts["tokenizer/vocab.json"] = json.dumps(vocab, ensure_ascii=False)
    texts["tokenizer/merges.txt"] = merges
    texts["tokenizer/special_tokens_map.json"] = json.dumps(special, indent=2) + "\n"
    texts["tokenizer/tokenizer_config.json"] = json.dumps(config, indent=2) + "\n"
    return texts


def text_encoder(folder):
    """CLIPTextModel from weights with or without the `text_model.` prefix."""
    model = CLIPTextModel(CLIPTextConfig(**read_json(folder / "config.json")))
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise SystemExit(f"error: no weights in `{folder}`")
    if files[0].suffix == ".safetensors":
        from safetensors.torch import load_file as load
    else:
        load = lambda file: torch.load(file, weights_only=True)
    state = {k.removeprefix("text_model."): v.float() for file in files for k, v in load(file).items()}
    state.pop("embeddings.position_ids", None)
    inner = getattr(model, "text_model", model)
    inner.load_state_dict(state)
    return model


def read_pipeline(src, taesd=None):
    """The parts of a diffusers folder, and the tiny autoencoder of another."""
    src = Path(src)
    configs = {"model_index.json": portable(read_json(src / "model_index.json"))}
    places = {"scheduler/scheduler_config.json": ["scheduler/scheduler_config.json"]}
    places |= {f"{part}/config.json": [f"{part}/config.json"] for part in ("text_encoder", "unet")}
    places["vae/config.json"] = ["vae_encoder/config.json", "vae_decoder/config.json"]
    for place, targets in places.items():
        configs |= {target: portable(read_json(src / place)) for target in targets}
    texts = tokenizer_files(src)
    if (src / "preview.json").exists():
        texts["preview.json"] = (src / "preview.json").read_text(encoding="utf-8")
    unet = UNet2DConditionModel.from_pretrained(src, subfolder="unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(src, subfolder="vae", torch_dtype=torch.float32)
    tiny = None
    if taesd is not None:
        tiny = AutoencoderTiny.from_pretrained(taesd, torch_dtype=torch.float32)
        configs["vae_tiny_decoder/config.json"] = portable(read_json(Path(taesd) / "config.json"))
    return Parts(text_encoder(src / "text_encoder"), unet, vae, tiny, configs, texts)


def arguments():
    about = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(description=about[0], epilog=about[2].strip())
    parser.add_argument("src", metavar="SRC", type=Path, help="diffusers pipeline folder (contains model_index.json)")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; files of the same name are replaced")
    add = parser.add_argument
    add("--weights", choices=["fp32", "fp16"], default="fp32", help="fp16: store weights in 16 bits, compute in 32")
    add("--inline", action="store_true", help="keep weights inside model.onnx (default: model.onnx_data beside it)")
    add("--ids", choices=["int32", "int64"], default="int64", help="type of input_ids (default int64)")
    add("--timestep", choices=["scalar", "vector"], default="scalar", help="rank of timestep (default scalar)")
    add("--half-io", action="store_true", help="16-bit graph: every float input and output, and the arithmetic")
    add("--opset", type=int, default=18, metavar="N", help="ONNX opset, 14 to 20 (default 18)")
    text = "fused: com.microsoft MultiHeadAttention, less memory, ONNX Runtime only (default plain)"
    add("--attention", choices=["plain", "fused"], default="plain", help=text)
    add("--taesd", type=Path, metavar="TINY", help="folder of an AutoencoderTiny, exported beside the others")
    return parser.parse_args()


def main():
    args = vars(arguments())
    src, out, taesd = args.pop("src"), args.pop("out"), args.pop("taesd")
    if not (src / "model_index.json").exists():
        raise SystemExit(f"error: `{src}` has no model_index.json\n\nhint: give the folder of a diffusers pipeline")
    if src.resolve() == out.resolve():
        raise SystemExit("error: SRC and OUT are the same folder")
    export_parts(read_pipeline(src, taesd), out, Options(**args))
    for stale in ("tokenizer/tokenizer.json",):
        (out / stale).unlink(missing_ok=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
