//! Which requests does a file of jobs hold?
use crate::{Error, ImageSource, Request, Result};
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, io::Read, path::Path};

/// The most jobs of a file.
pub const MOST_JOBS: usize = 100_000;
/// The longest file of jobs, in bytes.
pub const LONGEST_JOB_FILE: u64 = 64 << 20;
/// How many faults are told of.
const MOST_FAULTS: usize = 20;
/// How similar a name is to one that was meant.
const SIMILAR: f64 = 0.8;
/// Fields that have no say beside another: where a job names the first, the others do not come from the defaults.
const IN_PLACE_OF: &[(&str, &[&str])] = &[
    ("sigmas", &["scheduler", "rho", "steps"]),
    ("scheduler", &["sigmas"]),
    ("rho", &["sigmas"]),
    ("steps", &["sigmas"]),
    ("cfg_scale", &["cfg_schedule"]),
    ("cfg_schedule", &["cfg_scale"]),
];

/// A request of a file of jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its line in the file, from 1.
    pub line: usize,
    /// What to draw.
    pub request: Request,
}

/// The requests of a file of jobs, each proved to be in range.
#[derive(Clone, Debug, PartialEq)]
pub struct Jobs {
    /// What messages call the file.
    pub name: String,
    /// The jobs, in the file's order: one or more.
    pub jobs: Vec<Job>,
}

/// What is wrong with a line, from 1.
type Fault = (usize, Error);

/// How the lines of a file are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each is a prompt.
    Text,
    /// Each is a [`Request`] as JSON.
    Json,
}

impl Jobs {
    /// Reads jobs, one a line; empty lines and those that begin with `#` are passed over. They are JSON objects with the
    /// fields of [`Request`] if the name ends in `.jsonl` or the first of them begins with `{`; otherwise each is a prompt.
    /// What a job does not say is as in `defaults`; what it says takes the place of what excludes it there, as noise
    /// levels that of a schedule. Paths of pictures in JSON are as seen from the file's folder.
    ///
    /// # Errors
    /// [`Error::Request`] with the lines and faults of all jobs that are wrong, up to 20; also for more than
    /// [`MOST_JOBS`] jobs or [`LONGEST_JOB_FILE`] bytes, and for none. [`Error::Io`] if `file` cannot be read.
    pub fn read(name: &Path, file: impl Read, defaults: &Request) -> Result<Self> {
        let mut bytes = Vec::new();
        file.take(LONGEST_JOB_FILE + 1).read_to_end(&mut bytes).map_err(Error::io("read", name))?;
        let shown = name.display().to_string();
        if bytes.len() as u64 > LONGEST_JOB_FILE {
            let what = format!("`{shown}` has more than {} MiB", LONGEST_JOB_FILE >> 20);
            return Err(Error::request(what, "make several files of it"));
        }
        let lines = lines(&bytes);
        let is_json = name.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("jsonl"))
            || lines.first().is_some_and(|(_, line)| line.trim_ascii_start().starts_with(b"{"));
        let form = if is_json { Form::Json } else { Form::Text };
        if lines.len() > MOST_JOBS {
            let what = format!("`{shown}` has {} jobs, more than {MOST_JOBS}", lines.len());
            return Err(Error::request(what, "make several files of it"));
        }
        if lines.is_empty() {
            let hint = "write a prompt on each line, or a request as JSON";
            return Err(Error::request(format!("`{shown}` has no jobs"), hint));
        }
        let folder = name.parent().unwrap_or(Path::new(""));
        let read = lines.into_iter().map(|(line, text)| match job(text, form, defaults, folder) {
            Ok(request) => Ok(Job { line, request }),
            Err(error) => Err((line, error)),
        });
        Ok(Self { jobs: all(&shown, read)?, name: shown })
    }

    /// Takes what `prove` makes of each request in its place, as [`Pipeline::complete`](crate::Pipeline::complete) does,
    /// but for the pictures that it brings: of those there may be more than the memory holds, so that they stay files.
    ///
    /// # Errors
    /// [`Error::Request`] with the lines and faults of all jobs that are refused, up to 20.
    pub fn prove(&mut self, prove: impl Fn(&Request) -> Result<Request>) -> Result<()> {
        let proven = self.jobs.iter().map(|Job { line, request }| match prove(request) {
            Ok(proven) => {
                let (init_image, mask) = (request.init_image.clone(), request.mask.clone());
                Ok(Job { line: *line, request: Request { init_image, mask, ..proven } })
            }
            Err(error) => Err((*line, error)),
        });
        self.jobs = all(&self.name, proven)?;
        Ok(())
    }
}

