//! `petal tokens`: how a prompt is read.
use crate::{
    args::Tokens,
    draw::read_prompt,
    report::{self, Failure},
};
use petal_engine::{PromptToken, TokenizedPart, TokenizedText, tokens};
use serde_json::{Value, json};

pub(crate) fn run(arguments: &Tokens) -> Result<(), Failure> {
    let prompt = read_prompt(&arguments.prompt)?;
    let parts = tokens(&arguments.model.options(), &prompt, &arguments.emphasis, arguments.steps)?;
    if arguments.json {
        return report::line(&Value::Array(parts.iter().map(as_json).collect()).to_string());
    }
    for (number, part) in parts.iter().enumerate() {
        if parts.len() > 1 {
            report::heading(&format!("part {} of {}, weight {}", number + 1, parts.len(), part.weight))?;
        }
        for text in &part.texts {
            if part.texts.len() > 1 {
                report::heading(&format!("{}: {}", steps(&text.steps), text.text))?;
            }
            show(text)?;
        }
    }
    Ok(())
}

/// `step 3`, `steps 1 to 5, 8`.
fn steps(ranges: &[(usize, usize)]) -> String {
    let range = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    let word = if matches!(ranges, [(first, last)] if first == last) { "step" } else { "steps" };
    format!("{word} {}", ranges.iter().map(range).collect::<Vec<_>>().join(", "))
}

/// One line a chunk, tokens in colours that tell neighbours apart; then their numbers, and weights where they count.
fn show(text: &TokenizedText) -> Result<(), Failure> {
    let chunks = text.chunks.iter().enumerate().map(|(number, chunk)| (format!("chunk {}", number + 1), chunk));
    for (name, chunk) in chunks.chain(text.t5.iter().map(|tokens| ("T5".to_owned(), tokens))) {
        let tokens = if chunk.len() == 1 { "token" } else { "tokens" };
        report::heading(&format!("{name}: {} {tokens}", chunk.len()))?;
        report::tokens(chunk.iter().map(|token| (token.text.as_str(), token.weight)))?;
        let rows: Vec<_> = chunk.iter().map(row).collect();
        report::table(&rows)?;
    }
    Ok(())
}

fn row(token: &PromptToken) -> Vec<String> {
    let weight = if (token.weight - 1.0).abs() < f32::EPSILON { String::new() } else { token.weight.to_string() };
    vec![format!("{:>6}", token.id), token.text.trim_end().to_owned(), weight]
}

fn as_json(part: &TokenizedPart) -> Value {
    let token = |token: &PromptToken| json!({"id": token.id, "text": token.text, "weight": token.weight});
    let chunk = |chunk: &Vec<PromptToken>| chunk.iter().map(token).collect::<Vec<_>>();
    let text = |text: &TokenizedText| {
        let chunks: Vec<_> = text.chunks.iter().map(chunk).collect();
        let mut shown = json!({"steps": text.steps, "text": text.text, "chunks": chunks});
        if let Some(tokens) = &text.t5 {
            shown["t5"] = chunk(tokens).into();
        }
        shown
    };
    json!({"weight": part.weight, "texts": part.texts.iter().map(text).collect::<Vec<_>>()})
}
