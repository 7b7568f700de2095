//! The signatures of eight exporters, one line each.
use super::*;
use crate::runtime::{Port, signature::Declared};

/// Ports as in `sample b,4,h,w; timestep`: a name, and axes, fixed where they are numbers.
fn ports(text: &str) -> Vec<Port> {
    let port = |text: &str| {
        let (name, axes) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let axes = axes.split(',').filter(|axis| !axis.is_empty()).map(|axis| axis.parse().ok()).collect();
        Port { axes, ..Declared { name: name.into(), data_type: 1, axes: None }.port() }
    };
    text.split(';').filter(|text| !text.trim().is_empty()).map(port).collect()
}

fn words(signature: &str) -> String {
    let (inputs, outputs) = signature.split_once("->").unwrap();
    Role::of(&ports(inputs), &ports(outputs)).in_words()
}

#[test]
fn text_encoders_are_told_apart() {
    for (signature, wanted) in [
        ("input_ids b,s -> last_hidden_state b,s,768; pooler_output b,768", "text encoder, CLIP, of width 768"),
        (
            "input_ids b,s -> last_hidden_state b,s,768; pooler_output b,p; hidden_states.0 b,s,768",
            "text encoder, CLIP, of width 768",
        ),
        (
            "input_ids b,s -> text_embeds b,s; last_hidden_state b,s,1280; hidden_states.0 b,s,1280",
            "text encoder, CLIP with a projection, of width 1280",
        ),
        ("input_ids b,s -> last_hidden_state b,s,4096", "text encoder, T5, of width 4096"),
        ("input_ids B,77 -> text_embeddings B,77,768", "text encoder, CLIP, of width 768"),
        ("input_ids B,77 -> text_embeddings B,77,1280; hidden_states B,77,1280", "text encoder, CLIP, of width 1280"),
        ("input_ids B,77 -> text_embeddings B,77,768; pooled_embeddings B,768", "text encoder, CLIP, of width 768"),
        ("input_ids B,512 -> text_embeddings B,512,4096", "text encoder, T5, of width 4096"),
        ("input_ids b,s -> last_hidden_state b,s,16", "text encoder, which gives states alone, of width 16"),
        ("input_ids b,s -> logits b,s,30000", "unknown"),
    ] {
        assert_eq!(words(signature), wanted, "{signature}");
    }
}

#[test]
fn networks_are_told_apart() {
    let xl = "text_embeds b,1280; time_ids b";
    for (signature, wanted) in [
        ("sample b,4,h,w; timestep; encoder_hidden_states b,s,768 -> out_sample b,4,h,w", "UNet of SD 1".to_owned()),
        ("sample b,4,h,w; timestep b; encoder_hidden_states b,s,1024 -> out_sample b,4,h,w", "UNet of SD 2".into()),
        ("sample b,4,h,w; timestep b; encoder_hidden_states b,s,d -> latent b,4,h,w", "UNet of SD 1 or 2".into()),
        (
            "sample b,9,h,w; timestep; encoder_hidden_states b,s,768 -> out_sample b,4,h,w",
            "UNet of SD 1 for inpainting".into(),
        ),
        (
            "sample b,8,h,w; timestep; encoder_hidden_states b,s,768 -> out_sample b,4,h,w",
            "UNet of SD 1 for editing by instruction".into(),
        ),
        (
            "sample b,4,h,w; timestep; encoder_hidden_states b,s,768; timestep_cond b,256 -> out_sample b,4,h,w",
            "UNet of SD 1, guidance is an input".into(),
        ),
        (
            "sample b,4,h,w; timestep 1; encoder_hidden_states b,s,768; controlnet_conds n,b,3,h,w; \
             conditioning_scales n,1 -> noise_pred b,4,h,w",
            "UNet of SD 1, takes ControlNets".into(),
        ),
        (
            "sample b,4,h,w; timestep 1; encoder_hidden_states b,s,768; images n,b,3,h,w; controlnet_scales n \
             -> latent b,4,h,w",
            "UNet of SD 1, takes ControlNets".into(),
        ),
        (
            &*format!("sample b,4,h,w; timestep; encoder_hidden_states b,s,2048; {xl},6 -> out_sample b,4,h,w"),
            "UNet of SDXL".into(),
        ),
        (
            &*format!("sample b,9,h,w; timestep; encoder_hidden_states b,s,2048; {xl},6 -> out_sample b,4,h,w"),
            "UNet of SDXL for inpainting".into(),
        ),
        (
            &*format!("sample b,4,h,w; timestep; encoder_hidden_states b,s,1280; {xl},5 -> out_sample b,4,h,w"),
            "UNet of SDXL's refiner".into(),
        ),
        (
            "hidden_states b,16,h,w; encoder_hidden_states b,s,4096; pooled_projections b,2048; timestep b \
             -> out_hidden_states b,16,h,w",
            "transformer of SD 3".into(),
        ),
        (
            "hidden_states b,n,64; encoder_hidden_states b,s,4096; pooled_projections b,768; timestep b; \
             img_ids n,3; txt_ids s,3; guidance b -> out_hidden_states b,n,64",
            "transformer of FLUX.1, guidance is an input".into(),
        ),
        (
            "hidden_states b,n,64; encoder_hidden_states b,s,4096; pooled_projections b,768; timestep b; \
             img_ids n,3; txt_ids s,3 -> sample b,n,64",
            "transformer of FLUX.1".into(),
        ),
        (
            "hidden_states b,32,h,w; encoder_hidden_states b,s,2304; encoder_attention_mask b,s; timestep b \
             -> out_hidden_states b,32,h,w",
            "transformer of an unknown family".into(),
        ),
        (
            "sample b,4,h,w; timestep; encoder_hidden_states b,s,768; controlnet_cond b,3,h,w; conditioning_scale 1 \
             -> down_block_0_additional_residual b,320,h,w; mid_block_additional_residual b,1280,h,w",
            "ControlNet".into(),
        ),
        (
            "sample b,4,h,w; timestep; encoder_hidden_states b,s,768; down_block_0_additional_residual b,320,h,w \
             -> out_sample b,4,h,w",
            "UNet of SD 1, takes ControlNets".into(),
        ),
    ] {
        assert_eq!(words(signature), wanted, "{signature}");
    }
}

