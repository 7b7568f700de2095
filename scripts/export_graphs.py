"""What is traced of each network, with which inputs, so that the graph holds for every batch, size and length?

export.py's description of the four networks of a Stable Diffusion pipeline, and of attention in them.
"""

import types
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


# ---------------------------------------------------------------------------------------------- attention


class Reshape(torch.autograd.Function):
    """ONNX's Reshape with a constant shape, where 0 copies an axis: four nodes fewer than torch's own trace."""

    @staticmethod
    def forward(ctx, x, shape):
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])

    @staticmethod
    def symbolic(g, x, shape):
        node = g.op("Reshape", x, g.op("Constant", value_t=torch.tensor(shape)))
        return node.setType(x.type().with_sizes([None] * len(shape)))


class FusedAttention(torch.autograd.Function):
    """Attention as one node: no score matrix is ever stored. ONNX Runtime only."""

    @staticmethod
    def forward(ctx, query, key, value, heads, scale):
        query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scale)
        return out.transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(g, query, key, value, heads, scale):
        node = g.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads, scale_f=scale)
        return node.setType(query.type())


def plain_attention(query, key, value, heads, scale, upcast):
    """Attention in ONNX's own operators; the scale is applied to the small side."""
    dtype = value.dtype
    query, key, value = (Reshape.apply(x, [0, 0, heads, -1]) for x in (query * scale, key, value))
    query, key, value = query.permute(0, 2, 1, 3), key.permute(0, 2, 3, 1), value.permute(0, 2, 1, 3)
    if upcast:
        query, key = query.float(), key.float()
    out = torch.softmax(query @ key, dim=-1).to(dtype) @ value  # [batch, heads, tokens, channels]
    return Reshape.apply(out.permute(0, 2, 1, 3), [0, 0, -1])


class Attention:
    """A diffusers attention processor whose trace is short and independent of batch, size and length."""

    def __init__(self, fused):
        self.fused = fused

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        if attention_mask is not None or attn.norm_q is not None or attn.spatial_norm is not None:
            raise ValueError("this attention layer is not of the Stable Diffusion 1.x / 2.x kind")
        residual, shape = hidden_states, hidden_states.shape
        if len(shape) == 4:
            hidden_states = Reshape.apply(hidden_states, [0, 0, -1]).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        if self.fused:
            out = FusedAttention.apply(query, key, value, attn.heads, float(attn.scale))
        else:
            out = plain_attention(query, key, value, attn.heads, float(attn.scale), attn.upcast_attention)
        out = attn.to_out[0](out)
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor


# ---------------------------------------------------------------------------------------------- networks


def text_forward(self, input_ids):
    """CLIP's text model with a causal mask that follows the sequence length."""
    hidden = self.embeddings(input_ids=input_ids)  # [batch, tokens, width]
    ones = torch.ones(input_ids.shape[1], input_ids.shape[1], dtype=torch.int32)
    mask = (1 - ones.tril()).to(hidden.dtype) * torch.finfo(hidden.dtype).min
    hidden = self.encoder(inputs_embeds=hidden, attention_mask=mask[None, None]).last_hidden_state
    hidden = self.final_layer_norm(hidden)
    ids = input_ids.to(torch.int32)
    eos = self.config.eos_token_id  # 2 in old configs: then the end of text is the greatest id
    last = ids.argmax(-1) if eos == 2 else (ids == eos).to(torch.int32).argmax(-1)
    pooled = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
    return hidden, pooled


class TextEncoder(torch.nn.Module):
    """Gives the weights and nodes the `text_model.` prefix that tools expect and transformers 5 dropped."""

    def __init__(self, model):
        super().__init__()
        self.text_model = getattr(model, "text_model", model)

    def patch(self):
        self.text_model.config._attn_implementation = "eager"
        self.text_model.forward = types.MethodType(text_forward, self.text_model)

    def forward(self, input_ids):
        return self.text_model(input_ids)


