//! A small picture from latents, without the autoencoder.
use crate::{Bitmap, sampling::Latents};
use serde::Deserialize;

/// How an estimate becomes a picture while the run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreviewWith {
    /// A pixel for each latent, by a linear map of the model's: rough and small, at no cost.
    #[default]
    Projection,
    /// By a tiny autoencoder.
    Tiny,
    /// By the model's own, as the picture itself.
    Vae,
}

/// Which estimates become pictures, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Previews {
    pub(crate) with: PreviewWith,
    /// Every so many steps.
    pub(crate) every: usize,
}

/// How the colours of a picture follow from its latents, as a linear map.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct LatentColours {
    /// Red, green and blue for each channel of the latents.
    #[serde(rename = "latent_rgb_factors")]
    pub(crate) factors: Vec<[f32; 3]>,
    /// What is added, in 0..1.
    #[serde(rename = "latent_rgb_bias")]
    pub(crate) bias: [f32; 3],
}

impl LatentColours {
    /// One pixel for each latent of the first picture; `None` if the channels do not match.
    pub(crate) fn draw(&self, latents: &Latents) -> Option<Bitmap> {
        let [_, channels, height, width] = latents.shape();
        if channels != self.factors.len() {
            return None;
        }
        let area = width * height;
        let mut rgb = Vec::with_capacity(area * 3);
        for pixel in 0..area {
            for colour in 0..3 {
                let terms = self.factors.iter().enumerate();
                let sum: f32 = terms.map(|(c, factors)| latents.values()[c * area + pixel] * factors[colour]).sum();
                rgb.push(((sum + self.bias[colour]).clamp(0.0, 1.0) * 255.0) as u8);
            }
        }
        Some(Bitmap::opaque(width as u32, height as u32, rgb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_each_latent_to_a_colour() {
        let colours = LatentColours { factors: vec![[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]], bias: [0.0, 0.5, 1.0] };
        let latents = Latents::new([1, 2, 1, 2], vec![1.0, -1.0, 1.0, 0.0]).unwrap();
        assert_eq!(colours.draw(&latents).unwrap().rgb, [255, 255, 255, 0, 127, 255]);
        assert_eq!(colours.draw(&Latents::zeros([1, 3, 1, 2])), None);
    }
}
