//! From pixels to latents.
use super::{
    LatentFormat,
    tiling::{self, Half, Tiles},
};
use crate::{
    Bitmap, Error, Result,
    runtime::{Graph, Kind, Tensor},
    sampling::Latents,
};

/// The names that exporters give to the pixels.
const INPUTS: [&str; 2] = ["sample", "images"];
/// The names that exporters give to the latents: optimum's for mean and variance; those of diffusers' own converter and
/// of ONNX Runtime's and NVIDIA's demos for latents.
const OUTPUTS: [&str; 3] = ["latent_parameters", "latent_sample", "latent"];
/// Where diffusers keeps the logarithm of a variance (`DiagonalGaussianDistribution`).
const LOG_VARIANCES: (f32, f32) = (-30.0, 20.0);

/// The encoding half of an autoencoder.
pub(crate) struct Encoder {
    graph: Graph,
    format: LatentFormat,
    input: &'static str,
    output: &'static str,
}

impl Encoder {
    /// Fails if the graph is not the VAE encoder that belongs to a decoder of `format`.
    pub(crate) fn new(graph: Graph, format: &LatentFormat) -> Result<Self> {
        let input = known(INPUTS, |name| graph.input(name).map(|_| ()))?;
        let output = known(OUTPUTS, |name| graph.output(name).map(|_| ()))?;
        graph.takes_only(&[input])?;
        graph.takes(input, Kind::Float)?;
        graph.gives(output)?;
        let (taken, given) = (graph.input(input)?, graph.output(output)?);
        let [_, None | Some(3), _, _] = taken.axes[..] else { return Err(odd(input, &taken.shape_text(), format)) };
        match given.axes[..] {
            [] | [_, None, _, _] => {}
            [_, Some(channels), _, _] if is_form(channels, format) => {}
            _ => return Err(odd(output, &given.shape_text(), format)),
        }
        Ok(Self { graph, format: format.clone(), input, output })
    }

    /// What `picture` is to the network: where its latents lie, or the latents themselves. Opacity has no say. Width and
    /// height are multiples of the downsampling. Made in `tiles` if given.
    pub(crate) fn encode(&mut self, picture: &Bitmap, tiles: Option<Tiles>) -> Result<Encoded> {
        self.encode_part(picture, |_| true, tiles)
    }

    /// As [`encode`](Self::encode), of the pixels, counted row by row, that are `shown`: the others are grey, the exact
    /// middle of black and white.
    pub(crate) fn encode_part(
        &mut self,
        picture: &Bitmap,
        shown: impl Fn(usize) -> bool,
        tiles: Option<Tiles>,
    ) -> Result<Encoded> {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let planes = (0..3).flat_map(|channel| picture.rgb[channel..].iter().step_by(3).enumerate());
        let values = planes.map(|(i, byte)| if shown(i) { to_unit(*byte) } else { 0.0 });
        let factor = self.format.downsampling;
        let (input, output) = (self.input, self.output);
        let half = Half { graph: &mut self.graph, input, output, input_scale: factor, output_scale: 1 };
        let output = tiling::run(half, Tensor::floats([1, 3, height, width], values.collect()), tiles)?;
        let [1, channels, rows, columns] = output.shape[..] else {
            return Err(odd(self.output, &output.shape_text(), &self.format));
        };
        if !is_form(channels, &self.format) || (rows, columns) != (height / factor, width / factor) {
            return Err(odd(self.output, &output.shape_text(), &self.format));
        }
        let shape = [1, self.format.channels, rows, columns];
        let mut mean = output.into_floats();
        if !mean.iter().all(|value| value.is_finite()) {
            return Err(Error::NotFinite { stage: "the VAE encoder".into() });
        }
        let log_variances = mean.split_off(shape.iter().product());
        let deviations = log_variances.into_iter().map(|log| (log.clamp(LOG_VARIANCES.0, LOG_VARIANCES.1) / 2.0).exp());
        let deviations: Vec<f32> = deviations.collect();
        let deviation = if deviations.is_empty() { None } else { Some(Latents::new(shape, deviations)?) };
        Ok(Encoded { mean: Latents::new(shape, mean)?, deviation, scale: self.format.scale, shift: self.format.shift })
    }
}

/// What an encoder made of a picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    /// The mean of the latents, or the latents.
    mean: Latents,
    /// Their standard deviation, where the graph leaves the sampling to us.
    deviation: Option<Latents>,
    scale: f64,
    shift: f64,
}

impl Encoded {
    /// Whether latents are drawn, so that they differ by the noise they are drawn with.
    pub(crate) fn is_drawn(&self) -> bool {
        self.deviation.is_some()
    }

    /// The same, not to be drawn: its mean alone.
    pub(crate) fn settled(self) -> Self {
        Self { deviation: None, ..self }
    }

    /// The mean, as the autoencoder has it, not scaled.
    pub(crate) fn mean(&self) -> &Latents {
        &self.mean
    }

    /// The latents that unit `noise` leads to, scaled as the network knows them: `mean + deviation · noise`
    /// (`DiagonalGaussianDistribution.sample`). Without noise, and where they are not drawn, the mean.
    pub(crate) fn latents(&self, noise: Option<&Latents>) -> Latents {
        let mut latents = self.mean.clone();
        if let Some((deviation, noise)) = self.deviation.as_ref().zip(noise) {
            let terms = deviation.values().iter().zip(noise.values());
            latents
                .values_mut()
                .iter_mut()
                .zip(terms)
                .for_each(|(value, (deviation, noise))| *value += deviation * noise);
        }
        let (scale, shift) = (self.scale as f32, self.shift as f32);
        latents.values_mut().iter_mut().for_each(|value| *value = (*value - shift) * scale);
        latents
    }
}

/// The first of `names` that the graph has; else what it says of the first.
fn known<const N: usize>(names: [&'static str; N], find: impl Fn(&str) -> Result<()>) -> Result<&'static str> {
    match names.into_iter().find(|name| find(name).is_ok()) {
        Some(name) => Ok(name),
        None => find(names[0]).map(|()| names[0]),
    }
}

/// Whether `channels` are those of latents, or of their means and the logarithms of their variances.
fn is_form(channels: usize, format: &LatentFormat) -> bool {
    channels == format.channels || channels == 2 * format.channels
}

/// From 0..255 to -1..1, in the order in which diffusers computes it.
fn to_unit(value: u8) -> f32 {
    2.0 * (f32::from(value) / 255.0) - 1.0
}

fn odd(name: &str, shape: &str, format: &LatentFormat) -> Error {
    let LatentFormat { channels: c, downsampling: f, .. } = format;
    Error::model(
        format!("the VAE encoder has a tensor `{name}` of shape {shape}"),
        format!(
            "use the encoder of this model's autoencoder, which turns pixels [1, 3, height, width] into latents \
             [1, {c} or {}, height / {f}, width / {f}]",
            2 * c
        ),
    )
}
