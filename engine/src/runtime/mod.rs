//! Running ONNX graphs on a device. The only module that names `ort`.
pub(crate) mod data_type;
mod environment;
mod graph;
pub(crate) mod library;
mod names;
pub(crate) mod onnx;
mod pieces;
pub(crate) mod placement;
mod provider;
mod raw;
mod session;
pub(crate) mod signature;
mod stages;
mod tensor;
pub(crate) mod weights;
mod wire;

pub(crate) use environment::Runtime;
pub use graph::Cancel;
pub(crate) use graph::{Graph, GraphSource, Port};
pub use library::LibraryOrigin;
pub(crate) use names::Kind;
pub(crate) use pieces::{Dissected, Feed, Piece, PieceInput, element_of};
pub use provider::{PROVIDERS, Provider, ProviderChoice};
pub(crate) use raw::PlacedNode;
pub(crate) use session::{Settings, does_work};
pub(crate) use stages::{Assigned, Stage, Wishes};
pub(crate) use tensor::{Tensor, Values};
