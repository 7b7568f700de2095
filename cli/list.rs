//! `petal list`: what can be chosen.
use crate::{
    args::{List, Listing},
    report::{self, Failure},
};
use petal_engine::{Catalogue, LoadOptions, ModelKind, PROVIDERS, SAMPLERS, SCHEDULES, UPSCALERS, examine_library};
use serde_json::{Value, json};

pub(crate) fn run(arguments: &List) -> Result<(), Failure> {
    let (catalogue, library) = (arguments.catalogue.clone(), arguments.onnxruntime.clone());
    let options = LoadOptions { catalogue, library, ..LoadOptions::default() };
    let items = match arguments.what {
        Listing::Samplers => samplers(),
        Listing::Schedulers => schedules(),
        Listing::Models => models(&options)?,
        Listing::Upscalers => upscalers(&options)?,
        Listing::Providers => providers(&options)?,
    };
    if arguments.json {
        return report::line(&Value::Array(items).to_string());
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = items.iter().map(|item| item.as_object().map(|fields| fields.values().map(text).collect()));
    report::table(&rows.map(Option::unwrap_or_default).collect::<Vec<_>>())
}

fn samplers() -> Vec<Value> {
    let items =
        SAMPLERS.iter().map(|sampler| json!({"name": sampler.name, "label": sampler.label, "about": sampler.about}));
    items.collect()
}

fn schedules() -> Vec<Value> {
    let model = json!({
        "name": petal_engine::MODEL_SCHEDULE,
        "label": "Model",
        "about": "what the model's scheduler_config.json says, as diffusers reads it (default)",
    });
    let automatic = json!({
        "name": petal_engine::AUTOMATIC_SCHEDULE,
        "label": "Automatic",
        "about": "what stable-diffusion-webui chooses for the sampler",
    });
    let others = SCHEDULES.iter().map(|kind| json!({"name": kind.name, "label": kind.label, "about": kind.about}));
    [model, automatic].into_iter().chain(others).collect()
}

fn models(options: &LoadOptions) -> Result<Vec<Value>, Failure> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?;
    let state = |installed: bool| if installed { "installed" } else { "not installed" };
    let items = catalogue.models.iter().map(|model| {
        json!({
            "name": model.name,
            "kind": model.kind().label(),
            "state": state(model.is_installed()),
            "licence": model.licence,
            "about": model.about,
        })
    });
    Ok(items.collect())
}

fn upscalers(options: &LoadOptions) -> Result<Vec<Value>, Failure> {
    let ways = UPSCALERS.iter().map(|kind| json!({"name": kind.name, "kind": "second pass", "about": kind.about}));
    let catalogue = Catalogue::load(options.catalogue.as_deref())?;
    let networks = catalogue.models.iter().filter(|model| model.kind() == ModelKind::Upscaler);
    let networks = networks.map(|model| {
        let kind = if model.is_installed() { "network" } else { "network, not installed" };
        json!({"name": model.name, "kind": kind, "about": model.about})
    });
    Ok(ways.chain(networks).collect())
}

fn providers(options: &LoadOptions) -> Result<Vec<Value>, Failure> {
    let library = match examine_library(options) {
        Err(error) if options.library.is_some() => return Err(error.into()), // it was named: it must be there
        found => found.ok(),
    };
    let state = |name: &str| match &library {
        Some(library) if library.providers.iter().any(|provider| provider.name == name) => "in the library",
        Some(_) => "not in the library",
        None => "unknown: no library yet",
    };
    let items = PROVIDERS
        .iter()
        .map(|provider| json!({"name": provider.name, "state": state(provider.name), "about": provider.about}));
    Ok(items.collect())
}
