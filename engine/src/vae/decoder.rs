//! From latents to pixels.
use super::{
    LatentFormat,
    peak::{ALWAYS_WHOLE, MOST_MEMORY, Peak},
    tiling::{self, Half, Tiles},
};
use crate::{
    Bitmap, Error, Result,
    runtime::{Graph, Kind, Tensor},
    sampling::Latents,
};
use std::sync::OnceLock;

/// The names that exporters give to the latents: optimum's; those of ONNX Runtime's and NVIDIA's demos.
const INPUTS: &[&str] = &["latent_sample", "latent"];
/// The names that they give to the pixels.
const OUTPUTS: &[&str] = &["sample", "images"];

/// The decoding half of an autoencoder.
pub(crate) struct Decoder {
    graph: Graph,
    input: &'static str,
    output: String,
    format: LatentFormat,
    /// How much memory it takes, once somebody asked.
    peak: OnceLock<Peak>,
}

impl Decoder {
    /// Fails if the graph is not a VAE decoder. `downsampling` is measured when the model's files do not tell it.
    pub(crate) fn new(graph: Graph, scale: f64, shift: f64, downsampling: Option<usize>) -> Result<Self> {
        let input = graph.input_of(INPUTS)?;
        graph.takes_only(&[input])?;
        graph.takes(input, Kind::Float)?;
        let (latents, output) = (graph.input(input)?, graph.output_of(OUTPUTS)?);
        graph.gives(&output)?;
        let channels = graph.channels(input, 1)?.filter(|_| latents.axes.len() == 4);
        let channels = channels.ok_or_else(|| odd(input, &latents.shape_text()))?;
        let pixels = graph.output(&output)?;
        // channels at the end are those of another kind of export
        if !matches!(pixels.axes[..], [] | [_, Some(3), ..] | [_, None, _, None]) || !pixels.is_of_rank(4) {
            return Err(odd(&output, &pixels.shape_text()));
        }
        let format = LatentFormat { channels, scale, shift, downsampling: 1 };
        let mut decoder = Self { graph, input, output, format, peak: OnceLock::new() };
        decoder.format.downsampling = match downsampling {
            Some(factor) => factor,
            None => decoder.measure()?,
        };
        Ok(decoder)
    }

    /// What latents mean to this autoencoder.
    pub(crate) fn format(&self) -> &LatentFormat {
        &self.format
    }

    /// The name of the input for latents.
    pub(crate) fn latents_name(&self) -> &'static str {
        self.input
    }

    /// Height and width of the latents that it takes, where they are fixed.
    pub(crate) fn fixed_size(&self) -> Option<(usize, usize)> {
        let axes = &self.graph.wanted(self.input)?.axes;
        axes.get(2).copied().flatten().zip(axes.get(3).copied().flatten())
    }

    /// Whether a picture of this size would take so much memory that it is better made in tiles.
    pub(crate) fn needs_tiles(&self, width: u32, height: u32) -> Result<bool> {
        let latents = |pixels: u32| f64::from(pixels) / self.format.downsampling as f64;
        if u64::from(width) * u64::from(height) <= ALWAYS_WHOLE {
            return Ok(false); // without a look at the file
        }
        let peak = if let Some(peak) = self.peak.get() {
            peak
        } else {
            let peak = Peak::of(self.graph.dissected()?.structure(), self.input, &self.output);
            self.peak.get_or_init(|| peak)
        };
        Ok(peak.bytes(latents(width) * latents(height)) > MOST_MEMORY)
    }

    /// How many pixels come from one latent: decodes a few and counts.
    fn measure(&mut self) -> Result<usize> {
        const SIDE: usize = 8;
        let (height, width) = self.fixed_size().unwrap_or((SIDE, SIDE));
        let pixels = self.decode_any(&Latents::zeros([1, self.format.channels, height, width]), None)?;
        match pixels.width as usize / width.max(1) {
            0 => {
                let shape = format!("{:?} for {height} x {width} latents", [pixels.height, pixels.width]);
                Err(odd(&self.output, &shape))
            }
            factor => Ok(factor),
        }
    }

    /// The picture hidden in `latents`, which are one picture's, made in `tiles` if given.
    pub(crate) fn decode(&mut self, latents: &Latents, tiles: Option<Tiles>) -> Result<Bitmap> {
        let pixels = self.decode_any(latents, tiles)?;
        let [_, _, height, width] = latents.shape().map(|length| (length * self.format.downsampling) as u32);
        if (pixels.width, pixels.height) == (width, height) {
            return Ok(pixels);
        }
        Err(Error::model(
            format!("the VAE decoder gives {}x{} pixels in place of {width}x{height}", pixels.width, pixels.height),
            "check `block_out_channels` in `vae_decoder/config.json`: each block but the last doubles the size",
        ))
    }

    /// The pixels that the graph makes of `latents`, whatever their size.
    fn decode_any(&mut self, latents: &Latents, tiles: Option<Tiles>) -> Result<Bitmap> {
        let (scale, shift) = (self.format.scale as f32, self.format.shift as f32);
        let values = latents.values().iter().map(|value| value / scale + shift).collect();
        let half = Half {
            graph: &mut self.graph,
            input: self.input,
            output: &self.output,
            input_scale: 1,
            output_scale: self.format.downsampling,
        };
        let sample = tiling::run(half, Tensor::floats(latents.shape(), values), tiles)?;
        let [1, 3, height, width] = sample.shape[..] else { return Err(odd(&self.output, &sample.shape_text())) };
        if width * height == 0 {
            return Err(odd(&self.output, &sample.shape_text()));
        }
        let planes = sample.into_floats();
        if !planes.iter().all(|value| value.is_finite()) {
            return Err(Error::NotFinite { stage: "the VAE decoder".into() });
        }
        let mut rgb = vec![0; planes.len()];
        for (channel, plane) in planes.chunks_exact(width * height).enumerate() {
            rgb[channel..].iter_mut().step_by(3).zip(plane).for_each(|(pixel, value)| *pixel = to_byte(*value));
        }
        Ok(Bitmap::opaque(width as u32, height as u32, rgb))
    }
}

/// From -1..1 to 0..255, halves to even as numpy rounds.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

fn odd(name: &str, shape: &str) -> Error {
    Error::model(
        format!("the VAE decoder has a tensor `{name}` of shape {shape}"),
        "use an export that turns latents [1, channels, height, width] into pixels [1, 3, height, width]",
    )
}