/// The lines that hold jobs, and their numbers from 1, without what ends them.
fn lines(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let has_job = |line: &[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
    lines.zip(1..).filter(|(line, _)| has_job(line)).map(|(line, number)| (number, line)).collect()
}

/// The request of a line.
fn job(line: &[u8], form: Form, defaults: &Request, folder: &Path) -> Result<Request> {
    let text = std::str::from_utf8(line).map_err(|error| {
        let what = format!("byte {} is no UTF-8", error.valid_up_to() + 1);
        Error::request(what, "save the file as UTF-8")
    })?;
    let request = match form {
        Form::Text => Request { prompt: text.into(), ..defaults.clone() },
        Form::Json => from_json(text, defaults, folder)?,
    };
    request.check()?;
    Ok(request)
}

/// `defaults` with the fields of a JSON object, whose paths are seen from `folder`.
fn from_json(text: &str, defaults: &Request, folder: &Path) -> Result<Request> {
    let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let hint = "write a request on each line as `--json` prints it, or as in `{\"prompt\": \"a dog\"}`";
        Error::request(format!("it is no JSON object: {}", without_line(&error)), hint)
    })?;
    let usual = fields_of(&Request::default());
    for (name, value) in &fields {
        check_field(name, value, &usual)?;
    }
    // from the text itself, since the object has forgotten what was said twice
    let twice = |error| Error::request(without_line(&error), "say each field once");
    let own: Request = serde_json::from_str(text).map_err(twice)?;
    let mut whole = fields_of(defaults);
    for (_, others) in IN_PLACE_OF.iter().filter(|(name, _)| fields.contains_key(*name)) {
        whole.extend(others.iter().map(|other| ((*other).to_owned(), usual[*other].clone())));
    }
    whole.extend(fields.clone());
    let mut request: Request = serde_json::from_value(whole.into()).map_err(twice)?;
    request.latents.clone_from(&defaults.latents); // which JSON leaves out, as it does pixels
    let image = |name: &str, own: Option<ImageSource>, usual: &Option<ImageSource>| match own {
        Some(ImageSource::File(path)) => Some(ImageSource::File(folder.join(path))),
        own if fields.contains_key(name) => own,
        _ => usual.clone(),
    };
    request.init_image = image("init_image", own.init_image, &defaults.init_image);
    request.mask = image("mask", own.mask, &defaults.mask);
    Ok(request)
}

/// Fails unless `name` is one of the fields in `usual` and can hold `value`.
fn check_field(name: &str, value: &Value, usual: &Map<String, Value>) -> Result<()> {
    if !usual.contains_key(name) {
        return Err(unknown_field(name, usual.keys().map(String::as_str)));
    }
    let holds = |value: &Value| serde_json::from_value::<Request>(json!({ name: value }));
    let Err(error) = holds(value) else { return Ok(()) };
    let samples = [
        (json!("x"), "a text, in quotation marks"),
        (json!(true), "`true` or `false`"),
        (json!(1), "a whole number, 0 or more"),
        (json!(0.5), "a number"),
        (json!([0.5]), "a list of numbers, in square brackets"),
    ];
    let kind = samples.into_iter().find(|(sample, _)| holds(sample).is_ok()).map(|(_, kind)| kind);
    let hint = kind.map_or("write it as `--json` prints it".into(), |kind| format!("give it {kind}"));
    Err(Error::request(format!("`{name}` cannot be {value}: {error}"), hint))
}

/// Names the field that was most likely meant.
fn unknown_field<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let scored = names.map(|name| (strsim::jaro_winkler(&wrong.to_lowercase(), name), name));
    let nearest = scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(score, _)| *score > SIMILAR);
    let hint = match nearest {
        Some((_, name)) => format!("use `{name}`"),
        None => "use the fields that `petal draw --json` prints in `request`".into(),
    };
    Error::request(format!("unknown field `{wrong}`"), hint)
}

