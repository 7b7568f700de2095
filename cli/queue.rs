//! `petal draw --prompt-file`: many jobs, one after the other, with a report of what became of each picture.
use crate::{
    args::Draw,
    draw::{self, Loaded},
    input,
    output::Output,
    report::{self, Failure, QueueProgress},
};
use petal_engine::{
    EncodeOptions, Ended, Error, Fingerprint, Finished, Jobs, Picture, Pipeline, Report, ReportEntry, Request,
    check_writable, write_atomically,
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs::File,
    io,
    mem::take,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

pub(crate) fn run(arguments: &Draw, file: &Path) -> Result<(), Failure> {
    let Draw { results, .. } = arguments;
    let mut jobs = read(arguments, file)?;
    let output = draw::check_outputs(results, 2)?; // names have numbers, however many pictures there are
    let report = report_path(arguments, file);
    if let Some(path) = &report {
        check_writable(path.parent().unwrap_or(Path::new("")))?;
    }
    let mut pipeline = draw::load(&arguments.changes.options(arguments.load.options()), results.quiet)?;
    jobs.prove(|request| {
        let request = pipeline.complete(request)?;
        output.check(&request, results)?;
        Ok(request)
    })?;
    let opened = report.as_deref().map(Report::open).transpose()?;
    let (opened, finished) = opened.map_or((None, Finished::default()), |(report, finished)| (Some(report), finished));
    let progress = begin(&pipeline, &jobs, results.quiet);
    let options = draw::encode_options(results);
    let fingerprint = pipeline.fingerprint(output.format(), &options);
    let mut search = Search { output: &output, fingerprint, finished, seen: HashSet::new(), skipped: 0, told: vec![] };
    let loaded = Loaded::of(&pipeline);
    let (name, json) = (jobs.name.clone(), results.json);
    let mut end = End { name, report: opened, loaded, options, json, progress: &progress, done: 0, failed: 0 };
    let result = draw_all(&mut pipeline, &jobs, &mut search, &mut end);
    let (done, failed) = (end.done, end.failed);
    drop(progress);
    if !results.quiet {
        let report = report.map(|path| format!("; report in {}", path.display())).unwrap_or_default();
        report::note(&format!("{done} done, {failed} failed, {} skipped{report}", search.skipped));
        if result.is_err() && !report.is_empty() {
            report::note("the same command goes on from there");
        }
    }
    result?;
    if failed == 0 { Ok(()) } else { Err(Failure::Told) }
}

/// The jobs, with the flags as what they do not say.
fn read(arguments: &Draw, file: &Path) -> Result<Jobs, Failure> {
    let mut defaults = arguments.request(String::new());
    let stdin = file == Path::new("-");
    input::read_pictures(&mut defaults, stdin.then_some("`--prompt-file`"))?;
    if stdin {
        return Ok(Jobs::read(Path::new("standard input"), io::stdin().lock(), &defaults)?);
    }
    let opened = File::open(file).map_err(|source| Error::Io { doing: "open", path: file.into(), source })?;
    Ok(Jobs::read(file, opened, &defaults)?)
}

/// Where the report goes: beside the file of jobs, unless a flag says where. Jobs from standard input have none then.
fn report_path(arguments: &Draw, file: &Path) -> Option<PathBuf> {
    let beside = || {
        let mut name = file.as_os_str().to_owned();
        name.push(".report.jsonl");
        (file != Path::new("-")).then_some(name.into())
    };
    arguments.report.clone().or_else(beside)
}

/// Says what there is to do, and shows how far it is.
fn begin(pipeline: &Pipeline, jobs: &Jobs, quiet: bool) -> QueueProgress {
    let title = format!("{} on {}", pipeline.model(), pipeline.provider());
    let pictures = jobs.jobs.iter().map(|job| u64::from(job.request.batch_count)).sum();
    if !quiet {
        report::note(&format!("{title}, jobs: {}, pictures: {pictures}", jobs.jobs.len()));
    }
    QueueProgress::new(&title, pictures, quiet)
}

/// Draws what is not there yet. A picture that fails is counted, but a stop, a full disk and what cannot be told end it.
fn draw_all(pipeline: &mut Pipeline, jobs: &Jobs, search: &mut Search<'_>, end: &mut End<'_>) -> Result<(), Failure> {
    let (progress, json) = (end.progress, end.json);
    let singles = jobs.jobs.iter().flat_map(|job| {
        let (line, pictures) = (job.line, job.request.batch_count);
        // a picture that cannot be read any more is a fault of the job, which drawing will find
        let whole = job.request.with_images().unwrap_or_else(|_| job.request.clone());
        (0..pictures).map(move |k| (Place { line, picture: k + 1, pictures }, whole.single(k)))
    });
    let tasks = singles.zip(1..).filter_map(|((place, request), number)| {
        let task = search.task(number, place, &request, json);
        if task.is_none() {
            progress.skip();
        }
        Some((task?, request))
    });
    let mut result = Ok(());
    let watch = |_: &Task, event: petal_engine::Event<'_>| {
        progress.tell(&event);
        ControlFlow::Continue(())
    };
    pipeline.draw_queue(tasks, watch, |task, picture| {
        result = end.end(&task, picture);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result?;
    take(&mut search.told).iter().try_for_each(|told| report::line(&told.to_string()))
}

/// Which picture of which job.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    picture: u32,
    pictures: u32,
}

/// A picture on its way.
struct Task {
    place: Place,
    seed: u64,
    hash: String,
    path: PathBuf,
    begun: Instant,
    /// What is to be told of the pictures before it that were there already.
    told: Vec<Value>,
}

/// Looks for pictures that are there already.
struct Search<'a> {
    output: &'a Output,
    fingerprint: Fingerprint,
    finished: Finished,
    /// The files of this run.
    seen: HashSet<PathBuf>,
    skipped: u64,
    /// What is to be told of them, before the next picture.
    told: Vec<Value>,
}

