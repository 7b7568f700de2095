"""In which conventions must petal open the tiny SD 1, and draw the same picture?

    python scripts/tiny_conventions.py            writes tests/models/conventions from the tiny SD 1 models beside it
    python scripts/tiny_conventions.py --check    also runs every graph beside the one that it was made from

Exporters agree on what the networks of Stable Diffusion compute, not on the names, types, ranks, axes, folders and
files around them. Each convention is the same weights behind another exporter's signature. `index.json` says how its
folder is put together: from files of the tiny models, and from graphs kept here, packed, that differ from theirs. A
folder has nothing else: a file that is not listed is missing there as it is in the exporter's.
"""

import argparse
import gzip
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from transformers import CLIPTokenizer

MODELS = Path(__file__).resolve().parent.parent / "tests" / "models"
FOLDER = MODELS / "conventions"
FLOAT, HALF, INT32, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64
NUMPY = {FLOAT: np.float32, HALF: np.float16, INT32: np.int32, INT64: np.int64}
TEXT, UNET, DECODER, ENCODER = "text_encoder", "unet", "vae_decoder", "vae_encoder"


# ---------------------------------------------------------------------------------------------- one graph


class Graph:
    """A graph of a tiny model, about to get another signature; what it computes stays."""

    def __init__(self, base, part, data="model.onnx_data"):
        self.base, self.part, self.data = base, part, data
        self.model = onnx.load(MODELS / base / part / "model.onnx", load_external_data=False)
        self.graph = self.model.graph
        for tensor in self.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = data
        if part != TEXT:  # nothing reads the names of these nodes; those of tensors stay
            for node in self.graph.node:
                node.name = ""

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


# ---------------------------------------------------------------------------------------------- the conventions


def diffusers_unet(data="weights.pb"):
    unet = Graph("sd1", UNET, data).timesteps("batch").kind("timestep", INT64)
    unet.shape("sample", "batch", "channels", "height", "width")
    return unet.shape("encoder_hidden_states", "batch", "sequence", 16)


def diffusers_vae(data="weights.pb"):
    axes = ["batch", "channels", "height", "width"]
    decoder = Graph("sd1", DECODER, data).shape("latent_sample", *axes)
    return {DECODER: decoder, ENCODER: Graph("sd1", ENCODER, data).sampled().shape("sample", *axes)}


def diffusers():
    return {UNET: diffusers_unet(), **diffusers_vae()}


def controlnet():
    unet = Graph("sd1", UNET, "weights.pb").timesteps(1).rename("out_sample", "noise_pred")
    unet.shape("sample", "2B", 4, "H", "W").shape("encoder_hidden_states", "2B", 77, 16)
    return {UNET: unet.shape("noise_pred", "2B", 4, "H", "W"), **diffusers_vae()}


def demo(base, data, clip, unet, decoder, encoder, half=False):
    """ONNX Runtime's demo and NVIDIA's, which it was made from, in these four folders."""
    text = Graph(base, TEXT, data).rename("last_hidden_state", "text_embeddings").outputs("text_embeddings")
    text.ids(INT32).shape("input_ids", "B", 77).shape("text_embeddings", "B", 77, 16)
    net = Graph(base, UNET, data).timesteps(1).rename("out_sample", "latent").shape("latent", "2B", 4, "H", "W")
    net.shape("sample", "2B", 4, "H", "W").shape("encoder_hidden_states", "2B", 77, 16)
    vae = Graph(base, DECODER, data).rename("sample", "images").rename("latent_sample", "latent")
    vae.shape("latent", "B", 4, "H", "W").shape("images", "B", 3, "8H", "8W")
    pixels = Graph(base, ENCODER, data).rename("sample", "images").shape("images", "B", 3, "8H", "8W")
    pixels = pixels.sampled().rename("latent_sample", "latent").shape("latent", "B", 4, "H", "W")
    if half:  # these four stay in 32 bits around a graph in 16
        net.kind("sample", FLOAT).kind("timestep", FLOAT)
        vae.kind("latent", FLOAT).kind("images", FLOAT)
    return {clip: text, unet: net, decoder: vae, encoder: pixels}


