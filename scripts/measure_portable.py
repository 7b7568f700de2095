"""How much faster is a UNet's portable graph on a CPU, by which rewrite, and how far from the plain one?

    python scripts/measure_portable.py --work ../petal-portable    a UNet of SD 1.5's size, 512x512
    python scripts/measure_portable.py --candidates                single layers of it: what helps, what does not

The UNet has random weights and is exported once into WORK (12 GB of memory, 3.5 GB of disk). Sessions are set up as the
engine does: no prepacking, no memory pattern. Graphs run in turn in one process, A B A B; processor time is that of all
its threads, which do not spin between nodes, so that it holds on a machine that others use as well. Wall time does not.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export_portable import portable

FLOAT = TensorProto.FLOAT
SETTINGS = {  # name -> largest convolution that is computed by tiles
    "attention": 0,
    "and 320 channels": 320 * 960,
    "and 640 to 640": 640 * 640,
    "and up to 1920": 640 * 1920,
}


def session(model, threads, without=()):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_mem_pattern, options.log_severity_level = threads, False, 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    optimizers = {"disabled_optimizers": list(without)} if without else {}
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], **optimizers)


def own_memory():
    """Bytes of this process that no file holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def alternate(sessions, feed, runs):
    """Processor and wall times of each session by turns, the first run apart, and their outputs."""
    times, outputs = [[] for _ in sessions], [None] * len(sessions)
    for run in range(runs + 1):
        for i, one in enumerate(sessions):
            wall, cpu = time.perf_counter(), time.process_time()
            outputs[i] = one.run(None, feed)[0]
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if run:
                times[i].append((cpu, wall))
    return times, outputs


def middle(times, which):
    return statistics.median(pair[which] for pair in times)


# ---------------------------------------------------------------------------------------------- the whole UNet


def build(folder):
    """The plain export. Run as `--build`, so that torch's memory goes with its process."""
    import torch
    from diffusers import UNet2DConditionModel

    from compare import UNET
    from export import Options, export_graph
    from export_graphs import unet_graph

    torch.manual_seed(0)
    options = Options()
    difference, _ = export_graph(unet_graph(UNet2DConditionModel(**UNET), options), options, folder)
    print(f"plain export: off by {difference:.1e} from torch")


