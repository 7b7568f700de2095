//! A diffusion network and what conditions it: the innermost denoiser.
use crate::{
    Error, Result,
    conditioning::Conditioning,
    guidance::Guidance,
    runtime::{Graph, Tensor},
    sampling::{Denoiser, Latents, Prediction},
};

/// A network whose graph takes latents, a timestep and embeddings; it learns its shapes from the graph itself.
pub(crate) struct Network {
    graph: Graph,
    prediction: Prediction,
    channels: usize,
}

impl Network {
    /// Fails if the graph is not a UNet of the SD kind.
    pub(crate) fn new(graph: Graph, prediction: Prediction) -> Result<Self> {
        let sample = graph.input("sample")?;
        let [_, Some(channels), _, _] = sample.axes[..] else { return Err(odd_sample(&sample.shape_text())) };
        graph.input("timestep")?;
        graph.input("encoder_hidden_states")?;
        graph.output("out_sample")?;
        graph.takes_only(&["sample", "timestep", "encoder_hidden_states"])?;
        Ok(Self { graph, prediction, channels })
    }

    /// Channels of the latents.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Binds what stays the same from step to step, and gives the denoiser of one run; `timestep` is how the network
    /// knows a noise level.
    pub(crate) fn conditioned<'a>(
        &'a mut self,
        conditioning: &Conditioning,
        guidance: Guidance,
        timestep: impl Fn(f64) -> f64 + 'a,
    ) -> Result<impl Denoiser + 'a> {
        for (name, tensor) in &conditioning.tensors {
            self.graph.bind(name, tensor.clone())?;
        }
        Ok(move |x: &Latents, sigma: f64| self.denoise(x, sigma, timestep(sigma), guidance))
    }

    fn denoise(&mut self, x: &Latents, sigma: f64, timestep: f64, guidance: Guidance) -> Result<Latents> {
        let scale = self.prediction.input_scale(sigma) as f32;
        let mut input: Vec<f32> = x.values().iter().map(|value| value * scale).collect();
        let mut shape = x.shape().to_vec();
        if guidance.is_on() {
            input.extend_from_within(..); // negative half, positive half
            shape[0] *= 2;
        }
        self.graph.bind("sample", Tensor::floats(shape.clone(), input))?;
        self.graph.bind("timestep", Tensor::floats([], vec![timestep as f32]))?;
        let output = self.graph.run("out_sample")?;
        if output.shape != shape {
            return Err(odd_output(&output.shape_text(), &shape));
        }
        let output = output.into_floats();
        let guided = if guidance.is_on() {
            let (negative, positive) = output.split_at(output.len() / 2);
            guidance.combine(negative, positive)
        } else {
            output
        };
        Ok(self.prediction.denoised(x, &Latents::new(x.shape(), guided)?, sigma))
    }
}

fn odd_sample(shape: &str) -> Error {
    Error::model(
        format!("the network's input `sample` has the shape {shape}, which does not say how many channels it has"),
        "export the network with a fixed number of channels, as in [batch, 4, height, width]",
    )
}

fn odd_output(shape: &str, wanted: &[usize]) -> Error {
    Error::model(
        format!("the network answers latents of shape {wanted:?} with shape {shape}"),
        "use an export whose output has the shape of its input `sample`",
    )
}
