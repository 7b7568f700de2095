//! What is a graph to a model that draws? Known by its inputs and outputs alone, whatever its file is called.
//!
//! The names are those of optimum, of diffusers' own converters, and of the demos of ONNX Runtime, Olive, `OnnxStack`
//! and NVIDIA.
use crate::{
    families::{recognise, takes_guidance},
    runtime::{
        Port,
        signature::{Declared, Signature},
    },
};

/// What a graph is to a model that draws.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// From tokens to embeddings.
    TextEncoder(TextEncoder),
    /// What is asked at every step.
    Network(Network),
    /// From pixels to latents.
    VaeEncoder {
        /// Channels of its output: those of latents, or twice as many.
        channels: Option<usize>,
        /// Whether it gives mean and variance, in place of latents.
        moments: bool,
    },
    /// From latents to pixels.
    VaeDecoder {
        /// Channels of latents.
        channels: Option<usize>,
    },
    /// From a picture to residuals for a network.
    ControlNet,
    /// From pixels to more pixels.
    Upscaler,
    /// From a picture to an embedding.
    ImageEncoder,
    /// From a picture to a verdict.
    SafetyChecker,
    /// Something else.
    Unknown,
}

/// What is known of a text encoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextEncoder {
    pub(crate) kind: TextKind,
    /// Numbers in the embedding of a token.
    pub(crate) width: Option<usize>,
    /// How many tokens it takes, where the graph fixes it.
    pub(crate) tokens: Option<usize>,
    /// The states of its layers that it gives, the embeddings included.
    pub(crate) hidden_states: usize,
}

/// Kinds of text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    /// CLIP's, which gives the state of the last token, too: SD 1 and 2, SDXL's first, Flux's first.
    Clip,
    /// CLIP's with a projection: SDXL's second, the refiner's, two of SD 3's.
    ClipProjected,
    /// States alone and wide: T5's.
    T5,
    /// States alone: T5's, or CLIP's of an exporter that keeps nothing else.
    States,
}

/// What is known of a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    /// `sd`, `sdxl`, `sd3` or `flux`.
    pub(crate) family: Option<&'static str>,
    /// What kind of model of that family it is of.
    pub(crate) model: Option<&'static str>,
    /// Whether it is a UNet; otherwise a transformer.
    pub(crate) is_unet: bool,
    /// Channels that it takes: of latents, and of what is joined to them.
    pub(crate) channels: Option<usize>,
    /// Channels that it gives: those of latents.
    pub(crate) gives: Option<usize>,
    /// Numbers in the embedding of a token that it takes.
    pub(crate) width: Option<usize>,
    /// Whether guidance is an input: LCM's `timestep_cond`, `guidance` of Flux dev.
    pub(crate) takes_guidance: bool,
    /// Whether nets of the kind `ControlNet` are part of it, or their residuals are inputs.
    pub(crate) takes_control: bool,
}

/// The ports of a graph by name.
struct Ports<'a> {
    inputs: &'a [Port],
    outputs: &'a [Port],
}

impl Role {
    /// What the graph in a file that declares this is.
    pub(crate) fn of_signature(signature: &Signature) -> Self {
        let ports = |declared: &[Declared]| -> Vec<Port> { declared.iter().map(Declared::port).collect() };
        Self::of(&ports(&signature.inputs), &ports(&signature.outputs))
    }

    /// What the graph with these inputs and outputs is.
    pub(crate) fn of(inputs: &[Port], outputs: &[Port]) -> Self {
        let ports = Ports { inputs, outputs };
        if ports.takes("clip_input") {
            return Self::SafetyChecker;
        }
        if ports.takes("pixel_values") {
            return Self::ImageEncoder;
        }
        if ports.takes("input_ids") {
            return ports.text_encoder();
        }
        if ports.takes("encoder_hidden_states") && ports.takes("timestep") {
            let residuals = outputs.iter().any(|port| port.name.ends_with("_additional_residual"));
            let is_control = residuals || ports.gives("controlnet_block_sample");
            return if is_control { Self::ControlNet } else { ports.network() };
        }
        match (inputs, outputs) {
            ([input], [output]) if input.axes.len() == 4 && output.axes.len() == 4 => one_to_one(input, output),
            _ => Self::Unknown,
        }
    }

    /// The name in JSON: `unet`, `vae_decoder`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TextEncoder(_) => "text_encoder",
            Self::Network(network) if network.is_unet => "unet",
            Self::Network(_) => "transformer",
            Self::VaeEncoder { .. } => "vae_encoder",
            Self::VaeDecoder { .. } => "vae_decoder",
            Self::ControlNet => "controlnet",
            Self::Upscaler => "upscaler",
            Self::ImageEncoder => "image_encoder",
            Self::SafetyChecker => "safety_checker",
            Self::Unknown => "unknown",
        }
    }

    /// In words: `UNet of SDXL`.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::TextEncoder(encoder) => encoder.in_words(),
            Self::Network(network) => network.in_words(),
            Self::VaeEncoder { moments: true, .. } => "VAE encoder, which gives mean and variance".into(),
            Self::VaeEncoder { .. } => "VAE encoder, which gives latents".into(),
            Self::VaeDecoder { .. } => "VAE decoder".into(),
            Self::ControlNet => "ControlNet".into(),
            Self::Upscaler => "upscaler".into(),
            Self::ImageEncoder => "image encoder".into(),
            Self::SafetyChecker => "safety checker".into(),
            Self::Unknown => "unknown".into(),
        }
    }
}

