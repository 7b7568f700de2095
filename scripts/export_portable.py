"""Which nodes make a traced UNet faster on a CPU, in the same file format and to the same picture?

    python scripts/export_portable.py IN.onnx OUT.onnx [--largest 102400]

`portable` takes the graph that export.py writes with plain attention and gives one of ONNX's own operators and of one
of ONNX Runtime's, `MultiHeadAttention`. It reads and writes no weight: IN and OUT lie in one folder and share one file
of weights, under the names that they have, so that whatever changes weights by name changes both.

Attention is joined, so that no matrix of scores is stored. Convolutions of 3 x 3 are computed as Winograd did: the
tiles of 6 x 6 that make 4 x 4 outputs are transformed, multiplied and transformed back (Lavin and Gray 2016, "Fast
algorithms for convolutional neural networks", F(4x4, 3x3)), which takes a quarter of the multiplications. ONNX Runtime
folds the transform of the weights when it loads the graph, and keeps four times their bytes in memory: `largest`
bounds them.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LARGEST = 640 * 640  # input times output channels of a convolution that is rewritten
SMALLEST = 64  # channels on either side: below, the transforms take longer than what they save

# Lavin and Gray, section 4.1: tiles of 6 for 4 outputs of a filter of 3
DATA = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
     [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
)  # fmt: skip
FILTER = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
) / 24.0  # fmt: skip
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
TILE = 4


class Rewriter:
    """A graph whose nodes are replaced one by one."""

    def __init__(self, model):
        self.graph = model.graph
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}
        self.users = {}
        for node in self.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.replaced = {}  # id of a node -> what stands in its place

    def maker(self, name, kind):
        """The node of kind `kind` that makes `name`, behind casts between equal types; else `None`."""
        node = self.makers.get(name)
        while node is not None and node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT:
            node = self.makers.get(node.input[0])
        return node if node is not None and node.op_type == kind else None

    def user(self, node, kind):
        """The only user of what `node` makes, behind casts, if it is of kind `kind`."""
        users = self.users.get(node.output[0], [])
        while len(users) == 1 and users[0].op_type == "Cast" and users[0].attribute[0].i == TensorProto.FLOAT:
            users = self.users.get(users[0].output[0], [])
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def constant(self, name, value):
        """A small tensor of the graph."""
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def lengths(self, *values):
        return self.constant("portable." + "_".join(map(str, values)), np.array(values, np.int64))

    def finish(self):
        """Puts the new nodes in, and drops nodes and tensors that nothing needs any more."""
        nodes = []
        for node in self.graph.node:
            nodes += self.replaced.get(id(node), [node])
        needed, kept = {port.name for port in self.graph.output}, []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
                needed.update(node.input)
        weights = [weight for weight in self.weights.values() if weight.name in needed]
        tensors = [onnx.TensorProto.FromString(weight.SerializeToString()) for weight in weights]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(reversed(kept))
        self.graph.initializer.extend(tensors)


# ---------------------------------------------------------------------------------------------- attention


def join_attention(rewriter):
    """Scores, softmax and their product with the values, as one node: how many were found."""
    count = 0
    for softmax in [node for node in rewriter.graph.node if node.op_type == "Softmax"]:
        found = attention_around(rewriter, softmax)
        if found is None:
            continue
        query, key, value, heads, scale, last = found
        node = helper.make_node(
            "MultiHeadAttention", [query, key, value], list(last.output), name=last.name, domain="com.microsoft",
            num_heads=heads, scale=scale,
        )  # fmt: skip
        rewriter.replaced[id(last)] = [node]
        count += 1
    return count


def attention_around(rewriter, softmax):
    """Query, key, value, number of heads, scale and last node of the attention that `softmax` is in, as export.py
    writes it: heads are split off with a Reshape and a Transpose, and the query is scaled before."""
    maker, users = rewriter.maker, rewriter.user
    scores, product = maker(softmax.input[0], "MatMul"), users(softmax, "MatMul")
    if scores is None or product is None:
        return None
    turned = [maker(name, "Transpose") for name in (*scores.input, product.input[1])]
    split = [node and maker(node.input[0], "Reshape") for node in turned]
    scaled = split[0] and maker(split[0].input[0], "Mul")
    joined = users(product, "Transpose")
    last = joined and users(joined, "Reshape")
    if not all(split) or scaled is None or last is None:
        return None
    order = [list(node.attribute[0].ints) for node in (*turned, joined)]
    if order != [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3], [0, 2, 1, 3]]:
        return None
    shape = numpy_helper.to_array(rewriter.weights[split[0].input[1]])
    scale = float(numpy_helper.to_array(rewriter.weights[scaled.input[1]]))
    return scaled.input[0], split[1].input[0], split[2].input[0], int(shape[2]), scale, last


# ---------------------------------------------------------------------------------------------- convolutions


def transform_convolutions(rewriter, largest):
    """Convolutions of 3 x 3 that keep the size of the picture, by tiles: how many were found."""
    count = 0
    for conv in [node for node in rewriter.graph.node if node.op_type == "Conv"]:
        tensor = rewriter.weights.get(conv.input[1])
        if tensor is None:  # stored in 16 bits: a Cast makes it
            cast = rewriter.makers[conv.input[1]]
            tensor = rewriter.weights.get(cast.input[0]) if cast.op_type == "Cast" else None
        values = {attribute.name: helper.get_attribute_value(attribute) for attribute in conv.attribute}
        plain = values.get("group", 1) == 1 and set(values.get("dilations", [1])) | set(values["strides"]) == {1}
        if tensor is None or tensor.dims[2:] != [3, 3] or not plain or set(values["pads"]) != {1}:
            continue
        out, taken = tensor.dims[:2]
        if min(out, taken) < SMALLEST or out * taken > largest:
            continue
        rewriter.replaced[id(conv)] = by_tiles(rewriter, conv, out, taken)
        count += 1
    return count


def by_tiles(rewriter, conv, out, taken):
    """Nodes that compute `conv`. In comments: b pictures, c channels taken, o given, h x w pixels, n tiles each."""
    picture, weight, bias = conv.input
    stem, nodes = conv.name or conv.output[0], []
    number = lambda matrix, shape: matrix.astype(np.float32).reshape(shape)  # noqa: E731
    data = rewriter.constant("portable.data", number(np.kron(DATA, DATA), [36, 1, 1, 6, 6]))
    both = rewriter.constant("portable.filter", number(np.kron(FILTER, FILTER), [36, 9]))
    back = rewriter.constant("portable.output", number(np.kron(OUTPUT, OUTPUT).T, [36, 1, TILE, TILE]))
    lengths = rewriter.lengths

    def add(kind, inputs, name, **attributes):
        nodes.append(helper.make_node(kind, inputs, [f"{stem}/{name}"], name=f"{stem}/{name}", **attributes))
        return f"{stem}/{name}"

    # the filters: [o, c, 3, 3] to [36, o, c]; without the picture's values, so ONNX Runtime does it once
    rows = add("Reshape", [weight, lengths(out * taken, 9)], "filter_rows")
    columns = add("Transpose", [rows], "filter_columns", perm=[1, 0])
    filters = add("MatMul", [both, columns], "filter_tiles")
    filters = add("Reshape", [filters, lengths(36, out, taken)], "filters")

    shape = add("Shape", [picture], "shape")
    batch = add("Slice", [shape, lengths(0), lengths(1)], "batch")
    sides = add("Slice", [shape, lengths(2), lengths(4)], "sides")
    # all channels as one picture of depth c * b: one large product per transform, which all threads share; a picture
    # of rank 4 would be moved into blocks of channels and back
    swapped = add("Transpose", [picture], "swapped", perm=[1, 0, 2, 3])
    stack = add("Reshape", [swapped, add("Concat", [lengths(1, 1, -1), sides], "stack_shape", axis=0)], "stack")
    tiles = add(
        "Conv", [stack, data], "tiles", strides=[1, TILE, TILE], pads=[0, 1, 1, 0, TILE, TILE], kernel_shape=[1, 6, 6],
        group=1, dilations=[1, 1, 1],
    )  # fmt: skip
    counts = add("Slice", [add("Shape", [tiles], "tiles_shape"), lengths(3), lengths(5)], "counts")
    values = add("Reshape", [tiles, lengths(36, taken, -1)], "values")  # [36, c, b * n]
    products = add("MatMul", [filters, values], "products")  # [36, o, b * n]
    columns = add("Slice", [counts, lengths(1), lengths(2)], "columns")
    stack = add("Concat", [lengths(1, 36, -1), columns], "products_shape", axis=0)
    stack = add("Reshape", [products, stack], "products_stack")  # [1, 36, o * b * h / 4, w / 4]
    pixels = add(
        "ConvTranspose", [stack, back], "pixels", strides=[TILE, TILE], kernel_shape=[TILE, TILE], pads=[0] * 4,
        group=1, dilations=[1, 1],
    )  # fmt: skip
    whole = add("Mul", [counts, lengths(TILE, TILE)], "whole_sides")
    whole = add("Concat", [lengths(out), batch, whole], "whole_shape", axis=0)
    whole = add("Transpose", [add("Reshape", [pixels, whole], "channels")], "whole", perm=[1, 0, 2, 3])
    whole = add("Slice", [whole, lengths(0, 0), sides, lengths(2, 3)], "cut")  # no row and column behind the last
    wide = add("Reshape", [bias, lengths(out, 1, 1)], "bias")
    nodes.append(helper.make_node("Add", [whole, wide], list(conv.output), name=conv.name))
    return nodes


def portable(model, largest=LARGEST, attention=True):
    """The graph with joined attention, and with convolutions of up to `largest` (channels taken times given) by tiles;
    0 leaves all. `model` is changed. How many of each there are comes with it."""
    rewriter = Rewriter(model)
    joined = join_attention(rewriter) if attention else 0
    transformed = transform_convolutions(rewriter, largest)
    rewriter.finish()
    if joined and not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model, joined, transformed


def main():
    about = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(description=about[0], epilog=about[2])
    parser.add_argument("source", metavar="IN", type=Path, help="`model.onnx` of a UNet, exported with plain attention")
    parser.add_argument("target", metavar="OUT", type=Path, help="file to write, in the same folder")
    parser.add_argument("--largest", type=int, default=LARGEST, metavar="N", help=f"0: no tiles (default {LARGEST})")
    args = parser.parse_args()
    model, joined, transformed = portable(onnx.load(args.source, load_external_data=False), args.largest)
    args.target.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{joined} attentions joined, {transformed} convolutions by tiles")


if __name__ == "__main__":
    main()
