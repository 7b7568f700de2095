"""How does a network compute in 16 bits without harm? export.py's `--arithmetic fp16`.

Inputs and outputs stay 32 bits wide, and so do norms, softmax and all that is made of times and sizes. Autoencoders
that ask for it (`force_upcast`, SDXL's) and T5 overflow in 16 bits: they compute in 32.
"""

from onnx import TensorProto, helper

EXACT_INPUTS = {"timestep", "guidance", "time_ids"}  # the networks compute sines of them in 32 bits
WIDE = {"InstanceNormalization", "LayerNormalization", "GroupNormalization", "Softmax"}
NUMBERLESS = {"Shape", "Size", "ArgMax", "Equal", "Less", "Greater", "And", "Or", "Not", "Range", "NonZero"}


def overflows(graph):
    """Whether a network must compute in 32 bits."""
    config = graph.module.config if hasattr(graph.module, "config") else None
    return type(graph.module).__name__ == "T5Encoder" or bool(getattr(config, "force_upcast", False))


def halve_inputs(inputs):
    """What a network that was made 16 bits wide is traced with."""
    halved = lambda name, value: value.is_floating_point() and name not in EXACT_INPUTS
    return {name: value.half() if halved(name, value) else value for name, value in inputs.items()}


def half_values(graph):
    """The names of all values of 16 bits."""
    found = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    found |= {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    for node in graph.node:
        half = any(name in found for name in node.input)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                half = attribute.i == TensorProto.FLOAT16
            elif node.op_type in ("Constant", "ConstantOfShape") and attribute.name == "value":
                half = attribute.t.data_type == TensorProto.FLOAT16
        if half and node.op_type not in NUMBERLESS:
            found.update(node.output)
    return found


def widen(model):
    """Puts norms and softmax between casts to 32 bits and back."""
    graph, half, nodes, wide = model.graph, half_values(model.graph), [], {}
    for node in graph.node:
        if node.op_type in WIDE and node.input[0] in half:
            for i, name in enumerate(node.input):
                if name in half and name not in wide:
                    wide[name] = f"{name}.float32"
                    nodes.append(helper.make_node("Cast", [name], [wide[name]], to=TensorProto.FLOAT))
                node.input[i] = wide.get(name, name)
            narrow, node.output[0] = node.output[0], f"{node.output[0]}.float32"
            nodes += [node, helper.make_node("Cast", [node.output[0]], [narrow], to=TensorProto.FLOAT16)]
        else:
            nodes.append(node)
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)


def widen_ends(model):
    """Inputs and outputs of 16 bits become 32 bits wide, each with a cast inside."""
    graph, before, after = model.graph, [], []
    for ends, into in ((graph.input, before), (graph.output, after)):
        for value in ends:
            kind = value.type.tensor_type
            if kind.elem_type != TensorProto.FLOAT16:
                continue
            kind.elem_type, inner = TensorProto.FLOAT, f"{value.name}.float16"
            names = ([value.name], [inner]) if into is before else ([inner], [value.name])
            to = TensorProto.FLOAT16 if into is before else TensorProto.FLOAT
            into.append(helper.make_node("Cast", *names, name=f"{value.name}/Cast", to=to))
            for node in graph.node:
                for ends_of in (node.input, node.output):
                    for i, name in enumerate(ends_of):
                        ends_of[i] = inner if name == value.name else name
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(before + nodes + after)