def compare(args):
    folder = args.work / "unet"
    if not (folder / "model.onnx_data").exists():
        args.work.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, "--build", "--work", args.work], check=True)
    random = np.random.default_rng(0)
    feed = {
        "sample": random.standard_normal((args.rows, 4, args.side // 8, args.side // 8)).astype(np.float32),
        "timestep": np.array(500, np.float32),
        "encoder_hidden_states": random.standard_normal((args.rows, 77, 768)).astype(np.float32),
    }
    print(f"{args.side}x{args.side}, {args.rows} rows, {args.threads} threads, onnxruntime {onnxruntime.__version__}")
    for name, largest in SETTINGS.items():
        model, joined, tiled = portable(onnx.load(folder / "model.onnx", load_external_data=False), largest)
        path = folder / f"portable-{largest}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        sessions, loads = [], []
        for file in (folder / "model.onnx", path):
            memory, start = own_memory(), time.process_time()
            sessions.append(session(file, args.threads))
            loads.append((time.process_time() - start, (own_memory() - memory) / 1e9))
        times, (plain, other) = alternate(sessions, feed, args.runs)
        cpu, wall = ([middle(pair, which) for pair in times] for which in (0, 1))
        best = [min(pair[1] for pair in each) for each in times]
        print(f"{name}: {joined} attentions, {tiled} convolutions by tiles")
        print(f"  processor {cpu[1]:.2f} s for {cpu[0]:.2f} s: {cpu[1] / cpu[0]:.3f}")
        print(f"  wall      {wall[1]:.2f} s for {wall[0]:.2f} s: {wall[1] / wall[0]:.3f}, best {best[1] / best[0]:.3f}")
        print(f"  loading   {loads[1][0]:.1f} s for {loads[0][0]:.1f} s, {loads[1][1]:.2f} GB for {loads[0][1]:.2f} GB")
        away, most = np.abs(plain - other).max(), np.abs(plain).max()
        print(f"  off by    {away:.1e} where the largest is {most:.2f}", flush=True)
        del sessions


# ---------------------------------------------------------------------------------------------- single layers


class Layer:
    """A graph of one input `x` and one output `y`, written node by node."""

    def __init__(self, shape, opset=18):
        self.shape, self.opset, self.nodes, self.tensors = shape, opset, [], []
        self.random = np.random.default_rng(0)

    def weight(self, *shape, scale=None):
        scale = scale or shape[0] ** -0.5
        return self.tensor((self.random.standard_normal(shape) * scale).astype(np.float32))

    def tensor(self, value):
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values):
        return self.tensor(np.array(values, np.int64))

    def floats(self, *values):
        return self.tensor(np.array(values if len(values) > 1 else values[0], np.float32))

    def add(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def contrib(self, kind, *inputs, **attributes):
        return self.add(kind, *inputs, domain="com.microsoft", **attributes)

    def done(self, last):
        """The graph, for every size but the last one, or the channels of a picture; and the shape of its input."""
        self.nodes.append(helper.make_node("Identity", [last], ["y"]))
        port = lambda name, shape: helper.make_tensor_value_info(name, FLOAT, shape)  # noqa: E731
        known = {len(self.shape) - 1} if len(self.shape) == 3 else {1}
        axes = [length if i in known else f"axis{i}" for i, length in enumerate(self.shape)]
        graph = helper.make_graph(self.nodes, "layer", [port("x", axes)], [port("y", None)], self.tensors)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10), self.shape


def attention(kind):
    """Self-attention of 64 x 64 positions, 8 heads of 40."""
    layer = Layer([1, 4096, 320], 23 if kind == "Attention-23" else 18)
    query, key, value = (layer.add("MatMul", "x", layer.weight(320, 320)) for _ in range(3))
    if kind == "MultiHeadAttention":
        return layer.done(layer.contrib(kind, query, key, value, num_heads=8, scale=40**-0.5))
    if kind == "Attention-23":
        return layer.done(layer.add("Attention", query, key, value, q_num_heads=8, kv_num_heads=8, scale=40**-0.5))
    split, join = layer.ints(0, 0, 8, -1), layer.ints(0, 0, -1)
    query = layer.add("Mul", query, layer.floats(40**-0.5))
    query, key, value = (layer.add("Reshape", x, split) for x in (query, key, value))
    query, value = (layer.add("Transpose", x, perm=[0, 2, 1, 3]) for x in (query, value))
    scores = layer.add("MatMul", query, layer.add("Transpose", key, perm=[0, 2, 3, 1]))
    out = layer.add("MatMul", layer.add("Softmax", scores, axis=-1), value)
    return layer.done(layer.add("Reshape", layer.add("Transpose", out, perm=[0, 2, 1, 3]), join))


def norm(kind):
    """A group norm of 320 channels in 64 x 64."""
    layer = Layer([2, 320, 64, 64], 21 if kind == "GroupNormalization-21" else 18)
    scale, bias = layer.weight(320, scale=1), layer.weight(320, scale=1)
    if kind == "GroupNormalization-21":
        return layer.done(layer.add("GroupNormalization", "x", scale, bias, num_groups=32, epsilon=1e-5))
    ones, zeros = layer.tensor(np.ones(32, np.float32)), layer.tensor(np.zeros(32, np.float32))
    flat = layer.add("Reshape", "x", layer.ints(0, 32, -1))
    whole = layer.add("Reshape", layer.add("InstanceNormalization", flat, ones, zeros), layer.add("Shape", "x"))
    scale, bias = (layer.add("Reshape", name, layer.ints(320, 1, 1)) for name in (scale, bias))
    return layer.done(layer.add("Add", layer.add("Mul", whole, scale), bias))


def silu(kind):
    layer = Layer([2, 320, 64, 64])
    if kind == "QuickGelu":
        return layer.done(layer.contrib(kind, "x", alpha=1.0))
    return layer.done(layer.add("Mul", "x", layer.add("Sigmoid", "x")))


def gelu(kind):
    layer = Layer([2, 4096, 1280], 20 if kind == "Gelu-20" else 18)
    if kind == "Gelu-20":
        return layer.done(layer.add("Gelu", "x"))
    if kind in ("Gelu", "FastGelu"):
        return layer.done(layer.contrib(kind, "x"))
    if kind == "BiasGelu":
        return layer.done(layer.contrib(kind, "x", layer.tensor(np.zeros(1280, np.float32))))
    erf = layer.add("Add", layer.add("Erf", layer.add("Div", "x", layer.floats(2**0.5))), layer.floats(1.0))
    return layer.done(layer.add("Mul", layer.add("Mul", "x", erf), layer.floats(0.5)))


def residual(kind):
    """A projection, what it is added to, and the next layer norm."""
    layer = Layer([2, 4096, 320])
    product, bias = layer.add("MatMul", "x", layer.weight(320, 320)), layer.weight(320)
    gamma, beta = layer.weight(320), layer.weight(320)
    if kind == "SkipLayerNormalization":
        out = layer.contrib(kind, product, "x", gamma, beta, bias, epsilon=1e-5, outputs=4)
        return layer.done(layer.add("Add", out[0], out[3]))
    total = layer.add("Add", layer.add("Add", product, bias), "x")
    return layer.done(layer.add("Add", layer.add("LayerNormalization", total, gamma, beta, epsilon=1e-5), total))


def linear(kind):
    layer = Layer([2, 4096, 320])
    weight, bias = layer.random.standard_normal((320, 1280)).astype(np.float32) * 0.05, layer.weight(1280)
    if kind == "MatMul":
        return layer.done(layer.add("Add", layer.add("MatMul", "x", layer.tensor(weight)), bias))
    flat = layer.add("Reshape", "x", layer.ints(-1, 320))
    turned = kind == "Gemm, weights turned"
    product = layer.add("Gemm", flat, layer.tensor(weight.T if turned else weight), bias, transB=int(turned))
    return layer.done(layer.add("Reshape", product, layer.ints(-1, 4096, 1280)))


def gated(kind):
    """The first layer of a feed-forward network, whose output is cut in two."""
    layer = Layer([2, 4096, 320])
    weight, bias = (layer.random.standard_normal((320, 2560)) * 0.05).astype(np.float32), np.zeros(2560, np.float32)
    if kind == "two products":
        left, right = (
            layer.add("Add", layer.add("MatMul", "x", layer.tensor(weight[:, part])), layer.tensor(bias[part]))
            for part in (slice(0, 1280), slice(1280, 2560))
        )
    else:
        whole = layer.add("Add", layer.add("MatMul", "x", layer.tensor(weight)), layer.tensor(bias))
        if kind == "Split":
            left, right = layer.add("Split", whole, axis=2, num_outputs=2, outputs=2)
        else:
            cut = lambda start, end: layer.add("Slice", whole, *(layer.ints(i) for i in (start, end, 2)))  # noqa: E731
            left, right = cut(0, 1280), cut(1280, 2560)
    return layer.done(layer.add("Mul", left, layer.contrib("Gelu", right)))


def convolution(kind):
    layer = Layer([2, 320, 64, 64])
    weight, bias = layer.weight(320, 320, 3, 3, scale=0.02), layer.weight(320)
    same = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "kernel_shape": [3, 3]}
    model, shape = layer.done(layer.add("Conv", "x", weight, bias, pads=[1] * 4, **same))
    return portable(model, 320 * 320 if kind == "by tiles" else 0)[0], shape


