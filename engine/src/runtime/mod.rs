//! Running ONNX graphs on a device. The only module that names `ort`.
mod graph;
pub(crate) mod library;
mod provider;
mod tensor;

pub use graph::Cancel;
pub(crate) use graph::{Graph, GraphSource, Runtime, Settings};
pub use library::LibraryOrigin;
pub(crate) use provider::available;
pub use provider::{PROVIDERS, Provider, ProviderChoice};
pub(crate) use tensor::Tensor;
