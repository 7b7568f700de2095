//! Which models there are, and whether their files are what they should be.
mod bundled;
mod catalogue;
mod config;
mod entry;
mod files;
#[cfg(test)]
mod golden_schedulers;
mod layout;
mod own;
mod record;
mod runtimes;
mod scheduler_config;
mod scheduler_fields;

pub(crate) use catalogue::folder_name;
pub use catalogue::{Catalogue, CatalogueModel, ModelDefaults, ModelKind, ModelName};
pub(crate) use config::{ModelConfig, positions};
pub use entry::{ModelFile, ModelPresence, Vetting};
pub(crate) use files::{Files, GraphFile, ProofKind};
pub use files::{check_writable, data_folder, write_atomically, write_atomically_with, write_new_atomically};
pub(crate) use files::{files_below, sha256, sha256_of_file};
pub(crate) use layout::{Layout, Part};
pub use own::{NewModel, add_model};
pub(crate) use own::{check_name, is_plain, remove_added};
pub(crate) use record::{Record, beside};
pub use runtimes::{BundleKind, Platform, RuntimeBundle, RuntimeWheel};
pub(crate) use runtimes::{file_name, home as runtime_home};