#[test]
fn pictures_and_latents_are_told_apart() {
    for (signature, wanted) in [
        ("sample b,3,h,w -> latent_parameters b,8,h,w", "VAE encoder, which gives mean and variance"),
        ("sample b,3,h,w -> latent_sample b,4,h,w", "VAE encoder, which gives latents"),
        ("images b,3,h,w -> latent b,4,h,w", "VAE encoder, which gives latents"),
        ("x b,3,h,w -> y b,16,h,w", "VAE encoder, which gives latents"),
        ("latent_sample b,4,h,w -> sample b,3,h,w", "VAE decoder"),
        ("latent_sample batch,channels,h,w -> sample b,c,h,w", "VAE decoder"),
        ("latent b,4,h,w -> images b,3,h,w", "VAE decoder"),
        ("z b,16,h,w -> y b,3,h,w", "VAE decoder"),
        ("lr n,3,h,w -> hr n,3,H,W", "upscaler"),
        ("input.1 1,3,24,32 -> 1894 1,3,48,64", "upscaler"),
        ("x n,3,h,w -> y n,3,1,1", "unknown"),
        ("x n,1,h,w -> y n,1,h,w", "unknown"),
        ("pixel_values b,3,224,224 -> image_embeds b,768", "image encoder"),
        ("clip_input b,3,224,224; images b,h,w,3 -> out_images b,h,w,3; has_nsfw_concepts b", "safety checker"),
        ("clip_input b,3,224,224 -> concept_scores b", "safety checker"),
        ("x -> y", "unknown"),
        ("->", "unknown"),
    ] {
        assert_eq!(words(signature), wanted, "{signature}");
    }
}

#[test]
fn what_is_fixed_is_known() {
    let role = |signature: &str| {
        let (inputs, outputs) = signature.split_once("->").unwrap();
        Role::of(&ports(inputs), &ports(outputs))
    };
    let Role::TextEncoder(encoder) = role("input_ids B,77 -> text_embeddings B,77,768; hidden_states B,77,768") else {
        panic!("no text encoder")
    };
    assert_eq!((encoder.tokens, encoder.width, encoder.hidden_states), (Some(77), Some(768), 1));
    let Role::Network(network) =
        role("sample 2,9,64,64; timestep; encoder_hidden_states 2,77,768 -> out_sample 2,4,64,64")
    else {
        panic!("no network")
    };
    assert_eq!((network.family, network.channels, network.gives), (Some("sd"), Some(9), Some(4)));
    assert_eq!(role("latent b,16,h,w -> images b,3,h,w"), Role::VaeDecoder { channels: Some(16) });
}
