"""How much memory and time does the autoencoder take, whole and in tiles?

    cargo build --release
    python scripts/measure_vae.py --work ../petal-vae [--sides 1024 2048]

The autoencoder has SD 1's size and random weights, fused attention (with scores written down, 2048x2048 would take
17 GB for them alone). Its network is a stub, one step of which costs next to nothing, so that the whole process is the
autoencoder's. Peak memory and time are those of the process, from wait4; run it alone. Pictures are compared in the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(folder):
    """tests/models/sd1 with the large autoencoder and a stub of a UNet. Run as `--build`."""
    import onnx
    import torch
    from diffusers import AutoencoderKL
    from onnx import TensorProto, helper

    from compare import VAE
    from export import Options, export_graph
    from export_graphs import vae_graph
    from tiny_models import fill

    shutil.copytree(ROOT / "tests" / "models" / "sd1", folder)
    vae, options = AutoencoderKL(**VAE), Options(attention="fused")
    fill(vae, torch.Generator().manual_seed(0))
    for decode in (True, False):
        shutil.rmtree(folder / ("vae_decoder" if decode else "vae_encoder"))
        export_graph(vae_graph(vae, options, decode=decode), options, folder)
    for part in ("vae_decoder", "vae_encoder"):
        (folder / part / "config.json").write_text(json.dumps({**VAE, "_class_name": "AutoencoderKL"}))
    shutil.rmtree(folder / "unet")
    tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    nodes = [  # half of the latents; what a UNet is given beside them counts for nothing
        helper.make_node("ReduceMean", ["encoder_hidden_states"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "timestep"], ["product"]),
        helper.make_node("Mul", ["product", "zero"], ["nothing"]),
        helper.make_node("Mul", ["sample", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "nothing"], ["out_sample"]),
    ]
    inputs = [tensor("sample", ["b", 4, "h", "w"]), tensor("timestep", []), tensor("encoder_hidden_states", ["b", "s", 16])]
    numbers = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("zero", 0.0), ("half", 0.5))]
    graph = helper.make_graph(nodes, "stub", inputs, [tensor("out_sample", ["b", 4, "h", "w"])], numbers)
    (folder / "unet").mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "unet" / "model.onnx")


def measure(program, folder, side, tiling):
    picture = folder.parent / f"{side}-{tiling}.png"
    flags = ["-W", side, "-H", side, "--steps", 1, "--cfg-scale", 1, "--vae-tiling", tiling, "-q", "-o", picture]
    begun = time.time()
    process = subprocess.Popen([str(word) for word in [program, "draw", "x", "-m", folder, *flags]], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"petal ended with status {status}")
    return picture, time.time() - begun, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="where the model and the pictures go")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "petal")
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.work.resolve() / "model"
    if args.build:
        return build(folder)
    if not folder.exists():
        args.work.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, "--work", args.work, "--build"], check=True)
    print("| side | whole, s | in tiles, s | ratio | whole, MiB | in tiles, MiB | ratio | worst of 255 |\n|--:|--:|--:|--:|--:|--:|--:|--:|")
    for side in args.sides:
        (a, whole, more), (b, tiled, less) = [measure(args.program.resolve(), folder, side, how) for how in ("off", "on")]
        compare = "import sys,numpy as n;from PIL import Image as I;a,b=[n.array(I.open(f)).astype(int) for f in sys.argv[1:]];print(abs(a-b).max())"
        worst = subprocess.run([sys.executable, "-c", compare, a, b], capture_output=True, text=True).stdout.strip()
        cells = [side, f"{whole:.0f}", f"{tiled:.0f}", f"{tiled / whole:.2f}", f"{more:,.0f}", f"{less:,.0f}", f"{less / more:.2f}", worst]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
