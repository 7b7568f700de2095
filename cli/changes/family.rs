//! Flags for what only some kinds of models take.
use super::{set, set_some};
use clap::Args;
use petal_engine::{Refiner, Request};

/// What networks of some kinds are told beside the prompt.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "For some kinds of models")]
pub(super) struct FamilyFlags {
    /// Guidance that the network was taught: FLUX.1 dev [default: 3.5], LCM [default: 8.5]
    #[arg(long, alias = "distilled-cfg-scale", value_name = "NUMBER", allow_negative_numbers = true)]
    guidance: Option<f64>,
    /// SDXL: the size of the picture before it was cropped, as in 1024x1024 [default: that of the picture]
    #[arg(long, value_name = "WxH", value_parser = size)]
    original_size: Option<[u32; 2]>,
    /// SDXL: left and top of the crop, as in 0,0 [default: 0,0]
    #[arg(long, value_name = "LEFT,TOP", value_parser = place)]
    crop: Option<[u32; 2]>,
    /// SDXL: the size that the crop was brought to [default: that of the picture]
    #[arg(long, value_name = "WxH", value_parser = size)]
    target_size: Option<[u32; 2]>,
    /// SDXL's refiner: how well the picture is to be rated, 0 to 10 [default: 6]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    aesthetic_score: Option<f64>,
    /// SDXL's refiner: how well what the picture shall not be is rated [default: 2.5]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    negative_aesthetic_score: Option<f64>,
    /// A model whose network takes over before the end: the refiner of SDXL
    #[arg(long, value_name = "NAME|DIR")]
    refiner: Option<String>,
    /// The part of the noise levels after which it does, 0 to 1 [default: 0.8]
    #[arg(long, value_name = "0..1", allow_negative_numbers = true)]
    refiner_switch_at: Option<f64>,
}

impl FamilyFlags {
    /// Writes what was named into `request`.
    pub(super) fn apply(&self, request: &mut Request) {
        set_some(&mut request.guidance, self.guidance.as_ref());
        set_some(&mut request.original_size, self.original_size.as_ref());
        set_some(&mut request.crop, self.crop.as_ref());
        set_some(&mut request.target_size, self.target_size.as_ref());
        set_some(&mut request.aesthetic_score, self.aesthetic_score.as_ref());
        set_some(&mut request.negative_aesthetic_score, self.negative_aesthetic_score.as_ref());
        if self.refiner.is_some() || self.refiner_switch_at.is_some() {
            let refiner = request.refiner.get_or_insert_with(Refiner::default);
            set(&mut refiner.model, self.refiner.as_ref());
            set(&mut refiner.switch_at, self.refiner_switch_at.as_ref());
        }
    }
}

fn size(text: &str) -> Result<[u32; 2], String> {
    pair(text, 'x').ok_or_else(|| "write width and height, as in 1024x1024".into())
}

fn place(text: &str) -> Result<[u32; 2], String> {
    pair(text, ',').ok_or_else(|| "write left and top, as in 0,0".into())
}

fn pair(text: &str, between: char) -> Option<[u32; 2]> {
    let (first, second) = text.split_once(between)?;
    Some([first.trim().parse().ok()?, second.trim().parse().ok()?])
}
