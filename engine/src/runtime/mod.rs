//! Running ONNX graphs on a device. The only module that names `ort`.
pub(crate) mod data_type;
mod graph;
pub(crate) mod library;
mod names;
pub(crate) mod onnx;
mod pieces;
pub(crate) mod placement;
mod provider;
pub(crate) mod signature;
mod tensor;
pub(crate) mod weights;
mod wire;

pub use graph::Cancel;
pub(crate) use graph::{Graph, GraphSource, Port, Runtime, Settings};
pub use library::LibraryOrigin;
pub(crate) use names::Kind;
pub(crate) use pieces::{Dissected, Feed, Piece, PieceInput, element_of};
pub(crate) use provider::available;
pub use provider::{PROVIDERS, Provider, ProviderChoice};
pub(crate) use tensor::{Tensor, Values};
