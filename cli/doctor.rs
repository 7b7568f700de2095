//! `petal doctor`: what is used here, and whether it is sound.
use crate::{
    args::Doctor,
    report::{self, Failure},
};
use petal_engine::{
    Error, GraphPlacement, Hardware, LibraryState, ModelState, PROVIDERS, Trial, examine_hardware, examine_library,
    examine_model, examine_placement, try_providers,
};
use serde_json::{Value, json};
use std::{env, error::Error as _};

/// Everything that was found.
struct Findings {
    hardware: Hardware,
    library: Result<LibraryState, Error>,
    trials: Result<Vec<Trial>, Error>,
    model: Result<ModelState, Error>,
    /// Asked for with `--model`.
    placement: Option<Result<Vec<GraphPlacement>, Error>>,
}

pub(crate) fn run(arguments: &Doctor) -> Result<(), Failure> {
    let options = arguments.load.options();
    let library = examine_library(&options);
    // without a library, one error is enough
    let trials = if library.is_ok() { try_providers(&options) } else { Ok(Vec::new()) };
    let model = examine_model(&options);
    let placed = options.model.is_some() && library.is_ok() && model.is_ok();
    let placement = placed.then(|| examine_placement(&options));
    let findings = Findings { hardware: examine_hardware(), library, trials, model, placement };
    if arguments.json {
        report::line(&shortened(&findings.to_json().to_string(), true))?;
    } else {
        let rows = findings.rows().into_iter();
        let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| shortened(cell, false)).collect()).collect();
        report::table(&rows)?;
    }
    if findings.are_sound() { Ok(()) } else { Err(Failure::Told) }
}

/// `text` with the user's home folder as `~`: what doctor prints is made to be shown to others.
fn shortened(text: &str, is_json: bool) -> String {
    let Some(home) = env::home_dir().map(|home| home.to_string_lossy().into_owned()) else { return text.into() };
    shorten(text, &if is_json { home.replace('\\', "\\\\") } else { home })
}

/// `text` with `~` in place of `home`, where it is a whole folder's path.
fn shorten(text: &str, home: &str) -> String {
    if home.len() < 2 {
        return text.into(); // `/` is no name of anybody
    }
    let (mut short, mut rest) = (String::new(), text);
    while let Some(place) = rest.find(home) {
        let (before, after) = (&rest[..place], &rest[place + home.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "/\\._-".contains(c));
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
        short += before;
        short += if begins && ends { "~" } else { home };
        rest = after;
    }
    short + rest
}

impl Findings {
    /// Whether nothing is wrong that somebody asked for. That a provider of the library does not start is no fault, unless
    /// it was named.
    fn are_sound(&self) -> bool {
        let trials = self.trials.as_ref().is_ok_and(|trials| trials.iter().all(|it| !it.named || it.outcome.is_ok()));
        let placement = self.placement.as_ref().is_none_or(Result::is_ok);
        self.library.is_ok() && self.model.is_ok() && trials && placement
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row("petal", env!("CARGO_PKG_VERSION"))];
        rows.extend(hardware_rows(&self.hardware));
        rows.extend(self.library.as_ref().map_or_else(|error| fault_rows("library", error), library_rows));
        rows.extend(self.trials.as_ref().map_or_else(|error| fault_rows("providers", error), |it| trial_rows(it)));
        rows.extend(self.model.as_ref().map_or_else(|error| fault_rows("model", error), model_rows));
        let placement = self.placement.as_ref();
        let placement =
            placement.map(|it| it.as_ref().map_or_else(|error| fault_rows("placement", error), |it| place_rows(it)));
        rows.extend(placement.into_iter().flatten());
        rows
    }

    fn to_json(&self) -> Value {
        let hardware = &self.hardware;
        json!({
            "petal": env!("CARGO_PKG_VERSION"),
            "sound": self.are_sound(),
            "hardware": {
                "system": hardware.system,
                "processor": hardware.processor,
                "cores": hardware.cores,
                "memory": hardware.memory,
                "nvidia_driver": hardware.nvidia_driver,
                "nvidia_gpus": hardware.nvidia_gpus,
                "vulkan": hardware.vulkan,
                "vulkan_drivers": hardware.vulkan_drivers,
            },
            "library": self.library.as_ref().map_or_else(fault_json, library_json),
            "providers": self.trials.as_ref().map_or_else(fault_json, |trials| trials.iter().map(trial_json).collect()),
            "model": self.model.as_ref().map_or_else(fault_json, |model| json!({
                "name": model.name,
                "place": model.place,
                "proven_files": model.proven,
                "vetted": model.vetted,
            })),
            "placement": self.placement.as_ref().map(|placement| {
                placement.as_ref().map_or_else(fault_json, |graphs| graphs.iter().map(placement_json).collect())
            }),
        })
    }
}

