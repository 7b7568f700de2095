//! Which models there are, and whether their files are what they should be.
mod bundled;
mod catalogue;
mod config;
mod files;
#[cfg(test)]
mod golden_schedulers;
mod layout;
mod scheduler_config;
mod scheduler_fields;

pub use catalogue::{Catalogue, CatalogueModel, ModelDefaults, ModelKind, ModelName, RuntimeWheel};
pub(crate) use config::{ModelConfig, positions};
pub(crate) use files::{Files, GraphFile};
pub use files::{check_writable, data_folder, write_atomically, write_atomically_with, write_new_atomically};
pub(crate) use files::{sha256, sha256_of_file};
pub(crate) use layout::{Layout, Part};
