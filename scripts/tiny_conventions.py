"""In which conventions must petal open the tiny SD 1 and SDXL, and draw the same picture?

    python scripts/tiny_conventions.py            writes tests/models/conventions from the tiny models beside it
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
from transformers import CLIPTokenizer

from tiny_conventions_sd1 import SD1
from tiny_conventions_sdxl import SDXL
from tiny_signatures import DECODER, ENCODER, MODELS, TEXT, TEXT_2, UNET

FOLDER = MODELS / "conventions"
CONVENTIONS = SD1 | SDXL


def parts_of(base):
    """The folders of a tiny model that a text-to-image or image-to-image run may read."""
    names = [TEXT, TEXT_2, UNET, DECODER, ENCODER, "scheduler", "tokenizer", "tokenizer_2"]
    return sorted(f"{part}/{path.name}" for part in names for path in (MODELS / base / part).glob("*"))


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
        if graph.weights:
            files[f"{folder}/{graph.data}"] = store.add(f"{graph.part}_weights", graph.weights, "")
        elif graph.data:
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


def inputs_of(base, part, rows):
    """Random inputs that 16 bits hold, for pictures of 64 x 48 pixels of SD 1."""
    random = np.random.default_rng(0)
    halves = lambda *shape: random.standard_normal(shape).astype(np.float16)  # noqa: E731
    ids = random.integers(0, 500, (1, 77))
    if part == TEXT_2:
        ids[0, 40:] = 623  # the end: what stands for the whole text comes from there
    width = 10 if base == "sdxl" else 16
    unet = [halves(rows, 4, 12, 16), np.array(751), halves(rows, 77, width)]
    if base == "sdxl":
        unet += [halves(rows, 5), random.integers(0, 1024, (rows, 6)).astype(np.float16)]
    pixels = {DECODER: [halves(1, 4, 12, 16)], ENCODER: [halves(1, 3, 48, 64)]}
    return {TEXT: [ids], TEXT_2: [ids], UNET: unet, **pixels}[part]


def counterpart(name, value, outputs):
    """The output of a tiny model that another exporter calls `name`; none where the tiny model does not give it."""
    states = [other for other in outputs if other.startswith("hidden_states.")]
    if name == "hidden_states":
        name = states[-2]
    if name in outputs or name.startswith("hidden_states."):
        return outputs.get(name)
    return next(other for other in outputs.values() if other.ndim == value.ndim)


def check(entry):
    """The largest difference of each graph from that of the tiny model; latents that are drawn have another one."""
    rows = [slice(0, 1), slice(1, 2)] if entry["name"].endswith("batch-1") else [slice(None)]
    with tempfile.TemporaryDirectory() as folder:
        assemble(entry, Path(folder))
        for path, source in entry["files"].items():
            if not source.startswith("conventions/") or not path.endswith(".onnx"):
                continue
            part = source.removeprefix("conventions/").rsplit("-", 1)[0]
            feed = inputs_of(entry["base"], part, 2)
            wanted = run(MODELS / entry["base"] / part / "model.onnx", feed)
            parts = [run(Path(folder) / path, [x[row] if x.ndim else x for x in feed]) for row in rows]
            outputs = {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}
            for name, own in outputs.items():
                drawn = part == ENCODER and entry["encoder"] == "sampled"
                compare(entry, f"{path} {name}", own, counterpart(name, own, wanted), drawn)


def compare(entry, name, own, wanted, drawn):
    """One output against that of the tiny model; `drawn`: latents, with noise of their own."""
    if wanted is None:
        return
    if drawn:
        mean, log_variance = np.split(wanted.astype(np.float32), 2, axis=1)
        noise = (own.astype(np.float32) - mean) / np.exp(log_variance.clip(-30, 20) / 2)
        print(f"{entry['name']:22} {name:50} drawn with noise of deviation {noise.std():.3f}")
        return
    away = np.abs(own - wanted.astype(np.float64)).max()
    print(f"{entry['name']:22} {name:50} off by {away:.3g}")
    # 16 bits are computed in 32, and not rounded where the next node widens them again; known lengths let
    # ONNX Runtime put other nodes together
    bound = {"sd1": 1e-4, "sd1-fp16": 4e-3, "sdxl": 1e-4}[entry["base"]] if entry["within"] else 0
    assert own.shape == wanted.shape and away <= bound, (entry["name"], name, away)


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
