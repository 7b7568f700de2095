//! A diffusion network and what conditions it: the innermost denoiser.
use crate::{
    Error, Result,
    conditioning::Conditioning,
    guidance::{Guidance, Sides, is_on},
    runtime::{Graph, Tensor},
    sampling::{Denoiser, Latents, NoiseSchedule, Prediction, Schedule},
};

/// What the input of a network holds beside the latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkKind {
    /// Nothing.
    Plain,
    /// A mask, 1 where the picture is drawn anew, and the latents of the picture without what is masked: 9 channels for
    /// latents of 4 (the inpainting models of SD 1 and 2).
    Inpaint,
    /// The latents of the picture that is edited: 8 channels for latents of 4 (`InstructPix2Pix`, Brooks et al. 2023).
    Edit,
}

impl NetworkKind {
    /// The kind of a network that takes `taken` channels, where latents have `latents`.
    fn of(taken: usize, latents: usize) -> Result<Self> {
        let suits = |kind: &Self| latents + kind.channels_beside(latents) == taken;
        let kind = [Self::Plain, Self::Inpaint, Self::Edit].into_iter().find(suits);
        kind.ok_or_else(|| odd_channels(taken, latents))
    }

    /// How many channels the input has beside `latents` channels of latents.
    fn channels_beside(self, latents: usize) -> usize {
        match self {
            Self::Plain => 0,
            Self::Inpaint => 1 + latents,
            Self::Edit => latents,
        }
    }
}

/// A network whose graph takes latents, a timestep and embeddings; it learns its shapes from the graph itself.
pub(crate) struct Network {
    graph: Graph,
    kind: NetworkKind,
    /// Channels of the latents.
    channels: usize,
}

/// What the denoiser of one run goes by.
#[derive(Clone, Copy)]
pub(crate) struct Conditions<'a> {
    pub(crate) prompts: &'a Conditioning,
    pub(crate) guidance: &'a Guidance,
    pub(crate) schedule: &'a Schedule,
    /// What the network predicts, and the noise levels that it was trained on.
    pub(crate) training: (Prediction, &'a NoiseSchedule),
    /// What its input holds beside the latents, `[1, channels, height, width]`: see [`NetworkKind`].
    pub(crate) beside: Option<&'a Latents>,
}

impl Network {
    /// Fails if the graph is not a UNet of the SD kind. Its latents are taken for those of its input until
    /// [`of_latents`](Self::of_latents) says otherwise.
    pub(crate) fn new(graph: Graph) -> Result<Self> {
        let sample = graph.input("sample")?;
        let [_, Some(channels), _, _] = sample.axes[..] else { return Err(odd_sample(&sample.shape_text())) };
        graph.input("timestep")?;
        graph.input("encoder_hidden_states")?;
        graph.output("out_sample")?;
        graph.takes_only(&["sample", "timestep", "encoder_hidden_states"])?;
        Ok(Self { graph, kind: NetworkKind::Plain, channels })
    }

    /// The network for latents of `channels` channels, which are the autoencoder's; fails if its input does not suit
    /// them.
    pub(crate) fn of_latents(self, channels: usize) -> Result<Self> {
        Ok(Self { kind: NetworkKind::of(self.channels, channels)?, channels, ..self })
    }

    /// What its input holds beside the latents.
    pub(crate) fn kind(&self) -> NetworkKind {
        self.kind
    }

    /// Channels of the latents.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// The denoiser of one run.
    pub(crate) fn conditioned<'a>(&'a mut self, conditions: Conditions<'a>) -> Conditioned<'a> {
        Conditioned { network: self, conditions, bound: Vec::new() }
    }

    /// The raw outputs for `x` times `scale` with `beside` in each of the `rows`, whose texts are bound already: one
    /// after the other, each of the shape of `x`.
    fn evaluate(&mut self, x: &Latents, scale: f64, timestep: f64, rows: &[Option<&Latents>]) -> Result<Vec<f32>> {
        let [pictures, channels, height, width] = x.shape();
        let beside = self.kind.channels_beside(channels);
        let area = height * width;
        let scaled: Vec<f32> = x.values().iter().map(|value| value * scale as f32).collect();
        let mut values = Vec::with_capacity(rows.len() * pictures * (channels + beside) * area);
        for row in rows {
            for latents in scaled.chunks_exact(channels * area) {
                values.extend_from_slice(latents);
                match row {
                    Some(more) => values.extend_from_slice(more.values()),
                    None => values.resize(values.len() + beside * area, 0.0),
                }
            }
        }
        let batch = pictures * rows.len();
        self.graph.bind("sample", Tensor::floats([batch, channels + beside, height, width], values))?;
        self.graph.bind("timestep", Tensor::floats([], vec![timestep as f32]))?;
        let output = self.graph.run("out_sample")?;
        let shape = [batch, channels, height, width];
        if output.shape != shape {
            return Err(odd_output(&output.shape_text(), &shape));
        }
        Ok(output.into_floats())
    }
}

