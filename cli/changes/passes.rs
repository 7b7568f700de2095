//! Flags for what follows the first pass: a second one, enlarging, and the autoencoder.
use super::{set, set_some};
use clap::Args;
use petal_engine::{Hires, Request, Upscale};
use std::path::{Path, PathBuf};

/// A second pass over the enlarged picture.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Second pass and enlarging")]
pub(super) struct Passes {
    /// Enlarge the picture and draw over it ("hires fix"); each of the following flags means this one, too
    #[arg(long)]
    hires: bool,
    /// How much larger the second pass is [default: 2]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    hires_scale: Option<f64>,
    /// The width of the second pass, in place of a scale
    #[arg(long, value_name = "PIXELS", conflicts_with = "hires_scale")]
    hires_width: Option<u32>,
    /// The height of the second pass, in place of a scale
    #[arg(long, value_name = "PIXELS", conflicts_with = "hires_scale")]
    hires_height: Option<u32>,
    /// How the picture is enlarged: a name from `petal list upscalers` [default: latent]
    #[arg(long, value_name = "NAME")]
    hires_upscaler: Option<String>,
    /// Steps of the second pass [default: those of the first]
    #[arg(long, value_name = "NUMBER")]
    hires_steps: Option<u32>,
    /// How much the second pass draws anew, above 0, at most 1 [default: 0.7]
    #[arg(long, alias = "hires-strength", value_name = "NUMBER", allow_negative_numbers = true)]
    hires_denoising_strength: Option<f64>,
    /// The sampler of the second pass [default: that of the first]
    #[arg(long, value_name = "NAME")]
    hires_sampler: Option<String>,
    /// The schedule of the second pass [default: that of the first]
    #[arg(long, value_name = "NAME")]
    hires_scheduler: Option<String>,
    /// The prompt of the second pass [default: that of the first]
    #[arg(long, value_name = "PROMPT")]
    hires_prompt: Option<String>,
    /// The negative prompt of the second pass [default: that of the first]
    #[arg(long, value_name = "PROMPT")]
    hires_negative_prompt: Option<String>,
    /// The guidance of the second pass [default: that of the first]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    hires_cfg_scale: Option<f64>,
    /// Draw the second pass in tiles of this size (with `--strength 0` and an image: "SD upscale")
    #[arg(long, value_name = "PIXELS")]
    hires_tile: Option<u32>,
    /// How far those tiles overlap, at most a third of them [default: 64, or a third of smaller tiles]
    #[arg(long, value_name = "PIXELS")]
    hires_tile_overlap: Option<u32>,
    /// Enlarge the finished picture with a network made for it: a name from `petal list models`, a folder or a file
    /// [default: the one that comes with petal]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    upscale: Option<String>,
    /// How much larger, 1 to 16 [default: what the network does at once]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    upscale_by: Option<f64>,
    #[command(flatten)]
    autoencoder: Autoencoder,
}

/// How pixels are made of latents, and latents of pixels.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Autoencoder")]
struct Autoencoder {
    /// Which autoencoder: the model's own (`model`), a tiny one (`fast`), or the one in a folder [default: model]
    #[arg(long, value_name = "NAME|DIR")]
    vae: Option<String>,
    /// Work in tiles, which takes less memory: `auto` for large pictures, `on` or `off` [default: auto]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = false, default_missing_value = "on")]
    vae_tiling: Option<String>,
    /// The side of those tiles, in pixels of the picture
    #[arg(long, value_name = "PIXELS")]
    vae_tile_size: Option<u32>,
    /// How far those tiles overlap, in pixels of the picture; of no effect where the autoencoder's graph can be cut at its
    /// group norms, which most can
    #[arg(long, value_name = "PIXELS")]
    vae_tile_overlap: Option<u32>,
}

impl Passes {
    /// Writes what was named into `request`.
    pub(super) fn apply(&self, request: &mut Request) {
        let mut hires = request.hires.clone().unwrap_or_default();
        self.apply_hires(&mut hires);
        if self.hires || hires != request.hires.clone().unwrap_or_default() {
            request.hires = Some(hires);
        }
        if self.upscale.is_some() || self.upscale_by.is_some() {
            let upscale = request.upscale.get_or_insert_with(Upscale::default);
            if let Some(name) = &self.upscale {
                upscale.model = Some(name.clone()).filter(|name| !name.is_empty());
            }
            set_some(&mut upscale.scale, self.upscale_by.as_ref());
        }
        let Autoencoder { vae, vae_tiling, vae_tile_size, vae_tile_overlap } = &self.autoencoder;
        set_some(&mut request.vae, vae.as_ref().filter(|name| !is_folder(name)));
        set_some(&mut request.vae_tiling, vae_tiling.as_ref());
        set_some(&mut request.vae_tile_size, vae_tile_size.as_ref());
        set_some(&mut request.vae_tile_overlap, vae_tile_overlap.as_ref());
    }

    /// The folder of another autoencoder than the model's.
    pub(super) fn vae_folder(&self) -> Option<PathBuf> {
        self.autoencoder.vae.as_deref().filter(|name| is_folder(name)).map(PathBuf::from)
    }

    fn apply_hires(&self, hires: &mut Hires) {
        if self.hires_scale.is_some() {
            (hires.width, hires.height) = (None, None);
        }
        set(&mut hires.scale, self.hires_scale.as_ref());
        set_some(&mut hires.width, self.hires_width.as_ref());
        set_some(&mut hires.height, self.hires_height.as_ref());
        set_some(&mut hires.upscaler, self.hires_upscaler.as_ref());
        set_some(&mut hires.steps, self.hires_steps.as_ref());
        set(&mut hires.strength, self.hires_denoising_strength.as_ref());
        set_some(&mut hires.sampler, self.hires_sampler.as_ref());
        set_some(&mut hires.scheduler, self.hires_scheduler.as_ref());
        set_some(&mut hires.prompt, self.hires_prompt.as_ref());
        set_some(&mut hires.negative_prompt, self.hires_negative_prompt.as_ref());
        set_some(&mut hires.cfg_scale, self.hires_cfg_scale.as_ref());
        set_some(&mut hires.tile, self.hires_tile.as_ref());
        set_some(&mut hires.tile_overlap, self.hires_tile_overlap.as_ref());
    }
}

/// Whether the name of an autoencoder is that of a folder, or of a graph in one.
fn is_folder(name: &str) -> bool {
    let path = Path::new(name);
    !["model", "fast"].contains(&name) && (path.exists() || path.components().count() > 1)
}
