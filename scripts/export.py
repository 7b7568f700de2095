"""How does a pipeline of diffusers become the ONNX folder that petal reads?

    python scripts/export.py SRC OUT
    python scripts/export.py SRC OUT --arithmetic fp16 --target cuda   for an NVIDIA GPU
    python scripts/export.py SRC OUT --weights fp16 --inline
    python scripts/export.py model.safetensors OUT --like FOLDER       a checkpoint in one file
    python scripts/export.py SRC OUT --taesd TINY   also the `AutoencoderTiny` in the folder TINY, for `--vae fast`

SRC is a diffusers folder of SD 1.x or 2.x (also for inpainting, instruct-pix2pix and latent consistency), SDXL or its
refiner, SD 3 or 3.5, or FLUX.1; a checkpoint of such a model in one file; or the name of a repository on a hub, which
`HF_ENDPOINT` names. OUT gets the layout that `optimum` writes: one `model.onnx` each for the text encoders, the `unet`
or `transformer`, `vae_encoder` and `vae_decoder`, with `config.json` beside it, the scheduler's configuration and the
tokenizers. Beside OUT, `OUT.models.toml` is its entry for petal's catalogue.

Every graph is run with ONNX Runtime on shapes other than the traced one and compared with torch; the largest absolute
difference is printed, and one above the tolerance ends the program with exit code 1. The same SRC gives the same bytes.
"""

import argparse
import gc
import json
import tempfile
import warnings
from pathlib import Path

import diffusers
import numpy as np
import onnx
import onnxruntime
import torch

import export_cuda
from export_fetch import folder_of
from export_graphs import Options, graph_makers
from export_half import halve_inputs, overflows, widen, widen_ends
from export_manifest import write_entry
from export_portable import portable as portable_on_cpu
from export_source import TOKENIZERS, Parts, portable, read_json, read_pipeline, tokenizer_files
from export_weights import compact, move_weights, store_half, tidy

diffusers.utils.logging.set_verbosity_error()

MOST_CHANNELS = 640 * 1920  # taken times given by a convolution that is computed by tiles: see measure_portable.py


# ---------------------------------------------------------------------------------------------- writing OUT


def trace(graph, options, folder):
    """Traces one network with torch's TorchScript exporter: its node names are the ones that LoRA tools know."""
    names = list(graph.example)
    fused = options.attention == "fused"
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
            custom_opsets={"com.microsoft": 1} if fused and not graph.name.startswith("text_encoder") else None,
        )
        return onnx.load(path)


def prepare(graph, half, half_io):
    """Makes a network and its inputs as wide as it shall compute."""
    graph.patch()
    graph.module.to(torch.float16 if half else torch.float32)
    for inputs in [graph.example, *graph.checks]:
        if half_io:
            inputs.update({k: v.half() if v.is_floating_point() else v for k, v in inputs.items()})
    if half and not half_io:
        graph.example = halve_inputs(graph.example)


def export_graph(graph, options, out):
    """Writes one graph and returns the largest absolute difference from torch, and the tolerance."""
    folder = out / graph.name
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("model.onnx", "model.onnx_data"):
        (folder / stale).unlink(missing_ok=True)
    graph.module.float().eval()
    with torch.no_grad():
        expected = [graph.reference(inputs) for inputs in graph.checks]
    fused_later = options.target == "cuda" and graph.name in export_cuda.KINDS  # ONNX Runtime fuses 32 bits alone
    inside = options.arithmetic == "fp16" and not overflows(graph)
    half = options.half_io or (inside and not fused_later)
    prepare(graph, half, options.half_io)
    model = trace(graph, options, folder)
    tidy(model)
    if half and not options.half_io:
        widen(model)
        widen_ends(model)
    if fused_later:
        model = export_cuda.optimized(model, graph, inside)
    if options.target == "cpu" and graph.name == "unet" and not (half or inside):
        portable_on_cpu(model, largest=MOST_CHANNELS, attention=False)
    if options.weights == "fp16" and not (half or inside):
        store_half(model)
    if options.compact:
        compact(model)
    if not options.inline:
        move_weights(model, folder)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    del model
    gc.collect()
    if fused_later and not export_cuda.runs():
        return None, None
    return largest_difference(folder / "model.onnx", graph, expected, options)


