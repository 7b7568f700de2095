//! Does a prompt become the T5 tokens that transformers makes of it?
use super::t5::T5Tokenizer;
use crate::models::Files;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{env, fmt::Write as _, fs, path::Path};

/// The first 16 digits of the SHA-256 of `ids`.
fn digest(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    Sha256::digest(bytes)[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Against transformers' `T5Tokenizer`: see `made_by` in the file. `scripts/check_t5.py` has it read a file of its own,
/// with more texts and larger vocabularies.
#[test]
fn t5_tokens_are_those_of_transformers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = env::var_os("PETAL_T5_STRINGS").map_or_else(|| root.join("tests/golden/t5.json"), Into::into);
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let files = Files::folder(&root.join(golden["model"].as_str().unwrap())).unwrap();
    let results = golden["results"].as_array().unwrap();
    assert!(results.len() >= 300);
    let folders: Vec<&String> = results[0].as_object().unwrap().keys().filter(|key| *key != "text").collect();
    assert!(folders.len() > 1);
    let mut wrong = 0;
    for folder in &folders {
        let tokenizer = T5Tokenizer::read(&files, folder).unwrap();
        let mut here = 0;
        for result in results {
            let (text, wanted) = (result["text"].as_str().unwrap(), &result[folder.as_str()]);
            let ours = tokenizer.ids(text).unwrap();
            if *wanted != if wanted.is_array() { json!(ours) } else { digest(&ours).into() } {
                here += 1;
                println!("{folder} {text:?}\n  ours   {ours:?}\n  theirs {wanted}");
            }
        }
        println!("{folder}: {here} of {} texts differ", results.len());
        wrong += here;
    }
    println!("fidelity: texts t5-token-ids-of-{}-texts {wrong}", folders.len() * results.len());
    assert_eq!(wrong, 0);
}
