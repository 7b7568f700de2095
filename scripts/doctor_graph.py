"""Which graph does `petal doctor` run on every provider? Writes engine/assets/doctor.onnx.

A few kilobytes with the operators that take the time in networks that draw: convolutions, SiLU, a norm, matrix products,
softmax and Resize, in 32-bit floats and with fixed sizes.

    python scripts/doctor_graph.py
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TARGET = Path(__file__).parent.parent / "engine/assets/doctor.onnx"


def main():
    noise = np.random.default_rng(7)

    def weight(name, *shape):
        return numpy_helper.from_array((noise.standard_normal(shape) * 0.3).astype(np.float32), name)

    def ints(name, *values):
        return numpy_helper.from_array(np.array(values, np.int64), name)

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "conv_in"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("InstanceNormalization", ["a", "norm_scale", "norm_shift"], ["b"], epsilon=1e-5),
        node("Sigmoid", ["b"], ["b_sigmoid"]),
        node("Mul", ["b", "b_sigmoid"], ["c"]),
        node("Reshape", ["c", "tokens"], ["d"]),
        node("Transpose", ["d"], ["e"], perm=[0, 2, 1]),
        node("MatMul", ["e", "to_q"], ["q"]),
        node("MatMul", ["q", "d"], ["scores"]),
        node("Softmax", ["scores"], ["attention"], axis=-1),
        node("MatMul", ["attention", "e"], ["f"]),
        node("Transpose", ["f"], ["g"], perm=[0, 2, 1]),
        node("Reshape", ["g", "image"], ["h"]),
        node("Add", ["c", "h"], ["i"]),
        node("Resize", ["i", "", "scales"], ["j"], mode="nearest", coordinate_transformation_mode="asymmetric",
             nearest_mode="floor"),
        node("Conv", ["j", "conv_out"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    weights = [
        weight("conv_in", 8, 4, 3, 3), weight("norm_scale", 8), weight("norm_shift", 8), weight("to_q", 8, 8),
        weight("conv_out", 3, 8, 3, 3), ints("tokens", 1, 8, 64), ints("image", 1, 8, 8, 8),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]
    port = helper.make_tensor_value_info
    ports = [port("x", TensorProto.FLOAT, [1, 4, 8, 8])], [port("y", TensorProto.FLOAT, [1, 3, 16, 16])]
    graph = helper.make_graph(nodes, "doctor", *ports, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "petal"
    onnx.checker.check_model(model, full_check=True)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
