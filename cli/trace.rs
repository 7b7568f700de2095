//! `--trace`: where the sights of the steps go.
use crate::{
    args::{Developer, Results},
    output::{Output, numbered},
    report::Failure,
};
use petal_engine::{AnimationFormat, Picture, Pipeline, Trace, TraceWith, check_writable, write_atomically};
use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

/// Where the traces of one command go.
#[derive(Debug)]
pub(crate) struct Tracing {
    path: PathBuf,
    /// What the path names an animation in; without, it is that of a contact sheet.
    alone: Option<AnimationFormat>,
    with: TraceWith,
    /// How many pictures there will be, and how many have been traced.
    pictures: u32,
    done: Cell<u32>,
}

impl Tracing {
    /// Reads `--trace`, and fails before any work is done if it cannot be followed.
    pub(crate) fn new(results: &Results, output: &Output, pictures: u32) -> Result<Option<Self>, Failure> {
        let Some(path) = results.trace.clone() else { return Ok(None) };
        let alone = AnimationFormat::of(&path);
        if alone.is_none() && !path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("png")) {
            return Err(Failure::usage(
                format!("`{}` does not end in .png, .apng or .gif", path.display()),
                "name the .png file of the contact sheet, beside which the animation is written as .apng, or a .gif or \
                 .apng file for the animation alone",
            ));
        }
        if let Output::File(picture) | Output::Numbered(picture) = output
            && *picture == path
        {
            return Err(Failure::usage(
                format!("`{}` is both the picture and its trace", path.display()),
                "name another file for one",
            ));
        }
        check_writable(path.parent().unwrap_or(Path::new("")))?;
        let with = match results.trace_with {
            Developer::Vae => TraceWith::Vae,
            Developer::Preview => TraceWith::Preview,
        };
        Ok(Some(Self { path, alone, with, pictures, done: Cell::new(0) }))
    }

    /// The trace of the next picture.
    pub(crate) fn begin(&self, pipeline: &Pipeline) -> Result<Trace, Failure> {
        Ok(Trace::new(pipeline, self.with)?)
    }

    /// Writes the contact sheet and the animation of `picture`, or the animation alone.
    pub(crate) fn save(
        &self,
        trace: Trace,
        pipeline: &mut Pipeline,
        picture: &Picture,
    ) -> Result<Vec<PathBuf>, Failure> {
        let files = trace.develop(pipeline, picture, self.alone.unwrap_or_default())?;
        self.done.set(self.done.get() + 1);
        let path = if self.pictures == 1 { self.path.clone() } else { numbered(&self.path, self.done.get().into()) };
        if self.alone.is_some() {
            write_atomically(&path, &files.animation)?;
            return Ok(vec![path]);
        }
        let animation = path.with_extension("apng");
        write_atomically(&path, &files.sheet)?;
        write_atomically(&animation, &files.animation)?;
        Ok(vec![path, animation])
    }
}
