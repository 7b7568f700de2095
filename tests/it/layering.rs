//! Who may name whom: the table in README.md.
use super::support::root;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder or file, and what it must not mention outside its tests.
const RULES: &[(&str, &[&str])] = &[
    (
        "engine/src/sampling",
        &[
            "ort::",
            "image::",
            "tokenizers::",
            "serde",
            "std::fs",
            "crate::runtime",
            "crate::network",
            "crate::models",
            "crate::families",
            "crate::prompt",
            "crate::pipeline",
            "crate::request",
            "crate::image",
            "crate::vae",
            "crate::guidance",
            "crate::conditioning",
            "crate::preview",
        ],
    ),
    (
        "engine/src/runtime",
        &["crate::sampling", "crate::network", "crate::families", "crate::prompt", "crate::pipeline", "crate::request"],
    ),
    ("engine/src/prompt", &["ort::", "image::", "crate::sampling", "crate::image", "crate::pipeline"]),
    ("engine/src/network", &["ort::", "crate::families", "crate::pipeline"]),
    ("engine/src/guidance.rs", &["ort::", "crate::"]),
    ("engine/src/masked.rs", &["ort::", "crate::runtime", "crate::network", "crate::pipeline", "crate::editing"]),
    ("engine/src/conditioning.rs", &["ort::", "crate::families", "crate::pipeline"]),
    ("engine/src/vae", &["ort::", "crate::families", "crate::pipeline"]),
    ("engine/src/editing", &["ort::", "crate::runtime", "crate::pipeline", "crate::sampling"]),
    ("engine/src/tiles.rs", &["ort::", "crate::"]),
    ("engine/src/upscale", &["ort::", "crate::sampling", "crate::families", "crate::network"]),
    ("engine/src/families", &["ort::", "crate::pipeline"]),
    ("engine/src/inspect", &["ort::", "crate::pipeline"]),
    ("engine/src/role.rs", &["ort::", "crate::models"]),
    ("engine/src/survey.rs", &["ort::", "crate::pipeline"]),
    ("engine/src/image", &["ort::", "crate::runtime", "crate::pipeline"]),
    ("engine/src/models", &["ort::", "crate::runtime", "crate::pipeline"]),
    (
        "engine/src/hub",
        &["ort::", "crate::runtime", "crate::pipeline", "crate::sampling", "crate::families", "crate::image"],
    ),
    ("engine/src/pipeline.rs", &["ort::"]),
    ("engine/src/drawing", &["ort::"]),
    ("engine/src/loader.rs", &["ort::", "crate::sampling"]),
    ("engine/src/queue", &["ort::", "crate::runtime"]),
    ("engine/src/plan.rs", &["ort::", "crate::runtime", "crate::pipeline"]),
    ("engine/src/conditioner.rs", &["ort::", "crate::pipeline"]),
    ("engine/src/dry_run.rs", &["ort::", "crate::runtime", "crate::pipeline"]),
    ("engine/src/request", &["ort::", "crate::pipeline"]),
    ("engine/src/error.rs", &["ort::", "crate::"]),
    ("engine/src/lib.rs", &["ort::", "ndarray"]),
    ("cli", &["ort::", "ndarray", "image::"]),
];

/// Lines that a signature may take beside the forty of a body. The default of a struct is a list, however long.
const SIGNATURE: usize = 6;

/// What only one place may mention.
const ONLY: &[(&str, &[&str])] = &[
    ("engine/src/runtime", &["ort::", "use ort"]),
    ("cli/report.rs", &["println!", "eprint", "io::stdout", "io::stderr"]),
    ("engine/src/families", &["0.18215"]),
    ("engine/src/hub", &["ureq"]),
];

#[test]
fn modules_keep_to_their_layer() {
    let mut faults = Vec::new();
    for (place, banned) in RULES {
        faults.extend(mentions(&files(&root().join(place)), banned));
    }
    for (place, words) in ONLY {
        let others = ["engine/src", "cli"].iter().flat_map(|folder| files(&root().join(folder)));
        let others: Vec<_> = others.filter(|file| !file.starts_with(root().join(place))).collect();
        faults.extend(mentions(&others, words));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every line outside tests and comments that has one of `words`.
fn mentions(files: &[PathBuf], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in words.iter().filter(|word| names(line, word)) {
                found.push(format!("{}:{}: `{word}` is not allowed here", file.display(), number + 1));
            }
        }
    }
    found
}

/// Whether `word` stands in `line`, not as the end of a longer name (`port::`, `anstream::eprintln!`).
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.into()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let is_code = |file: &PathBuf| file.extension().is_some_and(|suffix| suffix == "rs");
    let is_golden = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("golden"));
    let is_test = |file: &PathBuf| file.ends_with("tests.rs") || is_golden(file);
    entries.flat_map(|entry| files(&entry.unwrap().path())).filter(|file| is_code(file) && !is_test(file)).collect()
}

#[test]
fn no_file_or_function_is_too_long() {
    let mut faults = Vec::new();
    for file in ["engine/src", "cli", "tests/it"].iter().flat_map(|folder| files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > 500 {
            faults.push(format!("{}: {} lines", file.display(), lines.len()));
        }
        let tests = lines.iter().position(|line| *line == "mod tests {").unwrap_or(lines.len());
        for (start, line) in lines[..tests].iter().enumerate().filter(|(_, line)| is_function(line)) {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let length = lines[start..].iter().position(|line| *line == end).map_or(1, |last| last + 1);
            if length > 40 + SIGNATURE {
                faults.push(format!("{}:{}: a function of {length} lines", file.display(), start + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn is_function(line: &str) -> bool {
    let line = line.trim_start();
    if line == "fn default() -> Self {" {
        return false;
    }
    let starts = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "pub(in crate::sampling) fn "];
    starts.iter().any(|start| line.starts_with(start))
}
