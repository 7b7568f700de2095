//! Everything that petal prints: data on standard output; progress, notes and errors on standard error.
#![allow(clippy::print_stderr)] // this file is where it happens
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use petal_engine::{Error, Event, TileDone};
use std::{
    collections::BTreeMap,
    error::Error as _,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The exit code after Ctrl-C.
pub(crate) const CANCELLED: u8 = 130;
/// The exit code for a wrong command or request.
const USAGE: u8 = 2;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine says so.
    Engine(Error),
    /// The command was wrong: what, and what to do.
    Usage(String, String),
    /// Something is not in order, and the command has said what.
    Told,
    /// Standard output took nothing more.
    Stdout(io::Error),
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(what.into(), hint.into())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(Error::Cancelled) => CANCELLED,
            Self::Engine(Error::Request { .. }) | Self::Usage(..) => USAGE,
            Self::Engine(_) | Self::Told | Self::Stdout(_) => 1,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Prints why a command failed, and gives its exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Engine(error) => engine_error(error),
        Failure::Usage(what, hint) => {
            anstream::eprintln!("{RED}error{RED:#}: {}", printable(what));
            print_hint(hint);
        }
        Failure::Stdout(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            anstream::eprintln!("{RED}error{RED:#}: cannot write to standard output");
            anstream::eprintln!("  Caused by: {error}");
        }
        Failure::Told | Failure::Stdout(_) => {}
    }
    ExitCode::from(failure.exit_code())
}

fn engine_error(error: &Error) {
    anstream::eprintln!("{RED}error{RED:#}: {}", printable(&error.to_string()));
    explain(error);
}

/// Prints what went wrong with one thing of several, named by `what`; the others go on.
pub(crate) fn error_of(what: &str, error: &Error) {
    anstream::eprintln!("{RED}error{RED:#}: {what}: {}", printable(&error.to_string()));
    explain(error);
}

/// Prints the causes of an error, and what to do about it.
fn explain(error: &Error) {
    let mut cause = error.source();
    while let Some(error) = cause {
        anstream::eprintln!("  Caused by: {}", printable(&error.to_string()));
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        print_hint(&hint);
    }
}

fn print_hint(hint: &str) {
    anstream::eprintln!("\n{CYAN}hint{CYAN:#}: {}", printable(hint));
}

/// Prints a line that says what is going on.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{}", printable(text));
}

/// `text` with control characters made visible, but for line breaks: files that others wrote may hold any.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Prints what went another way than hoped, and goes on.
pub(crate) fn warning(error: &Error) {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    anstream::eprintln!("{YELLOW}warning{YELLOW:#}: {error}{cause}");
}

/// Prints the path of a picture, whatever bytes it is made of.
pub(crate) fn path(path: &Path) -> Result<(), Failure> {
    bytes(&[path.as_os_str().as_encoded_bytes(), b"\n"].concat())
}

/// Whether standard error is a terminal.
pub(crate) fn has_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Prints a line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Stdout)
}

/// Prints data as it is.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::Stdout)
}

/// Prints rows in columns as wide as they need to be.
pub(crate) fn table(rows: &[Vec<String>]) -> Result<(), Failure> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints a line that says what the lines after it are.
pub(crate) fn heading(text: &str) -> Result<(), Failure> {
    data(&format!("{CYAN}{text}{CYAN:#}\n"))
}

/// Prints the pieces of a text one after the other, in colours that tell neighbours apart: bold where they count more,
/// dim where they count less.
pub(crate) fn tokens<'a>(pieces: impl Iterator<Item = (&'a str, f32)>) -> Result<(), Failure> {
    const COLOURS: [AnsiColor; 4] = [AnsiColor::Green, AnsiColor::Blue, AnsiColor::Magenta, AnsiColor::Yellow];
    let mut line = String::new();
    for (number, (text, weight)) in pieces.enumerate() {
        let style = COLOURS[number % COLOURS.len()].on_default();
        let style = if weight > 1.0 { style.bold() } else { style };
        let style = if weight < 1.0 { style.dimmed() } else { style };
        let _ = write!(line, "{style}{text}{style:#}"); // writing into a String cannot fail
    }
    data(&(line + "\n"))
}

/// Prints styled data; the styles are taken out where standard output is no terminal.
fn data(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Stdout)
}

/// Writes straight to the terminal behind standard error, as pictures in terminals need.
pub(crate) fn draw(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush()); // a picture on a closed terminal is no loss
}

