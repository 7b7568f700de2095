//! What is there to say of a folder of graphs, and what would petal do with it?
use super::{
    GraphReport, Problem,
    graph::report,
    parts::{self, Part},
    role::{Network, Role, TextKind},
};
use crate::{
    Catalogue, CatalogueModel, Error, Result,
    families::FAMILIES,
    models::{Files, GraphFile, ModelConfig},
};
use rayon::prelude::*;
use serde::Serialize;
use std::{fs, path::Path};

/// Folders within folders: a model keeps its graphs in folders, some by precision within them.
const DEEPEST: usize = 3;
/// A folder with more graphs holds more than a model.
const MOST_GRAPHS: usize = 256;

/// What is known of a model without running it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ModelReport {
    /// Its name in the catalogue, or its folder's.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// Its family, by its network: `sd`, `sdxl`, `sd3` or `flux`.
    pub family: Option<&'static str>,
    /// The network in words: `UNet of SDXL`.
    pub about: Option<String>,
    /// Whether petal draws with models of this family.
    pub drawn: bool,
    /// Which file plays which part.
    pub parts: Vec<PartReport>,
    /// The class of the scheduler that the model brings.
    pub scheduler: Option<String>,
    /// The sampler by name that does the same.
    pub sampler: Option<&'static str>,
    /// What the network predicts.
    pub prediction: Option<&'static str>,
    /// Channels of its latents.
    pub latent_channels: Option<usize>,
    /// What latents are multiplied by for the network.
    pub vae_scale: Option<f64>,
    /// What is taken from them before.
    pub vae_shift: Option<f64>,
    /// Pixels to a latent, along each side.
    pub downsampling: Option<usize>,
    /// Width and height of the pictures that it was trained on.
    pub native_size: Option<[usize; 2]>,
    /// The guidance when a request says none.
    pub cfg_scale: Option<f64>,
    /// What is missing, ambiguous or does not fit.
    pub problems: Vec<Problem>,
    /// Every graph.
    pub graphs: Vec<GraphReport>,
}

/// A part of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartReport {
    /// What it is: `text encoder`, `network`.
    pub part: &'static str,
    /// The file that plays it, by its path in the model.
    pub graph: Option<String>,
    /// Whether no picture is drawn without it.
    pub needed: bool,
}

/// Looks into the model in a folder.
pub(super) fn of_folder(folder: &Path, hash: bool) -> Result<ModelReport> {
    let mut names = Vec::new();
    graphs_below(folder, "", 0, &mut names)?;
    names.sort();
    if names.is_empty() || names.len() > MOST_GRAPHS {
        let count = if names.is_empty() { "no ONNX graph".to_owned() } else { format!("{} ONNX graphs", names.len()) };
        return Err(Error::model(
            format!("`{}` has {count}, {DEEPEST} folders deep", folder.display()),
            "give the folder of one model, an ONNX file, or a name from `petal list models`",
        ));
    }
    let files = Files::folder(folder)?;
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let graphs = names.par_iter().map(|name| (name, Ok(GraphFile::Path(folder.join(name)))));
    let graphs = graphs.map(|(name, file)| reported(name, file, hash)).collect();
    Ok(assemble(name, &files, None, graphs))
}

/// Looks into a model of the catalogue.
pub(super) fn of_catalogue(catalogue: &Catalogue, entry: &CatalogueModel, hash: bool) -> Result<ModelReport> {
    let (name, _, files) = catalogue.open(Some(&entry.name))?;
    let names: Vec<_> = entry.files.keys().filter(|name| name.ends_with("/model.onnx")).collect();
    let graph = |name: &&String| reported(name, files.graph(name.trim_end_matches("/model.onnx")), hash);
    let graphs = names.par_iter().map(graph).collect();
    Ok(assemble(name.name, &files, entry.defaults.cfg_scale, graphs))
}

/// The graphs in `folder` of the model and below, by their paths in the model.
fn graphs_below(model: &Path, folder: &str, depth: usize, found: &mut Vec<String>) -> Result<()> {
    let place = model.join(folder);
    for entry in fs::read_dir(&place).map_err(Error::io("read", &place))? {
        let name = entry.map_err(Error::io("read", &place))?.file_name();
        let name = name.to_string_lossy();
        let path = if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") };
        let is_folder = place.join(&*name).is_dir();
        if is_folder && depth < DEEPEST && !name.starts_with('.') {
            graphs_below(model, &path, depth + 1, found)?;
        } else if !is_folder && Path::new(&path).extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("onnx")) {
            found.push(path);
        }
    }
    Ok(())
}

/// A graph, or what keeps it from being read.
fn reported(name: &str, file: Result<GraphFile>, hash: bool) -> Result<GraphReport, Problem> {
    file.and_then(|file| report(name, &file, hash))
        .map_err(|error| Problem { what: error.with_causes(), hint: error.hint().unwrap_or_default() })
}