def olive():
    data = "model.onnx.data"
    text = Graph("sd1", TEXT, data).shape("last_hidden_state", "batch_size", "sequence_length", "hidden_size")
    unet = Graph("sd1", UNET, data).shape("sample", "batch_size", "in_channels", "height", "width")
    unet.shape("encoder_hidden_states", "batch_size", "sequence_length", "cross_attention_dim")
    unet.shape("out_sample", "batch_size", "in_channels", "height", "width")
    decoder = Graph("sd1", DECODER, data)
    decoder.shape("latent_sample", "batch_size", "latent_channels", "height_latent", "width_latent")
    decoder.shape("sample", "batch_size", "out_channels", "height", "width")
    encoder = Graph("sd1", ENCODER, data).shape("sample", "batch_size", "num_channels", "height", "width")
    encoder.shape("latent_parameters", "batch_size", "latent_channels", "height_latent", "width_latent")
    return {TEXT: text, UNET: unet, DECODER: decoder, ENCODER: encoder}


def olive_recipe():
    sample = ["unet_sample_batch", "unet_sample_channels", "unet_sample_height", "unet_sample_width"]
    unet = Graph("sd1", UNET, "weights.pb").timesteps("unet_time_batch").kind("timestep", INT64)
    unet.shape("sample", *sample).shape("encoder_hidden_states", "unet_hidden_batch", "unet_hidden_sequence", 16)
    return {UNET: unet, **diffusers_vae()}


def amuse():
    """The graph in 16 bits, everything around it in 32."""
    text = Graph("sd1-fp16", TEXT).rename("pooler_output", "text_embeds").ids(INT32)
    names = text.hidden_states()
    text.outputs("text_embeds", "last_hidden_state", *names)
    unet = Graph("sd1-fp16", UNET).timesteps("unet_time_batch").shape(
        "sample", "unet_sample_batch", "unet_sample_channels", "unet_sample_height", "unet_sample_width"
    )
    decoder, encoder = Graph("sd1-fp16", DECODER), Graph("sd1-fp16", ENCODER).sampled()
    parts = {TEXT: text, UNET: unet, DECODER: decoder, ENCODER: encoder}
    for part in parts.values():
        for port in [*part.graph.input, *part.graph.output]:
            if port.type.tensor_type.elem_type == HALF:
                part.kind(port.name, FLOAT)
    return parts


def fixed_unet(batch, height="height", width="width"):
    unet = Graph("sd1", UNET).shape("sample", batch, 4, height, width).shape("out_sample", batch, 4, height, width)
    return unet.shape("encoder_hidden_states", batch, 77, 16)


def fixed():
    """As graphs made for one size on a device that wants it known: 64 pixels wide, 48 high, both sides of guidance."""
    text = Graph("sd1", TEXT).shape("input_ids", 1, 77).shape("last_hidden_state", 1, 77, 16)
    unet = fixed_unet(2, 12, 16).timesteps(2).kind("timestep", INT64)
    decoder = Graph("sd1", DECODER).shape("latent_sample", 1, 4, 12, 16).shape("sample", 1, 3, 48, 64)
    encoder = Graph("sd1", ENCODER).shape("sample", 1, 3, 48, 64).shape("latent_parameters", 1, 8, 12, 16)
    return {TEXT: text, UNET: unet, DECODER: decoder, ENCODER: encoder}


