//! A diffusion network and what conditions it: the innermost denoiser.
mod check;
mod form;
mod refined;

use crate::{
    Error, Result,
    conditioning::Conditioning,
    guidance::{Guidance, Sides, is_on},
    runtime::{Graph, Kind, Port, Tensor},
    sampling::{Denoiser, Latents, NoiseSchedule, Prediction, Schedule},
};

pub(crate) use form::Form;
pub(crate) use refined::{Refined, refined};

/// The input for the timestep.
const TIMESTEP: &str = "timestep";
/// The input for the text's states, `[batch, tokens, width]`.
pub(crate) const STATES: &str = "encoder_hidden_states";

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
    fn of(input: &str, taken: usize, latents: usize) -> Result<Self> {
        let suits = |kind: &Self| latents + kind.channels_beside(latents) == taken;
        let kind = [Self::Plain, Self::Inpaint, Self::Edit].into_iter().find(suits);
        kind.ok_or_else(|| odd_channels(input, taken, latents))
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
    form: &'static Form,
    /// The names of its latents and its output.
    ports: (&'static str, String),
    kind: NetworkKind,
    /// Channels of the latents.
    channels: usize,
    /// How many pictures it takes at a time, where that is fixed.
    batch: Option<usize>,
    /// Height, width, tokens of the text and batch for which places are bound.
    placed: Option<[usize; 4]>,
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
    /// Fails if the graph does not take latents in this form. Its latents are taken for those of its input until
    /// [`of_latents`](Self::of_latents) says otherwise.
    pub(crate) fn new(graph: Graph, form: &'static Form) -> Result<Self> {
        let input = graph.input_of(form.latents)?;
        graph.takes(input, Kind::Float)?;
        graph.input(TIMESTEP)?;
        form.required.iter().try_for_each(|name| graph.input(name).map(drop))?;
        graph.takes(STATES, Kind::Float)?;
        let output = graph.output_of(form.output)?;
        graph.gives(&output)?;
        graph.takes_only(&[&[input, TIMESTEP], form.required, form.optional].concat())?;
        let port = graph.input(input)?;
        let length = graph.channels(input, form.channel_axis())?;
        let channels = length.and_then(|length| form.channels(port, length));
        let channels = channels.ok_or_else(|| form::odd_input(port, form.packed))?;
        let batch = port.axes.first().copied().flatten();
        check::shapes(&graph, form, (input, &output))?;
        let ports = (input, output);
        Ok(Self { graph, form, ports, kind: NetworkKind::Plain, channels, batch, placed: None })
    }

    /// The network for latents of `channels` channels, which are the autoencoder's; fails if its input or its output does
    /// not suit them.
    pub(crate) fn of_latents(self, channels: usize) -> Result<Self> {
        let output = self.graph.output(&self.ports.1)?;
        match self.form.channels_given(output)? {
            Some(given) if given != channels => Err(odd_answer(&output.name, given, channels)),
            _ => Ok(Self { kind: NetworkKind::of(self.ports.0, self.channels, channels)?, channels, ..self }),
        }
    }

    /// What its input holds beside the latents.
    pub(crate) fn kind(&self) -> NetworkKind {
        self.kind
    }

    /// Channels of the latents.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// The name of the input for latents.
    pub(crate) fn latents_name(&self) -> &'static str {
        self.ports.0
    }

    /// Height and width of the latents that it takes, where they are fixed.
    pub(crate) fn fixed_size(&self) -> Option<(usize, usize)> {
        let axes = &self.graph.wanted(self.ports.0)?.axes;
        if self.form.packed { None } else { axes.get(2).copied().flatten().zip(axes.get(3).copied().flatten()) }
    }

    /// Its inputs.
    pub(crate) fn inputs(&self) -> &[Port] {
        self.graph.inputs()
    }

    /// The denoiser of one run.
    pub(crate) fn conditioned<'a>(&'a mut self, conditions: Conditions<'a>) -> Conditioned<'a> {
        Conditioned { network: self, conditions, bound: Vec::new() }
    }

    /// The raw outputs for `x` times `scale` in each of the `rows`, whose texts are bound already: one after the other,
    /// each of the shape of `x`.
    fn evaluate(&mut self, x: &Latents, scale: f64, timestep: f64, rows: &[Row<'_>]) -> Result<Vec<f32>> {
        let [pictures, channels, height, width] = x.shape();
        let taken = channels + self.kind.channels_beside(channels);
        let area = height * width;
        let scaled: Vec<f32> = x.values().iter().map(|value| value * scale as f32).collect();
        let mut values = Vec::with_capacity(rows.len() * pictures * taken * area);
        for row in rows {
            for latents in scaled.chunks_exact(channels * area) {
                let mut input = latents.to_vec();
                if let Some(more) = row.beside {
                    input.extend_from_slice(more.values());
                }
                input.resize(taken * area, 0.0);
                values.extend(self.form.pack(input, [taken, height, width]));
            }
        }
        let batch = pictures * rows.len();
        let input = Tensor::floats(self.form.shape([batch, taken, height, width]), values);
        self.graph.bind(self.ports.0, input)?;
        self.bind_timestep(timestep, batch)?;
        let output = self.graph.run(&self.ports.1)?;
        let shape = self.form.shape([batch, channels, height, width]);
        if output.shape != shape {
            return Err(odd_output(&output.shape_text(), &shape));
        }
        let values = output.into_floats();
        let pictures = values.chunks_exact(channels * area);
        Ok(pictures.flat_map(|picture| self.form.unpack(picture.to_vec(), [channels, height, width])).collect())
    }

    fn bind_timestep(&mut self, timestep: f64, batch: usize) -> Result<()> {
        let time = (timestep * self.form.time_scale) as f32;
        let each = self.form.timestep_each && matches!(self.graph.input(TIMESTEP)?.axes[..], [None]);
        let tensor = if each { Tensor::floats([batch], vec![time; batch]) } else { Tensor::floats([], vec![time]) };
        self.graph.bind(TIMESTEP, tensor)
    }

    /// Tells a transformer where its tokens are; `text` is how many come of the prompt.
    fn bind_places(&mut self, x: &Latents, text: usize, batch: usize) -> Result<()> {
        let [_, _, height, width] = x.shape();
        if self.placed == Some([height, width, text, batch]) {
            return Ok(());
        }
        for (name, places) in Form::places(x, text) {
            if let Some(port) = self.graph.wanted(name) {
                let tensor = form::places_for(port, &places, batch);
                self.graph.bind(name, tensor)?;
            }
        }
        self.placed = Some([height, width, text, batch]);
        Ok(())
    }
}

/// One of the inputs that are evaluated side by side.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// Which of the run's texts.
    text: usize,
    /// What is beside the latents; zeros without it, where anything is.
    beside: Option<&'a Latents>,
}

