//! What became of the pictures of a queue, and which need not be drawn again?
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The largest report that is read, in bytes.
const LARGEST: u64 = 1 << 30;
/// How every line begins.
const BEGINNING: &[u8] = b"{\"line\":";

/// How the work on a picture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Its file is on the disk.
    Done,
    /// It could not be drawn or written.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// A line of a [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportEntry {
    /// The line of the job in its file, from 1.
    pub line: usize,
    /// The number of the picture in its job, from 1.
    pub picture: u32,
    /// What its file is made of: [`Fingerprint::hash`](crate::Fingerprint::hash).
    pub hash: String,
    /// How it ended.
    pub status: Ended,
    /// Its seed.
    pub seed: u64,
    /// Its file, if it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How long it took to be drawn and written, in seconds.
    pub seconds: f64,
}

/// A file of JSON lines, one for each picture that ended, each there as soon as it is told. It is locked, so that two runs
/// do not share it; on Windows, other programs cannot read it in the meantime.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    file: File,
}

/// The pictures whose files an earlier run has written.
#[derive(Debug, Default)]
pub struct Finished {
    /// What the file at a path is made of, by what was last said of it.
    hashes: HashMap<String, String>,
}

impl Report {
    /// The report at `path`, which is gone on with if it is there already, and what it says is finished. A last line that
    /// was cut short, by a kill or a full disk, is taken out.
    ///
    /// # Errors
    /// [`Error::Request`] if there is another kind of file, or if another run is writing to it; [`Error::Io`] if it
    /// cannot be read or written.
    pub fn open(path: &Path) -> Result<(Self, Finished)> {
        if path.exists() && !path.is_file() {
            return Err(no_report(path, "it is not a regular file"));
        }
        let failed = |doing| move |source| Error::Io { doing, path: path.into(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("open the report"))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::request(
                format!("another run is writing to the report `{}`", path.display()),
                "wait until it is done, or name another file with `--report`",
            ));
        }
        let mut bytes = Vec::new();
        (&file).take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
        if bytes.len() as u64 > LARGEST {
            return Err(no_report(path, &format!("it has more than {} MiB", LARGEST >> 20)));
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let (lines, rest) = bytes.split_at(whole);
        if !(rest.starts_with(BEGINNING) || BEGINNING.starts_with(rest)) {
            return Err(no_report(path, "its last line is none of a report"));
        }
        let finished = Finished::read(path, lines)?;
        let mut cut = || file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        if !rest.is_empty() {
            cut().map_err(failed("write"))?;
        }
        Ok((Self { path: path.into(), file }, finished))
    }

    /// Adds a line.
    pub fn add(&mut self, entry: &ReportEntry) -> Result<()> {
        let mut line = serde_json::to_vec(entry).unwrap_or_default(); // an entry is a struct of plain values
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io("write", &self.path))
    }
}

impl Finished {
    fn read(path: &Path, lines: &[u8]) -> Result<Self> {
        let mut hashes = HashMap::new();
        let text = lines.strip_suffix(b"\n").unwrap_or(lines);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let entry: ReportEntry = serde_json::from_slice(line)
                .map_err(|error| no_report(path, &format!("line {} is none of a report: {error}", number + 1)))?;
            if let (Ended::Done, Some(path)) = (entry.status, entry.path) {
                hashes.insert(path, entry.hash);
            }
        }
        Ok(Self { hashes })
    }

    /// Whether the file at `path` is there and made of what `hash` says.
    #[must_use]
    pub fn contains(&self, path: &Path, hash: &str) -> bool {
        self.hashes.get(&*path.to_string_lossy()).is_some_and(|last| last == hash) && path.is_file()
    }
}

fn no_report(path: &Path, why: &str) -> Error {
    Error::request(
        format!("`{}` is not the report of a queue: {why}", path.display()),
        "name another file with `--report`, or remove this one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(path: &Path, hash: &str, status: Ended) -> ReportEntry {
        ReportEntry {
            line: 1,
            picture: 1,
            hash: hash.into(),
            status,
            seed: 7,
            path: Some(path.display().to_string()),
            error: None,
            hint: None,
            seconds: 0.5,
        }
    }

    #[test]
    fn what_is_finished_is_what_was_last_said_of_a_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a.png", "b.png", "c.png"].map(|name| folder.path().join(name));
        let path = folder.path().join("report.jsonl");
        let (mut report, _) = Report::open(&path).unwrap();
        for (file, hash, status) in [
            (&a, "1", Ended::Done),
            (&b, "2", Ended::Done),
            (&c, "3", Ended::Failed),
            (&a, "4", Ended::Done),
            (&a, "5", Ended::Failed),
        ] {
            report.add(&entry(file, hash, status)).unwrap();
        }
        drop(report);
        fs::write(&a, "x").unwrap();
        fs::write(&c, "x").unwrap();
        let (_, finished) = Report::open(&path).unwrap();
        assert!(finished.contains(&a, "4") && !finished.contains(&a, "1") && !finished.contains(&a, "5"));
        assert!(!finished.contains(&b, "2") && !finished.contains(&c, "3"));
    }

    #[test]
    fn a_line_that_was_cut_short_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let (path, picture) = (folder.path().join("report.jsonl"), folder.path().join("a.png"));
        fs::write(&picture, "x").unwrap();
        let line = serde_json::to_string(&entry(&picture, "1", Ended::Done)).unwrap() + "\n";
        for length in 0..line.len() {
            fs::write(&path, format!("{line}{}", &line[..length])).unwrap();
            let (mut report, finished) = Report::open(&path).unwrap();
            assert!(finished.contains(&picture, "1"));
            report.add(&entry(&picture, "2", Ended::Done)).unwrap();
            drop(report);
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "{length}");
            assert!(Report::open(&path).unwrap().1.contains(&picture, "2"));
        }
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.txt");
        for text in ["a dog", "a dog\n", "{\"line\": 1}\n", "{\"prompt\": 1}"] {
            fs::write(&path, text).unwrap();
            let error = Report::open(&path).unwrap_err();
            assert!(matches!(&error, Error::Request { what, .. } if what.contains("not the report")), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(Report::open(folder.path()).unwrap_err().to_string().ends_with("it is not a regular file"));
    }

    #[test]
    fn two_runs_do_not_share_a_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.jsonl");
        let (_report, _) = Report::open(&path).unwrap();
        let error = Report::open(&path).unwrap_err();
        assert!(error.to_string().starts_with("another run is writing"), "{error}");
    }
}
