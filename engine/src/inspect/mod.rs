//! What is in a model, and what would petal do with it? Answered without ONNX Runtime.
mod graph;
mod model;

pub use graph::{AxisReport, GraphReport, PortReport, ProviderReport, WeightsReport};
pub use model::{ModelReport, PartReport};

use crate::{Catalogue, ModelKind, Result, models::GraphFile};
use serde::Serialize;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// What can be looked into.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Inspected {
    /// One graph.
    Graph(Box<GraphReport>),
    /// A model: the graphs of a folder.
    Model(Box<ModelReport>),
}

/// A file of a graph.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its path in the model.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal, if it was asked for.
    pub sha256: Option<String>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// What, and with which file.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// Looks into the model that the catalogue calls `what`, or else the ONNX file or the folder: the same that it is to draw
/// with. `None` if it is another file, such as a picture. With `hash`, the SHA-256 of every file is computed, for which all weights are read.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) if a graph cannot be read, or there is none.
pub fn inspect_model(what: &Path, catalogue: Option<&Path>, hash: bool) -> Result<Option<Inspected>> {
    let catalogue = Catalogue::load(catalogue)?;
    let name = what.to_string_lossy();
    if let Some(entry) = catalogue.models.iter().find(|model| model.name == name) {
        return if entry.kind() == ModelKind::Upscaler {
            let (_, file) = catalogue.open_upscaler(Some(&name))?;
            let report = graph::report("model.onnx", &file, hash)?;
            Ok(Some(Inspected::Graph(Box::new(report))))
        } else {
            model::of_catalogue(&catalogue, entry, hash).map(|report| Some(Inspected::Model(Box::new(report))))
        };
    }
    if what.is_dir() {
        return model::of_folder(what, hash).map(|report| Some(Inspected::Model(Box::new(report))));
    }
    if what.is_file() && is_graph(what) {
        let file = what.file_name().unwrap_or_default().to_string_lossy();
        let report = graph::report(&file, &GraphFile::Path(PathBuf::from(what)), hash)?;
        return Ok(Some(Inspected::Graph(Box::new(report))));
    }
    let is_name = !what.exists() && what.components().count() == 1 && what.extension().is_none();
    // says which names there are
    if is_name { catalogue.open(Some(&name)).map(|_| None) } else { Ok(None) }
}

/// Whether a file is called an ONNX file, or begins as one does: with the version of the format, which pictures do not.
fn is_graph(path: &Path) -> bool {
    let mut first = [0];
    path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("onnx"))
        || File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok_and(|()| first == [0x08])
}