/// The progress bar of one picture; it shows only when standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// The bar of what `title` says.
    pub(crate) fn new(title: &str) -> Self {
        let bar = bar("{prefix} {bar:30} step {pos}/{len} · {msg} · {eta} left", title);
        Self(bar.with_message("starting"))
    }

    /// A bar that shows nowhere.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Does something on the terminal while the bar is out of the way.
    pub(crate) fn aside(&self, work: impl FnOnce()) {
        self.0.suspend(work);
    }

    /// Shows how many tiles of one picture are done.
    pub(crate) fn tell_tiles(&mut self, TileDone { done, tiles }: TileDone) {
        self.0.set_length(tiles as u64);
        self.0.set_position(done as u64);
        self.0.set_message("enlarging");
    }

    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin { steps, .. } => self.0.set_length(*steps as u64),
            Event::Step(step) => {
                self.0.set_message(format!("{:.2} s a step", step.seconds));
                self.0.set_position(step.step as u64);
            }
            Event::SecondPass { steps } => {
                self.0.set_length(*steps as u64);
                self.0.set_position(0);
                self.0.set_message("second pass");
            }
            Event::Decoding => self.0.set_message("decoding"),
            Event::Upscaling(TileDone { done, tiles }) => {
                self.0.set_message(format!("enlarged {done} of {tiles} tiles"));
            }
            _ => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// One bar for many pictures, which several threads may use.
#[derive(Debug)]
pub(crate) struct QueueProgress {
    bar: ProgressBar,
    pictures: u64,
    begun: AtomicU64,
    skipped: AtomicU64,
}

impl QueueProgress {
    /// How long a picture is on the bar, whatever its steps.
    const PICTURE: u64 = 1000;

    /// The bar of `pictures` pictures, which shows nowhere if it is to be `quiet`.
    pub(crate) fn new(title: &str, pictures: u64, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { bar("{prefix} {bar:30} {msg} · {eta} left", title) };
        bar.set_length(pictures * Self::PICTURE);
        Self { bar: bar.with_message("starting"), pictures, begun: AtomicU64::new(0), skipped: AtomicU64::new(0) }
    }

    /// Does something on the terminal while the bar is out of the way.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Takes a picture that need not be drawn off the bar.
    pub(crate) fn skip(&self) {
        let skipped = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar.set_length(self.pictures.saturating_sub(skipped) * Self::PICTURE);
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Begin { .. } => {
                let before = self.begun.fetch_add(1, Ordering::Relaxed);
                let number = before + self.skipped.load(Ordering::Relaxed) + 1;
                self.bar.set_position(before * Self::PICTURE);
                self.bar.set_message(format!("picture {number} of {}", self.pictures));
            }
            Event::Step(step) => {
                let before = self.begun.load(Ordering::Relaxed).saturating_sub(1);
                let part = Self::PICTURE * step.step as u64 / step.steps.max(1) as u64;
                // a second pass counts its steps anew: the bar waits for it
                self.bar.set_position(self.bar.position().max(before * Self::PICTURE + part));
            }
            _ => {}
        }
    }
}

impl Drop for QueueProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// One bar for several files that come at once, in bytes.
#[derive(Debug)]
pub(crate) struct TransferProgress {
    bar: ProgressBar,
    /// The bytes of each file: here, and in all.
    files: Mutex<BTreeMap<String, (u64, Option<u64>)>>,
    /// The bytes of all files, if they were known in advance.
    whole: Mutex<Option<u64>>,
}

impl TransferProgress {
    /// The bar of what `title` says, which shows nowhere if it is to be `quiet`.
    pub(crate) fn new(title: &str, quiet: bool) -> Self {
        let template = "{prefix} {bar:30} {bytes}/{total_bytes} · {bytes_per_sec} · {eta} left {msg}";
        let bar = if quiet { ProgressBar::hidden() } else { bar(template, title) };
        Self { bar, files: Mutex::default(), whole: Mutex::default() }
    }

    /// Prints a line above the bar.
    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    /// From now on so many bytes are awaited.
    pub(crate) fn expect(&self, bytes: Option<u64>) {
        *self.whole.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// Shows how much of a file is here.
    pub(crate) fn tell(&self, file: &str, done: u64, total: Option<u64>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.get_mut(file) {
            Some(state) => *state = (done, total),
            None => drop(files.insert(file.to_owned(), (done, total))),
        }
        let (done, known) =
            files.values().fold((0, 0), |(done, known), (here, all)| (done + here, known + all.unwrap_or(*here)));
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(0);
        self.bar.set_length(whole.max(known));
        self.bar.set_position(done);
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `bytes` for people, in units of a thousand as hubs and disks count them.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

fn bar(template: &str, title: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_prefix(title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        assert_eq!([0, 999, 1000, 10_265_000_000].map(size), ["0 bytes", "999 bytes", "1.0 kB", "10.3 GB"]);
    }

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(printable("a\u{1b}[31m\n犬\r"), "a\\u{1b}[31m\n犬\\r");
    }
}