NO_CONFIGS = ("text_encoder/config.json", "unet/config.json", "vae_decoder/config.json", "vae_encoder/config.json")
DEMO = {"drop": NO_CONFIGS + ("model_index.json",), "encoder": "sampled"}
OLD = {"drop": NO_CONFIGS, "index": "OnnxStableDiffusionPipeline", "encoder": "sampled", "text": "sd1-old"}
CONVENTIONS = {  # name -> what it is, its graphs, how the folder differs otherwise
    "diffusers": ("diffusers' convert_stable_diffusion_checkpoint_to_onnx.py", diffusers, OLD),
    "controlnet-script": (
        "diffusers' convert_stable_diffusion_controlnet_to_onnx.py, without ControlNets", controlnet, OLD,
    ),
    "onnxruntime": (
        "the demo of onnxruntime/transformers/models/stable_diffusion in 32 bits",
        lambda: demo("sd1", "model.onnx.data", "clip", "unet", "vae", "vae_encoder"), DEMO,
    ),
    "onnxruntime-fp16": (
        "the same in 16 bits for CUDA, some inputs and outputs in 32, folders named for it",
        lambda: demo("sd1-fp16", "model.onnx.data", "clip.ort_cuda.fp16", "unet.ort_cuda.fp16", "vae.ort_cuda.fp16",
                     "vae_encoder.ort_cuda.fp16", half=True), {**DEMO, "base": "sd1-fp16", "within": 1},
    ),
    "olive": ("Olive's io_configs/diffusers.yaml: channels are free axes too", olive, {"drop": NO_CONFIGS}),
    "olive-recipe": ("Olive's older recipe for DirectML", olive_recipe, OLD),
    "amuse": (
        "OnnxStack's converter: 32-bit inputs and outputs around 16 bits, `text_embeds` before the states", amuse,
        {"drop": NO_CONFIGS, "base": "sd1-fp16", "encoder": "sampled", "within": 2},
    ),
    "nvidia": (
        "NVIDIA's demo/Diffusion",
        lambda: demo("sd1", "model.onnx.data", "clip.opt", "unet.opt", "vae.opt", "vae_encoder.opt"), DEMO,
    ),
    "timestep-vector": ("a timestep of rank 1", lambda: {UNET: Graph("sd1", UNET).timesteps(1)}, {}),
    "timestep-int64": ("a whole timestep", lambda: {UNET: Graph("sd1", UNET).kind("timestep", INT64)}, {}),
    "timestep-int64-vector": (
        "a whole timestep of rank 1", lambda: {UNET: Graph("sd1", UNET).timesteps("steps").kind("timestep", INT64)}, {},
    ),
    "timestep-int32": ("a whole timestep in 32 bits", lambda: {UNET: Graph("sd1", UNET).kind("timestep", INT32)}, {}),
    "timestep-fp16": (
        "a timestep in 16 bits beside 32", lambda: {UNET: Graph("sd1", UNET).timesteps(1).kind("timestep", HALF)}, {},
    ),
    "batch-1": ("one row at a time", lambda: {UNET: fixed_unet(1)}, {"within": 1}),
    "batch-2": ("two rows at a time", lambda: {UNET: fixed_unet(2)}, {}),
    "fixed-size": ("one size, two rows, a timestep a row", fixed, {"drop": NO_CONFIGS, "size": None, "within": 1}),
    "tokenizer-json": ("transformers 5: the whole tokenizer in one file", dict, {"tokenizer": True}),
    "cache": ("the cache of the hub's client: a snapshot of links into a folder of blobs", dict, {"cache": True}),
}  # fmt: skip


def parts_of(base):
    """The folders of a tiny model that a text-to-image or image-to-image run may read."""
    names = [TEXT, UNET, DECODER, ENCODER, "scheduler", "tokenizer"]
    return sorted(f"{part}/{path.name}" for part in names for path in (MODELS / base / part).iterdir())


class Store:
    """The packed graphs, each once however many conventions have it."""

    def __init__(self):
        self.names = {}

    def add(self, stem, data, suffix):
        if data not in self.names:
            taken = sum(name.startswith(f"{stem}-") for name in self.names.values())
            self.names[data] = f"{stem}-{taken + 1}{suffix}.gz"
            (FOLDER / self.names[data]).write_bytes(gzip.compress(data, 9, mtime=0))
        return f"conventions/{self.names[data]}"


def describe(name, store):
    """The entry of a convention in the index."""
    about, make, options = CONVENTIONS[name]
    base, graphs = options.get("base", "sd1"), make()
    dropped = options.get("drop", ())
    files = {path: f"{base}/{path}" for path in parts_of(base) if path not in dropped}
    replaced = {graph.part for graph in graphs.values()} | ({TEXT} if "text" in options else set())
    files = {path: source for path, source in files.items() if path.split("/")[0] not in replaced or "config" in path}
    if "text" in options:
        files["text_encoder/model.onnx"] = f"{options['text']}/text_encoder/model.onnx"
    for folder, graph in graphs.items():
        files[f"{folder}/model.onnx"] = store.add(graph.part, graph.bytes(), ".onnx")
        files[f"{folder}/{graph.data}"] = f"{base}/{graph.part}/model.onnx_data"
    if options.get("tokenizer"):
        files = {path: source for path, source in files.items() if not path.startswith("tokenizer/")}
        files["tokenizer/tokenizer.json"] = store.add("tokenizer", tokenizer(), ".json")
    if "model_index.json" not in dropped:
        index = json.loads((MODELS / base / "model_index.json").read_text())
        if "index" in options:
            index["_class_name"] = options["index"]
            files["model_index.json"] = store.add("model_index", json.dumps(index).encode(), ".json")
        else:
            files["model_index.json"] = f"{base}/model_index.json"
    size = [64, 48] if "size" not in options else None
    return {
        "name": name, "about": about, "base": base, "size": size, "within": options.get("within", 0),
        "encoder": options.get("encoder", "parameters"), "cache": options.get("cache", False),
        "files": dict(sorted(files.items())),
    }  # fmt: skip


