//! `--preview`: a file that shows the picture as it comes to be.
use crate::{
    args::{PreviewHow, Results},
    report::{self, Failure},
};
use petal_engine::{
    Bitmap, Event, FileFormat, Pipeline, PreviewWith, Result, check_writable, encode_bitmap, write_atomically,
};
use std::path::{Path, PathBuf};

/// Where previews go.
#[derive(Debug)]
pub(crate) struct Preview {
    path: PathBuf,
    format: FileFormat,
    /// Whether one could not be written, which is told once.
    failed: bool,
}

impl Preview {
    /// Reads `--preview`, and fails before any work is done if it cannot be followed.
    pub(crate) fn new(results: &Results, pipeline: &mut Pipeline) -> Result<Option<Self>, Failure> {
        let with = match results.preview {
            PreviewHow::None => return Ok(None),
            PreviewHow::Proj => PreviewWith::Projection,
            PreviewHow::Tae => PreviewWith::Tiny,
            PreviewHow::Vae => PreviewWith::Vae,
        };
        let path = results.preview_path.clone();
        let Some(format) = FileFormat::of(&path) else {
            let what = format!("`{}` does not end in .png, .jpg or .webp", path.display());
            return Err(Failure::usage(what, "name such a file with `--preview-path`"));
        };
        check_writable(path.parent().unwrap_or(Path::new("")))?;
        pipeline.preview_with(with, results.preview_interval)?;
        Ok(Some(Self { path, format, failed: false }))
    }

    /// Writes the estimate of a step, if it is its turn. A preview that cannot be written is no reason to stop.
    pub(crate) fn hear(&mut self, event: &Event<'_>) {
        let Event::Step(step) = event else { return };
        let Some(picture) = step.preview() else { return };
        if let Err(error) = self.write(&picture)
            && !std::mem::replace(&mut self.failed, true)
        {
            report::warning(&error);
        }
    }

    fn write(&self, picture: &Bitmap) -> Result<()> {
        write_atomically(&self.path, &encode_bitmap(picture, self.format, None, &[])?)
    }
}
