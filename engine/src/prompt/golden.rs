//! Does a prompt become the numbers that the reference projects make of it?
use super::{
    Along, Emphasis, Part, Prompt, Tokenizer,
    attention::{Fragment, weighted},
    chunks::{Chunk, chunks},
};
use crate::models::Files;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{env, fmt::Write as _, fs, path::Path};

/// The first 16 digits of the SHA-256 of `bytes`.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn golden(name: &str) -> Value {
    read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name))
}

fn tokenizer(model: &str) -> Tokenizer {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1");
    Tokenizer::read(&Files::folder(&root.join(model)).unwrap(), "tokenizer", None).unwrap()
}

/// How many of `results` differ from ours.
fn wrong_tokens(tokenizer: &Tokenizer, results: &[Value]) -> usize {
    let mut wrong = 0;
    for result in results {
        let text = result["text"].as_str().unwrap();
        let ours = tokenizer.ids(text).unwrap();
        let same = match result.get("digest") {
            Some(wanted) => *wanted == digest(&ours.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>()),
            None => result["ids"] == json!(ours),
        };
        if !same {
            wrong += 1;
            println!("{text:?}\n  ours   {ours:?}\n  theirs {}", result.get("ids").unwrap_or(&result["digest"]));
        }
    }
    wrong
}

/// Against transformers' `CLIPTokenizer`: see `made_by` in the file.
#[test]
fn hard_tokens_are_those_of_transformers() {
    let golden = golden("tokens_hard.json");
    let results = golden["results"].as_array().unwrap();
    assert!(results.len() >= 600);
    let wrong = wrong_tokens(&tokenizer(""), results);
    println!("fidelity: texts token-ids-of-{}-texts {wrong}", results.len());
    assert_eq!(wrong, 0);
}

/// `scripts/check_tokens.py` writes that file.
#[test]
#[ignore = "reads the file that scripts/check_tokens.py writes, and runs it"]
fn tokens_are_those_of_a_file() {
    let path = env::var_os("PETAL_TOKENS_FILE").expect("the file of the script");
    let file = read(path);
    let results = file["results"].as_array().unwrap();
    let wrong = wrong_tokens(&tokenizer(file["model"].as_str().unwrap()), results);
    println!("fidelity: texts token-ids-of-{}-texts {wrong}", results.len());
    assert_eq!(wrong, 0);
}

/// The list itself, or its digest where the reference has one.
fn short(wanted: &Value, list: Vec<Value>, bytes: &[u8]) -> Value {
    if wanted.is_array() { list.into() } else { digest(bytes).into() }
}

fn entries(part: &Part, wanted: &Value) -> Value {
    let (mut list, mut bytes) = (Vec::new(), Vec::new());
    for (end, text) in part.schedule.entries() {
        bytes.extend((end as i64).to_le_bytes());
        bytes.extend(text.bytes().chain([0]));
        list.push(json!([end, text]));
    }
    short(wanted, list, &bytes)
}

fn fragments(text: &str, wanted: &Value) -> Value {
    let (mut list, mut bytes) = (Vec::new(), Vec::new());
    for fragment in weighted(text) {
        let (text, weight) = match fragment {
            Fragment::Break => (None, None),
            Fragment::Words { text, weight } => (Some(text), Some(weight)),
        };
        bytes.extend(weight.unwrap_or(0.0).to_le_bytes());
        bytes.extend(text.clone().unwrap_or_default().bytes().chain([0]));
        list.push(json!([text, weight]));
    }
    short(wanted, list, &bytes)
}

fn chunk_digest(chunks: &[Chunk]) -> String {
    let bytes = chunks.iter().flat_map(|chunk| {
        let ids = chunk.ids.iter().flat_map(|id| id.to_le_bytes());
        ids.chain(chunk.weights.iter().flat_map(|weight| weight.to_le_bytes()))
    });
    digest(&bytes.collect::<Vec<_>>())
}

fn part(tokenizer: &Tokenizer, part: &Part, wanted: &Value) -> Value {
    let (_, text) = part.schedule.entries().last().unwrap();
    let chunks = chunks(tokenizer, &text, Emphasis::Original).unwrap();
    json!({
        "weight": part.weight,
        "entries": entries(part, &wanted["entries"]),
        "fragments": fragments(&text, &wanted["fragments"]),
        "chunks": chunks.len(),
        "digest": chunk_digest(&chunks),
    })
}

/// The digest of all parts, as `brief` of the reference makes it.
fn brief(tokenizer: &Tokenizer, prompt: &Prompt) -> String {
    let mut bytes = Vec::new();
    for ours in &prompt.parts {
        let made = part(tokenizer, ours, &Value::Null);
        bytes.extend(ours.weight.to_le_bytes());
        for digest in ["entries", "fragments", "digest"] {
            bytes.extend(made[digest].as_str().unwrap().bytes());
        }
    }
    digest(&bytes)
}

/// `part` with the weights of its fragments as numbers; `serde_json` would miss their last bit.
fn exact(part: &Value) -> Value {
    let mut part = part.clone();
    for fragment in part["fragments"].as_array_mut().into_iter().flatten() {
        if let Some(weight) = fragment[1].as_str() {
            fragment[1] = weight.parse::<f64>().unwrap().into();
        }
    }
    part
}

/// How many of `results` differ from ours, to the last bit of each weight.
fn wrong_prompts(results: &[Value]) -> usize {
    let tokenizer = tokenizer("");
    let mut wrong = 0;
    for result in results {
        let steps = usize::try_from(result["steps"].as_u64().unwrap()).unwrap();
        let before = result["before"].as_u64().map(|steps| steps as usize);
        let prompt = Prompt::positive(result["text"].as_str().unwrap(), Along { steps, before }, Emphasis::Original);
        let wanted: Value = match result["parts"].as_array() {
            Some(parts) => parts.iter().map(exact).collect(),
            None => result["parts"].clone(),
        };
        let wanted_part = |at: usize| wanted.get(at).unwrap_or(&Value::Null);
        let ours: Value = if wanted.is_array() {
            prompt.parts.iter().enumerate().map(|(at, ours)| part(&tokenizer, ours, wanted_part(at))).collect()
        } else {
            brief(&tokenizer, &prompt).into()
        };
        if ours != wanted {
            wrong += 1;
            println!("{}\n  ours   {ours}\n  theirs {wanted}", result["text"]);
        }
    }
    wrong
}

/// Against `scripts/reference_prompts.py`, which has the documented examples of stable-diffusion-webui right.
#[test]
fn prompts_are_those_of_the_reference() {
    let golden = golden("prompts.json");
    let results = golden["results"].as_array().unwrap();
    assert!(results.len() >= 400);
    let wrong = wrong_prompts(results);
    println!("fidelity: texts weights-and-chunks-of-{}-prompts {wrong}", results.len());
    assert_eq!(wrong, 0);
}

/// `scripts/check_prompts.py` writes that file.
#[test]
#[ignore = "reads the file that scripts/check_prompts.py writes, and runs it"]
fn prompts_are_those_of_a_file() {
    let path = env::var_os("PETAL_PROMPTS_FILE").expect("the file of the script");
    let file = read(path);
    let results = file["results"].as_array().unwrap();
    let wrong = wrong_prompts(results);
    println!("fidelity: texts weights-and-chunks-of-{}-prompts {wrong}", results.len());
    assert_eq!(wrong, 0);
}
