"""Which exports must petal refuse before the first step, and name what is wrong with them?

    python scripts/wrong_exports.py               writes tests/models/wrong/wrong.json

Each entry is a graph in base64 that takes the place of one component of tests/models/sd1: a stub of a few nodes with
the inputs and outputs of a wrong export. `wrong` says what is wrong, `names` what the message must name, any one of
them: a tensor, or the file. ONNX Runtime loads every stub, which this script sees to: only what petal reads of its
inputs and outputs can tell. The others miss their weights, or are no graphs.
"""

import argparse
import base64
import json
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto, helper

FILE = Path(__file__).resolve().parent.parent / "tests" / "models" / "wrong" / "wrong.json"
F32, F64, I8, I64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.INT64
U8, BOOL, TEXT = TensorProto.UINT8, TensorProto.BOOL, TensorProto.STRING

# inputs and outputs of tests/models/sd1: name -> type and axes
IDS = {"input_ids": (I64, ["batch", "sequence"])}
STATES = {"last_hidden_state": (F32, ["batch", "sequence", 16]), "pooler_output": (F32, ["batch", 16])}
SAMPLE = {"sample": (F32, ["batch", 4, "height", "width"])}
TIMESTEP = {"timestep": (F32, [])}
EMBEDDINGS = {"encoder_hidden_states": (F32, ["batch", "sequence", 16])}
NETWORK = SAMPLE | TIMESTEP | EMBEDDINGS
PREDICTION = {"out_sample": (F32, ["batch", 4, "height", "width"])}
LATENTS = {"latent_sample": (F32, ["batch", 4, "latent_height", "latent_width"])}
PIXELS = {"sample": (F32, ["batch", 3, "height", "width"])}
PARAMETERS = {"latent_parameters": (F32, ["batch", 8, "latent_height", "latent_width"])}
ADDED = {"text_embeds": (F32, ["batch", 32]), "time_ids": (F32, ["batch", 6])}


def stub(inputs, outputs):
    """A graph that takes `inputs` and gives zeros, whose lengths are known only when it runs where they are free."""
    def ports(given):
        return [helper.make_tensor_value_info(name, kind, axes) for name, (kind, axes) in given.items()]

    nodes = []
    for i, (name, (kind, axes)) in enumerate(outputs.items()):
        lengths = [axis if isinstance(axis, int) else 8 for axis in axes]
        numbers = helper.make_tensor("", I64, [len(axes)], lengths)
        if any(isinstance(axis, str) for axis in axes):  # drawn, or ONNX Runtime would put lengths for the names
            nodes += [
                helper.make_node("RandomUniform", [], [f"r{i}"], shape=[len(axes)], low=0.0, high=0.5),
                helper.make_node("Cast", [f"r{i}"], [f"z{i}"], to=I64),
                helper.make_node("Constant", [], [f"c{i}"], value=numbers),
                helper.make_node("Add", [f"c{i}", f"z{i}"], [f"s{i}"]),
            ]
        else:
            nodes.append(helper.make_node("Constant", [], [f"s{i}"], value=numbers))
        nodes.append(helper.make_node("ConstantOfShape", [f"s{i}"], [f"f{i}"]))
        nodes.append(helper.make_node("Cast", [f"f{i}"], [name], to=kind))
    return model(helper.make_graph(nodes, "g", ports(inputs), ports(outputs)))


