//! What distinguishes one kind of model from another: constants, and the few steps that differ.
mod flux;
mod sd;
mod sd3;
mod sdxl;

use crate::{
    Error, Request, Result,
    conditioning::Embedding,
    network::Form,
    preview::LatentColours,
    prompt::{Reading, TextEncoders},
    runtime::{Port, Tensor},
};

/// The text encoders, the texts, how often each occurs, and how they are read.
type Encode = fn(&mut TextEncoders, &[String], &[usize], Reading) -> Result<Vec<Embedding>>;

/// A kind of model.
#[derive(Debug)]
pub(crate) struct Family {
    /// The name in catalogues and in metadata.
    pub(crate) name: &'static str,
    /// What it is called in messages.
    pub(crate) title: &'static str,
    /// What kind of model of the family a network with these inputs is of, in words.
    pub(crate) model: fn(&[Port]) -> &'static str,
    /// Whether a network is of this family, by its inputs.
    is: fn(&[Port]) -> bool,
    /// How its network takes what it is given.
    pub(crate) form: &'static Form,
    /// Its text encoders, in their order. Those at the end that are not `needed` may be missing.
    encoders: &'static [EncoderKind],
    needed: usize,
    /// Scale and shift of the latents when the model's own configuration of the autoencoder is missing.
    pub(crate) latents: (f64, f64),
    /// Latents along each side that the network takes together: sizes are multiples of as many.
    pub(crate) patch: usize,
    /// What a request leaves open.
    pub(crate) usual: Usual,
    /// The colours of latents when the model brings no `preview.json`.
    pub(crate) colours: fn() -> LatentColours,
    /// Whether it takes hidden states of CLIP, so that a clip skip means something.
    pub(crate) skips_layers: bool,
    /// Whether shorter texts are filled up with those of no words; else the network sees each by itself.
    pub(crate) fills_texts: bool,
    /// Whether no words at all become zeros on the negative side, unless the model's index says otherwise.
    pub(crate) empty_is_zero: bool,
    /// How many tokens T5 is given at least, for a network with these inputs.
    pub(crate) t5_tokens: fn(&[Port]) -> usize,
    /// How wide the states are that the text encoders give to the network, as far as they say.
    pub(crate) width: fn(&TextEncoders) -> Option<usize>,
    /// Turns texts, which belong together and stand for `counts` equal ones each, each into what the network is given.
    pub(crate) encode: Encode,
    /// What the network is given beside what the texts became.
    pub(crate) beside: fn(&Asked<'_>) -> Vec<(&'static str, Tensor)>,
}

/// What a family takes where neither request nor catalogue say: the defaults of diffusers' pipelines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    /// Guidance by the negative prompt.
    pub(crate) cfg_scale: f64,
    /// Guidance that the network was taught, for networks that take it.
    pub(crate) guidance: f64,
    /// The strength of image to image, and with a mask.
    pub(crate) strength: (f64, f64),
    /// Height and width in latents.
    pub(crate) side: u32,
    /// Whether the levels of a run go evenly down to one step above 0, whatever the model's scheduler has for its last.
    pub(crate) even_levels: bool,
}

/// A kind of text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncoderKind {
    Clip,
    T5,
}

/// What one side of guidance asks of the network beside its text.
pub(crate) struct Asked<'a> {
    /// The request, whose size is filled in.
    pub(crate) request: &'a Request,
    /// Whether it is the negative side.
    pub(crate) negative: bool,
    /// The inputs of the network.
    pub(crate) inputs: &'a [Port],
}

impl Asked<'_> {
    /// The length of the last axis of the input `name`; none if the network does not take it, or takes any.
    fn width(&self, name: &str) -> Option<usize> {
        width_of(self.inputs, name)
    }

    fn has(&self, name: &str) -> bool {
        has(self.inputs, name)
    }
}

fn has(inputs: &[Port], name: &str) -> bool {
    inputs.iter().any(|port| port.name == name)
}

/// The length of the last axis of the input `name`, where it is fixed.
pub(crate) fn width_of(inputs: &[Port], name: &str) -> Option<usize> {
    inputs.iter().find(|port| port.name == name).and_then(|port| *port.axes.last()?)
}

/// Whether a network takes guidance as an input: then it needs no negative side.
pub(crate) fn takes_guidance(inputs: &[Port]) -> bool {
    is_consistency(inputs) || has(inputs, flux::GUIDANCE)
}

/// Whether a network is a latent consistency model, which was taught guidance by its timestep.
pub(crate) fn is_consistency(inputs: &[Port]) -> bool {
    has(inputs, sd::TAUGHT_GUIDANCE)
}

/// Whether a network takes sizes and crops.
pub(crate) fn takes_sizes(inputs: &[Port]) -> bool {
    has(inputs, sdxl::SIZES)
}

/// Whether it takes a score with them, as refiners do.
pub(crate) fn takes_score(inputs: &[Port]) -> bool {
    width_of(inputs, sdxl::SIZES) == Some(sdxl::REFINER)
}

/// Every family; the first that a network is of is its own. To add one, write a file beside this one and a line here.
pub(crate) const FAMILIES: &[Family] = &[flux::FAMILY, sd3::FAMILY, sdxl::FAMILY, sd::FAMILY];

/// The family of a network with these inputs.
pub(crate) fn recognise(inputs: &[Port]) -> Result<&'static Family> {
    FAMILIES.iter().find(|family| (family.is)(inputs)).ok_or_else(|| {
        let names: Vec<_> = inputs.iter().map(|port| format!("`{}`", port.name)).collect();
        let known: Vec<_> = FAMILIES.iter().map(|family| family.title).collect();
        let latents = ["sample", "hidden_states"].iter().any(|name| has(inputs, name));
        let lacking = if latents { "`encoder_hidden_states`" } else { "`sample` or `hidden_states`" };
        let there = if names.is_empty() { "none".into() } else { names.join(", ") };
        Error::model(
            format!("the network is of no kind that petal knows: it has no input {lacking}; its inputs are {there}"),
            format!("use an export of one of: {}", known.join(", ")),
        )
    })
}

/// The family that a catalogue calls `name`.
pub(crate) fn find_family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

impl Family {
    /// Which of its text encoders is T5, if it has it.
    pub(crate) fn place_of_t5(&self) -> Option<usize> {
        self.encoders.iter().position(|kind| *kind == EncoderKind::T5)
    }

    /// Whether no picture is drawn without the text encoder at `place`.
    pub(crate) fn needs(&self, place: usize) -> bool {
        place < self.needed
    }

    /// The kinds of a model's `count` text encoders, in their order.
    pub(crate) fn encoder_kinds(&self, count: usize) -> Result<&'static [EncoderKind]> {
        if (self.needed..=self.encoders.len()).contains(&count) {
            return Ok(&self.encoders[..count]);
        }
        let wanted = match (self.needed, self.encoders.len()) {
            (least, most) if least == most => most.to_string(),
            (least, most) => format!("{least} or {most}"),
        };
        let last = self.form.required.last().unwrap_or(&"timestep");
        Err(Error::model(
            format!(
                "the model has {count} text encoders, but by its network, which takes `{last}`, it is {}, which has \
                 {wanted}",
                self.title
            ),
            "put the graphs into folders named `text_encoder`, `text_encoder_2` and `text_encoder_3`",
        ))
    }
}