fn row(name: &str, value: impl Into<String>) -> Vec<String> {
    vec![name.into(), value.into()]
}

fn hardware_rows(hardware: &Hardware) -> Vec<Vec<String>> {
    let processor = hardware.processor.as_deref().unwrap_or("an unknown processor");
    let memory = hardware.memory.map_or(String::new(), |bytes| format!(", {}", report::size(bytes)));
    let mut rows = vec![
        row("system", hardware.system.clone()),
        row("processor", format!("{processor}, {} threads{memory}", hardware.cores)),
    ];
    let driver = match hardware.nvidia_driver.as_deref() {
        None => "no driver seen".into(),
        Some("") => "driver, of unknown version".into(),
        Some(version) => format!("driver {version}"),
    };
    let gpus = hardware.nvidia_gpus.iter().fold(String::new(), |text, gpu| text + ", " + gpu);
    rows.push(row("NVIDIA", driver + &gpus));
    rows.push(match &hardware.vulkan {
        None => row("Vulkan", "no loader seen"),
        Some(loader) => row("Vulkan", loader.display().to_string()),
    });
    rows.extend(hardware.vulkan_drivers.iter().map(|driver| row("", driver.display().to_string())));
    rows
}

fn library_rows(library: &LibraryState) -> Vec<Vec<String>> {
    let vetted = if library.vetted { "vetted" } else { "not in the catalogue" };
    let mut rows = vec![
        row("library", format!("{} ({})", library.path.display(), library.origin.about())),
        row("", library.version.clone()),
        row("", format!("SHA-256 {} ({vetted})", library.sha256)),
    ];
    for plugin in &library.plugins {
        let version = plugin.version.as_deref().unwrap_or("unknown");
        rows.push(row("plugin", plugin.path.display().to_string()));
        rows.push(row("", format!("{}, version {version}, {} devices", plugin.provider.name, plugin.devices)));
        rows.push(row("", format!("SHA-256 {}", plugin.sha256)));
    }
    let is_there = |name: &str| library.providers.iter().any(|provider| provider.name == name);
    let (there, absent): (Vec<_>, Vec<_>) = PROVIDERS.iter().map(|provider| provider.name).partition(|it| is_there(it));
    rows.push(row("providers", there.join(", ")));
    rows.push(row("", format!("not there: {}", absent.join(", "))));
    rows
}

fn library_json(library: &LibraryState) -> Value {
    let absent = PROVIDERS.iter().filter(|it| !library.providers.iter().any(|there| there.name == it.name));
    json!({
        "path": library.path,
        "origin": library.origin.about(),
        "version": library.version,
        "sha256": library.sha256,
        "vetted": library.vetted,
        "providers": library.providers.iter().map(|provider| provider.name).collect::<Vec<_>>(),
        "absent": absent.map(|it| json!({"name": it.name, "library": it.library, "remedy": it.remedy})).collect::<Vec<_>>(),
        "plugins": library.plugins.iter().map(|plugin| json!({
            "provider": plugin.provider.name,
            "path": plugin.path,
            "version": plugin.version,
            "sha256": plugin.sha256,
            "devices": plugin.devices,
        })).collect::<Vec<_>>(),
    })
}

