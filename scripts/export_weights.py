"""How does a traced graph become small and its weights mappable? export.py's last step before it writes a file."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EXTERNAL_FROM = 100  # bytes; smaller tensors stay in `model.onnx`, as optimum leaves them
HALF_FROM = 1024  # bytes; smaller tensors keep 32 bits
PAGE = 4096  # weights in `model.onnx_data` start on a page, so that they can be mapped


def rewire(graph, renamed):
    """Lets every node read `renamed[x]` where it read `x`."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)


def tidy(model):
    """Drops what the exporter repeats: constants become shared initializers, equal shape arithmetic is done once,
    a division by one (diffusers' `output_scale_factor`) goes."""
    graph, seen, renamed, kept, ones = model.graph, {}, {}, [], set()
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        if node.op_type == "Div" and node.input[1] in ones and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        elif node.op_type == "Constant":
            tensor = node.attribute[0].t
            key = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
            if key not in seen:
                seen[key] = f"constant.{len(seen)}"
                graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor), seen[key]))
            renamed[node.output[0]] = seen[key]
            if tensor.dims == [] and numpy_helper.to_array(tensor) == 1:
                ones.add(seen[key])
        elif node.op_type in ("Shape", "Gather", "Unsqueeze"):
            attributes = b"".join(a.SerializeToString() for a in node.attribute)
            key = (node.op_type, tuple(node.input), attributes)
            renamed[node.output[0]] = seen.setdefault(key, node.output[0])
            if renamed[node.output[0]] == node.output[0]:
                kept.append(node)
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input} | outputs
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def store_half(model):
    """Stores large weights in 16 bits, each followed by a Cast that ONNX Runtime folds when it loads the graph."""
    casts, renamed = [], {}
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        vector = value.size == max(value.shape, default=1)  # a bias, or the scale of a norm
        if tensor.data_type != TensorProto.FLOAT or value.nbytes < HALF_FROM or vector:
            continue
        name, wide = tensor.name, f"{tensor.name}.float32"
        renamed[name] = wide
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [wide], name=f"{name}/Cast", to=TensorProto.FLOAT))
    rewire(model.graph, renamed)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def compact(model):
    """Gives the values between nodes short names. Nodes keep theirs: tools find weights by them."""
    graph, renamed = model.graph, {}
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name not in outputs:
                renamed[name] = f".{len(renamed)}"
                node.output[i] = renamed[name]
    rewire(graph, renamed)


def move_weights(model, folder):
    """Moves floating-point weights into `model.onnx_data`, large ones on page boundaries."""
    with open(folder / "model.onnx_data", "wb") as data:
        for tensor in model.graph.initializer:
            if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
                continue
            raw = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
            if len(raw) < EXTERNAL_FROM:
                continue
            align = PAGE if len(raw) >= PAGE else 64
            data.write(b"\0" * (-data.tell() % align))
            place = {"location": "model.onnx_data", "offset": data.tell(), "length": len(raw)}
            data.write(raw)
            for part in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(part)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.extend([onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items()])