def text_graph(model, options):
    config, dtype = model.config, getattr(torch, options.ids)
    random = torch.Generator().manual_seed(0)

    def ids(batch, length):
        tokens = torch.randint(3, config.vocab_size - 2, (batch, length), generator=random, dtype=dtype)
        tokens[:, length // 2 :] = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
        return {"input_ids": tokens}

    longest = config.max_position_embeddings
    axes = {
        "input_ids": {0: "batch_size", 1: "sequence_length"},
        "last_hidden_state": {0: "batch_size", 1: "sequence_length"},
        "pooler_output": {0: "batch_size"},
    }
    outputs = ["last_hidden_state", "pooler_output"]
    module, checks = TextEncoder(model), [ids(1, longest), ids(3, min(9, longest))]
    reference = lambda inputs: list(module(**inputs)[:2])
    return Graph("text_encoder", module, reference, module.patch, ids(2, min(7, longest)), checks, outputs, axes)


def unet_forward(self, sample, timestep, encoder_hidden_states):
    return type(self).forward(self, sample, timestep, encoder_hidden_states, return_dict=False)[0]


def unet_graph(unet, options):
    config, random = unet.config, torch.Generator().manual_seed(1)
    step = 2 ** (len(config.block_out_channels) - 1)

    def patch():
        unet.forward = types.MethodType(unet_forward, unet)
        unet.set_attn_processor(Attention(options.attention == "fused"))

    def inputs(batch, height, width, length, time):
        shape = (batch, config.in_channels, height, width)
        context = torch.randn(batch, length, config.cross_attention_dim, generator=random)
        times = torch.tensor(time) if options.timestep == "scalar" else torch.tensor([time])
        sample = torch.randn(shape, generator=random)
        return {"sample": sample, "timestep": times, "encoder_hidden_states": context}

    # Sizes that no downsampling divides make diffusers pass sizes upwards: the trace then holds for every size.
    example = inputs(2, step + 1, step + 3, 7, 961.0)
    checks = [inputs(1, step, 2 * step, 77, 1.0), inputs(3, 2 * step, step + 1, 5, 500.0)]
    axes = {
        "sample": {0: "batch_size", 2: "height", 3: "width"},
        "timestep": {0: "steps"} if options.timestep == "vector" else {},
        "encoder_hidden_states": {0: "batch_size", 1: "sequence_length"},
        "out_sample": {0: "batch_size", 2: "height", 3: "width"},
    }
    reference = lambda inputs: list(unet(**inputs, return_dict=False))
    return Graph("unet", unet, reference, patch, example, checks, ["out_sample"], axes)


def encode_forward(self, sample):
    moments = self.encoder(sample)
    return moments if self.quant_conv is None else self.quant_conv(moments)


def decode_forward(self, latent_sample):
    return self.decoder(latent_sample if self.post_quant_conv is None else self.post_quant_conv(latent_sample))


def tiny_forward(self, latent_sample):
    return self.decoder(latent_sample)


def tiny_graph(tiny):
    """The decoding half of an `AutoencoderTiny`, which takes latents as the network has them."""
    config, random = tiny.config, torch.Generator().manual_seed(3)
    factor = 2 ** (len(config.decoder_block_out_channels) - 1)
    inputs = lambda *shape: {"latent_sample": torch.randn(shape[0], config.latent_channels, *shape[1:], generator=random)}
    example, *checks = [inputs(2, 3, 5), inputs(1, 4, 4), inputs(3, 8, 6)]
    axes = {
        "latent_sample": {0: "batch_size", 2: "latent_height", 3: "latent_width"},
        "sample": {0: "batch_size", 2: f"latent_height * {factor}", 3: f"latent_width * {factor}"},
    }

    def patch():
        tiny.forward = types.MethodType(tiny_forward, tiny)

    reference = lambda inputs: [tiny.decode(inputs["latent_sample"]).sample]
    return Graph("vae_tiny_decoder", tiny, reference, patch, example, checks, ["sample"], axes)


def vae_graph(vae, options, decode):
    config, random = vae.config, torch.Generator().manual_seed(2)
    factor = 2 ** (len(config.block_out_channels) - 1)
    sizes = [(2, 3, 5), (1, 4, 4), (3, 8, 6)]
    if decode:
        name, source, target, channels, scale = "vae_decoder", "latent_sample", "sample", config.latent_channels, 1
        reference = lambda inputs: [vae.decode(inputs[source]).sample]
        axes_in = {0: "batch_size", 2: "latent_height", 3: "latent_width"}
        axes_out = {0: "batch_size", 2: f"latent_height * {factor}", 3: f"latent_width * {factor}"}
    else:
        name, source, target, channels, scale = "vae_encoder", "sample", "latent_parameters", 3, factor
        reference = lambda inputs: [vae.encode(inputs[source]).latent_dist.parameters]
        axes_in = {0: "batch_size", 2: "sample_height", 3: "sample_width"}
        axes_out = {0: "batch_size", 2: f"sample_height / {factor}", 3: f"sample_width / {factor}"}

    def patch():
        vae.forward = types.MethodType(decode_forward if decode else encode_forward, vae)
        vae.set_attn_processor(Attention(options.attention == "fused"))

    def inputs(batch, height, width):
        return {source: torch.randn(batch, channels, height * scale, width * scale, generator=random)}

    example, *checks = [inputs(*size) for size in sizes]
    return Graph(name, vae, reference, patch, example, checks, [target], {source: axes_in, target: axes_out})
