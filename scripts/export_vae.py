"""What is traced of autoencoders? Both halves of an `AutoencoderKL`, and the decoding one of an `AutoencoderTiny`."""

import types

import torch

from export_attention import Attention
from export_options import Graph


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
    latents = lambda batch, *sides: torch.randn(batch, config.latent_channels, *sides, generator=random)
    example, *checks = [{"latent_sample": latents(*shape)} for shape in ((2, 3, 5), (1, 4, 4), (3, 8, 6))]
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
