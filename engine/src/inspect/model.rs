//! What is there to say of a folder of graphs, and what would petal do with it?
use super::{GraphReport, Problem, graph::report};
use crate::{
    Catalogue, CatalogueModel, Error, Result,
    families::takes_guidance,
    models::{Files, GraphFile},
    role::{Network, Role, TextKind},
    survey::{Component, Elsewhere, Survey, survey},
};
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

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
    /// The same of guidance that the network was taught, if it was.
    pub guidance: Option<f64>,
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
    let files = Files::folder(folder)?;
    let names = files.graphs()?;
    if names.is_empty() || names.len() > MOST_GRAPHS {
        let count = if names.is_empty() { "no ONNX graph".to_owned() } else { format!("{} ONNX graphs", names.len()) };
        return Err(Error::model(
            format!("`{}` has {count}, in it or in its folders", folder.display()),
            "give the folder of one model, an ONNX file, or a name from `petal list models`",
        ));
    }
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let graphs = names.par_iter().map(|name| (name, Ok(GraphFile::Path(folder.join(name)))));
    let graphs = graphs.map(|(name, file)| reported(name, file, hash)).collect();
    Ok(assemble(name, &files, None, graphs))
}

/// Looks into a model of the catalogue.
pub(super) fn of_catalogue(catalogue: &Catalogue, entry: &CatalogueModel, hash: bool) -> Result<ModelReport> {
    let (name, _, files) = catalogue.open(Some(&entry.name))?;
    let names = files.graphs()?;
    let graphs = names.par_iter().map(|name| reported(name, files.graph_at(name), hash)).collect();
    Ok(assemble(name.name, &files, entry.defaults.cfg_scale, graphs))
}

/// A graph, or what keeps it from being read.
fn reported(name: &str, file: Result<GraphFile>, hash: bool) -> Result<GraphReport, Problem> {
    file.and_then(|file| report(name, &file, hash)).map_err(|error| problem(&error))
}

/// What the graphs of a model are together, and what its json files say.
fn assemble(
    name: String,
    files: &Files,
    cfg_scale: Option<f64>,
    read: Vec<Result<GraphReport, Problem>>,
) -> ModelReport {
    let (mut graphs, mut problems) = (Vec::new(), Vec::new());
    for graph in read {
        match graph {
            Ok(graph) => graphs.push(graph),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(graphs.iter().flat_map(|graph: &GraphReport| graph.problems.clone()));
    let draws = graphs.iter().any(|graph| matches!(graph.known, Role::Network(_)));
    let survey = match survey(files, Elsewhere::default()) {
        Ok(survey) => Some(survey),
        Err(error) => {
            problems.extend(draws.then(|| problem(&error))); // a lone graph of another kind plays no part
            None
        }
    };
    let mut report = ModelReport {
        name,
        place: files.place(),
        family: survey.as_ref().map(|survey| survey.family.name),
        cfg_scale,
        problems,
        graphs,
        ..ModelReport::default()
    };
    if let Some(survey) = survey {
        report.cast(&survey);
        report.read_settings(&survey, files);
    }
    report
}

fn problem(error: &Error) -> Problem {
    Problem { what: error.with_causes(), hint: error.hint().unwrap_or_default() }
}

/// What the text encoders of a model are called, in their order.
const TEXT_ENCODERS: [&str; 3] = ["text encoder", "second text encoder", "third text encoder"];

impl ModelReport {
    /// Adds who plays which part, and how far the parts suit each other.
    fn cast(&mut self, survey: &Survey) {
        let mut part = |part: &'static str, component: Option<&Component>, needed: bool| {
            if needed || component.is_some() {
                let graph = component.map(|component| component.graph.clone());
                self.parts.push(PartReport { part, graph, needed });
            }
        };
        part("network", Some(&survey.network), true);
        for (place, (name, text)) in TEXT_ENCODERS.into_iter().zip(&survey.text_encoders).enumerate() {
            part(name, Some(&text.graph), survey.family.needs(place));
        }
        part("VAE decoder", Some(&survey.decoder), true);
        part("VAE encoder", survey.encoder.as_ref(), false);
        part("tiny VAE decoder", survey.tiny_decoder.as_ref(), false);
        let tokenizers = survey.text_encoders.iter().filter_map(|text| text.check_tokenizer().err());
        self.problems.extend(tokenizers.map(|error| problem(&error)));
        let of = |component: &Component| self.graphs.iter().find(|graph| graph.name == component.graph);
        let known = |component: &Component| of(component).map(|graph| &graph.known);
        self.about = of(&survey.network).map(|graph| graph.about.clone());
        self.latent_channels = match known(&survey.decoder) {
            Some(Role::VaeDecoder { channels }) => *channels,
            _ => None,
        };
        if let Some(Role::Network(network)) = known(&survey.network) {
            self.latent_channels = self.latent_channels.or(network.gives.filter(|_| network.is_unet));
            let encoders: Vec<_> = survey.text_encoders.iter().map(|text| of(&text.graph)).collect();
            let mut problems = Vec::new();
            check_widths(network, self.latent_channels, &encoders, &mut problems);
            self.problems.extend(problems);
        }
        let taught = takes_guidance(&survey.inputs);
        self.cfg_scale = self.cfg_scale.or(Some(if taught { 1.0 } else { survey.family.usual.cfg_scale }));
        self.guidance = taught.then_some(survey.family.usual.guidance);
    }

    /// Adds what the json files beside the graphs say.
    fn read_settings(&mut self, survey: &Survey, files: &Files) {
        let text = files.text("scheduler/scheduler_config.json").ok().flatten().unwrap_or_default();
        // the class alone: Python writes infinities, which are no JSON
        self.scheduler =
            text.split_once("\"_class_name\"").and_then(|(_, rest)| rest.split('"').nth(1)).map(str::to_owned);
        let config = match survey.config(files) {
            Ok(config) => config,
            Err(error) => return self.problems.push(problem(&error)),
        };
        self.sampler = config.own_sampler().map(|sampler| sampler.name);
        self.prediction = Some(config.prediction.name());
        let (scale, shift) = config.vae.format(survey.family.latents);
        (self.vae_scale, self.vae_shift) = (Some(scale), Some(shift).filter(|shift| *shift != 0.0));
        self.downsampling = config.vae.downsampling();
        let side = survey.family.usual.side;
        let (height, width) = config.sample_size.unwrap_or((side, side));
        self.native_size = self.downsampling.map(|factor| [width as usize * factor, height as usize * factor]);
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
    if let (true, Some(gives), Some(takes)) = (network.is_unet, network.gives, latents)
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
    if let (true, Some(width), Some(takes)) = (network.is_unet, width, network.width)
        && width != takes
        && width > 0
    {
        let what = format!("the network takes text of width {takes}, and the text encoders give {width}");
        problems.push(Problem { what, hint: hint.into() });
    }
}
