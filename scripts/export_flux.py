"""What is traced of FLUX.1's transformer? Its places, that turn queries and keys, are computed from each call's ids."""

import types

import torch

from export_attention import JointAttention, Reshape
from export_options import Graph


def turns(embedder, ids):
    """Cosine and sine `[tokens, 1, channels / 2]` of each pair of a head's channels, from its place `[tokens, 3]`."""
    angles = []
    for axis, width in enumerate(embedder.axes_dim):
        exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
        rates = (1.0 / embedder.theta**exponents).float()  # a constant of the graph
        angles.append(ids[:, axis : axis + 1].float() * rates)
    angles = torch.cat(angles, dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


def rotate(x, places, heads):
    """Turns neighbouring channels of `[batch, tokens, heads * channels]` as complex numbers."""
    cosine, sine = places
    pairs = Reshape.apply(x, [0, 0, heads, -1, 2])
    real, imaginary = pairs[..., 0].float(), pairs[..., 1].float()
    turned = torch.stack([real * cosine - imaginary * sine, imaginary * cosine + real * sine], dim=-1)
    return Reshape.apply(turned.to(x.dtype), [0, 0, -1])


def single_forward(self, hidden_states, temb, image_rotary_emb):
    """A block for which prompt and picture are one row of tokens, without the copies of the library's own."""
    normed, gate = self.norm(hidden_states, emb=temb)
    attended = self.attn(hidden_states=normed, image_rotary_emb=image_rotary_emb)
    both = torch.cat([attended, self.act_mlp(self.proj_mlp(normed))], dim=2)
    out = hidden_states + gate.unsqueeze(1) * self.proj_out(both)
    return out.clip(-65504, 65504) if out.dtype == torch.float16 else out


def flux_forward(
    self, hidden_states, encoder_hidden_states, pooled_projections, timestep, img_ids, txt_ids, guidance=None
):
    scales = [1000 * value for value in (timestep, guidance) if value is not None]
    time = self.time_text_embed(*scales, pooled_projections)
    states, prompt = self.x_embedder(hidden_states), self.context_embedder(encoder_hidden_states)
    places = turns(self.pos_embed, torch.cat([txt_ids, img_ids], dim=0))
    for block in self.transformer_blocks:
        prompt, states = block(
            hidden_states=states, encoder_hidden_states=prompt, temb=time, image_rotary_emb=places
        )
    length = prompt.shape[1]
    states = torch.cat([prompt, states], dim=1)
    for block in self.single_transformer_blocks:
        states = block(hidden_states=states, temb=time, image_rotary_emb=places)
    return self.proj_out(self.norm_out(states[:, length:], time))


def flux_graph(model, options):
    config, random = model.config, torch.Generator().manual_seed(1)

    def patch():
        model.forward = types.MethodType(flux_forward, model)
        model.set_attn_processor(JointAttention(options.attention == "fused", prompt_first=True, rotate=rotate))
        for block in model.single_transformer_blocks:
            block.forward = types.MethodType(single_forward, block)

    def inputs(batch, height, width, length, times):
        normal = lambda *shape: torch.randn(*shape, generator=random)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        found = {
            "hidden_states": normal(batch, height * width, config.in_channels),
            "encoder_hidden_states": normal(batch, length, config.joint_attention_dim),
            "pooled_projections": normal(batch, config.pooled_projection_dim),
            "timestep": torch.tensor(times),
            "img_ids": torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1),
            "txt_ids": torch.zeros(length, 3, dtype=torch.int64),
        }
        return found | ({"guidance": torch.full([batch], 3.5)} if config.guidance_embeds else {})

    example = inputs(2, 3, 5, 7, [0.9])
    checks = [inputs(1, 4, 4, 512, [0.0015]), inputs(3, 2, 7, 5, [0.5]), inputs(2, 8, 6, 9, [0.75, 0.02])]
    axes = {
        "hidden_states": {0: "batch_size", 1: "packed_height_width"},
        "encoder_hidden_states": {0: "batch_size", 1: "sequence_length"},
        "pooled_projections": {0: "batch_size"},
        "timestep": {0: "step"},
        "img_ids": {0: "packed_height_width"},
        "txt_ids": {0: "sequence_length"},
        "guidance": {0: "batch_size"},
        "out_hidden_states": {0: "batch_size", 1: "packed_height_width"},
    }
    axes = {name: value for name, value in axes.items() if name in example or name == "out_hidden_states"}
    reference = lambda inputs: [model(**inputs, return_dict=False)[0]]
    return Graph("transformer", model, reference, patch, example, checks, ["out_hidden_states"], axes)
