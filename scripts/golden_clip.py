"""Which states must petal's text encoders give when the last layers are skipped? Run as `python scripts/golden.py clip`.

Writes tests/golden/clip.json from transformers' own hidden states, and the encoders tests/models/clip/*.onnx in two
forms that the models of tiny_models.py do not have: the layer norm taken apart, as exporters write it before opset 17,
and the sums and norms that ONNX Runtime's optimizer makes one node of.
"""

import tempfile
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from export import Options, tidy, trace
from export_graphs import text_graph
from golden import ROOT, floats, write
from tiny_models import fill, make_pipeline

FOLDER = ROOT / "tests" / "models" / "clip"
OPSET = 14  # has no LayerNormalization; what the older exporters wrote
LONG, SHORT = [622, 320, 519, 518, 571, 623, 623, 623], [30, 4, 17, 9, 2, 31, 31]  # token ids: start, words, ends


def three_layers():
    ends = {"bos_token_id": 30, "eos_token_id": 31, "pad_token_id": 31}
    sizes = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 16, "max_position_embeddings": 16}
    encoder = CLIPTextModel(CLIPTextConfig(num_hidden_layers=3, num_attention_heads=2, **sizes, **ends))
    fill(encoder, torch.Generator().manual_seed(3))
    return encoder.eval()


def write_forms():
    from onnxruntime.transformers.optimizer import optimize_model

    FOLDER.mkdir(parents=True, exist_ok=True)
    options = Options(opset=OPSET, inline=True, hidden_states=False)
    graph = text_graph(three_layers(), options)
    graph.patch()
    with tempfile.TemporaryDirectory() as scratch:
        apart = trace(graph, options, Path(scratch))
        tidy(apart)
        path = Path(scratch) / "apart.onnx"
        path.write_bytes(apart.SerializeToString(deterministic=True))
        fused = optimize_model(str(path), model_type="clip", num_heads=2, hidden_size=8, opt_level=0).model
    for name, model, op in (("apart", apart, "ReduceMean"), ("fused", fused, "SkipLayerNormalization")):
        assert op in {node.op_type for node in model.graph.node}
        (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def states(encoder, ids, skip):
    """hidden_states[-skip], then the final layer norm: diffusers' `clip_skip` = skip - 1."""
    inner = getattr(encoder, "text_model", encoder)
    with torch.no_grad():
        hidden = encoder(torch.tensor([ids]), output_hidden_states=True).hidden_states[-skip]
        return inner.final_layer_norm(hidden)


def clip():
    torch.set_num_threads(1)
    write_forms()
    sd1, sd2, three = make_pipeline("sd1").text_encoder, make_pipeline("sd2-v").text_encoder, three_layers()
    tiny = {"sd1": sd1, "sd1-old": sd1, "sd1-fp16": sd1, "sd2-v": sd2}
    cases = [(f"{name}/text_encoder/model.onnx", encoder, LONG) for name, encoder in tiny.items()]
    cases += [("clip/apart.onnx", three, SHORT), ("clip/fused.onnx", three, SHORT)]
    results = []
    for file, encoder, ids in cases:
        for skip in range(1, encoder.config.num_hidden_layers + 1):
            found = states(encoder.eval(), ids, skip)
            entry = {"file": f"tests/models/{file}", "clip_skip": skip, "ids": ids, "shape": list(found.shape)}
            results.append({**entry, "states": floats(found)})
    about = "final_layer_norm(hidden_states[-clip_skip]) of transformers' CLIPTextModel, float32"
    write("clip.json", {"about": about, "results": results})