/// A network with the prompts, guidance and noise levels of one run.
pub(crate) struct Conditioned<'a> {
    network: &'a mut Network,
    conditions: Conditions<'a>,
    /// The texts that the network's inputs hold.
    bound: Vec<usize>,
}

impl<'a> Conditioned<'a> {
    /// The timestep of a noise level.
    fn timestep(&self, sigma: f64) -> f64 {
        let Conditions { schedule, training: (_, levels), .. } = self.conditions;
        schedule.timestep(sigma, levels)
    }

    /// The guided estimate, and that of the negative side where it was evaluated.
    fn estimate(&mut self, x: &Latents, sigma: f64, both: bool) -> Result<(Latents, Option<Latents>)> {
        let Conditions { prompts, guidance, schedule, training: (prediction, _), beside } = self.conditions;
        let (step, steps) = (schedule.step_at(sigma), schedule.len());
        let scale = guidance.scale_at(step, steps);
        let negative = prompts.negative.is_some() && (both || is_on(scale) || !prompts.is_simple());
        let edits = self.network.kind == NetworkKind::Edit;
        let pictureless = edits && negative && (both || guidance.is_by_picture(scale));
        let mut rows: Vec<Row<'a>> =
            prompts.rows(step, negative).into_iter().map(|text| Row { text, beside }).collect();
        if pictureless {
            rows.insert(0, Row { text: rows[0].text, beside: None }); // the negative text
        }
        let timestep = self.timestep(sigma);
        let output = self.evaluate(x, prediction.input_scale(sigma), timestep, &rows)?;
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

    /// The raw outputs for all `rows`: as many at a time as have texts of one shape, and as the graph takes.
    fn evaluate(&mut self, x: &Latents, scale: f64, timestep: f64, rows: &[Row<'a>]) -> Result<Vec<f32>> {
        let prompts = self.conditions.prompts;
        let mut outputs = Vec::with_capacity(rows.len() * x.values().len());
        for alike in rows.chunk_by(|one, other| prompts.fit_together(one.text, other.text)) {
            for group in alike.chunks(self.network.batch.unwrap_or(rows.len()).max(1)) {
                let missing = self.network.batch.map_or(0, |batch| batch - group.len());
                let filled: Vec<Row<'_>> =
                    group.iter().chain(std::iter::repeat_n(&group[0], missing)).copied().collect();
                let texts: Vec<usize> = filled.iter().map(|row| row.text).collect();
                self.bind(x, &texts)?;
                let output = self.network.evaluate(x, scale, timestep, &filled)?;
                outputs.extend_from_slice(&output[..group.len() * x.values().len()]);
            }
        }
        Ok(outputs)
    }

    /// Gives the network the texts `rows`, unless it has them.
    fn bind(&mut self, x: &Latents, rows: &[usize]) -> Result<()> {
        if rows == self.bound {
            return Ok(());
        }
        let mut tokens = 0;
        for (name, tensor) in self.conditions.prompts.stack(rows)? {
            if name == STATES {
                tokens = tensor.shape.get(1).copied().unwrap_or_default();
            }
            if self.network.graph.wanted(name).is_some() {
                self.network.graph.bind(name, tensor)?;
            }
        }
        self.network.bind_places(x, tokens, rows.len())?;
        self.bound = rows.to_vec();
        Ok(())
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

fn odd_channels(input: &str, taken: usize, latents: usize) -> Error {
    let [plain, inpaint, edit] = [latents, 2 * latents + 1, 2 * latents];
    Error::model(
        format!("the network's input `{input}` takes {taken} channels, but the autoencoder's latents have {latents}"),
        format!(
            "use a model whose parts belong together: its network takes {plain} channels, {inpaint} for inpainting, or \
             {edit} for editing"
        ),
    )
}

fn odd_answer(name: &str, given: usize, latents: usize) -> Error {
    Error::model(
        format!("the network's output `{name}` has {given} channels, but the autoencoder's latents have {latents}"),
        "use a model whose parts belong together; petal reads networks that predict noise, `v` or a flow alone",
    )
}

fn odd_output(shape: &str, wanted: &[usize]) -> Error {
    Error::model(
        format!("the network answers latents of shape {wanted:?} with shape {shape}"),
        "use an export whose output has the shape of its latents",
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
            assert_eq!(NetworkKind::of("sample", taken, latents).unwrap(), kind);
        }
        let error = NetworkKind::of("sample", 5, 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the network's input `sample` takes 5 channels, but the autoencoder's latents have 4"
        );
        let hint = error.hint().unwrap();
        assert!(hint.ends_with("its network takes 4 channels, 9 for inpainting, or 8 for editing"), "{hint}");
    }
}
