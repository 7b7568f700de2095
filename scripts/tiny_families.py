"""Which small models of the other families do petal's tests run on? Called by tiny_models.py.

Two levels of blocks, one layer each, a few channels: most of a folder is the description of its graphs. The widths of
text encoders differ from each other, so that a swapped order shows.
"""

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, FluxPipeline
from diffusers import FluxTransformer2DModel, LatentConsistencyModelPipeline, LCMScheduler, SD3Transformer2DModel
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tiny_models import BETAS, fill, make_tokenizer
from tiny_t5 import make_t5_tokenizer, t5

SD3_VAE = {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
SD3_VAE |= {"use_quant_conv": False, "use_post_quant_conv": False}
LEVELS = (2, 4)  # channels of UNets and autoencoders


def clip(tokenizer, width, projection=None, **options):
    """CLIP's text model of two layers; with a projection to that width."""
    size = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=size, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=tokenizer.pad_token_id,
        projection_dim=projection or width, **options,
    )  # fmt: skip
    return (CLIPTextModel if projection is None else CLIPTextModelWithProjection)(config)


def autoencoder(**options):
    """Two pixels to a latent along each side."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=LEVELS, norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=64,
        **options,
    )  # fmt: skip


def unet(**options):
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=LEVELS,
        norm_num_groups=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2, **options,
    )  # fmt: skip


def xl_unet(width, pooled, places):
    """`places`: how many numbers of sizes and places it takes."""
    steps = 2  # width of each such number's embedding
    return unet(
        cross_attention_dim=width, use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=steps, projection_class_embeddings_input_dim=pooled + places * steps,
    )  # fmt: skip


def randomise(seed, *networks, means=30.0, contrast=0.4):
    """Random weights. An autoencoder's means are made large beside what denoising adds, and its pictures keep away from
    the ends of their range."""
    random = torch.Generator().manual_seed(seed)
    for network in networks:
        fill(network.eval(), random)  # T5 drops values while it is trained
        if isinstance(network, AutoencoderKL):
            last = network.encoder.conv_out if network.quant_conv is None else network.quant_conv
            last.weight.data[: network.config.latent_channels] *= means
            network.decoder.conv_out.weight.data *= contrast


def sdxl():
    first, second = make_tokenizer(), make_tokenizer(pad_token="!")
    encoder, encoder_2 = clip(first, 4, hidden_act="quick_gelu"), clip(second, 6, 5, hidden_act="gelu")
    denoiser, vae = xl_unet(10, 5, 6), autoencoder(latent_channels=4, scaling_factor=0.13025, force_upcast=True)
    randomise(10, encoder, encoder_2, denoiser, vae)
    scheduler = EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    return StableDiffusionXLPipeline(
        vae=vae, text_encoder=encoder, text_encoder_2=encoder_2, tokenizer=first, tokenizer_2=second, unet=denoiser,
        scheduler=scheduler, add_watermarker=False,
    )  # fmt: skip


def sdxl_refiner():
    """Reads prompts with the second encoder alone and shares the autoencoder, as the published refiner does."""
    base = sdxl()
    denoiser = xl_unet(6, 5, 5)
    randomise(13, denoiser)
    return StableDiffusionXLImg2ImgPipeline(
        vae=base.vae, text_encoder=None, text_encoder_2=base.text_encoder_2, tokenizer=None,
        tokenizer_2=base.tokenizer_2, unet=denoiser, scheduler=base.scheduler, requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip


def sd1_lcm():
    """A latent consistency model: its UNet is told the guidance scale, as an embedding of 8 numbers."""
    tokenizer = make_tokenizer()
    encoder, vae = clip(tokenizer, 6, hidden_act="quick_gelu"), autoencoder(latent_channels=4, scaling_factor=0.18215)
    denoiser = unet(cross_attention_dim=6, time_cond_proj_dim=8)
    randomise(17, encoder, denoiser, vae)
    return LatentConsistencyModelPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=denoiser, scheduler=LCMScheduler(),
        safety_checker=None, feature_extractor=None, image_encoder=None, requires_safety_checker=False,
    )  # fmt: skip


def sd3(**options):
    """The states of both CLIPs are 10 wide, those of T5 12: diffusers pads the former."""
    first, second, third = make_tokenizer(), make_tokenizer(pad_token="!"), make_t5_tokenizer()
    encoder, encoder_2 = clip(first, 4, 5, hidden_act="quick_gelu"), clip(second, 6, 7, hidden_act="gelu")
    encoder_3, vae = t5(third, 12), autoencoder(**SD3_VAE)
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=4, num_attention_heads=2,
        joint_attention_dim=12, caption_projection_dim=8, pooled_projection_dim=12, out_channels=16,
        pos_embed_max_size=16, **options,
    )  # fmt: skip
    randomise(12, encoder, encoder_2, encoder_3, transformer, vae, means=4.0, contrast=0.8)
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae,
        text_encoder=encoder, tokenizer=first, text_encoder_2=encoder_2, tokenizer_2=second,
        text_encoder_3=encoder_3, tokenizer_3=third,
    )  # fmt: skip


def sd35():
    """The two things that SD 3.5 has and SD 3 has not."""
    return sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


def flux(guided, seed, **schedule):
    """FLUX.1: `guided` is told the guidance scale."""
    first, second = make_tokenizer(), make_t5_tokenizer()
    encoder, encoder_2 = clip(first, 4, hidden_act="quick_gelu"), t5(second, 8)
    vae = autoencoder(**SD3_VAE | {"scaling_factor": 0.3611, "shift_factor": 0.1159})
    transformer = FluxTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, pooled_projection_dim=4, guidance_embeds=guided, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    randomise(seed, encoder, encoder_2, transformer, vae, means=5.0, contrast=0.6)
    return FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(**schedule), vae=vae, text_encoder=encoder,
        tokenizer=first, text_encoder_2=encoder_2, tokenizer_2=second,
    )  # fmt: skip


def flux_dev():
    shifts = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    return flux(True, 15, shift=3.0, use_dynamic_shifting=True, **shifts)


def flux_schnell():
    return flux(False, 16, shift=1.0)


FAMILIES = {"sdxl": sdxl, "sdxl-refiner": sdxl_refiner, "sd1-lcm": sd1_lcm, "sd3": sd3, "sd3.5": sd35}
FAMILIES |= {"flux-dev": flux_dev, "flux-schnell": flux_schnell}
