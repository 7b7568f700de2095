//! `petal runtime`: install ONNX Runtime and its providers, list them, remove them.
use crate::{
    common::{Talk, Where},
    report::{self, Failure},
};
use clap::{Args, Subcommand};
use petal_engine::{
    BundleKind, InstallEvent, InstalledRuntime, RuntimeBundle, RuntimeState, install_runtime, remove_runtime, runtimes,
};
use serde_json::{Value, json};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  petal runtime list\n  petal runtime install cuda\n  petal runtime remove cuda\n\n\
                        pip brings the wheels, with its own settings for mirrors and proxies; the variables PIP_NO_INDEX=1 and\n\
                        PIP_FIND_LINKS=DIR have it take them from a folder. Every wheel and every library is proven against the\n\
                        SHA-256 in petal's catalogue."
)]
pub(crate) struct Runtime {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install a bundle with pip: `cpu`, `cuda`, `directml`, `webgpu`, `tensorrt-rtx`, `openvino` or `mlx`
    Install(Install),
    /// List the bundles: which of them are here, what they are for and what they need
    List(List),
    /// Remove a bundle, whatever its version
    #[command(alias = "rm")]
    Remove(Remove),
}

#[derive(Args, Debug)]
struct Install {
    /// A name from `petal runtime list`
    name: String,
    /// Never touch the network: say whether it is here
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    talk: Talk,
}

#[derive(Args, Debug)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Args, Debug)]
struct Remove {
    /// A name from `petal runtime list`
    name: String,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) fn run(arguments: &Runtime) -> Result<(), Failure> {
    match &arguments.action {
        Action::Install(arguments) => install(arguments),
        Action::List(arguments) => list(arguments),
        Action::Remove(arguments) => remove(arguments),
    }
}

fn install(arguments: &Install) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    let Install { name, offline, talk: Talk { json, quiet }, .. } = arguments;
    let tell = |event: InstallEvent<'_>| match event {
        InstallEvent::Waiting => report::note("another petal is installing something; waiting"),
        InstallEvent::Download { wheel, number, of } => {
            let count = if of > 1 { format!(", {number} of {of}") } else { String::new() };
            report::note(&format!("downloading {} ({}{count})", wheel.requirement, report::size(wheel.size)));
        }
        _ => {}
    };
    let silent = |_: InstallEvent<'_>| {};
    let installed = install_runtime(name, &catalogue, *offline, if *quiet { &silent } else { &tell })?;
    let states = runtimes(&catalogue)?;
    let Some(state) = states.iter().find(|state| state.name == *name) else { return Ok(()) };
    if *json {
        return report::line(&describe(state).to_string());
    }
    if !quiet {
        let (how, place) = (if installed.was_here { "is" } else { "is now" }, installed.folder.display());
        report::note(&format!(
            "{name} {} {how} in {place}: {}, {}",
            state.bundle.package().1,
            report::size(installed.bytes),
            state.bundle.licence,
        ));
        if let Some(needs) = state.bundle.needs.as_ref().filter(|_| !installed.was_here) {
            report::note(&format!("it needs {needs}"));
        }
    }
    Ok(())
}

fn list(arguments: &List) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    let states = runtimes(&catalogue)?;
    if arguments.json {
        return report::line(&Value::Array(states.iter().map(describe).collect()).to_string());
    }
    for state in &states {
        let bundle = state.bundle;
        let (word, size) = presence(state);
        report::line(&format!(
            "{:13} {:24} {:21} {:>9}  {}",
            state.name,
            bundle.package().1,
            word,
            report::size(size),
            about(bundle)
        ))?;
        let platforms: Vec<_> = state.platforms.iter().map(ToString::to_string).collect();
        report::line(&format!("    made for {}", platforms.join(", ")))?;
        if let Some(needs) = &bundle.needs {
            report::line(&format!("    needs {needs}"))?;
        }
        if let Some(installed) = &state.installed {
            report::line(&format!("    in {}", installed.folder.display()))?;
        }
    }
    Ok(())
}

/// Whether a bundle is here, in a word or more, and its bytes: of what is here, or of the download.
fn presence(state: &RuntimeState<'_>) -> (&'static str, u64) {
    match &state.installed {
        Some(InstalledRuntime { bytes, .. }) => ("here", *bytes),
        None if state.for_this_machine => ("not here", state.bundle.download_size()),
        None => ("not for this machine", state.bundle.download_size()),
    }
}

fn about(bundle: &RuntimeBundle) -> String {
    let kind = kind(bundle);
    format!("{kind}, for --ep {}", bundle.serves.join(", "))
}

fn kind(bundle: &RuntimeBundle) -> &'static str {
    match bundle.kind {
        BundleKind::Core => "core",
        BundleKind::Plugin => "plugin",
    }
}

fn describe(state: &RuntimeState<'_>) -> Value {
    let bundle = state.bundle;
    let platform = |platform: &petal_engine::Platform<'_>| json!({"os": platform.os, "arch": platform.arch});
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let installed = state.installed.as_ref();
    let requirements: Vec<_> = bundle.wheels.iter().map(|wheel| wheel.requirement.as_str()).collect();
    json!({
        "name": state.name,
        "kind": kind(bundle),
        "version": bundle.package().1,
        "state": presence(state).0,
        "serves": bundle.serves,
        "provider": bundle.provider,
        "core": bundle.core,
        "needs": bundle.needs,
        "licence": bundle.licence,
        "platforms": state.platforms.iter().map(platform).collect::<Vec<_>>(),
        "wheels": requirements,
        "download_bytes": bundle.download_size(),
        "folder": installed.map(|installed| path(&installed.folder)),
        "library": installed.map(|installed| path(&installed.library)),
        "bytes": installed.map(|installed| installed.bytes),
    })
}

fn remove(arguments: &Remove) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    let Remove { name, talk: Talk { json, quiet }, .. } = arguments;
    let bytes = remove_runtime(name, &catalogue)?;
    if *json {
        return report::line(&json!({"name": name, "bytes": bytes}).to_string());
    }
    if !quiet {
        report::note(&format!("removed {name}: {}", report::size(bytes)));
    }
    Ok(())
}
