"""What is traced of a transformer that denoises? That of SD 3 and 3.5."""

import types

import torch

from export_attention import JointAttention
from export_options import Graph


def steps_forward(self, hidden_states, encoder_hidden_states, pooled_projections, timestep):
    """SD 3's transformer; the sizes are those of each call."""
    height, width = (size // self.config.patch_size for size in hidden_states.shape[2:])
    states = self.pos_embed(hidden_states)  # [batch, patches, width]
    time = self.time_text_embed(timestep, pooled_projections)
    prompt = self.context_embedder(encoder_hidden_states)
    for block in self.transformer_blocks:
        prompt, states = block(hidden_states=states, encoder_hidden_states=prompt, temb=time)
    states = self.proj_out(self.norm_out(states, time))
    side, channels = self.config.patch_size, self.out_channels
    states = states.reshape(states.shape[0], height, width, side, side, channels)
    return states.permute(0, 5, 1, 3, 2, 4).reshape(states.shape[0], channels, height * side, width * side)


def sd3_graph(model, options):
    config, random = model.config, torch.Generator().manual_seed(1)

    def patch():
        model.forward = types.MethodType(steps_forward, model)
        model.set_attn_processor(JointAttention(options.attention == "fused"))

    def inputs(batch, height, width, length, times):
        normal = lambda *shape: torch.randn(*shape, generator=random)
        return {
            "hidden_states": normal(batch, config.in_channels, height * config.patch_size, width * config.patch_size),
            "encoder_hidden_states": normal(batch, length, config.joint_attention_dim),
            "pooled_projections": normal(batch, config.pooled_projection_dim),
            "timestep": torch.tensor(times),
        }

    example = inputs(2, 3, 5, 7, [961.0])
    checks = [inputs(1, 4, 4, 333, [1.5]), inputs(3, 2, 7, 5, [500.25]), inputs(2, 8, 6, 9, [750.0, 20.0])]
    axes = {
        "hidden_states": {0: "batch_size", 2: "height", 3: "width"},
        "encoder_hidden_states": {0: "batch_size", 1: "sequence_length"},
        "pooled_projections": {0: "batch_size"},
        "timestep": {0: "step"},
        "out_hidden_states": {0: "batch_size", 2: "height", 3: "width"},
    }
    reference = lambda inputs: [model(**inputs, return_dict=False)[0]]
    return Graph("transformer", model, reference, patch, example, checks, ["out_hidden_states"], axes)