def model(graph):
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def outside(location, offset, length):
    """A text encoder whose embeddings lie in a file that is not there, or behind its end."""
    table = onnx.TensorProto(name="w", data_type=F32, dims=[length, 16], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": length * 64}.items():
        table.external_data.add(key=key, value=str(value))
    gather = helper.make_node("Gather", ["w", "input_ids"], ["last_hidden_state"])
    ids = helper.make_tensor_value_info("input_ids", *IDS["input_ids"])
    states = helper.make_tensor_value_info("last_hidden_state", *STATES["last_hidden_state"])
    return model(helper.make_graph([gather], "g", [ids], [states], [table]))


def network_outside(inputs, outputs, location):
    """A stub with a weight in a file that is not there, which one output is multiplied by."""
    whole = stub(inputs, outputs)
    weight = onnx.TensorProto(name="w", data_type=F32, dims=[1, 1, 1, 64], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value="256")
    whole.graph.initializer.append(weight)
    whole.graph.node[-1].output[0] = "before"
    name = list(outputs)[-1]
    whole.graph.node.append(helper.make_node("Mul", ["before", "w"], [name]))
    return whole


def without(ports, *names):
    return {name: port for name, port in ports.items() if name not in names}


def text_encoders():
    def ids(kind, axes):
        return stub({"input_ids": (kind, axes)}, STATES)

    def states(kind, axes, name="last_hidden_state"):
        return stub(IDS, {name: (kind, axes), "pooler_output": (F32, ["batch", 16])})

    rows, free = ["batch", "sequence"], ["batch", "sequence", 16]
    return [
        ("no input", "input_ids", stub({}, STATES)),
        ("ids are floats", "input_ids", ids(F32, rows)),
        ("ids are texts", "input_ids", ids(TEXT, rows)),
        ("ids are booleans", "input_ids", ids(BOOL, rows)),
        ("ids have 8 bits", "input_ids", ids(I8, rows)),
        ("ids have rank 1", "input_ids", ids(I64, ["sequence"])),
        ("ids have rank 3", "input_ids", ids(I64, ["batch", "sequence", 1])),
        ("takes 16 tokens, where a chunk has 77", "input_ids", ids(I64, [1, 16])),
        ("an input that nothing fills", "token_weights", stub(IDS | {"token_weights": (F32, rows)}, STATES)),
        ("gives the pooled output alone", "last_hidden_state", stub(IDS, without(STATES, "last_hidden_state"))),
        ("gives the projection alone", "last_hidden_state", stub(IDS, {"text_embeds": (F32, ["batch", 16])})),
        ("states have rank 2", "last_hidden_state", states(F32, ["batch", 16])),
        ("states have rank 4", "last_hidden_state", states(F32, ["batch", 2, "sequence", 16])),
        ("states are integers", "last_hidden_state", states(I64, free)),
        ("states are booleans", "last_hidden_state", states(BOOL, free)),
        ("states are doubles", "last_hidden_state", states(F64, free)),
        ("states of width 24, where the UNet takes 16", "encoder_hidden_states",
         states(F32, ["batch", "sequence", 24])),
        ("8 states for 77 tokens", "last_hidden_state", stub(
            {"input_ids": (I64, [1, 77])}, {"last_hidden_state": (F32, [1, 8, 16])})),
        ("the UNet in its place", ("input_ids", "sample"), stub(NETWORK, PREDICTION)),
        ("the VAE decoder in its place", ("input_ids", "latent_sample"), stub(LATENTS, PIXELS)),
        ("no inputs, no outputs, no nodes", "text_encoder/model.onnx", model(helper.make_graph([], "g", [], []))),
        ("an empty file", "text_encoder/model.onnx", b""),
        ("a page of the web", "text_encoder/model.onnx", b"<!DOCTYPE html><title>Not found</title>"),
        ("a pointer to a large file", "text_encoder/model.onnx",
         b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 492265879\n"),
        ("the weights' file is missing", "weights.pb", outside("weights.pb", 0, 64)),
        ("the weights' file is too short", "model.onnx_data", outside("model.onnx_data", 0, 1 << 20)),
        ("the weights lie outside the folder", "../model.onnx_data", outside("../model.onnx_data", 0, 64)),
    ]  # fmt: skip


def unets():
    def net(inputs, outputs=PREDICTION):
        return stub(inputs, outputs)

    def sample(kind, axes):
        return net(NETWORK | {"sample": (kind, axes)})

    def out(kind, axes):
        return net(NETWORK, {"out_sample": (kind, axes)})

    def with_(name, kind, axes):
        return net(NETWORK | {name: (kind, axes)})

    latents = ["batch", 4, "height", "width"]
    return [
        ("no latents", "sample", net(without(NETWORK, "sample"))),
        ("latents under another name", "sample", net({"x": (F32, latents)} | TIMESTEP | EMBEDDINGS)),
        ("no timestep", "timestep", net(without(NETWORK, "timestep"))),
        ("no text", "encoder_hidden_states", net(without(NETWORK, "encoder_hidden_states"))),
        ("a ControlNet's pictures, which nothing fills", "controlnet_conds",
         with_("controlnet_conds", F32, [1, "batch", 3, "h", "w"])),
        ("residuals of a ControlNet, which nothing fills", "down_block_0_additional_residual",
         with_("down_block_0_additional_residual", F32, latents)),
        ("class labels, which nothing fills", "class_labels", with_("class_labels", I64, ["batch"])),
        ("an SDXL UNet with the text encoder of SD 1", ("text_embeds", "time_ids"), net(NETWORK | ADDED)),
        ("time ids without text embeds", "text_embeds", net(NETWORK | without(ADDED, "text_embeds"))),
        ("text embeds without time ids", "time_ids", net(NETWORK | without(ADDED, "time_ids"))),
        ("time ids of width 4", "time_ids", net(NETWORK | ADDED | {"time_ids": (F32, ["batch", 4])})),
        ("latents are doubles", "sample", sample(F64, latents)),
        ("latents have 8 bits", "sample", sample(I8, latents)),
        ("latents are texts", "sample", sample(TEXT, latents)),
        ("latents are booleans", "sample", sample(BOOL, latents)),
        ("latents have rank 3", "sample", sample(F32, ["batch", "tokens", 4])),
        ("latents have rank 5, as of a film", "sample", sample(F32, ["batch", 4, "frames", "height", "width"])),
        ("channels last", "sample", sample(F32, ["batch", "height", "width", 4])),
        ("5 channels, where the autoencoder has 4", "sample", sample(F32, ["batch", 5, "height", "width"])),
        ("16 channels, where the autoencoder has 4", "sample", net(
            NETWORK | {"sample": (F32, ["batch", 16, "height", "width"])},
            {"out_sample": (F32, ["batch", 16, "height", "width"])})),
        ("also gives variances: 8 channels for 4", "out_sample", out(F32, ["batch", 8, "height", "width"])),
        ("the output has rank 3", "out_sample", out(F32, ["batch", "tokens", 4])),
        ("the output is integers", "out_sample", out(I64, latents)),
        ("the output is booleans", "out_sample", out(BOOL, latents)),
        ("two outputs, neither of which is known", "out_sample", net(
            NETWORK, {"mean": (F32, latents), "variance": (F32, latents)})),
        ("the timestep is a text", "timestep", with_("timestep", TEXT, [])),
        ("the timestep is a boolean", "timestep", with_("timestep", BOOL, [])),
        ("the timestep has rank 2", "timestep", with_("timestep", F32, ["batch", 1])),
        ("three timesteps for two rows", "timestep", net(
            {"sample": (F32, [2, 4, "height", "width"]), "timestep": (F32, [3]),
             "encoder_hidden_states": (F32, [2, "sequence", 16])})),
        ("text of width 768, where the text encoder gives 16", "encoder_hidden_states",
         with_("encoder_hidden_states", F32, ["batch", "sequence", 768])),
        ("text has rank 2", "encoder_hidden_states", with_("encoder_hidden_states", F32, ["batch", 16])),
        ("text is integers", "encoder_hidden_states", with_("encoder_hidden_states", I64, ["batch", "sequence", 16])),
        ("takes 16 states, where a chunk has 77", "encoder_hidden_states",
         with_("encoder_hidden_states", F32, ["batch", 16, 16])),
        ("two rows of latents, one of text", "encoder_hidden_states", net(
            {"sample": (F32, [2, 4, "height", "width"])} | TIMESTEP | {"encoder_hidden_states": (F32, [1, 77, 16])})),
        ("latents of 16 x 16 in, of 8 x 8 out", "out_sample", net(
            NETWORK | {"sample": (F32, ["batch", 4, 16, 16])}, {"out_sample": (F32, ["batch", 4, 8, 8])})),
        ("the VAE decoder in its place", ("sample", "timestep", "latent_sample"), stub(LATENTS, PIXELS)),
        ("the text encoder in its place", ("sample", "input_ids"), stub(IDS, STATES)),
        ("a transformer in its place", ("sample", "pooled_projections"), stub(
            {"hidden_states": (F32, ["batch", 16, "height", "width"]),
             "encoder_hidden_states": (F32, ["batch", 77, 16]), "pooled_projections": (F32, ["batch", 16]),
             "timestep": (F32, ["batch"])},
            {"out_hidden_states": (F32, ["batch", 16, "height", "width"])})),
        ("no inputs, no outputs, no nodes", ("unet/model.onnx", "sample"), model(helper.make_graph([], "g", [], []))),
        ("the weights' file is missing", "weights.pb", network_outside(NETWORK, PREDICTION, "weights.pb")),
    ]  # fmt: skip


def decoders():
    def latents(kind, axes):
        return stub({"latent_sample": (kind, axes)}, PIXELS)

    def pixels(kind, axes):
        return stub(LATENTS, {"sample": (kind, axes)})

    free, sides = ["batch", 4, "latent_height", "latent_width"], ["height", "width"]
    return [
        ("latents have rank 3", "latent_sample", latents(F32, ["batch", "tokens", 4])),
        ("latents are doubles", "latent_sample", latents(F64, free)),
        ("latents are texts", "latent_sample", latents(TEXT, free)),
        ("16 channels, where the UNet has 4", ("latent_sample", "sample"), latents(F32, ["batch", 16, *free[2:]])),
        ("pixels of 4 channels", "sample", pixels(F32, ["batch", 4, *sides])),
        ("grey pixels", "sample", pixels(F32, ["batch", 1, *sides])),
        ("pixels have rank 3", "sample", pixels(F32, ["batch", *sides])),
        ("pixels have rank 5, as of a film", "sample", pixels(F32, ["batch", 3, "frames", *sides])),
        ("channels last", "sample", pixels(F32, ["batch", *sides, 3])),
        ("pixels are bytes", "sample", pixels(U8, ["batch", 3, *sides])),
        ("pixels are texts", "sample", pixels(TEXT, ["batch", 3, *sides])),
        ("an input that nothing fills", "num_frames_in", stub(LATENTS | {"num_frames_in": (I64, [])}, PIXELS)),
        ("the encoder in its place", ("latent_sample", "latent_parameters"), stub(PIXELS, PARAMETERS)),
        ("the UNet in its place", ("latent_sample", "timestep"), stub(NETWORK, PREDICTION)),
        ("12 x 10 pixels of 8 x 8 latents", "sample", stub(
            {"latent_sample": (F32, [1, 4, 8, 8])}, {"sample": (F32, [1, 3, 10, 12])})),
        ("the weights' file is missing", "weights.pb", network_outside(LATENTS, PIXELS, "weights.pb")),
        ("an empty file", "vae_decoder/model.onnx", b""),
    ]  # fmt: skip


def encoders():
    def pixels(kind, axes):
        return stub({"sample": (kind, axes)}, PARAMETERS)

    def latents(kind, axes):
        return stub(PIXELS, {"latent_parameters": (kind, axes)})

    sides = ["latent_height", "latent_width"]
    return [
        ("pixels have rank 3", "sample", pixels(F32, [3, "height", "width"])),
        ("pixels of 4 channels", "sample", pixels(F32, ["batch", 4, "height", "width"])),
        ("grey pixels", "sample", pixels(F32, ["batch", 1, "height", "width"])),
        ("channels last", "sample", pixels(F32, ["batch", "height", "width", 3])),
        ("pixels are doubles", "sample", pixels(F64, ["batch", 3, "height", "width"])),
        ("pixels are texts", "sample", pixels(TEXT, ["batch", 3, "height", "width"])),
        ("5 channels, where the decoder has 4", "latent_parameters", latents(F32, ["batch", 5, *sides])),
        ("latents have rank 2", "latent_parameters", latents(F32, ["batch", 8])),
        ("latents are integers", "latent_parameters", latents(I64, ["batch", 8, *sides])),
        ("an input that nothing fills", "noise", stub(PIXELS | {"noise": (F32, ["batch", 4, *sides])}, PARAMETERS)),
        ("two outputs, neither of which is known", "latent_parameters", stub(
            PIXELS, {"mean": (F32, ["batch", 4, *sides]), "variance": (F32, ["batch", 4, *sides])})),
        ("the decoder in its place", ("sample", "latent_sample"), stub(LATENTS, PIXELS)),
        ("the text encoder in its place", ("sample", "input_ids"), stub(IDS, STATES)),
        ("the weights' file is missing", "weights.pb", network_outside(PIXELS, PARAMETERS, "weights.pb")),
        ("a page of the web", "vae_encoder/model.onnx", b"<!DOCTYPE html><title>Not found</title>"),
    ]  # fmt: skip


def load(graph):
    """Fails unless ONNX Runtime loads the graph and says of it what it declares."""
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    declared = [port for port in [*graph.graph.input, *graph.graph.output]]
    for port, seen in zip(declared, [*session.get_inputs(), *session.get_outputs()], strict=True):
        axes = [axis.dim_param or axis.dim_value for axis in port.type.tensor_type.shape.dim]
        assert (port.name, axes) == (seen.name, list(seen.shape)), (port.name, axes, seen)


def main():
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    onnxruntime.set_default_logger_severity(4)
    parts = {"text_encoder": text_encoders, "unet": unets, "vae_decoder": decoders, "vae_encoder": encoders}
    entries = []
    for component, make in parts.items():
        for wrong, names, graph in make():
            data = graph if isinstance(graph, bytes) else graph.SerializeToString(deterministic=True)
            if not isinstance(graph, bytes) and graph.graph.output and not graph.graph.initializer:
                load(graph)
            assert len(data) < 1200, (component, wrong, len(data))
            names = [names] if isinstance(names, str) else list(names)
            entry = {"component": component, "wrong": wrong, "names": names}
            entries.append(entry | {"graph": base64.b64encode(data).decode()})
    FILE.parent.mkdir(exist_ok=True)
    made_by = f"scripts/wrong_exports.py: onnx {onnx.__version__}"
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    FILE.write_text(f'{{"made_by": "{made_by}", "exports": [\n  {lines}\n]}}\n')
    print(f"{len(entries)} wrong exports, {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
