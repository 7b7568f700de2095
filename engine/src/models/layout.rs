//! Which file of a model plays which part?
//!
//! Exporters agree on little: the folders are called as in diffusers (`unet`), as in NVIDIA's demo (`unet.opt`) or as in ONNX
//! Runtime's (`clip`, `vae`). What a folder's name leaves open, the graph itself tells: see `survey.rs`.
use super::Files;
use crate::{Error, Result};
use std::path::Path;

/// A part that a graph can play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Text to states.
    TextEncoder,
    /// What is asked step by step.
    Network,
    /// Latents to pixels.
    Decoder,
    /// Pixels to latents.
    Encoder,
    /// Latents to pixels, roughly and fast.
    TinyDecoder,
}

/// The graphs of a model by the parts that they play; paths as catalogues write them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    /// The text encoders, in their order.
    pub(crate) text_encoders: Vec<String>,
    pub(crate) network: Option<String>,
    pub(crate) decoder: Option<String>,
    pub(crate) encoder: Option<String>,
    pub(crate) tiny_decoder: Option<String>,
}

/// What folders are called, without what follows a full stop in their name.
const FOLDERS: &[(Part, &[&str])] = &[
    (Part::Network, &["unet", "transformer", "unetxl", "unet_xl", "dit", "mmdit"]),
    (
        Part::TextEncoder,
        // in the order in which a model has them
        &["text_encoder", "clip", "clip_l", "text_encoder_2", "clip2", "clip_g", "text_encoder_3", "t5", "t5xxl"],
    ),
    (Part::Decoder, &["vae_decoder", "vae"]),
    (Part::Encoder, &["vae_encoder"]),
    (Part::TinyDecoder, &["vae_tiny_decoder"]),
];

/// Whether a file is called a graph.
pub(crate) fn is_graph(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("onnx"))
}

/// The name of the folder of a graph, without what follows a full stop in it.
fn stem(graph: &str) -> Option<String> {
    let (folder, _) = graph.split_once('/')?;
    Some(folder.split('.').next().unwrap_or(folder).to_ascii_lowercase())
}

/// The place of a text encoder among those that a model has; those of unknown names come last.
fn rank(graph: &str) -> usize {
    let names = FOLDERS.iter().find(|(part, _)| *part == Part::TextEncoder).map_or(&[][..], |(_, names)| names);
    let place = stem(graph).and_then(|stem| names.iter().position(|name| *name == stem));
    place.unwrap_or(names.len())
}

impl Part {
    /// The part that the folder of a graph says, as in `unet/model.onnx`.
    pub(crate) fn by_folder(graph: &str) -> Option<Self> {
        let stem = stem(graph)?;
        FOLDERS.iter().find(|(_, names)| names.contains(&stem.as_str())).map(|(part, _)| *part)
    }

    /// What it is called in messages, and where exports of today have it.
    fn usual_folder(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::Network => "unet",
            Self::Decoder => "vae_decoder",
            Self::Encoder => "vae_encoder",
            Self::TinyDecoder => "vae_tiny_decoder",
        }
    }
}

impl Layout {
    /// The layout of the graphs `found`, each with its part; of several for one part, the one whose name is usual.
    ///
    /// # Errors
    /// [`Error::Model`] if two graphs play one part and neither is called `model.onnx`.
    pub(crate) fn new(found: &[(Part, String)]) -> Result<Self> {
        let mut layout = Self::default();
        let of = |part: Part| -> Vec<String> {
            let graphs = found.iter().filter(|(of, _)| *of == part).map(|(_, graph)| graph.clone());
            graphs.collect()
        };
        let mut encoders: Vec<Vec<String>> = Vec::new(); // those of one folder are variants of one
        for graph in of(Part::TextEncoder) {
            match encoders.iter_mut().find(|others| folder_of(&others[0]) == folder_of(&graph)) {
                Some(others) => others.push(graph),
                None => encoders.push(vec![graph]),
            }
        }
        for variants in encoders {
            layout.text_encoders.extend(one_of(Part::TextEncoder, variants)?);
        }
        layout.text_encoders.sort_by_key(|graph| (rank(graph), graph.clone()));
        layout.network = one_of(Part::Network, of(Part::Network))?;
        layout.decoder = one_of(Part::Decoder, of(Part::Decoder))?;
        layout.encoder = one_of(Part::Encoder, of(Part::Encoder))?;
        layout.tiny_decoder = one_of(Part::TinyDecoder, of(Part::TinyDecoder))?;
        Ok(layout)
    }

