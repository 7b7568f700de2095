"""How does the graph of a tiny model get another exporter's signature? Used by tiny_conventions.py.

Names, types, ranks and axes of inputs and outputs change, and the file that holds the weights; what is computed stays.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

MODELS = Path(__file__).resolve().parent.parent / "tests" / "models"
FLOAT, HALF, INT32, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64
TEXT, TEXT_2, UNET = "text_encoder", "text_encoder_2", "unet"
DECODER, ENCODER = "vae_decoder", "vae_encoder"
SMALLEST = 64  # bytes of a weight that is moved out of a graph


class Graph:
    """A graph of a tiny model, about to get another signature; what it computes stays."""

    def __init__(self, base, part, data="model.onnx_data"):
        """`data`: what the file of its weights is called; `None`: they stay inside, as they are in the tiny SDXL."""
        self.base, self.part, self.data = base, part, data
        self.model = onnx.load(MODELS / base / part / "model.onnx", load_external_data=False)
        self.graph = self.model.graph
        for tensor in self.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = data
        self.weights = self._moved() if data else b""
        if part not in (TEXT, TEXT_2):  # nothing reads the names of these nodes; those of tensors stay
            for node in self.graph.node:
                node.name = ""

    def _moved(self):
        """The weights inside, which go into a file of their own; nothing if they have one."""
        if any(tensor.external_data for tensor in self.graph.initializer):
            return b""
        moved = bytearray()
        for tensor in self.graph.initializer:
            if tensor.data_type != FLOAT or len(tensor.raw_data) < SMALLEST:
                continue
            place = {"location": self.data, "offset": len(moved), "length": len(tensor.raw_data)}
            moved += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.extend([onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items()])
        return bytes(moved)

    def port(self, name):
        return next(port for port in [*self.graph.input, *self.graph.output] if port.name == name)

    def _replace(self, old, new, produced=True):
        for node in self.graph.node:
            for names in [node.input, node.output] if produced else [node.input]:
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new

    def _first(self, *nodes):
        kept = list(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend([*nodes, *kept])

    def rename(self, old, new):
        """Another name for an input or output."""
        self._replace(old, new)
        self.port(old).name = new
        return self

    def shape(self, name, *axes):
        """The axes of an input or output: a length, or the name of a free axis."""
        port = self.port(name)
        kind = port.type.tensor_type.elem_type
        port.CopyFrom(helper.make_tensor_value_info(name, kind, axes))
        return self

    def kind(self, name, kind):
        """The type of an input or output, cast from or to what the graph computes in."""
        port = self.port(name)
        own = port.type.tensor_type.elem_type
        port.type.tensor_type.elem_type = kind
        if any(given.name == name for given in self.graph.input):
            self._replace(name, f"{name}/cast", produced=False)
            self._first(helper.make_node("Cast", [name], [f"{name}/cast"], to=own))
        else:
            self._replace(name, f"{name}/own")
            self.graph.node.append(helper.make_node("Cast", [f"{name}/own"], [name], to=kind))
        return self

    def ids(self, kind):
        """The type of token ids: whatever takes them takes both."""
        self.port("input_ids").type.tensor_type.elem_type = kind
        return self

    def timesteps(self, *axes):
        """A timestep of rank 1: the graph makes one of its scalar first."""
        node = next(node for node in self.graph.node if "timestep" in node.input)
        assert node.op_type == "Unsqueeze", node.op_type
        self.graph.node.remove(node)
        self._replace(node.output[0], "timestep")
        return self.shape("timestep", *axes)

    def outputs(self, *names):
        """Which outputs there are, in which order; a name that is none yet is a tensor of the graph."""
        known = {port.name: port for port in self.graph.output}
        kind = self.graph.output[0].type.tensor_type.elem_type
        width = ["batch", "sequence", 16]
        ports = [known.get(name) or helper.make_tensor_value_info(name, kind, width) for name in names]
        kept = [onnx.ValueInfoProto.FromString(port.SerializeToString()) for port in ports]
        del self.graph.output[:]
        self.graph.output.extend(kept)
        return self

    def hidden_states(self):
        """CLIP's states before each layer and after the last, as outputs `hidden_states.N`."""
        norms = [node.input[0] for node in self.graph.node if node.op_type == "LayerNormalization"]
        states = norms[::2]  # each layer has two norms, and one follows the last
        names = [f"hidden_states.{i}" for i in range(len(states))]
        for state, name in zip(states, names):
            self._replace(state, name)
        return names

    def sampled(self):
        """Latents drawn inside the graph, as exporters write that trace `latent_dist.sample()`."""
        own = f"{self.graph.output[0].name}/own"
        self._replace("latent_parameters", own)
        kind = self.graph.output[0].type.tensor_type.elem_type
        number = lambda value: helper.make_tensor("", kind, [], [value])  # noqa: E731
        constant = lambda value, name: helper.make_node("Constant", [], [name], value=number(value))  # noqa: E731
        self.graph.node.extend([
            helper.make_node("Split", [own], ["mean", "log_variance"], axis=1, num_outputs=2),
            constant(-30.0, "least"), constant(20.0, "most"), constant(0.5, "half"),
            helper.make_node("Clip", ["log_variance", "least", "most"], ["clipped"]),
            helper.make_node("Mul", ["clipped", "half"], ["halved"]),
            helper.make_node("Exp", ["halved"], ["deviation"]),
            # 32 bits: no kernel draws others; a seed: the same noise in every session
            helper.make_node("RandomNormalLike", ["mean"], ["noise/own"], dtype=FLOAT, seed=1.0),
            helper.make_node("Cast", ["noise/own"], ["noise"], to=kind),
            helper.make_node("Mul", ["deviation", "noise"], ["drawn"]),
            helper.make_node("Add", ["mean", "drawn"], ["latent_parameters"]),
        ])  # fmt: skip
        batch, _, *sides = [axis.dim_param for axis in self.port("latent_parameters").type.tensor_type.shape.dim]
        return self.shape("latent_parameters", batch, 4, *sides).rename("latent_parameters", "latent_sample")

    def bytes(self):
        return self.model.SerializeToString(deterministic=True)
