//! How are many pictures drawn one after the other, while those before them become files?
mod jobs;
mod report;

pub use jobs::{Job, Jobs, LONGEST_JOB_FILE, MOST_JOBS};
pub use report::{Ended, Finished, Report, ReportEntry};

use crate::{EncodeOptions, Error, Event, FileFormat, Picture, Pipeline, Request, Result, models::sha256};
use serde_json::{Value, json};
use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

impl Pipeline {
    /// Draws requests one after the other with the graphs loaded once, each of a single picture (see
    /// [`Request::singles`]). `finish` takes the pictures in order, on a thread of its own while the next is drawn, so
    /// that making files costs no time; at most one picture waits for it. What stands beside a request goes with it.
    ///
    /// A picture that fails is told to `finish` as an error, and the next is drawn, unless `finish` breaks; then the
    /// running picture is given up. [`Error::Cancelled`] ends the queue, as the last thing that `finish` hears.
    ///
    /// ```
    /// use petal_engine::{EncodeOptions, LoadOptions, Pipeline, Request};
    /// use std::ops::ControlFlow;
    ///
    /// # fn main() -> petal_engine::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path();
    /// let mut pipeline = Pipeline::load(&LoadOptions::default(), |_| {})?;
    /// let request = |prompt: &str| Request { prompt: prompt.into(), steps: Some(2), ..Request::default() };
    /// let tasks = [("dog.png", request("a dog")), ("cat.png", request("a cat"))];
    /// let mut faults = Vec::new();
    /// pipeline.draw_queue(
    ///     tasks,
    ///     |_, _| ControlFlow::Continue(()),
    ///     |name, picture| {
    ///         let saved = picture.and_then(|picture| picture.save(folder.join(name), &EncodeOptions::default()));
    ///         faults.extend(saved.err());
    ///         ControlFlow::Continue(())
    ///     },
    /// );
    /// assert!(faults.is_empty() && folder.join("cat.png").is_file());
    /// # Ok(())
    /// # }
    /// ```
    pub fn draw_queue<T: Send>(
        &mut self,
        tasks: impl IntoIterator<Item = (T, Request)>,
        mut observe: impl FnMut(&T, Event<'_>) -> ControlFlow<()>,
        mut finish: impl FnMut(T, Result<Picture>) -> ControlFlow<()> + Send,
    ) {
        let (drawn, waiting) = mpsc::sync_channel(1);
        let given_up = AtomicBool::new(false);
        thread::scope(|scope| {
            let (finish, given_up) = (&mut finish, &given_up);
            scope.spawn(move || {
                // the channel closes when this ends, which ends the loop below
                let ended = waiting.into_iter().try_for_each(|(with, picture)| finish(with, picture));
                given_up.store(ended.is_break(), Ordering::Relaxed);
            });
            for (with, request) in tasks {
                let picture = self.draw_single(&request, |event| {
                    if given_up.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { observe(&with, event) }
                });
                let is_last = matches!(picture, Err(Error::Cancelled));
                if drawn.send((with, picture)).is_err() || is_last {
                    break;
                }
            }
            drop(drawn);
        });
    }

    /// Draws the one picture of `request`.
    fn draw_single(&mut self, request: &Request, observe: impl FnMut(Event<'_>) -> ControlFlow<()>) -> Result<Picture> {
        if request.batch_count != 1 {
            let what = format!("batch count is {} in a queue of single pictures", request.batch_count);
            return Err(Error::request(what, "queue each of `Request::singles`"));
        }
        Ok(self.draw(request, observe)?.remove(0)) // one request, one picture
    }

    /// The SHA-256 of all that decides how the picture of `request`, which is complete, looks.
    pub(crate) fn hash(&self, request: &Request) -> String {
        hash(&self.maker(), request)
    }

    /// The model and the program, as far as they decide how a picture looks.
    fn maker(&self) -> Value {
        let model = json!([self.name.name, self.name.hash, self.folder().map(Path::to_string_lossy)]);
        let tiny = self.tiny.named().map(Path::to_string_lossy);
        let parts = self.elsewhere();
        if parts.iter().all(Option::is_none) {
            return json!([env!("CARGO_PKG_VERSION"), model, tiny]);
        }
        let parts: Vec<_> = parts.iter().map(|part| part.as_deref().map(Path::to_string_lossy)).collect();
        json!([env!("CARGO_PKG_VERSION"), model, tiny, parts])
    }

    /// What decides, beside the request, what the file of a picture holds.
    #[must_use]
    pub fn fingerprint(&self, format: FileFormat, options: &EncodeOptions) -> Fingerprint {
        Fingerprint(json!([self.maker(), format!("{format:?} {options:?}")]))
    }
}

/// What decides, beside the request, what the file of a picture holds: the model, petal's version, and how the file is
/// written.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint(Value);

impl Fingerprint {
    /// The SHA-256 of all that decides what the file of a complete request of one picture holds, in hexadecimal.
    #[must_use]
    pub fn hash(&self, request: &Request) -> String {
        hash(&self.0, request)
    }
}

fn hash(maker: &Value, request: &Request) -> String {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let latents = request.latents.as_ref().map(|latents| sha256(&bytes(latents.values()))); // which JSON leaves out
    sha256(json!([maker, request.to_json(), latents]).to_string().as_bytes())
}
