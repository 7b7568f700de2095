//! `petal inspect`: what made a picture.
use crate::{
    args::Inspect,
    redraw,
    report::{self, Failure},
};
use petal_engine::Infotext;
use serde_json::{Value, json};

pub(crate) fn run(arguments: &Inspect) -> Result<(), Failure> {
    if let Some(grid) = petal_engine::read_grid(&arguments.image)? {
        return if arguments.json { report::line(&grid.to_string()) } else { print_grid(&grid) };
    }
    let info = redraw::read(&arguments.image)?;
    if arguments.json {
        return report::line(&as_json(&info).to_string());
    }
    let mut rows = vec![vec!["Prompt".to_owned(), info.prompt.clone()]];
    if !info.negative_prompt.is_empty() {
        rows.push(vec!["Negative prompt".to_owned(), info.negative_prompt.clone()]);
    }
    rows.extend(info.fields.iter().map(|(name, value)| vec![name.clone(), value.clone()]));
    rows.push(vec!["In the form of".to_owned(), info.origin.to_string()]);
    let left_out = info.left_out();
    if !left_out.is_empty() {
        rows.push(vec!["Not carried over".to_owned(), left_out.join(", ")]);
    }
    if let Err(error) = info.request() {
        rows.push(vec!["Not to be redrawn".to_owned(), error.to_string()]);
    }
    print(rows)
}

/// Whoever made the picture may have written anything, control sequences too.
fn print(mut rows: Vec<Vec<String>>) -> Result<(), Failure> {
    rows.iter_mut().flatten().for_each(|cell| *cell = report::printable(cell).replace('\n', "\\n"));
    report::table(&rows)
}

/// A value without the quotes and brackets of JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What a grid shows, and what its cells have in common.
fn print_grid(grid: &Value) -> Result<(), Failure> {
    let axis = |name: &str| {
        let values: Vec<_> = grid[name]["values"].as_array()?.iter().map(text).collect();
        Some(format!("{}: {}", text(&grid[name]["field"]), values.join(" | ")))
    };
    let mut rows = vec![vec!["A grid".to_owned(), format!("of {}", text(&grid["model"]))]];
    rows.extend(axis("x").map(|values| vec!["Columns".to_owned(), values]));
    rows.extend(axis("y").map(|values| vec!["Rows".to_owned(), values]));
    let common = grid["common"].as_object().into_iter().flatten();
    rows.extend(common.map(|(name, value)| vec![name.clone(), text(value)]));
    print(rows)
}

fn as_json(info: &Infotext) -> Value {
    let fields: serde_json::Map<_, _> =
        info.fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "origin": info.origin.to_string(),
        "prompt": info.prompt,
        "negative_prompt": info.negative_prompt,
        "fields": fields,
        "request": info.request().ok().map(|request| request.to_json()),
        "not_carried_over": info.left_out(),
    })
}
