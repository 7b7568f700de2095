//! How does one file get here whole, over a line that may be cut at any time?
use super::{
    PullEvent, PullOptions,
    client::{Answer, Client, Fault},
    part::{Expected, Note, Part},
};
use crate::{Error, Result};
use std::{
    io::{ErrorKind, Read},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How often a file may arrive whole but wrong.
const MOST_WRONG: usize = 4;

/// What a transfer needs beside the file.
#[derive(Clone, Copy)]
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) options: &'a PullOptions,
    pub(super) tell: &'a (dyn Fn(PullEvent<'_>) + Sync),
    /// Set when another file failed for good.
    pub(super) stop: &'a AtomicBool,
}

impl Transfer<'_> {
    /// Brings the file `name` from `path` at the hub to `target`; its SHA-256 and bytes.
    pub(super) fn bring(&self, name: &str, path: &str, expected: &Expected, target: &Path) -> Result<(String, u64)> {
        let mut part = Part::open(target)?;
        let (mut failures, mut wrong) = (0, Vec::new());
        loop {
            let before = part.length;
            let (what, wait) = match self.attempt(name, path, expected, &mut part) {
                Ok(()) => {
                    let (got, right) = part.verify(expected)?;
                    if right {
                        let length = part.length;
                        part.finish()?;
                        return Ok((got, length));
                    }
                    // the same wrong bytes twice: they are the hub's, not the line's
                    let same = wrong.contains(&got);
                    let what = wrong_file(name, &got, expected, &part.note);
                    wrong.push(got);
                    part.clear()?;
                    if same || wrong.len() == MOST_WRONG {
                        return Err(what);
                    }
                    (what.to_string(), None)
                }
                Err(Fault::Lasting(error)) => return Err(error),
                Err(Fault::Passing(what, wait)) => (what, wait),
            };
            failures = if part.length > before { 1 } else { failures + 1 };
            if failures > self.options.patience.tries {
                let what = format!("cannot get `{name}` from `{}`: {what}", self.client.endpoint());
                return Err(Error::model(
                    what,
                    "check the network, and run the command again: it goes on where it stopped",
                ));
            }
            let wait = wait.unwrap_or_else(|| self.options.patience.wait_after(failures));
            (self.tell)(PullEvent::Retry { file: name, what: &what, wait });
            self.sleep(wait)?;
        }
    }

    /// Asks for what is missing, and takes what comes; fails unless the file is whole then.
    fn attempt(&self, name: &str, path: &str, expected: &Expected, part: &mut Part) -> Result<(), Fault> {
        if part.is_whole() {
            return Ok(());
        }
        let answer = self.client.get(path, (part.length > 0).then_some(part.length))?;
        let continued = match answer.status {
            206 if part.length > 0 && part.is_continued_by(&answer, expected.sha256.is_some()) => true,
            200 => false,
            416 if answer.range == Some((None, Some(part.length))) && part.length > 0 => {
                part.note.size = Some(part.length);
                return Ok(());
            }
            status => {
                part.clear()?;
                return Err(Fault::passing(format!("the hub answered {status} with another part than was asked for")));
            }
        };
        let note = Note::of(&answer);
        let size = note.size.or(part.note.size).or(expected.size);
        check_size(name, &answer, size, expected)?;
        let proven = expected.sha256.is_some() || expected.said.is_some() || note.hash.is_some();
        if size.is_none() && !proven {
            let what = format!("the hub does not say how long `{name}` is, and nobody knows its hash");
            return Err(Error::model(what, "use another hub, or add the hash to the model's entry").into());
        }
        self.take(name, answer, part, (continued, note, size))
    }

    /// Writes the body of an answer behind the part.
    fn take(
        &self,
        name: &str,
        answer: Answer,
        part: &mut Part,
        (continued, note, size): (bool, Note, Option<u64>),
    ) -> Result<(), Fault> {
        let mut file = part.file(continued, note)?;
        let mut body = answer.body.into_reader();
        let mut piece = vec![0; 1 << 16];
        let (told, most) = (part.note.size.is_some(), size.unwrap_or(self.options.most_untold));
        loop {
            self.check_stop()?;
            (self.tell)(PullEvent::Progress { file: name, done: part.length, total: size });
            let read = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::passing(error.to_string())),
            };
            if part.length + read as u64 > most {
                part.clear()?;
                return Err(if told {
                    Fault::passing("more bytes came than the hub said")
                } else {
                    endless(name, most)
                });
            }
            part.write(&mut file, &piece[..read])?;
        }
        match size {
            Some(size) if part.length < size => Err(Fault::passing("the connection was cut")),
            _ => Ok(()),
        }
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Waits, unless another file fails meanwhile.
    fn sleep(&self, wait: Duration) -> Result<()> {
        let end = Instant::now() + wait;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.check_stop()?;
            thread::sleep(left.min(Duration::from_millis(100)));
        }
        self.check_stop()
    }
}

/// Fails if the hub says different things of the length of a file, or another one than was expected.
fn check_size(name: &str, answer: &Answer, size: Option<u64>, expected: &Expected) -> Result<()> {
    let whole = if answer.status == 200 { answer.length } else { answer.range.and_then(|(_, whole)| whole) };
    let wanted = expected.size.or(answer.size);
    match (size.and(whole).or(size), wanted) {
        (Some(got), Some(wanted)) if got != wanted => Err(Error::model(
            format!("`{name}` has the wrong size: {got} bytes are offered, there should be {wanted}"),
            "do not use this hub or mirror, or set `HF_ENDPOINT` to another",
        )),
        _ => Ok(()),
    }
}

/// The fault of a file that goes on behind its last byte.
fn endless(name: &str, most: u64) -> Fault {
    let what = format!("`{name}` has more than the {most} bytes that it may have, and the hub does not say how many");
    Error::model(what, "use another hub, one that says how long its files are").into()
}

fn wrong_file(name: &str, got: &str, expected: &Expected, note: &Note) -> Error {
    let said = expected.said.as_ref().or(note.hash.as_ref());
    let what = match (&expected.sha256, said) {
        (Some(wanted), _) => format!("it should be {wanted}"),
        (None, Some(said)) => format!("the hub says {said}"),
        (None, None) => "which nobody expected".into(),
    };
    Error::model(
        format!("`{name}` is not the right file: its SHA-256 is {got}, {what}"),
        "do not use it; the hub or mirror may have changed it",
    )
}
