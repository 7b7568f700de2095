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
import tempfile
import warnings
from pathlib import Path

import diffusers
import numpy as np
import onnx
import onnxruntime
import torch

from export_graphs import Options, graph_makers
from export_source import Parts, portable, read_json, read_pipeline, tokenizer_files
from export_weights import compact, move_weights, store_half, tidy

diffusers.utils.logging.set_verbosity_error()


# ---------------------------------------------------------------------------------------------- writing OUT


def trace(graph, options, folder):
    """Traces one network with torch's TorchScript exporter: its node names are the ones that LoRA tools know."""
    names = list(graph.example)
    fused = options.attention == "fused" and not graph.name.startswith("text_encoder")
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
    if options.compact:
        compact(model)
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
        (out / path).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    failed = False
    for make in graph_makers(parts, options):
        graph = make()
        difference, tolerance = export_graph(graph, options, out)
        failed |= not difference <= tolerance
        size = sum(file.stat().st_size for file in (out / graph.name).iterdir())
        agreement = f"max abs difference {difference:.2e} (tolerance {tolerance:.0e})"
        print(f"{graph.name}: {agreement}, {size} bytes", flush=True)
    if failed:
        raise SystemExit("error: an exported graph does not agree with torch")


# ---------------------------------------------------------------------------------------------- the program


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
    for part in ("tokenizer", "tokenizer_2"):  # what petal would read before CLIP's four files
        (out / part / "tokenizer.json").unlink(missing_ok=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