impl TextEncoder {
    fn in_words(&self) -> String {
        let kind = match self.kind {
            TextKind::Clip => "text encoder, CLIP",
            TextKind::ClipProjected => "text encoder, CLIP with a projection",
            TextKind::T5 => "text encoder, T5",
            TextKind::States => "text encoder, which gives states alone",
        };
        self.width.map_or_else(|| kind.into(), |width| format!("{kind}, of width {width}"))
    }
}

impl Network {
    /// What is joined to latents, as a purpose.
    pub(crate) fn purpose(&self) -> Option<&'static str> {
        let joined = self.channels?.checked_sub(self.gives?)?;
        match joined {
            0 => None,
            // a mask, and the latents of what it leaves
            more if Some(more) == self.gives.map(|latents| latents + 1) => Some("inpainting"),
            more if Some(more) == self.gives => Some("editing by instruction"),
            _ => Some("something joined to latents"),
        }
    }

    fn in_words(&self) -> String {
        let kind = if self.is_unet { "UNet" } else { "transformer" };
        let family = self.model.map_or_else(|| " of an unknown family".into(), |model| format!(" of {model}"));
        let purpose = self.purpose().map(|purpose| format!(" for {purpose}")).unwrap_or_default();
        let guidance = if self.takes_guidance { ", guidance is an input" } else { "" };
        let control = if self.takes_control { ", takes ControlNets" } else { "" };
        format!("{kind}{family}{purpose}{guidance}{control}")
    }
}

/// What a graph from one picture, or its latents, to another is.
fn one_to_one(input: &Port, output: &Port) -> Role {
    let (taken, given) = (input.axes[1], output.axes[1]);
    let is_image = |channels: Option<usize>| channels.is_none_or(|channels| channels == 3);
    match (&*input.name, &*output.name) {
        ("sample" | "images", "latent_parameters") => Role::VaeEncoder { channels: given, moments: true },
        ("sample" | "images", "latent_sample" | "latent") => Role::VaeEncoder { channels: given, moments: false },
        ("latent_sample" | "latent", _) if is_image(given) => Role::VaeDecoder { channels: taken },
        // other names: by the channels, where the graph fixes them
        _ if taken == Some(3) && given.is_some_and(|channels| channels > 3) => {
            Role::VaeEncoder { channels: given, moments: false }
        }
        _ if given == Some(3) && taken.is_some_and(|channels| channels > 3) => Role::VaeDecoder { channels: taken },
        // what makes numbers of a picture has a fixed size
        _ if is_image(taken) && is_image(given) && !(input.axes[2].is_none() && output.axes[2].is_some()) => {
            Role::Upscaler
        }
        _ => Role::Unknown,
    }
}

impl Ports<'_> {
    fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }

    fn takes(&self, name: &str) -> bool {
        self.input(name).is_some()
    }

    fn gives(&self, name: &str) -> bool {
        self.output(name).is_some()
    }

    /// A graph that takes ids.
    fn text_encoder(&self) -> Role {
        let states = ["last_hidden_state", "text_embeddings"].iter().find_map(|name| self.output(name));
        let hidden_states = self.outputs.iter().filter(|port| port.name.starts_with("hidden_states")).count();
        if states.is_none() && hidden_states == 0 && !self.gives("text_embeds") {
            return Role::Unknown;
        }
        let width = states.and_then(|port| port.axes.get(2).copied().flatten());
        let kind = match width {
            _ if self.gives("text_embeds") => TextKind::ClipProjected,
            _ if ["pooler_output", "pooled_embeddings"].iter().any(|name| self.gives(name)) => TextKind::Clip,
            Some(4096 | 2048) => TextKind::T5, // XXL and XL
            Some(768 | 1024 | 1280) => TextKind::Clip,
            // with clip skip in mind, only CLIP's layers are exported
            _ if hidden_states > 0 => TextKind::Clip,
            _ => TextKind::States,
        };
        let tokens = self.input("input_ids").and_then(|port| port.axes.get(1).copied().flatten());
        Role::TextEncoder(TextEncoder { kind, width, tokens, hidden_states })
    }

    /// A graph that takes a timestep and what a text encoder gives.
    fn network(&self) -> Role {
        let axis = |port: Option<&Port>, place: usize| port.and_then(|port| port.axes.get(place).copied().flatten());
        let width = axis(self.input("encoder_hidden_states"), 2);
        let family = recognise(self.inputs).ok();
        let gives = self.outputs.first();
        if let Some(sample) = self.input("sample").filter(|port| port.axes.len() == 4) {
            let control = |port: &Port| {
                port.name.starts_with("controlnet_")
                    || port.name.ends_with("_additional_residual")
                    || port.name == "images"
            };
            return Role::Network(Network {
                family: family.map(|family| family.name),
                model: family.map(|family| (family.model)(self.inputs)),
                is_unet: true,
                channels: axis(Some(sample), 1),
                gives: axis(gives, 1),
                width,
                takes_guidance: takes_guidance(self.inputs),
                takes_control: self.inputs.iter().any(control),
            });
        }
        let Some(states) = self.input("hidden_states") else { return Role::Unknown };
        // SD 3 has its channels first, Flux packs four latents of 16 channels into the last axis
        let place = if states.axes.len() == 4 { 1 } else { 2 };
        Role::Network(Network {
            family: family.map(|family| family.name),
            model: family.map(|family| (family.model)(self.inputs)),
            is_unet: false,
            channels: axis(Some(states), place),
            gives: axis(gives, place),
            width,
            takes_guidance: takes_guidance(self.inputs),
            takes_control: self.inputs.iter().any(|port| port.name.contains("controlnet")),
        })
    }
}

#[cfg(test)]
mod tests;