CANDIDATES = {  # what -> (how a layer is written, the plain kind first, the others)
    "attention": (attention, ["plain", "MultiHeadAttention", "Attention-23"]),
    "group norm": (norm, ["InstanceNormalization", "GroupNormalization-21"]),
    "SiLU": (silu, ["Sigmoid, Mul", "QuickGelu"]),
    "GELU": (gelu, ["Erf", "Gelu", "Gelu-20", "BiasGelu", "FastGelu"]),
    "residual and layer norm": (residual, ["Add, LayerNormalization", "SkipLayerNormalization"]),
    "linear": (linear, ["MatMul", "Gemm", "Gemm, weights turned"]),
    "gated linear": (gated, ["Slice", "Split", "two products"]),
    "convolution": (convolution, ["Conv", "Conv, channels not in blocks", "by tiles"]),
}


def candidates(args):
    for what, (make, kinds) in CANDIDATES.items():
        without = {"Conv, channels not in blocks": ["NchwcTransformer"]}
        layers = [make(kind) for kind in kinds]
        sessions = [
            session(model.SerializeToString(), args.threads, without.get(kind, ()))
            for kind, (model, _) in zip(kinds, layers)
        ]
        feed = {"x": np.random.default_rng(1).standard_normal(layers[0][1]).astype(np.float32)}
        times, outputs = alternate(sessions, feed, args.runs)
        for kind, each, output in zip(kinds, times, outputs):
            cpu, first = (min(pair[0] for pair in some) for some in (each, times[0]))
            away = np.abs(output - outputs[0]).max()
            print(f"{what:24}{kind:30}{cpu * 1e3:8.1f} ms {cpu / first:6.2f}   off by {away:.1e}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, help="folder of the exported UNet")
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--candidates", action="store_true", help="single layers in place of the UNet")
    parser.add_argument("--side", type=int, default=512, help="of the picture, in pixels (default 512)")
    parser.add_argument("--rows", type=int, default=2, help="2 with guidance (default 2)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="of each graph, after one that does not count (default 3)")
    args = parser.parse_args()
    if not args.candidates and args.work is None:
        parser.error("give --work FOLDER, or --candidates")
    if args.build:
        build(args.work)
    else:
        candidates(args) if args.candidates else compare(args)


if __name__ == "__main__":
    main()
