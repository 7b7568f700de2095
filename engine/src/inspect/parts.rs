//! Which graph plays which part in a model? Decided by what the graphs are; folders decide only between equals.
use super::{
    GraphReport, PartReport, Problem,
    role::{Network, Role, TextKind},
};

/// A part that a graph may play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    SecondText,
    ThirdText,
    Network,
    Decoder,
    Encoder,
    TinyDecoder,
    ControlNet,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Network,
        Self::Text,
        Self::SecondText,
        Self::ThirdText,
        Self::Decoder,
        Self::Encoder,
        Self::TinyDecoder,
        Self::ControlNet,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text encoder",
            Self::SecondText => "second text encoder",
            Self::ThirdText => "third text encoder",
            Self::Network => "network",
            Self::Decoder => "VAE decoder",
            Self::Encoder => "VAE encoder",
            Self::TinyDecoder => "tiny VAE decoder",
            Self::ControlNet => "ControlNet",
        }
    }

    /// The folders in which exporters put it.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["text_encoder", "clip", "clip.opt"],
            Self::SecondText => &["text_encoder_2", "clip2", "clip2.opt", "t5.opt"],
            Self::ThirdText => &["text_encoder_3", "t5", "t5.opt"],
            Self::Network => &["unet", "transformer", "unetxl", "transformer.opt"],
            Self::Decoder => &["vae_decoder", "vae", "vae.opt"],
            Self::Encoder => &["vae_encoder", "vae_encoder.opt"],
            Self::TinyDecoder => &["vae_tiny_decoder", "taesd"],
            Self::ControlNet => &["controlnet"],
        }
    }

    /// Whether no picture is drawn without it.
    fn is_needed(self, network: Option<&Network>) -> bool {
        let family = network.and_then(|network| network.family);
        match self {
            Self::Text | Self::Network | Self::Decoder => true,
            Self::SecondText => match family {
                Some("sdxl") => !network.is_some_and(Network::is_refiner),
                Some("sd3" | "flux") => true,
                _ => false,
            },
            // SD 3 draws without its third
            Self::ThirdText | Self::Encoder | Self::TinyDecoder | Self::ControlNet => false,
        }
    }

    /// Whether `graph` may play it beside `network`.
    fn suits(self, graph: &GraphReport, network: Option<&Network>) -> bool {
        let kind = match &graph.known {
            Role::TextEncoder(encoder) => Some((encoder.kind, encoder.width)),
            _ => None,
        };
        let is_tiny = graph.name.contains("tiny") || graph.name.contains("taesd");
        let family = network.and_then(|network| network.family);
        let is_refiner = network.is_some_and(Network::is_refiner);
        match self {
            Self::Network => matches!(graph.known, Role::Network(_)),
            Self::Decoder => matches!(graph.known, Role::VaeDecoder { .. }) && !is_tiny,
            Self::TinyDecoder => matches!(graph.known, Role::VaeDecoder { .. }) && is_tiny,
            Self::Encoder => matches!(graph.known, Role::VaeEncoder { .. }),
            Self::ControlNet => graph.known == Role::ControlNet,
            Self::Text => match (family, kind) {
                (Some("sdxl"), Some((kind, _))) if is_refiner => kind == TextKind::ClipProjected,
                (Some("sd3"), Some((kind, width))) => kind == TextKind::ClipProjected && width != Some(1280),
                (Some("sdxl" | "flux"), Some((kind, _))) => kind == TextKind::Clip,
                (_, kind) => kind.is_some_and(|(kind, _)| kind != TextKind::T5),
            },
            Self::SecondText => match (family, kind) {
                (Some("sdxl"), Some((kind, _))) => kind == TextKind::ClipProjected && !is_refiner,
                (Some("sd3"), Some((kind, width))) => kind == TextKind::ClipProjected && width != Some(768),
                (Some("flux"), Some((kind, _))) => matches!(kind, TextKind::T5 | TextKind::States),
                _ => false,
            },
            Self::ThirdText => {
                let kind = kind.map(|(kind, _)| kind);
                family == Some("sd3") && matches!(kind, Some(TextKind::T5 | TextKind::States))
            }
        }
    }

    /// What is said of it.
    pub(super) fn report(self, graph: Option<&GraphReport>, needed: bool) -> PartReport {
        PartReport { part: self.name(), graph: graph.map(|graph| graph.name.clone()), needed }
    }
}

/// A part, who plays it, and whether no picture is drawn without it.
pub(super) struct Casting<'a> {
    pub(super) part: Part,
    pub(super) graph: Option<&'a GraphReport>,
    pub(super) needed: bool,
}

/// Gives every part of a model that draws to a graph; the parts that have one or need one. A folder without a network is
/// no model that draws: its graphs play no parts.
pub(super) fn cast<'a>(graphs: &'a [GraphReport], problems: &mut Vec<Problem>) -> Vec<Casting<'a>> {
    let mut castings: Vec<Casting<'a>> = Vec::new();
    let mut network = None;
    if !graphs.iter().any(|graph| Part::Network.suits(graph, None)) {
        return castings;
    }
    for part in Part::ALL {
        let is_free =
            |graph: &&GraphReport| !castings.iter().any(|known| known.graph.is_some_and(|it| it.name == graph.name));
        let suitable: Vec<_> = graphs.iter().filter(is_free).filter(|graph| part.suits(graph, network)).collect();
        let graph = match suitable[..] {
            [] => None,
            [one] => Some(one),
            _ => choose(part, &suitable, problems),
        };
        let needed = part.is_needed(network);
        if needed && suitable.is_empty() {
            problems.push(Problem {
                what: format!("there is no graph that could be the {}", part.name()),
                hint: format!("put the file into `{}` of the model", part.folders()[0]),
            });
        }
        if let (Part::Network, Some(Role::Network(known))) = (part, graph.map(|graph| &graph.known)) {
            network = Some(known);
        }
        if needed || graph.is_some() {
            castings.push(Casting { part, graph, needed });
        }
    }
    castings
}

/// The one of several graphs that lies in a folder for this part, if there is one.
fn choose<'a>(part: Part, suitable: &[&'a GraphReport], problems: &mut Vec<Problem>) -> Option<&'a GraphReport> {
    for folder in part.folders() {
        let inside = |graph: &&&GraphReport| graph.name.split('/').next() == Some(folder);
        let found: Vec<_> = suitable.iter().filter(inside).collect();
        if let [one] = found[..] {
            return Some(one);
        }
    }
    let names: Vec<_> = suitable.iter().map(|graph| format!("`{}`", graph.name)).collect();
    problems.push(Problem {
        what: format!("several graphs could be the {}: {}", part.name(), names.join(", ")),
        hint: format!("keep one of them, or name its folder `{}`", part.folders()[0]),
    });
    None
}
