"""Makes the small upscalers of random weights under tests/models/upscalers/, and a graph that is none.

    python scripts/tiny_upscalers.py

- rrdb.onnx: four times larger, of any size, as ESRGAN's generator is built (residual-in-residual dense blocks)
- fixed.onnx: the same shape of network, twice larger, for 32x24 pixels alone, 16-bit input and output, under other names
- windowed.onnx: twice larger, for sides that are multiples of 8 alone, as networks with attention windows are
- mean.onnx: gives one number for a picture
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parent.parent / "tests/models/upscalers"
CHANNELS, GROWTH = 8, 4


class Maker:
    """Nodes and weights of a graph, from a seed."""

    def __init__(self, seed: int, half: bool = False) -> None:
        self.random = np.random.RandomState(seed)
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], **attributes: object) -> str:
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float16 if self.half else np.float32))

    def conv(self, value: str, given: int, made: int, act: bool = True) -> str:
        weight = (self.random.randn(made, given, 3, 3) * np.sqrt(2 / (given * 9))).astype(np.float16)
        name = self.constant(weight)
        if not self.half:
            name = self.add("Cast", [name], to=TensorProto.FLOAT)
        value = self.add("Conv", [value, name], pads=[1] * 4)
        return self.add("LeakyRelu", [value], alpha=0.2) if act else value

    def residual(self, value: str, more: str) -> str:
        return self.add("Add", [value, self.add("Mul", [more, self.number(0.2)])])

    def dense(self, value: str) -> str:
        """A dense block: each convolution sees all before it."""
        seen = [value]
        for number in range(2):
            joined = self.add("Concat", seen, axis=1) if number else value
            seen.append(self.conv(joined, CHANNELS + number * GROWTH, GROWTH))
        joined = self.add("Concat", seen, axis=1)
        return self.residual(value, self.conv(joined, CHANNELS + 2 * GROWTH, CHANNELS, act=False))

    def double(self, value: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.conv(self.add("Resize", [value, "", scales], **attributes), CHANNELS, CHANNELS)

    def rrdb(self, value: str, doublings: int) -> str:
        first = self.conv(value, 3, CHANNELS, act=False)
        block = self.residual(first, self.dense(self.dense(first)))
        value = self.add("Add", [first, self.conv(block, CHANNELS, CHANNELS, act=False)])
        for _ in range(doublings):
            value = self.double(value)
        return self.add("Sigmoid", [self.conv(value, CHANNELS, 3, act=False)])

    def save(self, name: str, given: tuple, made: tuple) -> None:
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        values = [helper.make_tensor_value_info(port, kind, shape) for port, shape in (given, made)]
        graph = helper.make_graph(self.nodes, name, values[:1], values[1:], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="petal")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        size = (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        print(f"{name}.onnx: {size} bytes")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    maker = Maker(1)
    maker.rrdb("lr", 2)
    maker.nodes[-1].output[0] = "hr"
    maker.save("rrdb", ("lr", ["n", 3, "h", "w"]), ("hr", ["n", 3, "H", "W"]))

    maker = Maker(2, half=True)
    maker.rrdb("input.1", 1)
    maker.nodes[-1].output[0] = "1894"
    maker.save("fixed", ("input.1", [1, 3, 24, 32]), ("1894", [1, 3, 48, 64]))

    maker = Maker(3)
    # there and back again, which fails unless both sides are multiples of 8
    windows = maker.add("SpaceToDepth", ["x"], blocksize=8)
    maker.rrdb(maker.add("DepthToSpace", [windows], blocksize=8), 1)
    maker.nodes[-1].output[0] = "y"
    maker.save("windowed", ("x", ["n", 3, "h", "w"]), ("y", ["n", 3, "H", "W"]))

    maker = Maker(4)
    maker.add("GlobalAveragePool", ["x"])
    maker.nodes[-1].output[0] = "y"
    maker.save("mean", ("x", ["n", 3, "h", "w"]), ("y", ["n", 3, 1, 1]))


if __name__ == "__main__":
    main()
