"""What is the demo model made of? Tokenizer, three networks, noise schedule, and the folder they are saved to."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MAX_TOKENS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
LATENT = 4  # channels, as in Stable Diffusion 1
CELL = 8  # pixels across that become one latent


@dataclass
class Size:
    """How large the networks are. Channels in multiples of 64 suit a processor's 16-bit arithmetic."""

    side: int  # pixels
    merges: int  # of the vocabulary
    text_width: int
    text_layers: int
    unet: tuple  # channels of each level
    attention: tuple  # levels that look at the text, besides the middle
    vae: tuple  # channels of each level, from pixels down

    @property
    def grid(self):
        return self.side // CELL


SMALL = Size(128, 1500, 128, 2, (64, 128, 192), (False, True, False), (16, 32, 64, 96))
LARGE = Size(256, 6000, 192, 2, (64, 96, 128, 192), (False, True, True, False), (24, 48, 64, 96))

# CLIP's way of cutting text into words before pairs are merged (openai/CLIP simple_tokenizer.py)
CLIP_WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""

# Betas end at 0.02, not Stable Diffusion's 0.012: on 16x16 latents the milder schedule leaves the mean brightness
# readable in the last step (signal 0.07 of noise; here 0.016), and pictures drawn from pure noise then come out grey.
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def train_tokenizer(folder, lines, merges):
    """Byte-pair merges learned from `lines`, written as CLIP's vocab.json and merges.txt."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + merges, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(lines, trainer)
    pairs = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]][:merges]
    # CLIP's order: every byte, every byte that ends a word, the merges, the two marks; so any text has ids
    tokens = alphabet + [byte + "</w>" for byte in alphabet] + ["".join(pair) for pair in pairs] + [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in pairs)])
    (folder / "merges.txt").write_text(text + "\n", encoding="utf-8")


def open_tokenizer(folder):
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=MAX_TOKENS,
    )


def token_ids(tokenizer, captions):
    """Ids [batch, 77], padded with the end mark."""
    return tokenizer(
        captions, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids


def build_vae(size):
    return AutoencoderKL(
        sample_size=size.side,
        block_out_channels=size.vae,
        latent_channels=LATENT,
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(size.vae),
        up_block_types=("UpDecoderBlock2D",) * len(size.vae),
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


@torch.no_grad()
def even_out(vae, mean, std):
    """Shift and scale each latent channel inside the VAE's own 1x1 convolutions: afterwards latents have mean 0 and
    deviation 1 / scaling_factor in every channel, and pictures decode as before."""
    into, back = vae.quant_conv, vae.post_quant_conv
    into.bias[:LATENT] -= mean
    into.bias[:LATENT] /= std
    into.weight[:LATENT] /= std.view(LATENT, 1, 1, 1)
    into.bias[LATENT:] -= 2 * std.log()  # the log-variances
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= std.view(1, LATENT, 1, 1)


def build_text_encoder(size, tokenizer):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.text_width,
            intermediate_size=4 * size.text_width,
            projection_dim=size.text_width,
            num_hidden_layers=size.text_layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(size):
    down = tuple("CrossAttnDownBlock2D" if looks else "DownBlock2D" for looks in size.attention)
    up = tuple("CrossAttnUpBlock2D" if looks else "UpBlock2D" for looks in reversed(size.attention))
    return UNet2DConditionModel(
        sample_size=size.grid,
        in_channels=LATENT,
        out_channels=LATENT,
        block_out_channels=size.unet,
        layers_per_block=1,
        down_block_types=down,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=up,
        cross_attention_dim=size.text_width,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def training_noise():
    return DDPMScheduler(**NOISE)


def inference_scheduler():
    return DPMSolverMultistepScheduler(**NOISE, timestep_spacing="trailing", steps_offset=1, solver_order=2)


@torch.no_grad()
def draw_latents(unet, text_encoder, tokenizer, prompts, steps=20, guidance=3.0, seed=0):
    """Scaled latents [batch, 4, grid, grid] for `prompts`, drawn with classifier-free guidance."""
    scheduler, device = inference_scheduler(), unet.device
    scheduler.set_timesteps(steps)
    text = text_encoder(token_ids(tokenizer, [""] * len(prompts) + list(prompts)).to(device))[0]
    grid = unet.config.sample_size
    x = torch.randn(len(prompts), LATENT, grid, grid, generator=torch.Generator().manual_seed(seed)).to(device)
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([x, x]), t)
        plain, guided = unet(both, t, text).sample.chunk(2)
        x = scheduler.step(plain + guidance * (guided - plain), t, x).prev_sample
    return x


@torch.no_grad()
def decode(vae, latents):
    """Pictures in 0..1, [batch, 3, side, side]."""
    return (vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def preview_factors(latents, pictures):
    """The affine map from scaled latents [n, 4, grid, grid] to RGB in 0..1, by least squares over block means."""
    small = torch.nn.functional.avg_pool2d(pictures, CELL)
    x = latents.permute(0, 2, 3, 1).reshape(-1, LATENT).double()
    y = small.permute(0, 2, 3, 1).reshape(-1, 3).double()
    solved = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1).double()], 1), y).solution
    return {"latent_rgb_factors": solved[:LATENT].tolist(), "latent_rgb_bias": solved[LATENT].tolist()}


def save_folder(out, vae, unet, text_encoder, tokenizer_folder, preview):
    """The whole pipeline as diffusers saves it, in half precision; written beside `out` and then moved over it."""
    from diffusers import StableDiffusionPipeline  # slow to import, and only needed here

    out = Path(out)
    fresh, old = out.with_name(out.name + ".new"), out.with_name(out.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=open_tokenizer(tokenizer_folder),
        unet=unet,
        scheduler=inference_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(fresh, safe_serialization=True)
    for name in ("vocab.json", "merges.txt"):  # transformers 5 leaves these out; other programs read them
        shutil.copy(tokenizer_folder / name, fresh / "tokenizer" / name)
    (fresh / "preview.json").write_text(json.dumps(preview, indent=1), encoding="utf-8")
    if out.exists():
        os.replace(out, old)
    os.replace(fresh, out)
    shutil.rmtree(old, ignore_errors=True)
