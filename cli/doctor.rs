//! `petal doctor`: what is used here, and whether it is sound.
use crate::{
    args::Doctor,
    report::{self, Failure},
};
use petal_engine::{Error, LibraryState, ModelState, examine_library, examine_model};
use std::error::Error as _;

pub(crate) fn run(arguments: &Doctor) -> Result<(), Failure> {
    let options = arguments.load.options();
    let (library, model) = (examine_library(&options), examine_model(&options));
    let mut rows = vec![row("petal", env!("CARGO_PKG_VERSION"))];
    rows.extend(library.as_ref().map_or_else(|error| fault_rows("library", error), library_rows));
    rows.extend(model.as_ref().map_or_else(|error| fault_rows("model", error), model_rows));
    report::table(&rows)?;
    if library.is_ok() && model.is_ok() { Ok(()) } else { Err(Failure::Told) }
}

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.into(), value.into()]
}

fn library_rows(library: &LibraryState) -> Vec<Vec<String>> {
    let providers: Vec<_> = library.providers.iter().map(|provider| provider.name).collect();
    let vetted = if library.vetted { "vetted" } else { "not in the catalogue" };
    vec![
        row("library", format!("{} ({})", library.path.display(), library.origin.about())),
        row("", library.version.clone()),
        row("", format!("SHA-256 {} ({vetted})", library.sha256)),
        row("providers", providers.join(", ")),
    ]
}

fn model_rows(model: &ModelState) -> Vec<Vec<String>> {
    let proof = match model.proven {
        Some(files) if !model.vetted => {
            format!("not vetted: all {files} files are as they were when they were first downloaded")
        }
        Some(files) => format!("vetted: all {files} files have the hash that the catalogue has"),
        None => "not vetted: a folder that no catalogue lists".into(),
    };
    vec![row("model", format!("{} ({})", model.name, model.place)), row("", proof)]
}

fn fault_rows(name: &str, error: &Error) -> Vec<Vec<String>> {
    let mut rows = vec![row(name, format!("error: {error}"))];
    rows.extend(error.source().map(|cause| row("", format!("caused by: {cause}"))));
    rows.extend(error.hint().map(|hint| row("", format!("hint: {hint}"))));
    rows
}
