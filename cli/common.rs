//! Flags that `petal models` and `petal runtime` share.
use crate::report::Failure;
use clap::Args;
use petal_engine::Catalogue;
use std::path::PathBuf;

/// Where models and bundles are looked for.
#[derive(Args, Debug)]
pub(crate) struct Where {
    /// A catalogue of your own, in the form of petal's models.toml
    #[arg(long, value_name = "FILE", env = "PETAL_CATALOGUE")]
    pub(crate) catalogue: Option<PathBuf>,
}

impl Where {
    pub(crate) fn load(&self) -> Result<Catalogue, Failure> {
        Ok(Catalogue::load(self.catalogue.as_deref())?)
    }
}

/// How much is printed.
#[derive(Args, Debug)]
pub(crate) struct Talk {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