def largest_difference(path, graph, expected, options):
    providers = ["CUDAExecutionProvider"] if options.target == "cuda" and export_cuda.runs() else []
    session = onnxruntime.InferenceSession(path, providers=[*providers, "CPUExecutionProvider"])
    difference, size = 0.0, 1.0
    for inputs, wanted in zip(graph.checks, expected):
        found = session.run(graph.outputs, {name: value.numpy() for name, value in inputs.items()})
        for a, b in zip(found, wanted):
            b = b.numpy()
            if a.shape != b.shape:
                raise SystemExit(f"error: {graph.name} gave shape {a.shape}, torch {b.shape}")
            difference = max(difference, float(np.abs(a.astype(np.float32) - b).max()))
            size = max(size, float(np.abs(b).max()))
    exact = options.weights == "fp32" and not options.half_io and options.arithmetic == "fp32"
    return difference, (1e-3 if exact else 5e-2) * size


def export_parts(parts, out, options):
    """Writes the whole folder. Exits with code 1 if a graph does not agree with torch."""
    out = Path(out)
    for path, value in parts.configs.items():
        parts.texts[path] = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for path, text in parts.texts.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    failed = False
    for make in graph_makers(parts, options):
        graph = make()
        difference, tolerance = export_graph(graph, options, out)
        size = sum(file.stat().st_size for file in (out / graph.name).iterdir())
        if difference is None:
            agreement = "not compared with torch: this ONNX Runtime has no CUDA"
        else:
            failed |= not difference <= tolerance
            agreement = f"max abs difference {difference:.2e} (tolerance {tolerance:.0e})"
        print(f"{graph.name}: {agreement}, {size} bytes", flush=True)
    if failed:
        raise SystemExit("error: an exported graph does not agree with torch")


# ---------------------------------------------------------------------------------------------- the program


def arguments():
    about = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(description=about[0], epilog=about[2].strip())
    parser.add_argument("src", metavar="SRC", help="diffusers folder, checkpoint in one file, or owner/model on a hub")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; files of the same name are replaced")
    add = parser.add_argument
    add("--like", type=Path, metavar="FOLDER", help="diffusers folder with what a checkpoint in one file lacks")
    add("--weights", choices=["fp32", "fp16"], default="fp32", help="fp16: store weights in 16 bits, compute in 32")
    text = "fp16: compute in 16 bits where that is safe, inputs and outputs of 32 bits; implies --weights fp16"
    add("--arithmetic", choices=["fp32", "fp16"], default="fp32", help=text)
    text = "cpu: convolutions of a UNet take fewer multiplications; cuda: nodes that only NVIDIA GPUs run"
    add("--target", choices=["portable", "cpu", "cuda"], default="portable", help=text)
    text = "fused: com.microsoft MultiHeadAttention, less memory, ONNX Runtime only (default)"
    add("--attention", choices=["plain", "fused"], default="fused", help=text)
    add("--controlnet-inputs", action="store_true", help="the UNet also takes what a ControlNet adds")
    text = "text encoders give no states of their layers, as optimum exports SD 1 and 2"
    add("--no-hidden-states", dest="hidden_states", action="store_false", help=text)
    add("--inline", action="store_true", help="keep weights inside model.onnx (default: model.onnx_data beside it)")
    add("--ids", choices=["int32", "int64"], default="int64", help="type of input_ids (default int64)")
    add("--timestep", choices=["scalar", "vector"], default="scalar", help="rank of a UNet's timestep (default scalar)")
    add("--half-io", action="store_true", help="16-bit graph: every float input and output, and the arithmetic")
    add("--opset", type=int, default=18, metavar="N", help="ONNX opset, 14 to 20 (default 18)")
    add("--taesd", type=Path, metavar="TINY", help="folder of an AutoencoderTiny, exported beside the others")
    add("--name", help="of the catalogue's entry (default: that of OUT)")
    add("--about", default="", help="of the catalogue's entry: one line")
    add("--licence", default="unknown", help="of the catalogue's entry")
    add("--source", help="of the catalogue's entry: where the model comes from (default: the name of SRC)")
    return parser.parse_args()


def main():
    args = vars(arguments())
    src, out, taesd, like = (args.pop(name) for name in ("src", "out", "taesd", "like"))
    entry = {name: args.pop(name) for name in ("name", "about", "licence", "source")}
    entry["name"] = entry["name"] or out.resolve().name
    entry["source"] = entry["source"] or (Path(src).name if Path(src).exists() else src)
    if Path(src).resolve() == out.resolve():
        raise SystemExit("error: SRC and OUT are the same folder")
    if args["arithmetic"] == "fp16":
        args["weights"] = "fp16"
    with tempfile.TemporaryDirectory() as scratch:
        parts = read_pipeline(folder_of(src, like, scratch), taesd)
        export_parts(parts, out, Options(**args))
    for part in TOKENIZERS:  # what petal would read before CLIP's four files
        if f"{part}/merges.txt" in parts.texts:
            (out / part / "tokenizer.json").unlink(missing_ok=True)
    print(f"wrote {out} and {write_entry(out, entry)}")


if __name__ == "__main__":
    main()