/// The graphs that could be read, and what is wrong with these and the others.
fn sorted_out(read: Vec<Result<GraphReport, Problem>>) -> (Vec<GraphReport>, Vec<Problem>) {
    let (mut graphs, mut problems) = (Vec::new(), Vec::new());
    for graph in read {
        match graph {
            Ok(graph) => {
                problems.extend(graph.problems.iter().cloned());
                graphs.push(graph);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (graphs, problems)
}

/// What the graphs of a model are together, and what its json files say.
fn assemble(
    name: String,
    files: &Files,
    cfg_scale: Option<f64>,
    read: Vec<Result<GraphReport, Problem>>,
) -> ModelReport {
    let (graphs, mut problems) = sorted_out(read);
    let parts = parts::cast(&graphs, &mut problems);
    let part = |part: Part| parts.iter().find(|known| known.part == part).and_then(|known| known.graph);
    let network = part(Part::Network).and_then(|graph| match &graph.known {
        Role::Network(network) => Some((network, graph.about.clone())),
        _ => None,
    });
    let (network, about) = network.unzip();
    let latents = part(Part::Decoder).and_then(|graph| match graph.known {
        Role::VaeDecoder { channels } => channels,
        _ => None,
    });
    if let Some(network) = network {
        check_widths(network, latents, &[part(Part::Text), part(Part::SecondText)], &mut problems);
    }
    let mut report = ModelReport {
        name,
        place: files.place(),
        family: network.and_then(|network| network.family),
        about,
        parts: parts.iter().map(|known| known.part.report(known.graph, known.needed)).collect(),
        latent_channels: latents.or(network.and_then(|network| network.gives.filter(|_| network.is_unet()))),
        cfg_scale,
        problems,
        ..ModelReport::default()
    };
    report.graphs = graphs;
    report.follow_family();
    report.read_settings(files);
    report
}

impl ModelReport {
    /// Adds what petal makes of a family.
    fn follow_family(&mut self) {
        let Some(name) = self.family else { return };
        if let Some(family) = FAMILIES.iter().find(|family| family.name == name) {
            self.drawn = true;
            self.vae_scale = Some(family.latent_scale);
            self.cfg_scale = self.cfg_scale.or(Some(family.cfg_scale));
            return;
        }
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        self.problems.push(Problem {
            what: format!("petal does not draw with models of the family `{name}`"),
            hint: format!("use a model of one of: {}", names.join(", ")),
        });
    }

    /// Adds what the json files beside the graphs say.
    fn read_settings(&mut self, files: &Files) {
        let text = files.text("scheduler/scheduler_config.json").ok().flatten().unwrap_or_default();
        // the class alone: Python writes infinities, which are no JSON
        self.scheduler =
            text.split_once("\"_class_name\"").and_then(|(_, rest)| rest.split('"').nth(1)).map(str::to_owned);
        match ModelConfig::read(files) {
            Ok(config) => {
                self.sampler = config.own_sampler().map(|sampler| sampler.name);
                self.prediction = Some(config.prediction.name());
                self.vae_scale = config.vae.scaling_factor.or(self.vae_scale);
                self.vae_shift = config.vae.shift_factor;
                self.downsampling = config.vae.downsampling();
                let pixels = |latents: u32| self.downsampling.map(|factor| latents as usize * factor);
                self.native_size = config.sample_size.and_then(|(h, w)| Some([pixels(w)?, pixels(h)?]));
            }
            // a lone graph of another kind needs no scheduler
            Err(error) if self.family.is_some() => {
                self.problems.push(Problem { what: error.to_string(), hint: error.hint().unwrap_or_default() });
            }
            Err(_) => {}
        }
    }
}

/// Says where the network does not fit the graphs beside it.
fn check_widths(
    network: &Network,
    latents: Option<usize>,
    encoders: &[Option<&GraphReport>],
    problems: &mut Vec<Problem>,
) {
    let hint = "take both from the same model";
    if let (true, Some(gives), Some(takes)) = (network.is_unet(), network.gives, latents)
        && gives != takes
    {
        let what = format!("the network gives {gives} channels of latents, and the VAE decoder takes {takes}");
        problems.push(Problem { what, hint: hint.into() });
    }
    let widths = encoders.iter().flatten().map(|graph| match &graph.known {
        Role::TextEncoder(encoder) if encoder.kind != TextKind::T5 => encoder.width,
        _ => None,
    });
    let width: Option<usize> = widths.sum(); // SDXL joins the states of both
    if let (true, Some(width), Some(takes)) = (network.is_unet(), width, network.width)
        && width != takes
        && width > 0
    {
        let what = format!("the network takes text of width {takes}, and the text encoders give {width}");
        problems.push(Problem { what, hint: hint.into() });
    }
}