def tokenizer():
    """`tokenizer.json` as transformers 5 writes it for the tiny vocabulary."""
    return CLIPTokenizer.from_pretrained(MODELS / "sd1" / "tokenizer").backend_tokenizer.to_str().encode()


# ---------------------------------------------------------------------------------------------- the same numbers?


def assemble(entry, folder):
    """The folder of a convention."""
    for path, source in entry["files"].items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = (MODELS / source).read_bytes()
        target.write_bytes(gzip.decompress(data) if source.endswith(".gz") else data)


def run(path, feed):
    """The outputs of a graph for inputs in its own order, each in the type and rank that it wants."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    named = {}
    for port, value in zip(session.get_inputs(), feed, strict=True):
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
        value = value.astype(kind.get(port.type, np.int32))
        rows = port.shape[0] if port.shape and isinstance(port.shape[0], int) else 1
        named[port.name] = value if value.ndim else np.resize(value, [rows] if port.shape else [])
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(None, named), strict=True))


def inputs_of(part, rows):
    """Random inputs that 16 bits hold, for pictures of 64 x 48 pixels."""
    random = np.random.default_rng(0)
    halves = lambda *shape: random.standard_normal(shape).astype(np.float16)  # noqa: E731
    return {
        TEXT: [random.integers(0, 500, (1, 77))],
        UNET: [halves(rows, 4, 12, 16), np.array(751), halves(rows, 77, 16)],
        DECODER: [halves(1, 4, 12, 16)],
        ENCODER: [halves(1, 3, 48, 64)],
    }[part]


def check(entry):
    """The largest difference of each graph from that of the tiny model; latents that are drawn have another one."""
    rows = 1 if entry["name"] == "batch-1" else 2
    with tempfile.TemporaryDirectory() as folder:
        assemble(entry, Path(folder))
        for path, source in entry["files"].items():
            if not source.startswith("conventions/") or not path.endswith(".onnx"):
                continue
            part = source.removeprefix("conventions/").rsplit("-", 1)[0]
            feed = inputs_of(part, 2)
            wanted = list(run(MODELS / entry["base"] / part / "model.onnx", feed).values())[0]
            if rows == 1:
                own = np.concatenate([
                    list(run(Path(folder) / path, [x[i : i + 1] if x.ndim else x for x in feed]).values())[0]
                    for i in range(2)
                ])  # fmt: skip
            else:
                outputs = run(Path(folder) / path, feed)
                own = outputs.get("last_hidden_state", list(outputs.values())[0])
            if part == ENCODER and entry["encoder"] == "sampled":
                mean, log_variance = np.split(wanted.astype(np.float32), 2, axis=1)
                noise = (own.astype(np.float32) - mean) / np.exp(log_variance.clip(-30, 20) / 2)
                print(f"{entry['name']:22} {path:36} drawn with noise of deviation {noise.std():.3f}")
                continue
            away = np.abs(own.astype(np.float64) - wanted.astype(np.float64)).max()
            print(f"{entry['name']:22} {path:36} off by {away:.3g}")
            # 16 bits are computed in 32, and not rounded where the next node widens them again; known lengths let
            # ONNX Runtime put other nodes together
            bound = {"sd1": 1e-4, "sd1-fp16": 4e-3}[entry["base"]] if entry["within"] else 0
            assert away <= bound, (entry["name"], path, away)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="run every graph beside the one that it was made from")
    args = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    store = Store()
    entries = [describe(name, store) for name in CONVENTIONS]
    made_by = f"scripts/tiny_conventions.py: onnx {onnx.__version__}"
    text = json.dumps({"made_by": made_by, "conventions": entries}, indent=1) + "\n"
    (FOLDER / "index.json").write_text(text)
    print(f"{len(entries)} conventions, {sum(path.stat().st_size for path in FOLDER.iterdir()) / 1000:.0f} kB")
    for entry in entries if args.check else []:
        check(entry)


if __name__ == "__main__":
    main()
