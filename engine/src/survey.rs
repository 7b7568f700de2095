//! What kind of model do the files of a folder make, and which of them plays which part? Answered by what the graphs say of
//! themselves, without ONNX Runtime and without their weights.
use crate::{
    Result,
    families::{EncoderKind, Family, is_consistency, recognise},
    models::{Files, GraphFile, Layout, ModelConfig, ModelName, Part, folder_name, positions},
    prompt::{T5Tokenizer, Tokenizer},
    role::{Role, TextKind},
    runtime::{
        Port,
        signature::{Declared, Signature},
    },
};
use std::path::Path;

/// A model, surveyed.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) family: &'static Family,
    /// The inputs of its network.
    pub(crate) inputs: Vec<Port>,
    pub(crate) network: Component,
    /// In their order.
    pub(crate) text_encoders: Vec<TextComponent>,
    pub(crate) decoder: Component,
    pub(crate) encoder: Option<Component>,
    pub(crate) tiny_decoder: Option<Component>,
}

/// A graph of a model, and the files that it is one of.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) files: Files,
    /// As catalogues write it: `unet/model.onnx`.
    pub(crate) graph: String,
}

/// A text encoder.
#[derive(Clone, Debug)]
pub(crate) struct TextComponent {
    pub(crate) kind: EncoderKind,
    pub(crate) graph: Component,
    /// The files that its tokenizer is among, and their folder.
    pub(crate) tokenizer: (Files, String),
}

/// Parts that are taken from other folders.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elsewhere<'a> {
    pub(crate) vae: Option<&'a Path>,
    pub(crate) text_encoder: Option<&'a Path>,
}

impl Elsewhere<'_> {
    /// A model's name, with those of the folders that parts of it are taken from.
    pub(crate) fn named_in(&self, name: ModelName) -> ModelName {
        ModelName { vae: self.vae.map(folder_name), text_encoder: self.text_encoder.map(folder_name), ..name }
    }
}

/// Surveys a model.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) if a part is missing, or the network is of no kind that petal knows.
pub(crate) fn survey(files: &Files, elsewhere: Elsewhere<'_>) -> Result<Survey> {
    let layout = layout(files)?;
    let component = |graph: &str| Component { files: files.clone(), graph: graph.into() };
    let network = component(layout.needed(Part::Network, files)?);
    let inputs: Vec<Port> = network.signature()?.inputs.iter().map(Declared::port).collect();
    let family = recognise(&inputs)?;
    let (decoder, encoder) = match elsewhere.vae {
        None => (component(layout.needed(Part::Decoder, files)?), layout.encoder.as_deref().map(component)),
        Some(folder) => autoencoder_in(folder)?,
    };
    let mut texts = Vec::new();
    if elsewhere.text_encoder.is_none() {
        layout.needed(Part::TextEncoder, files)?;
    }
    for (place, graph) in layout.text_encoders.iter().enumerate() {
        texts.push((component(graph), (files.clone(), layout.tokenizer(place))));
    }
    if let Some(folder) = elsewhere.text_encoder {
        replace_text_encoders(&mut texts, family, folder, files)?;
    }
    let kinds = family.encoder_kinds(texts.len())?;
    let texts = texts.into_iter().zip(kinds);
    let text_encoders = texts.map(|((graph, tokenizer), kind)| TextComponent { kind: *kind, graph, tokenizer });
    let text_encoders = text_encoders.collect();
    let tiny_decoder = layout.tiny_decoder.as_deref().map(component);
    Ok(Survey { family, inputs, network, text_encoders, decoder, encoder, tiny_decoder })
}

impl Survey {
    /// What the json files say of the model, whose other files are `files`.
    pub(crate) fn config(&self, files: &Files) -> Result<ModelConfig> {
        let mut config = ModelConfig::read(files, &self.network.place(), &self.decoder.place())?;
        config.even_levels = self.family.usual.even_levels;
        config.takes_all_steps = is_consistency(&self.inputs);
        Ok(config)
    }

    /// The tokenizer of the first text encoder.
    pub(crate) fn first_tokenizer(&self) -> Result<Tokenizer> {
        self.text_encoders[0].clip_tokenizer()
    }

    /// The tokenizer of T5, if the model has it.
    pub(crate) fn t5_tokenizer(&self) -> Result<Option<T5Tokenizer>> {
        let t5 = self.text_encoders.iter().find(|text| text.kind == EncoderKind::T5);
        t5.map(TextComponent::t5_tokenizer).transpose()
    }

    /// Every graph that a picture of words needs.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = &Component> {
        let texts = self.text_encoders.iter().map(|text| &text.graph);
        texts.chain([&self.network, &self.decoder])
    }
}

impl TextComponent {
    /// Its tokenizer, if it is of the CLIP kind.
    pub(crate) fn clip_tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::read(&self.tokenizer.0, &self.tokenizer.1, positions(&self.graph.place())?)
    }

    /// Its tokenizer, if it is T5.
    pub(crate) fn t5_tokenizer(&self) -> Result<T5Tokenizer> {
        T5Tokenizer::read(&self.tokenizer.0, &self.tokenizer.1)
    }

    /// Fails if its tokenizer cannot be read.
    pub(crate) fn check_tokenizer(&self) -> Result<()> {
        match self.kind {
            EncoderKind::Clip => self.clip_tokenizer().map(drop),
            EncoderKind::T5 => self.t5_tokenizer().map(drop),
        }
    }
}