impl Search<'_> {
    /// What to do for a picture, the `number`th of all; nothing if its file is there, or if an earlier job's is the same.
    fn task(&mut self, number: u64, place: Place, request: &Request, json: bool) -> Option<Task> {
        let hash = self.fingerprint.hash(request);
        let path = self.output.place(number, request, &hash)?;
        if self.finished.contains(&path, &hash) || !self.seen.insert(path.clone()) {
            self.skipped += 1;
            if json {
                self.told.push(json!({
                    "line": place.line,
                    "picture": place.picture,
                    "hash": hash,
                    "status": "skipped",
                    "seed": request.seed,
                    "path": path.to_string_lossy(),
                }));
            }
            return None;
        }
        Some(Task { place, seed: request.seed, hash, path, begun: Instant::now(), told: take(&mut self.told) })
    }
}

impl Task {
    /// What the report says.
    fn entry(&self, result: &Result<Picture, Error>) -> ReportEntry {
        let error = result.as_ref().err();
        ReportEntry {
            line: self.place.line,
            picture: self.place.picture,
            hash: self.hash.clone(),
            status: match error {
                None => Ended::Done,
                Some(Error::Cancelled) => Ended::Cancelled,
                Some(_) => Ended::Failed,
            },
            seed: self.seed,
            path: result.is_ok().then(|| self.path.to_string_lossy().into_owned()),
            error: error.map(Error::with_causes),
            hint: error.and_then(Error::hint),
            seconds: (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }
}

/// What becomes of pictures.
struct End<'a> {
    /// The file of the jobs.
    name: String,
    report: Option<Report>,
    loaded: Loaded,
    options: EncodeOptions,
    json: bool,
    progress: &'a QueueProgress,
    done: u64,
    failed: u64,
}

impl End<'_> {
    /// Writes a picture and reports it; fails for what ends the queue.
    fn end(&mut self, task: &Task, picture: Result<Picture, Error>) -> Result<(), Failure> {
        let progress = self.progress;
        progress.aside(|| task.told.iter().try_for_each(|told| report::line(&told.to_string())))?;
        let written = picture.and_then(|picture| {
            let format = petal_engine::FileFormat::of(&task.path).unwrap_or_default();
            write_atomically(&task.path, &picture.encode(format, &self.options)?)?;
            Ok(picture)
        });
        let entry = task.entry(&written);
        let reported = self.report.as_mut().map_or(Ok(()), |report| report.add(&entry));
        match entry.status {
            Ended::Done => self.done += 1,
            Ended::Failed => self.failed += 1,
            Ended::Cancelled => {}
        }
        progress.aside(|| self.tell(task, &entry, written))?;
        Ok(reported?)
    }

    /// Prints what became of a picture; fails for what ends the queue.
    fn tell(&self, task: &Task, entry: &ReportEntry, written: Result<Picture, Error>) -> Result<(), Failure> {
        if self.json {
            let mut told = json!(entry);
            if let (Ok(picture), Some(told)) = (&written, told.as_object_mut()) {
                let more = self.loaded.describe(picture, &task.path);
                told.remove("seconds");
                told.extend(more.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
            }
            report::line(&told.to_string())?;
        }
        match written {
            Ok(_) if self.json => Ok(()),
            Ok(_) => report::path(&task.path),
            Err(error) if ends_all(&error) => Err(error.into()),
            Err(error) => {
                let Place { line, picture, pictures } = task.place;
                let picture = if pictures == 1 { String::new() } else { format!(", picture {picture}") };
                report::error_of(&format!("line {line} of `{}`{picture}", self.name), &error);
                Ok(())
            }
        }
    }
}

/// Whether the next picture would fare no better, or nobody wants it.
fn ends_all(error: &Error) -> bool {
    match error {
        Error::Cancelled => true,
        Error::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_stop_end_all() {
        let io = |kind: io::ErrorKind| Error::Io { doing: "write", path: "x.png".into(), source: kind.into() };
        assert!(ends_all(&io(io::ErrorKind::StorageFull)) && ends_all(&Error::Cancelled));
        assert!(!ends_all(&io(io::ErrorKind::PermissionDenied)));
    }
}
