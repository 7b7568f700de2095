//! Which graph is opened, from which files, by which library, on which device?
use crate::{
    Result,
    families::{EncoderKind, width_of},
    models::{Catalogue, GraphFile},
    network::{Network, STATES},
    prompt::{T5Encoder, TextEncoder, TextEncoders},
    runtime::{
        Assigned, Cancel, Graph, GraphSource, Runtime, Settings, Stage, placement, signature::Signature, weights,
    },
    survey::{Component, Survey, TextComponent},
};
use std::path::Path;

/// Opens the graphs of a model: those that every picture needs at once, others when a request first asks for them.
#[derive(Clone)]
pub(crate) struct Loader {
    pub(crate) runtime: Runtime,
    /// What runs what.
    pub(crate) assigned: Assigned,
    /// Threads inside an operator; by default one for each core.
    pub(crate) threads: Option<usize>,
    pub(crate) cancel: Cancel,
    /// Where other models are found by name.
    pub(crate) catalogue: Catalogue,
}

impl Loader {
    /// Loads the graph of a component of a model, which plays a part in `stage`.
    pub(crate) fn graph(&self, stage: Stage, component: &Component) -> Result<Graph> {
        self.graph_in(stage, &component.graph, component.file()?)
    }

    /// Loads the text encoders and the network of a model, side by side; `states` is how wide its configuration says that
    /// the states of texts are.
    pub(crate) fn network(&self, survey: &Survey, states: Option<usize>) -> Result<(TextEncoders, Network)> {
        let network = || Network::new(self.graph(Stage::Network, &survey.network)?, survey.family.form);
        let (network, encoders) = rayon::join(network, || self.text_encoders(&survey.text_encoders));
        let taken = width_of(&survey.inputs, STATES).or(states);
        let t5_tokens = (survey.family.t5_tokens)(&survey.inputs);
        Ok((TextEncoders { t5_tokens, taken, ..encoders? }, network?))
    }

    fn text_encoders(&self, texts: &[TextComponent]) -> Result<TextEncoders> {
        let mut encoders = TextEncoders { clip: Vec::new(), t5: None, t5_tokens: 0, taken: None };
        for text in texts {
            let graph = self.graph(Stage::Text, &text.graph)?;
            match text.kind {
                EncoderKind::Clip => encoders.clip.push(TextEncoder::new(text.clip_tokenizer()?, graph)?),
                EncoderKind::T5 => encoders.t5 = Some(T5Encoder::new(text.t5_tokenizer()?, graph)?),
            }
        }
        Ok(encoders)
    }

    /// Loads the graph in a file that belongs to no model.
    pub(crate) fn graph_at(&self, stage: Stage, file: &Path) -> Result<Graph> {
        self.load(stage, &file.display().to_string(), &GraphSource::File(file.to_path_buf()))
    }

    /// Loads the graph in `file`, which messages call `name`.
    pub(crate) fn graph_in(&self, stage: Stage, name: &str, file: GraphFile) -> Result<Graph> {
        let source = match file {
            GraphFile::Path(path) => GraphSource::File(path),
            GraphFile::Bytes(bytes) => GraphSource::Memory(bytes),
        };
        self.load(stage, name, &source)
    }

    /// Loads a graph, unless its file says that the provider cannot run it.
    fn load(&self, stage: Stage, name: &str, source: &GraphSource) -> Result<Graph> {
        let settings = Settings { provider: self.assigned.of(stage), threads: self.threads };
        let signature = match source {
            GraphSource::File(path) => Signature::read(path),
            GraphSource::Memory(bytes) => Signature::of_bytes(name, bytes),
        };
        // of a file that petal cannot read, ONNX Runtime says what is wrong with it
        if let Ok(signature) = signature {
            let library = placement::library_of(&self.runtime);
            if let GraphSource::File(path) = source {
                weights::check_beside(path, &signature)?;
            }
            placement::check(name, &signature, settings.provider.provider.name, library)?;
        }
        Graph::load(&self.runtime, name, source, &settings, &self.cancel)
    }
}