    /// The graph of `part`, which a model must have.
    pub(crate) fn needed(&self, part: Part, files: &Files) -> Result<&str> {
        let graph = match part {
            Part::Network => &self.network,
            Part::Decoder => &self.decoder,
            Part::Encoder => &self.encoder,
            Part::TinyDecoder => &self.tiny_decoder,
            Part::TextEncoder => {
                return self.text_encoders.first().map(String::as_str).ok_or_else(|| lacks(part, files));
            }
        };
        graph.as_deref().ok_or_else(|| lacks(part, files))
    }

    /// The folder of the tokenizer of the text encoder at `place`: what follows `text_encoder` in its folder's name
    /// follows `tokenizer`; without such a name, its number.
    pub(crate) fn tokenizer(&self, place: usize) -> String {
        let folder = self.text_encoders.get(place).map_or("", |graph| folder_of(graph));
        match folder.split('.').next().and_then(|folder| folder.strip_prefix("text_encoder")) {
            Some(suffix) => format!("tokenizer{suffix}"),
            None if place == 0 => "tokenizer".into(),
            None => format!("tokenizer_{}", place + 1),
        }
    }

    /// Whether a text encoder is the second, by the name of its folder.
    pub(crate) fn is_second(graph: &str) -> bool {
        stem(graph).is_some_and(|stem| ["text_encoder_2", "clip2", "clip_g"].contains(&stem.as_str()))
    }

    /// The `config.json` beside the graph of a part.
    pub(crate) fn config_beside(graph: &str) -> String {
        match graph.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/config.json"),
            None => "config.json".into(),
        }
    }
}

fn folder_of(graph: &str) -> &str {
    graph.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Of several graphs that play one part, the one in the usual folder, or that is called `model.onnx`.
fn one_of(part: Part, mut graphs: Vec<String>) -> Result<Option<String>> {
    if graphs.len() < 2 {
        return Ok(graphs.pop());
    }
    let transformer = "transformer/model.onnx".to_owned();
    let usual = format!("{}/model.onnx", part.usual_folder());
    if graphs.contains(&usual) {
        return Ok(Some(usual));
    }
    if part == Part::Network && graphs.contains(&transformer) {
        return Ok(Some(transformer));
    }
    let mut plain = graphs.iter().filter(|graph| graph.ends_with("/model.onnx"));
    match (plain.next(), plain.next()) {
        (Some(graph), None) => Ok(Some(graph.clone())),
        _ => Err(Error::model(
            format!("several graphs of the model play one part: {}", graphs.join(", ")),
            "keep the one that is to be used, and move the others out of the model's folder",
        )),
    }
}

fn lacks(part: Part, files: &Files) -> Error {
    let folder = part.usual_folder();
    Error::model(
        format!("model in `{}`: there is no `{folder}/model.onnx`", files.place()),
        "give a folder with text_encoder, unet and vae_decoder, as scripts/export.py or optimum-onnx writes it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(graphs: &[&str]) -> Result<Layout> {
        let found = graphs.iter().filter_map(|graph| Some((Part::by_folder(graph)?, (*graph).to_owned())));
        Layout::new(&found.collect::<Vec<_>>())
    }

    #[test]
    fn folders_of_all_exporters_are_known() {
        let diffusers = layout(&["text_encoder/model.onnx", "text_encoder_2/model.onnx", "unet/model.onnx"]).unwrap();
        assert_eq!((diffusers.tokenizer(0), diffusers.tokenizer(1)), ("tokenizer".into(), "tokenizer_2".into()));
        let nvidia = layout(&["clip.opt/model.onnx", "t5.opt/model.onnx", "transformer.opt/bf16/model.onnx"]).unwrap();
        assert_eq!(nvidia.network.as_deref(), Some("transformer.opt/bf16/model.onnx"));
        assert_eq!((nvidia.tokenizer(0), nvidia.tokenizer(1)), ("tokenizer".into(), "tokenizer_2".into()));
        let clips = layout(&["t5xxl/model.onnx", "clip_g/model.onnx", "clip_l/model.onnx"]).unwrap().text_encoders;
        assert_eq!(clips, ["clip_l/model.onnx", "clip_g/model.onnx", "t5xxl/model.onnx"]);
        let refiner = layout(&["text_encoder_2/model.onnx"]).unwrap();
        assert_eq!(refiner.tokenizer(0), "tokenizer_2");
    }

    #[test]
    fn of_variants_the_usual_one_is_taken() {
        let found = layout(&["unet/model.onnx", "unet/model_fp16.onnx"]).unwrap();
        assert_eq!(found.network.as_deref(), Some("unet/model.onnx"));
        let error = layout(&["unet/a.onnx", "unet/b.onnx"]).unwrap_err();
        assert!(error.to_string().contains("unet/a.onnx, unet/b.onnx"), "{error}");
    }
}
