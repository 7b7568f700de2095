//! Which graph is opened, from which files, by which library, on which device?
use crate::{
    Result,
    models::{Catalogue, Files, GraphFile},
    runtime::{Cancel, Graph, GraphSource, ProviderChoice, Runtime, Settings, placement, signature::Signature},
};
use std::path::Path;

/// Opens the graphs of a model: those that every picture needs at once, others when a request first asks for them.
#[derive(Clone)]
pub(crate) struct Loader {
    pub(crate) runtime: Runtime,
    pub(crate) settings: Settings,
    pub(crate) cancel: Cancel,
    /// The model's files.
    pub(crate) files: Files,
    /// Where other models are found by name.
    pub(crate) catalogue: Catalogue,
}

impl Loader {
    /// The same on another device.
    pub(crate) fn on(&self, provider: ProviderChoice) -> Self {
        Self { settings: Settings { provider, ..self.settings.clone() }, ..self.clone() }
    }

    /// Whether the model has a graph for `component`, as in `vae_encoder`.
    pub(crate) fn has(&self, component: &str) -> bool {
        self.files.has(&format!("{component}/model.onnx"))
    }

    /// Loads the graph of a component of the model.
    pub(crate) fn graph(&self, component: &str) -> Result<Graph> {
        self.graph_of(&self.files, component)
    }

    /// Loads the graph in a file that belongs to no model.
    pub(crate) fn graph_at(&self, file: &Path) -> Result<Graph> {
        self.load(&file.display().to_string(), &GraphSource::File(file.to_path_buf()))
    }

    /// Loads the graph of a component of another model.
    pub(crate) fn graph_of(&self, files: &Files, component: &str) -> Result<Graph> {
        self.graph_in(&format!("{component}/model.onnx"), files.graph(component)?)
    }

    /// Loads the graph in `file`, which messages call `name`.
    pub(crate) fn graph_in(&self, name: &str, file: GraphFile) -> Result<Graph> {
        let source = match file {
            GraphFile::Path(path) => GraphSource::File(path),
            GraphFile::Bytes(bytes) => GraphSource::Memory(bytes),
        };
        self.load(name, &source)
    }

    /// Loads a graph, unless its file says that the provider cannot run it.
    fn load(&self, name: &str, source: &GraphSource) -> Result<Graph> {
        let signature = match source {
            GraphSource::File(path) => Signature::read(path),
            GraphSource::Memory(bytes) => Signature::of_bytes(name, bytes),
        };
        // of a file that petal cannot read, ONNX Runtime says what is wrong with it
        if let Ok(signature) = signature {
            let library = placement::library_of(&self.runtime);
            placement::check(name, &signature, self.settings.provider.provider.name, library)?;
        }
        Graph::load(&self.runtime, name, source, &self.settings, &self.cancel)
    }
}
