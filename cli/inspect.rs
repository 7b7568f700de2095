//! `petal inspect`: what made a picture, or what is in a model.
use crate::{
    args::Inspect,
    redraw,
    report::{self, Failure},
};
use petal_engine::{FileReport, GraphReport, Infotext, Inspected, ModelReport, PortReport, Problem};
use serde_json::{Value, json};

/// Operators of a domain that are told one by one, the commonest first.
const MOST_OPERATORS: usize = 12;

pub(crate) fn run(arguments: &Inspect) -> Result<(), Failure> {
    let catalogue = arguments.catalogue.as_deref();
    match petal_engine::inspect_model(&arguments.path, catalogue, !arguments.no_hashes)? {
        Some(found) => tell(&found, arguments.json),
        None => picture(arguments),
    }
}

/// Tells what is in a graph or a model, and fails if something is wrong with it.
fn tell(found: &Inspected, as_json: bool) -> Result<(), Failure> {
    let problems = match found {
        Inspected::Graph(graph) => &graph.problems,
        Inspected::Model(model) => &model.problems,
    };
    if as_json {
        report::line(&json!(found).to_string())?;
    } else {
        match found {
            Inspected::Graph(graph) => print(graph_rows(graph))?,
            Inspected::Model(model) => {
                print(model_rows(model))?;
                for graph in &model.graphs {
                    report::line("")?;
                    print(graph_rows(graph))?;
                }
            }
        }
        if !problems.is_empty() {
            report::line("")?;
        }
        print(problems.iter().map(problem_row).collect())?;
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Told) }
}

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.to_owned(), value.into()]
}

fn problem_row(problem: &Problem) -> Vec<String> {
    row("Problem", format!("{}; {}", problem.what, problem.hint))
}

fn model_rows(model: &ModelReport) -> Vec<Vec<String>> {
    let mut rows = vec![row("Model", format!("{}, in `{}`", model.name, model.place))];
    let optional = |name: &str, value: Option<String>| value.map(|value| row(name, value));
    let family = model.family.zip(model.about.as_ref()).map(|(family, about)| format!("{family}: {about}"));
    rows.extend(optional("Family", family));
    let scheduler = model.scheduler.as_ref().map(|class| match model.sampler {
        Some(sampler) => format!("{class}, drawn with the sampler `{sampler}`"),
        None => class.clone(),
    });
    rows.extend(optional("Scheduler", scheduler));
    rows.extend(optional("Predicts", model.prediction.map(str::to_owned)));
    let latents = [
        model.latent_channels.map(|channels| format!("{channels} channels")),
        model.vae_scale.map(|scale| format!("scale {scale}")),
        model.vae_shift.map(|shift| format!("shift {shift}")),
        model.downsampling.map(|factor| format!("{factor}x{factor} pixels each")),
    ];
    let latents: Vec<_> = latents.into_iter().flatten().collect();
    rows.extend(optional("Latents", Some(latents.join(", ")).filter(|text| !text.is_empty())));
    rows.extend(optional("Native size", model.native_size.map(|[width, height]| format!("{width}x{height}"))));
    rows.extend(optional("Guidance", model.cfg_scale.map(|scale| format!("{scale}, unless a request says another"))));
    let guidance = model.guidance.map(|scale| format!("{scale} by `--guidance`, which the network was taught"));
    rows.extend(optional("Guidance", guidance));
    for part in &model.parts {
        let mut letters = part.part.chars();
        let name: String =
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
        rows.push(row(&name, part.graph.as_deref().unwrap_or("none")));
    }
    rows
}

fn graph_rows(graph: &GraphReport) -> Vec<Vec<String>> {
    let mut rows = vec![row("Graph", &graph.name), row("What it is", &graph.about), row("Size", size(graph.bytes))];
    let weights = &graph.weights;
    let types = weights.types.iter().map(|(name, [tensors, _, bytes])| format!("{name} ({tensors}, {})", size(*bytes)));
    let types = types.collect::<Vec<_>>().join(", ");
    rows.push(row(
        "Weights",
        match weights.tensors {
            0 => "none".to_owned(),
            tensors => format!("{tensors} with {} values: {types}", grouped(weights.values)),
        },
    ));
    let opsets: Vec<_> = graph.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    rows.push(row("Format", format!("IR {}, operators of {}", graph.ir_version, opsets.join(", "))));
    rows.push(row("Written by", if graph.producer.is_empty() { "nobody knows" } else { &graph.producer }));
    rows.extend(graph.inputs.iter().map(|port| row("Input", port_text(port))));
    rows.extend(graph.outputs.iter().map(|port| row("Output", port_text(port))));
    for (domain, operators) in &graph.operators {
        let mut sorted: Vec<_> = operators.iter().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let top: Vec<_> = sorted.iter().take(MOST_OPERATORS).map(|(name, count)| format!("{name} {count}")).collect();
        let more = sorted.len().saturating_sub(MOST_OPERATORS);
        let more = if more > 0 { format!(", and {more} others") } else { String::new() };
        let total: u64 = operators.values().sum();
        rows.push(row("Operators", format!("{total} of {domain}: {}{more}", top.join(", "))));
    }
    let functions: Vec<_> = graph.functions.iter().map(|(name, calls)| format!("{name} {calls}")).collect();
    if !functions.is_empty() {
        rows.push(row("Functions", functions.join(", ")));
    }
    for refusal in &graph.cannot_run_on {
        rows.push(row("Not for", format!("{}: {}; {}", refusal.providers.join(", "), refusal.why, refusal.hint)));
    }
    rows.extend(graph.files.iter().filter_map(hash_row));
    rows
}

fn hash_row(file: &FileReport) -> Option<Vec<String>> {
    file.sha256.as_ref().map(|hash| row("SHA-256", format!("{hash} {}", file.name)))
}

fn port_text(port: &PortReport) -> String {
    format!("{}: {} {}", port.name, port.data_type, port.shape_text)
}

/// Bytes as people say them.
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let place = |i: usize| i > 0 && (digits.len() - i).is_multiple_of(3);
    digits.chars().enumerate().flat_map(|(i, digit)| place(i).then_some(',').into_iter().chain([digit])).collect()
}

/// Tells what made a picture.
fn picture(arguments: &Inspect) -> Result<(), Failure> {
    if let Some(grid) = petal_engine::read_grid(&arguments.path)? {
        return if arguments.json { report::line(&grid.to_string()) } else { print_grid(&grid) };
    }
    let info = redraw::read(&arguments.path)?;
    if arguments.json {
        return report::line(&as_json(&info).to_string());
    }
    let mut rows = vec![row("Prompt", &info.prompt)];
    if !info.negative_prompt.is_empty() {
        rows.push(row("Negative prompt", &info.negative_prompt));
    }
    rows.extend(info.fields.iter().map(|(name, value)| row(name, value)));
    rows.push(row("In the form of", info.origin.to_string()));
    let left_out = info.left_out();
    if !left_out.is_empty() {
        rows.push(row("Not carried over", left_out.join(", ")));
    }
    if let Err(error) = info.request() {
        rows.push(row("Not to be redrawn", error.to_string()));
    }
    print(rows)
}

/// Whoever made the file may have written anything, control sequences too.
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
    let mut rows = vec![row("A grid", format!("of {}", text(&grid["model"])))];
    rows.extend(axis("x").map(|values| row("Columns", values)));
    rows.extend(axis("y").map(|values| row("Rows", values)));
    let common = grid["common"].as_object().into_iter().flatten();
    rows.extend(common.map(|(name, value)| row(name, text(value))));
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