fn trial_rows(trials: &[Trial]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for Trial { provider, outcome, .. } in trials {
        match outcome {
            Err(error) => rows.extend(fault_rows(provider, error)),
            Ok(ran) => {
                let cpu = match ran.nodes_on_cpu {
                    _ if provider == "cpu" => String::new(),
                    nodes => format!(", {nodes} of {} nodes on the CPU", ran.nodes),
                };
                let (difference, first) = (ran.difference, ran.first_seconds);
                rows.push(row(
                    provider,
                    format!(
                        "runs: differs from the CPU by {difference:.1e}, {:.4} s ({first:.2} s at first){cpu}",
                        ran.seconds
                    ),
                ));
            }
        }
    }
    rows
}

fn trial_json(trial: &Trial) -> Value {
    let mut told = json!({"provider": trial.provider, "named": trial.named});
    match &trial.outcome {
        Err(error) => told["error"] = fault_json(error)["error"].clone(),
        Ok(ran) => {
            told["difference"] = f64::from(ran.difference).into();
            told["first_seconds"] = ran.first_seconds.into();
            told["seconds"] = ran.seconds.into();
            told["nodes"] = ran.nodes.into();
            told["nodes_on_cpu"] = ran.nodes_on_cpu.into();
        }
    }
    told
}

fn model_rows(model: &ModelState) -> Vec<Vec<String>> {
    let proof = match model.proven {
        Some(files) if !model.vetted => {
            format!("not vetted: all {files} files are as they were when they were first downloaded")
        }
        Some(files) => format!("vetted: all {files} files have the hash that the catalogue has"),
        None => "not vetted: a folder that no catalogue lists".into(),
    };
    vec![row("model", format!("{} ({})", model.name, model.place)), row("", proof)]
}

fn place_rows(graphs: &[GraphPlacement]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for GraphPlacement { graph, shares, on_cpu, .. } in graphs {
        let (nodes, working) = shares.iter().fold((0, 0), |sum, share| (sum.0 + share.nodes, sum.1 + share.working));
        let shares = shares.iter().map(|share| {
            format!("{} {} of {nodes} nodes, {} of {working} that do work", share.provider, share.nodes, share.working)
        });
        rows.push(row(graph, shares.collect::<Vec<_>>().join("; ")));
        let operators: Vec<_> = on_cpu.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        if !operators.is_empty() {
            rows.push(row("", format!("on the CPU: {}", operators.join(", "))));
        }
    }
    rows
}

fn placement_json(placed: &GraphPlacement) -> Value {
    json!({
        "graph": placed.graph,
        "provider": placed.wanted,
        "shares": placed.shares.iter().map(|share| json!({
            "provider": share.provider,
            "nodes": share.nodes,
            "working": share.working,
        })).collect::<Vec<_>>(),
        "on_cpu": placed.on_cpu.iter().map(|(name, count)| json!({"operator": name, "nodes": count})).collect::<Vec<_>>(),
    })
}

fn fault_rows(name: &str, error: &Error) -> Vec<Vec<String>> {
    let mut rows = vec![row(name, format!("error: {error}"))];
    rows.extend(error.source().map(|cause| row("", format!("caused by: {cause}"))));
    rows.extend(error.hint().map(|hint| row("", format!("hint: {hint}"))));
    rows
}

fn fault_json(error: &Error) -> Value {
    json!({"error": {"what": error.with_causes(), "hint": error.hint()}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_folder_is_written_as_a_tilde() {
        let short = |text| shorten(text, "/home/ada");
        assert_eq!(short("`/home/ada/.local/lib.so` and /home/ada"), "`~/.local/lib.so` and ~");
        for other in ["/home/ada2/x", "/mnt/home/ada/x", "nothing", "/home/ad"] {
            assert_eq!(short(other), other);
        }
        assert_eq!(shorten("/usr/lib", "/"), "/usr/lib");
        assert_eq!(shorten(r#"{"path":"C:\\Users\\ada\\x"}"#, r"C:\\Users\\ada"), r#"{"path":"~\\x"}"#);
    }
}
