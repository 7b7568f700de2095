//! A diffusion network and what conditions it: the innermost denoiser.
use crate::{
    Error, Result,
    conditioning::Conditioning,
    guidance::{Guidance, is_on},
    runtime::{Graph, Tensor},
    sampling::{Denoiser, Latents, NoiseSchedule, Prediction, Schedule},
};

/// A network whose graph takes latents, a timestep and embeddings; it learns its shapes from the graph itself.
pub(crate) struct Network {
    graph: Graph,
    channels: usize,
}

impl Network {
    /// Fails if the graph is not a UNet of the SD kind.
    pub(crate) fn new(graph: Graph) -> Result<Self> {
        let sample = graph.input("sample")?;
        let [_, Some(channels), _, _] = sample.axes[..] else { return Err(odd_sample(&sample.shape_text())) };
        graph.input("timestep")?;
        graph.input("encoder_hidden_states")?;
        graph.output("out_sample")?;
        graph.takes_only(&["sample", "timestep", "encoder_hidden_states"])?;
        Ok(Self { graph, channels })
    }

    /// Channels of the latents.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// The denoiser of one run.
    pub(crate) fn conditioned<'a>(
        &'a mut self,
        prompts: &'a Conditioning,
        guidance: &'a Guidance,
        schedule: &'a Schedule,
        training: (Prediction, &'a NoiseSchedule),
    ) -> Conditioned<'a> {
        Conditioned { network: self, prompts, guidance, schedule, training, bound: Vec::new() }
    }

    /// The raw outputs for `x` times `scale` and `rows` texts, which are bound already: one after the other, each of the
    /// shape of `x`.
    fn evaluate(&mut self, x: &Latents, scale: f64, timestep: f64, rows: usize) -> Result<Vec<f32>> {
        let scaled: Vec<f32> = x.values().iter().map(|value| value * scale as f32).collect();
        let mut shape = x.shape().to_vec();
        shape[0] *= rows;
        self.graph.bind("sample", Tensor::floats(shape.clone(), scaled.repeat(rows)))?;
        self.graph.bind("timestep", Tensor::floats([], vec![timestep as f32]))?;
        let output = self.graph.run("out_sample")?;
        if output.shape != shape {
            return Err(odd_output(&output.shape_text(), &shape));
        }
        Ok(output.into_floats())
    }
}

/// A network with the prompts, guidance and noise levels of one run.
pub(crate) struct Conditioned<'a> {
    network: &'a mut Network,
    prompts: &'a Conditioning,
    guidance: &'a Guidance,
    schedule: &'a Schedule,
    /// What the network predicts, and the noise levels that it was trained on.
    training: (Prediction, &'a NoiseSchedule),
    /// The texts that the network's inputs hold.
    bound: Vec<usize>,
}

impl Conditioned<'_> {
    /// The guided estimate, and that of the negative side where it was evaluated.
    fn estimate(&mut self, x: &Latents, sigma: f64, both: bool) -> Result<(Latents, Option<Latents>)> {
        let (step, steps) = (self.schedule.step_at(sigma), self.schedule.len());
        let scale = self.guidance.scale_at(step, steps);
        let negative = self.prompts.negative.is_some() && (both || is_on(scale) || !self.prompts.is_simple());
        let rows = self.prompts.rows(step, negative);
        if rows != self.bound {
            for (name, tensor) in self.prompts.stack(&rows)? {
                self.network.graph.bind(name, tensor)?;
            }
            self.bound.clone_from(&rows);
        }
        let (prediction, levels) = self.training;
        let timestep = self.schedule.timestep(sigma, levels);
        let output = self.network.evaluate(x, prediction.input_scale(sigma), timestep, rows.len())?;
        let mut sides = output.chunks(x.values().len());
        let denoised = |raw: Vec<f32>| Ok::<_, Error>(prediction.denoised(x, &Latents::new(x.shape(), raw)?, sigma));
        if !negative {
            return Ok((denoised(sides.next().unwrap_or_default().to_vec())?, None));
        }
        let no = sides.next().unwrap_or_default();
        let positives: Vec<_> = self.prompts.positives.iter().map(|side| side.weight).zip(sides).collect();
        let guided = self.guidance.combine(scale, no, &positives, x.shape()[0]);
        Ok((denoised(guided)?, Some(denoised(no.to_vec())?)))
    }
}

impl Denoiser for Conditioned<'_> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self.estimate(x, sigma, false).map(|(guided, _)| guided)
    }

    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        let (guided, negative) = self.estimate(x, sigma, true)?;
        let negative = negative.unwrap_or_else(|| guided.clone());
        Ok((guided, negative))
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
