"""How are graphs written, and what must be known of a network before it is traced? Shared by all `export_*` files."""

from dataclasses import dataclass

import torch


@dataclass
class Options:
    """How the graphs are written; the defaults are those of a current optimum export."""

    weights: str = "fp32"  # fp16: stored in 16 bits, computed in 32
    inline: bool = False  # weights inside `model.onnx` instead of `model.onnx_data`
    ids: str = "int64"
    timestep: str = "scalar"  # vector: rank 1, as optimum wrote before 1.24
    half_io: bool = False  # the whole graph in 16 bits, inputs and outputs included
    opset: int = 18
    attention: str = "plain"  # fused: com.microsoft MultiHeadAttention
    hidden_states: bool = True  # of text encoders: all of them, so that layers can be skipped
    arithmetic: str = "fp32"  # fp16: computes in 16 bits where that is safe; inputs and outputs stay 32 bits wide
    target: str = "portable"  # cpu: convolutions by tiles; cuda: nodes that only CUDA runs
    controlnet_inputs: bool = False  # a UNet takes what a ControlNet adds
    compact: bool = False  # values between nodes get short names; for fixtures

    @property
    def dtype(self):
        return torch.float16 if self.half_io else torch.float32


@dataclass
class Graph:
    """One network about to be exported: what to trace, with which inputs, and the names of the dynamic axes."""

    name: str
    module: torch.nn.Module
    reference: object  # inputs -> list of outputs, by the library's own forward
    patch: object  # prepares the module for tracing; after this `reference` is no longer asked
    example: dict  # input name -> tensor, in the order of the arguments
    checks: list  # further inputs, of other shapes, to compare torch and ONNX Runtime on
    outputs: list
    axes: dict  # input or output name -> {axis: name}
