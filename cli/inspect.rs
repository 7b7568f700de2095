//! `petal inspect`: what made a picture.
use crate::{
    args::Inspect,
    report::{self, Failure},
};
use petal_engine::{Infotext, read_infotext};
use serde_json::{Value, json};

pub(crate) fn run(arguments: &Inspect) -> Result<(), Failure> {
    let info = read_infotext(&arguments.image)?.ok_or_else(|| {
        Failure::usage(
            format!("`{}` does not say what made it", arguments.image.display()),
            "give a PNG file that petal or stable-diffusion-webui wrote",
        )
    })?;
    if arguments.json {
        return report::line(&as_json(&info).to_string());
    }
    let mut rows = vec![vec!["Prompt".to_owned(), info.prompt]];
    if !info.negative_prompt.is_empty() {
        rows.push(vec!["Negative prompt".to_owned(), info.negative_prompt]);
    }
    rows.extend(info.fields.into_iter().map(|(name, value)| vec![name, value]));
    // whoever made the picture may have written anything, control sequences too
    rows.iter_mut().flatten().for_each(|cell| *cell = printable(cell));
    report::table(&rows)
}

/// `text` with control characters made visible.
fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

fn as_json(info: &Infotext) -> Value {
    let fields: serde_json::Map<_, _> =
        info.fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "prompt": info.prompt,
        "negative_prompt": info.negative_prompt,
        "fields": fields,
        "request": info.request,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(printable("a\u{1b}[31m\n犬"), "a\\u{1b}[31m\\n犬");
    }
}
