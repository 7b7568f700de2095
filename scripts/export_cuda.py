"""Which nodes does an NVIDIA GPU compute at once? export.py's `--target cuda`, with ONNX Runtime's own optimizer.

It makes one node each of group norms with their activation, of layer norms with the sum before them, and of gated GELU.
Such a graph runs with the CUDA execution provider alone. Transformers and T5 are left as they are.
"""

import onnxruntime

KINDS = {"text_encoder": "clip", "text_encoder_2": "clip", "unet": "unet", "vae_encoder": "vae", "vae_decoder": "vae"}
KEPT = ["LayerNormalization", "InstanceNormalization", "Softmax", "RandomNormalLike"]  # compute in 32 bits


def runs():
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def optimized(model, graph, half):
    """The graph for CUDA; in 16 bits inside where `half`."""
    kind = KINDS.get(graph.name)
    if kind is None or type(graph.module).__name__ == "T5Encoder":
        return model
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions(kind)
    try:
        found = optimize_model(model, model_type=kind, opt_level=0, optimization_options=options, use_gpu=True)
        if half:
            found.convert_float_to_float16(keep_io_types=True, op_block_list=KEPT)
    except Exception as error:
        hint = "hint: export it with `--target portable`"
        raise SystemExit(f"error: ONNX Runtime's optimizer refuses `{graph.name}`: {error}\n\n{hint}") from error
    return found.model