/// What is wrong with a line of JSON, and at which column.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn fields_of(request: &Request) -> Map<String, Value> {
    match serde_json::to_value(request) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(), // never: a request is a struct of plain values
    }
}

/// All jobs, or what is wrong with those that are none.
fn all(name: &str, jobs: impl Iterator<Item = Result<Job, Fault>>) -> Result<Vec<Job>> {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for job in jobs {
        match job {
            Ok(job) => right.push(job),
            Err(fault) => wrong.push(fault),
        }
    }
    match &wrong[..] {
        [] => Ok(right),
        [(line, error)] => {
            let hint = error.hint().unwrap_or_default();
            Err(Error::request(format!("line {line} of `{name}`: {}", error.with_causes()), hint))
        }
        several => Err(listed(name, several)),
    }
}

/// Several faults as one, each on a line of its own.
fn listed(name: &str, faults: &[Fault]) -> Error {
    let mut what = format!("{} jobs in `{name}` are wrong", faults.len());
    for (line, error) in faults.iter().take(MOST_FAULTS) {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let _ = write!(what, "\n  line {line}: {}{hint}", error.with_causes()); // writing into a String cannot fail
    }
    if faults.len() > MOST_FAULTS {
        let _ = write!(what, "\n  and {} more", faults.len() - MOST_FAULTS);
    }
    Error::request(what, "correct them; nothing has been drawn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &[u8]) -> Result<Vec<(usize, Request)>> {
        let defaults = Request { steps: Some(9), scheduler: Some("karras".into()), ..Request::default() };
        let jobs = Jobs::read(Path::new(name), text, &defaults)?.jobs;
        Ok(jobs.into_iter().map(|job| (job.line, job.request)).collect())
    }

    fn fault(text: &[u8]) -> (String, String) {
        let error = read("jobs.jsonl", text).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    }

    #[test]
    fn each_line_of_text_is_a_prompt() {
        let text = "\u{feff}a dog\r\n\n# a remark\n \t\na {cat|bird}, 犬 \n#";
        let jobs = read("jobs.txt", text.as_bytes()).unwrap();
        let told: Vec<_> = jobs.iter().map(|(line, request)| (*line, request.prompt.as_str())).collect();
        assert_eq!(told, [(1, "a dog"), (5, "a {cat|bird}, 犬 ")]);
        assert!(jobs.iter().all(|(_, request)| request.steps == Some(9)));
    }

    #[test]
    fn a_job_has_the_last_word() {
        let text = br#"{"prompt": "a dog", "steps": 3}
# a remark
  {"sigmas": [9, 5], "seed": 18446744073709551615}
{"cfg_schedule": [3.5], "steps": null, "batch_count": 2}"#;
        let jobs = read("jobs.txt", text).unwrap();
        let karras = Some("karras".into());
        let dog = Request { prompt: "a dog".into(), steps: Some(3), scheduler: karras.clone(), ..Request::default() };
        let levels = Request { sigmas: Some(vec![9.0, 5.0]), seed: u64::MAX, ..Request::default() };
        let scales = Some(vec![3.5]);
        let last = Request { cfg_schedule: scales, scheduler: karras, batch_count: 2, ..Request::default() };
        assert_eq!(jobs, [(1, dog), (3, levels), (4, last)]);
    }

    /// Whatever fields there are: each one that a job names arrives, and no other changes.
    #[test]
    fn every_field_can_be_said() {
        let usual = fields_of(&Request::default());
        let samples = [json!("x"), json!(true), json!(3), json!(0.25), json!([3.0, 2.0]), json!([3, 2]), json!({})];
        for name in usual.keys() {
            let read = |value: &Value| serde_json::from_value::<Request>(json!({ name: value })).ok();
            let found = samples.iter().find_map(|value| Some((value, read(value)?)));
            let (value, alone) = found.unwrap_or_else(|| panic!("{name} holds none of the samples"));
            let text = json!({ name: value }).to_string();
            let request = from_json(&text, &Request::default(), Path::new("")).unwrap();
            assert_ne!(fields_of(&request)[name], usual[name]);
            assert_eq!(request, alone);
        }
    }

    #[test]
    fn pictures_are_seen_from_the_folder_of_the_file() {
        let source = |text: &str| Some(text.parse::<ImageSource>().unwrap());
        let defaults = Request { init_image: source("of/flag.png"), mask: source("of/mask.png"), ..Request::default() };
        let read = |text: &str| {
            let jobs = Jobs::read(Path::new("a/jobs.jsonl"), text.as_bytes(), &defaults).unwrap().jobs;
            (jobs[0].request.init_image.clone(), jobs[0].request.mask.clone())
        };
        assert_eq!(read(r#"{"init_image": "b/c.png", "mask": "alpha"}"#), (source("a/b/c.png"), source("alpha")));
        assert_eq!(read(r#"{"init_image": "/c.png", "mask": null}"#), (source("/c.png"), None));
        assert_eq!(read("{}"), (defaults.init_image.clone(), defaults.mask.clone()));
    }

    #[test]
    fn the_form_is_seen_in_the_name_or_the_first_job() {
        assert_eq!(read("x", b"# {\n{\"seed\": 1}").unwrap()[0].1.seed, 1);
        assert_eq!(read("x", b"a {dog}\n{\"seed\": 1}").unwrap()[1].1.prompt, "{\"seed\": 1}");
        assert!(read("x.JSONL", b"a dog").is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let form = "write a request on each line as `--json` prints it, or as in `{\"prompt\": \"a dog\"}`";
        let whole = "give it a whole number, 0 or more";
        for (text, what, hint) in [
            (&br#"{"stepz": 1}"#[..], "unknown field `stepz`", "use `steps`"),
            (br#"{"xyz": 1}"#, "unknown field `xyz`", "use the fields that `petal draw --json` prints in `request`"),
            (br#"{"steps": "x"}"#, "`steps` cannot be \"x\": invalid type: string \"x\", expected u32", whole),
            (br#"{"seed": -1}"#, "`seed` cannot be -1: invalid value: integer `-1`, expected u64", whole),
            (br#"{"steps": 0}"#, "steps is 0", "use a number from 1 to 10000"),
            (br#"{"steps": 1, "steps": 2}"#, "duplicate field `steps` at column ", "say each field once"),
            (br#"{"steps": 1"#, "it is no JSON object: EOF while parsing an object at column 11", form),
            (b"[]", "it is no JSON object: invalid type: sequence", form),
            (b"{\"prompt\": \"a\xff\"}", "byte 14 is no UTF-8", "save the file as UTF-8"),
        ] {
            let (told, advice) = fault(&[b"\n", text].concat());
            assert!(told.starts_with(&format!("line 2 of `jobs.jsonl`: {what}")), "{told}");
            assert_eq!(advice, hint);
        }
    }

    #[test]
    fn all_faults_are_told_up_to_twenty() {
        let (what, hint) = fault(b"{}\n{\"steps\": 0}\n{\"stepz\": 0}");
        let lines = [
            "2 jobs in `jobs.jsonl` are wrong",
            "  line 2: steps is 0; use a number from 1 to 10000",
            "  line 3: unknown field `stepz`; use `steps`",
        ];
        assert_eq!(
            (what.lines().collect::<Vec<_>>(), hint.as_str()),
            (lines.to_vec(), "correct them; nothing has been drawn")
        );
        let (what, _) = fault("x\n".repeat(23).as_bytes());
        assert_eq!((what.lines().count(), what.lines().last()), (22, Some("  and 3 more")));
    }

    #[test]
    fn files_without_jobs_or_with_too_many_are_refused() {
        for text in ["", "\u{feff}", "\n\r\n# a dog"] {
            let error = read("x", text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "`x` has no jobs");
        }
        let error = read("x", "x\n".repeat(MOST_JOBS + 1).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "`x` has 100001 jobs, more than 100000");
        let error = Jobs::read(Path::new("x"), std::io::repeat(b'x'), &Request::default()).unwrap_err();
        assert_eq!(error.to_string(), "`x` has more than 64 MiB");
    }
}
