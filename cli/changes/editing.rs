//! Flags for drawing over a picture: image to image, inpainting, outpainting.
use super::{set, set_some};
use clap::Args;
use petal_engine::{Extend, ImageSource, Request};

/// The picture to draw over, and which part of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Drawing over a picture")]
pub(super) struct Editing {
    /// The picture to draw over; `-` reads it from standard input
    #[arg(short, long, alias = "image", value_name = "FILE")]
    init_img: Option<ImageSource>,
    /// How much is drawn anew, 0 to 1 [default: 0.8, and 1 with a mask]
    #[arg(long, alias = "denoising-strength", value_name = "NUMBER", allow_negative_numbers = true)]
    strength: Option<f64>,
    /// How many steps a strength means: that part of them (`diffusers`), one more (`webui`), or as many as `--steps` says
    /// (`exact`) [default: diffusers]
    #[arg(long, value_name = "NAME")]
    strength_steps: Option<String>,
    /// How the picture comes to the size asked for: `crop`, `stretch` or `fill` [default: crop]
    #[arg(long, value_name = "NAME")]
    resize_mode: Option<String>,
    /// What is drawn anew: white in this picture; or `alpha`, what is transparent in the one drawn over
    #[arg(long, value_name = "FILE|alpha")]
    mask: Option<ImageSource>,
    /// Draw anew what is black in the mask
    #[arg(long)]
    mask_invert: bool,
    /// How far the edge of the mask is softened, in pixels [default: 4]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    mask_blur: Option<f64>,
    /// What is under the mask to begin with: `original`, `fill`, `noise` or `nothing`
    #[arg(long, value_name = "NAME")]
    inpaint_fill: Option<String>,
    /// Draw only what is around the mask, at the full size, and put it back
    #[arg(long)]
    only_masked: bool,
    /// How far that reaches beyond the mask [default: 32]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    mask_padding: Option<u32>,
    /// Margins to add to the picture, as in left=128,top=64
    #[arg(long, value_name = "SIDES", value_parser = margins)]
    extend: Option<Extend>,
    /// How much the picture counts, for networks that edit (instruct-pix2pix) [default: 1.5]
    #[arg(long, alias = "image-cfg-scale", value_name = "NUMBER", allow_negative_numbers = true)]
    img_cfg_scale: Option<f64>,
}

impl Editing {
    /// Writes what was named into `request`.
    pub(super) fn apply(&self, request: &mut Request) {
        set_some(&mut request.init_image, self.init_img.as_ref());
        set_some(&mut request.strength, self.strength.as_ref());
        set_some(&mut request.strength_steps, self.strength_steps.as_ref());
        set_some(&mut request.resize_mode, self.resize_mode.as_ref());
        set_some(&mut request.mask, self.mask.as_ref());
        request.mask_invert |= self.mask_invert;
        set(&mut request.mask_blur, self.mask_blur.as_ref());
        set_some(&mut request.inpaint_fill, self.inpaint_fill.as_ref());
        request.only_masked |= self.only_masked;
        set(&mut request.mask_padding, self.mask_padding.as_ref());
        set_some(&mut request.extend, self.extend.as_ref());
        set_some(&mut request.img_cfg_scale, self.img_cfg_scale.as_ref());
    }
}

/// Margins, or what is wrong with them and what to do.
fn margins(text: &str) -> Result<Extend, String> {
    text.parse().map_err(|error: petal_engine::Error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}
