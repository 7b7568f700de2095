//! `petal models`: download models, list them, remove them.
use crate::{
    common::{Talk, Where},
    draw,
    report::{self, Failure, TransferProgress},
};
use clap::{Args, Subcommand};
use petal_engine::{
    CatalogueModel, ModelFile, ModelPresence, NewModel, PullEvent, PullOptions, Pulled, PulledFrom, Vetting, add_model,
    pull_model, remove_model,
};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct Models {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Download a model of the catalogue, every file proven before it is used
    Pull(Pull),
    /// List the models of the catalogue, and which of them are here
    List(List),
    /// Show what is known of a model: its files, their hashes, where it lies
    Show(Show),
    /// Remove what `pull` or `add` put here
    Rm(Remove),
    /// Add a folder of ONNX graphs to your own catalogue, with the hashes that its files have now
    Add(Add),
}

#[derive(Args, Debug)]
#[command(
    after_help = "The variables HF_ENDPOINT (another hub or a mirror), HF_TOKEN (for models whose licence must be \
                        accepted), HF_HUB_OFFLINE,\nHF_HOME and HF_HUB_CACHE mean what they mean to the hub's own tools. \
                        An interrupted download goes on with the same command."
)]
struct Pull {
    /// A name from `petal models list`
    name: String,
    /// Pull it even if nobody vetted its files; their hashes are kept, and later loads are proven against them
    #[arg(long)]
    allow_unvetted: bool,
    /// Never touch the network: say what is missing
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
struct Show {
    /// A name from `petal models list`
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Args, Debug)]
struct Remove {
    /// A name from `petal models list`
    name: String,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    talk: Talk,
}

#[derive(Args, Debug)]
struct Add {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The model's name [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// Its family: sd, sdxl, sd3, flux or upscaler, as its files must say, too [default: what they say]
    #[arg(long)]
    family: Option<String>,
    /// Its licence [default: unknown]
    #[arg(long)]
    licence: Option<String>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) fn run(arguments: &Models) -> Result<(), Failure> {
    match &arguments.action {
        Action::Pull(arguments) => pull_one(arguments),
        Action::List(arguments) => list(arguments),
        Action::Show(arguments) => show(arguments),
        Action::Rm(arguments) => remove_one(arguments),
        Action::Add(arguments) => add(arguments),
    }
}

fn pull_one(arguments: &Pull) -> Result<(), Failure> {
    draw::stop_on_signals(); // a part of a file stays, and the next pull goes on with it
    let catalogue = arguments.place.load()?;
    let model = catalogue.model(&arguments.name)?;
    let mut options = PullOptions::from_environment()?;
    options.offline |= arguments.offline;
    options.allow_unvetted = arguments.allow_unvetted;
    let Talk { json, quiet } = arguments.talk;
    let progress = TransferProgress::new(&model.name, quiet);
    let told = pull_model(model, &options, &|event| tell(&progress, &event, quiet));
    drop(progress);
    let pulled = told?;
    if json {
        return report::line(&describe_pulled(model, &pulled).to_string());
    }
    if !quiet {
        let bytes = report::size(pulled.files.iter().map(|file| file.bytes).sum());
        let came = |from| pulled.files.iter().filter(|file| file.from == from).count();
        let (hub, cache, here) = (came(PulledFrom::Hub), came(PulledFrom::Cache), came(PulledFrom::Here));
        let proof = if pulled.vetted { "vetted" } else { "not vetted; their hashes are kept" };
        report::note(&format!(
            "{} is in {}: {} files, {bytes} ({hub} downloaded, {cache} from another cache, {here} were here), {proof}",
            model.name,
            pulled.folder.display(),
            pulled.files.len(),
        ));
    }
    Ok(())
}

fn tell(progress: &TransferProgress, event: &PullEvent<'_>, quiet: bool) {
    match event {
        PullEvent::Waiting if !quiet => progress.note("another petal is at it; waiting"),
        PullEvent::Begin { bytes, .. } => progress.expect(*bytes),
        PullEvent::Progress { file, done, total } => progress.tell(file, *done, *total),
        PullEvent::Retry { file, what, wait } if !quiet => {
            progress.note(&format!("{file}: {what}; again in {:.1} s", wait.as_secs_f64()));
        }
        _ => {}
    }
}

fn describe_pulled(model: &CatalogueModel, pulled: &Pulled) -> Value {
    let file = |file: &petal_engine::PulledFile| json!({"name": file.name, "sha256": file.sha256, "bytes": file.bytes, "from": file.from.label()});
    json!({
        "name": model.name,
        "folder": pulled.folder.to_string_lossy(),
        "repo": model.repo,
        "revision": model.revision(),
        "commit": pulled.commit,
        "vetted": pulled.vetted,
        "files": pulled.files.iter().map(file).collect::<Vec<_>>(),
    })
}

/// How much of a model is here, in a word or two.
fn state(model: &CatalogueModel) -> &'static str {
    match model.presence() {
        ModelPresence::Bundled => "bundled",
        ModelPresence::Here => "here",
        ModelPresence::Partly => "partly here",
        ModelPresence::Absent => "not here",
    }
}