/// A network with the prompts, guidance and noise levels of one run.
pub(crate) struct Conditioned<'a> {
    network: &'a mut Network,
    conditions: Conditions<'a>,
    /// The texts that the network's inputs hold.
    bound: Vec<usize>,
}

impl Conditioned<'_> {
    /// The guided estimate, and that of the negative side where it was evaluated.
    fn estimate(&mut self, x: &Latents, sigma: f64, both: bool) -> Result<(Latents, Option<Latents>)> {
        let Conditions { prompts, guidance, schedule, training: (prediction, levels), beside } = self.conditions;
        let (step, steps) = (schedule.step_at(sigma), schedule.len());
        let scale = guidance.scale_at(step, steps);
        let negative = prompts.negative.is_some() && (both || is_on(scale) || !prompts.is_simple());
        let edits = self.network.kind == NetworkKind::Edit;
        let pictureless = edits && negative && (both || guidance.is_by_picture(scale));
        let mut rows = prompts.rows(step, negative);
        if pictureless {
            rows.insert(0, rows[0]); // the negative text
        }
        if rows != self.bound {
            for (name, tensor) in prompts.stack(&rows)? {
                self.network.graph.bind(name, tensor)?;
            }
            self.bound.clone_from(&rows);
        }
        let timestep = schedule.timestep(sigma, levels);
        let beside: Vec<_> = (0..rows.len()).map(|row| beside.filter(|_| row > 0 || !pictureless)).collect();
        let output = self.network.evaluate(x, prediction.input_scale(sigma), timestep, &beside)?;
        let mut sides = output.chunks(x.values().len());
        let denoised = |raw: Vec<f32>| Ok::<_, Error>(prediction.denoised(x, &Latents::new(x.shape(), raw)?, sigma));
        if !negative {
            return Ok((denoised(sides.next().unwrap_or_default().to_vec())?, None));
        }
        let pictureless = if pictureless { sides.next() } else { None };
        let negative = sides.next().unwrap_or_default();
        let positives = prompts.positives.iter().map(|side| side.weight).zip(sides).collect();
        let guided = guidance.combine(scale, &Sides { pictureless, negative, positives }, x.shape()[0]);
        Ok((denoised(guided)?, Some(denoised(pictureless.unwrap_or(negative).to_vec())?)))
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

fn odd_channels(taken: usize, latents: usize) -> Error {
    let [plain, inpaint, edit] = [latents, 2 * latents + 1, 2 * latents];
    Error::model(
        format!("the network takes {taken} channels, but the autoencoder's latents have {latents}"),
        format!(
            "use a model whose parts belong together: its network takes {plain} channels, {inpaint} for inpainting, or \
             {edit} for editing"
        ),
    )
}

fn odd_output(shape: &str, wanted: &[usize]) -> Error {
    Error::model(
        format!("the network answers latents of shape {wanted:?} with shape {shape}"),
        "use an export whose output has the shape of its input `sample`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_tell_what_a_network_is_for() {
        for (taken, latents, kind) in [
            (4, 4, NetworkKind::Plain),
            (9, 4, NetworkKind::Inpaint),
            (8, 4, NetworkKind::Edit),
            (16, 16, NetworkKind::Plain),
            (33, 16, NetworkKind::Inpaint),
        ] {
            assert_eq!(NetworkKind::of(taken, latents).unwrap(), kind);
        }
        let error = NetworkKind::of(5, 4).unwrap_err();
        assert_eq!(error.to_string(), "the network takes 5 channels, but the autoencoder's latents have 4");
        let hint = error.hint().unwrap();
        assert!(hint.ends_with("its network takes 4 channels, 9 for inpainting, or 8 for editing"), "{hint}");
    }
}
