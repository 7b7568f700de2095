"""What is traced of a UNet? That of SD 1 and 2, of SDXL and its refiner, and of latent consistency models."""

import types

import torch

from export_attention import Attention
from export_options import Graph


def unet_forward(self, sample, timestep, encoder_hidden_states, *others):
    """`others` in the order of `self.traced_inputs`."""
    others = dict(zip(self.traced_inputs, others))
    added = {name: others.pop(name) for name in ("text_embeds", "time_ids") if name in others}
    residuals = {name: others.pop(name) for name in list(others) if name.endswith("_additional_residual")}
    if residuals:
        others["mid_block_additional_residual"] = residuals.pop("mid_block_additional_residual")
        others["down_block_additional_residuals"] = tuple(residuals.values())
    run = type(self).forward
    return run(self, sample, timestep, encoder_hidden_states, **others, added_cond_kwargs=added, return_dict=False)[0]


def time_ids(config, pooled_width):
    """How many sizes and places an SDXL UNet is told: 6, a refiner 5."""
    if config.addition_embed_type is None:
        return 0
    if config.addition_embed_type != "text_time" or pooled_width is None:
        raise SystemExit(f"error: a UNet with `addition_embed_type` `{config.addition_embed_type}` cannot be exported")
    return (config.projection_class_embeddings_input_dim - pooled_width) // config.addition_time_embed_dim


def residual_shapes(config, height, width):
    """Channels, height and width of what a ControlNet adds: one per skip connection, then the middle."""
    halve = lambda size: (size + 1) // 2
    layers = config.layers_per_block
    layers = [layers] * len(config.block_out_channels) if isinstance(layers, int) else layers
    shapes = [(config.block_out_channels[0], height, width)]
    for i, channels in enumerate(config.block_out_channels):
        shapes += [(channels, height, width)] * layers[i]
        if i + 1 < len(config.block_out_channels):
            height, width = halve(height), halve(width)
            shapes.append((channels, height, width))
    names = [f"down_block_{i}_additional_residual" for i in range(len(shapes))]
    return dict(zip([*names, "mid_block_additional_residual"], [*shapes, shapes[-1]]))


def unet_graph(unet, options, pooled_width=None):
    """`pooled_width`: of the pooled text that an SDXL UNet takes."""
    config, random = unet.config, torch.Generator().manual_seed(1)
    step = 2 ** (len(config.block_out_channels) - 1)
    places = time_ids(config, pooled_width)

    def inputs(batch, height, width, length, time):
        shape = (batch, config.in_channels, height, width)
        context = torch.randn(batch, length, config.cross_attention_dim, generator=random)
        times = torch.tensor(time) if options.timestep == "scalar" else torch.tensor([time])
        sample = torch.randn(shape, generator=random)
        found = {"sample": sample, "timestep": times, "encoder_hidden_states": context}
        if config.time_cond_proj_dim is not None:
            found["timestep_cond"] = torch.randn(batch, config.time_cond_proj_dim, generator=random)
        if places:
            found["text_embeds"] = torch.randn(batch, pooled_width, generator=random)
            found["time_ids"] = torch.randint(0, 1024, (batch, places), generator=random).float()
        if options.controlnet_inputs:
            for name, shape in residual_shapes(config, height, width).items():
                found[name] = 0.1 * torch.randn(batch, *shape, generator=random)
        return found

    # Sizes that no downsampling divides make diffusers pass sizes upwards: the trace then holds for every size.
    example = inputs(2, step + 1, step + 3, 7, 961.0)
    checks = [inputs(1, step, 2 * step, 77, 1.0), inputs(3, 2 * step, step + 1, 5, 500.0)]
    unet.traced_inputs = list(example)[3:]

    def patch():
        unet.forward = types.MethodType(unet_forward, unet)
        unet.set_attn_processor(Attention(options.attention == "fused"))

    axes = {
        "sample": {0: "batch_size", 2: "height", 3: "width"},
        "timestep": {0: "steps"} if options.timestep == "vector" else {},
        "encoder_hidden_states": {0: "batch_size", 1: "sequence_length"},
        "out_sample": {0: "batch_size", 2: "height", 3: "width"},
    }
    for name in unet.traced_inputs:
        axes[name] = {0: "batch_size"}
        if name.endswith("_additional_residual"):
            axes[name] |= {2: f"{name}_height", 3: f"{name}_width"}
    reference = lambda inputs: [unet_forward(unet, *inputs.values())]
    return Graph("unet", unet, reference, patch, example, checks, ["out_sample"], axes)