/// Who says what a model's files are, in a word or two.
fn vetting(model: &CatalogueModel) -> &'static str {
    match model.vetting() {
        Vetting::Vetted => "vetted",
        Vetting::FirstUse => "first use",
        Vetting::Unvetted => "unvetted",
    }
}

/// The bytes of a model: of what is here, or as the catalogue says.
fn size(model: &CatalogueModel) -> Option<u64> {
    let files = if model.is_installed() { model.file_list().unwrap_or_default() } else { Vec::new() };
    let here: Option<u64> = files.iter().map(|file| file.bytes).sum();
    here.filter(|bytes| *bytes > 0).or(model.size)
}

fn list(arguments: &List) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    if arguments.json {
        let items = catalogue.models.iter().map(|model| {
            json!({
                "name": model.name,
                "family": model.family,
                "licence": model.licence,
                "bytes": size(model),
                "state": state(model),
                "vetting": vetting(model),
                "about": model.about,
            })
        });
        return report::line(&Value::Array(items.collect()).to_string());
    }
    let rows = catalogue.models.iter().map(|model| {
        let state = match model.vetting() {
            Vetting::Vetted => state(model).to_owned(),
            _ => format!("{}, {}", state(model), vetting(model)),
        };
        let size = size(model).map(report::size).unwrap_or_default();
        vec![model.name.clone(), model.family.clone(), model.licence.clone(), size, state]
    });
    report::table(&rows.collect::<Vec<_>>())
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    let model = catalogue.model(&arguments.name)?;
    let place = if model.bundled { "part of petal".into() } else { model.folder()?.display().to_string() };
    let files = model.file_list()?;
    if arguments.json {
        return report::line(&describe(model, &files, &place).to_string());
    }
    let proof = match model.vetting() {
        Vetting::Vetted => "vetted: the catalogue has the hash of every file",
        Vetting::FirstUse => "not vetted; proven against the hashes of the first download (trust on first use)",
        Vetting::Unvetted => "not vetted: nobody has the hashes of its files",
    };
    let rows = [
        ("name", Some(model.name.clone())),
        ("family", Some(model.family.clone())),
        ("about", Some(model.about.clone())),
        ("licence", Some(model.licence.clone())),
        ("source", Some(model.source.clone())),
        ("repository", model.repo.as_ref().map(|repo| format!("{repo} at {}", model.revision()))),
        ("size", size(model).map(report::size)),
        ("steps", model.defaults.steps.map(|steps| steps.to_string())),
        ("guidance", model.defaults.cfg_scale.map(|scale| scale.to_string())),
        ("state", Some(state(model).to_owned())),
        ("place", Some(place)),
        ("proof", Some(proof.to_owned())),
    ];
    let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?]));
    report::table(&rows.collect::<Vec<_>>())?;
    let rows = files.into_iter().map(|file| {
        let size = file.bytes.map_or_else(|| "not here".into(), report::size);
        vec![format!("  {}", file.name), size, file.sha256.unwrap_or_else(|| "hash unknown".into())]
    });
    report::line("files")?;
    report::table(&rows.collect::<Vec<_>>())
}

/// What `show` prints as JSON.
fn describe(model: &CatalogueModel, files: &[ModelFile], place: &str) -> Value {
    let file = |file: &ModelFile| json!({"name": file.name, "sha256": file.sha256, "bytes": file.bytes});
    json!({
        "name": model.name,
        "family": model.family,
        "about": model.about,
        "licence": model.licence,
        "source": model.source,
        "repo": model.repo,
        "revision": model.repo.as_ref().map(|_| model.revision()),
        "bytes": size(model),
        "state": state(model),
        "vetting": vetting(model),
        "place": place,
        "steps": model.defaults.steps,
        "cfg_scale": model.defaults.cfg_scale,
        "files": files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn remove_one(arguments: &Remove) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    let model = catalogue.model(&arguments.name)?;
    let files = remove_model(model)?;
    let Talk { json, quiet } = arguments.talk;
    if json {
        return report::line(&json!({"name": model.name, "files": files}).to_string());
    }
    if !quiet {
        report::note(&match files {
            0 if model.repo.is_none() => format!("removed {} from your catalogue; its files stay", model.name),
            files => format!("removed {}: {files} files", model.name),
        });
    }
    Ok(())
}

fn add(arguments: &Add) -> Result<(), Failure> {
    let catalogue = arguments.place.load()?;
    let Add { folder, name, family, licence, .. } = arguments;
    let new = NewModel { folder: folder.clone(), name: name.clone(), family: family.clone(), licence: licence.clone() };
    let model = add_model(&new, &catalogue)?;
    let Talk { json, quiet } = arguments.talk;
    if json {
        let files: Vec<Value> = model.files.iter().map(|(name, hash)| json!({"name": name, "sha256": hash})).collect();
        let added = json!({"name": model.name, "family": model.family, "bytes": model.size, "files": files});
        return report::line(&added.to_string());
    }
    if !quiet {
        report::note(&format!("added {}: {} files, family {}", model.name, model.files.len(), model.family));
    }
    Ok(())
}