impl Component {
    fn place(&self) -> (&Files, &str) {
        (&self.files, &self.graph)
    }

    /// Its file, proven if the model is vetted.
    pub(crate) fn file(&self) -> Result<GraphFile> {
        self.files.graph_at(&self.graph)
    }

    /// What its file says of itself.
    pub(crate) fn signature(&self) -> Result<Signature> {
        signature(&self.files, &self.graph)
    }
}

fn signature(files: &Files, graph: &str) -> Result<Signature> {
    match files.unproven(graph)? {
        GraphFile::Path(path) => Signature::read(&path),
        GraphFile::Bytes(bytes) => Signature::of_bytes(graph, bytes),
    }
}

/// The graphs of `files` by their parts: by the names of their folders, and by what they are where those say nothing.
fn layout(files: &Files) -> Result<Layout> {
    let mut found = Vec::new();
    for graph in files.graphs()? {
        // a graph that cannot be read and that no folder gives a part is none of the model's
        let by_ports = || signature(files, &graph).ok().as_ref().and_then(part_of);
        let part = match Part::by_folder(&graph) {
            Some(Part::Decoder) if !graph.starts_with("vae_decoder") => by_ports().or(Some(Part::Decoder)), // `vae` may hold both
            Some(part) => Some(part),
            None => by_ports(),
        };
        found.extend(part.map(|part| (part, graph)));
    }
    Layout::new(&found)
}

/// The part that a graph plays, by its inputs and outputs.
fn part_of(signature: &Signature) -> Option<Part> {
    match Role::of_signature(signature) {
        Role::TextEncoder(_) => Some(Part::TextEncoder),
        Role::Network(_) => Some(Part::Network),
        Role::VaeDecoder { .. } => Some(Part::Decoder),
        Role::VaeEncoder { .. } => Some(Part::Encoder),
        _ => None,
    }
}

/// The files of a component that lies elsewhere: a folder, or the folder of an ONNX file.
fn files_in(path: &Path) -> Result<Files> {
    let is_graph = path.is_file() && path.extension().is_some_and(|suffix| suffix == "onnx");
    Files::folder(if is_graph { path.parent().unwrap_or(Path::new(".")) } else { path })
}

/// The autoencoder in `folder`: the folder of a model, of an autoencoder, or of its decoder alone.
fn autoencoder_in(folder: &Path) -> Result<(Component, Option<Component>)> {
    let files = files_in(folder)?;
    let layout = layout(&files)?;
    let component = |graph: &str| Component { files: files.clone(), graph: graph.into() };
    Ok((component(layout.needed(Part::Decoder, &files)?), layout.encoder.as_deref().map(component)))
}

/// Takes the text encoders in `folder` in place of the model's, or beside them where the model lacks one.
fn replace_text_encoders(
    texts: &mut Vec<(Component, (Files, String))>,
    family: &Family,
    folder: &Path,
    model: &Files,
) -> Result<()> {
    let files = files_in(folder)?;
    let layout = layout(&files)?;
    layout.needed(Part::TextEncoder, &files)?;
    for (place, graph) in layout.text_encoders.iter().enumerate() {
        let component = Component { files: files.clone(), graph: graph.clone() };
        let has_tokenizer = |folder: &str| {
            ["tokenizer.json", "vocab.json", "spiece.model"].iter().any(|name| files.has(&join(folder, name)))
        };
        let own = [layout.tokenizer(place), String::new()].into_iter().find(|folder| has_tokenizer(folder));
        let known = texts.iter().position(|(other, _)| other.graph == *graph);
        let slot = match known {
            Some(slot) => slot,
            None => slot(&component, family, folder)?,
        };
        match (texts.get_mut(slot), own) {
            (Some((theirs, _)), None) => *theirs = component,
            (Some(theirs), Some(own)) => *theirs = (component, (files.clone(), own)),
            (None, Some(own)) => texts.push((component, (files.clone(), own))),
            (None, None) => {
                let name = if slot == 0 { "tokenizer".to_owned() } else { format!("tokenizer_{}", slot + 1) };
                texts.push((component, (model.clone(), name)));
            }
        }
    }
    Ok(())
}

/// Which text encoder of a model of `family` a graph in `folder` is: T5 by what it gives, others by the name of its folder.
fn slot(component: &Component, family: &Family, folder: &Path) -> Result<usize> {
    let signature = component.signature()?;
    let role = Role::of_signature(&signature);
    let gives_states_alone =
        matches!(role, Role::TextEncoder(encoder) if matches!(encoder.kind, TextKind::T5 | TextKind::States));
    if let Some(place) = family.place_of_t5().filter(|_| gives_states_alone) {
        return Ok(place);
    }
    let place = component.graph.contains('/').then(|| component.graph.clone());
    let place = place.unwrap_or_else(|| format!("{}/{}", folder_name(folder), component.graph));
    Ok(usize::from(Layout::is_second(&place)))
}

/// The path of `name` in `folder`, which may be the model's own.
fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }
}
