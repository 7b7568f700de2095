//! What is there to say of one ONNX graph?
use super::{FileReport, Problem};
use crate::{
    Error, Result,
    models::{GraphFile, sha256, sha256_of_file},
    role::Role,
    runtime::{
        PROVIDERS, data_type,
        placement::obstacles,
        signature::{Declared, DeclaredAxis, Signature, WeightFile},
    },
};
use rayon::prelude::*;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path},
};

/// What is known of an ONNX graph without running it.
#[derive(Clone, Debug, Serialize)]
pub struct GraphReport {
    /// Its file, by its path in the model.
    pub name: String,
    /// What it is to a model that draws: `text_encoder`, `unet`, `transformer`, `vae_encoder`, `vae_decoder`, `controlnet`,
    /// `upscaler`, `image_encoder`, `safety_checker` or `unknown`.
    pub role: &'static str,
    /// The same in words, with what else its inputs and outputs tell.
    pub about: String,
    /// The family that a network is of: `sd`, `sdxl`, `sd3` or `flux`.
    pub family: Option<&'static str>,
    /// Bytes on the disk, those of its weights included.
    pub bytes: u64,
    /// Its files: the graph, then its weights.
    pub files: Vec<FileReport>,
    /// The program that wrote it, and that program's version.
    pub producer: String,
    /// The version of the ONNX format.
    pub ir_version: i64,
    /// The version of each domain's operators.
    pub opsets: BTreeMap<String, i64>,
    /// Its weights.
    pub weights: WeightsReport,
    /// What it is given.
    pub inputs: Vec<PortReport>,
    /// What it gives.
    pub outputs: Vec<PortReport>,
    /// How often each operator stands in it, by domain; those of graphs within it and of its functions count.
    pub operators: BTreeMap<String, BTreeMap<String, u64>>,
    /// How often each function that the file defines is called.
    pub functions: BTreeMap<String, u64>,
    /// The providers that cannot run it, as far as that is known, and why.
    pub cannot_run_on: Vec<ProviderReport>,
    /// What is wrong with its files.
    pub problems: Vec<Problem>,
    #[serde(skip)]
    pub(super) known: Role,
}

/// Weights of a graph.
#[derive(Clone, Debug, Serialize)]
pub struct WeightsReport {
    /// How many there are.
    pub tensors: u64,
    /// Numbers in all of them.
    pub values: u64,
    /// Bytes that they take in memory.
    pub bytes: u64,
    /// The same by type: tensors, values, bytes.
    pub types: BTreeMap<&'static str, [u64; 3]>,
}

/// An input or output.
#[derive(Clone, Debug, Serialize)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// The type of its numbers; `unknown` for what is no tensor.
    #[serde(rename = "type")]
    pub data_type: &'static str,
    /// The length or the name of each axis, or nothing where it is of any length.
    pub shape: Option<Vec<AxisReport>>,
    /// The shape as text: `[batch, 4, ?]`.
    #[serde(skip)]
    pub shape_text: String,
}

/// An axis of an input or output.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AxisReport {
    /// Its length.
    Fixed(u64),
    /// What exporters call it.
    Named(String),
    /// Of any length, and without a name.
    Free(()),
}

/// Providers that cannot run a graph.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderReport {
    /// Their names.
    pub providers: Vec<&'static str>,
    /// What they lack.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// Reads the graph in `file`, which is called `name`; with `hash`, all its weights, too.
pub(super) fn report(name: &str, file: &GraphFile, hash: bool) -> Result<GraphReport> {
    let signature = match file {
        GraphFile::Path(path) => Signature::read(path)?,
        GraphFile::Bytes(bytes) => Signature::of_bytes(name, bytes)?,
    };
    let (files, problems) = match file {
        GraphFile::Path(path) => files_of(name, path, &signature, hash)?,
        GraphFile::Bytes(bytes) => {
            let sha256 = hash.then(|| sha256(bytes));
            (vec![FileReport { name: name.into(), bytes: bytes.len() as u64, sha256 }], Vec::new())
        }
    };
    let known = Role::of_signature(&signature);
    let mut operators: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for ((domain, operator), count) in &signature.operators {
        operators.entry(domain.clone()).or_default().insert(operator.clone(), *count);
    }
    Ok(GraphReport {
        name: name.into(),
        role: known.name(),
        about: known.in_words(),
        family: if let Role::Network(network) = &known { network.family } else { None },
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        producer: format!("{} {}", signature.producer, signature.producer_version).trim().to_owned(),
        ir_version: signature.format,
        weights: weights_of(&signature),
        inputs: signature.inputs.iter().map(port_of).collect(),
        outputs: signature.outputs.iter().map(port_of).collect(),
        operators,
        functions: signature.functions.iter().map(|((domain, name), n)| (format!("{domain}.{name}"), *n)).collect(),
        cannot_run_on: refusals(&signature),
        opsets: signature.opsets,
        problems,
        known,
    })
}

/// The files of the graph at `path`, and what is wrong with them.
fn files_of(name: &str, path: &Path, signature: &Signature, hash: bool) -> Result<(Vec<FileReport>, Vec<Problem>)> {
    let length = |path: &Path| fs::metadata(path).map(|data| data.len());
    let mut found = vec![(name.to_owned(), path.to_path_buf(), length(path).map_err(Error::io("read", path))?)];
    let mut problems = Vec::new();
    for (location, wanted) in &signature.weight_files {
        let place = path.parent().unwrap_or(Path::new("")).join(location);
        match problem_with(name, location, *wanted, length(&place).ok()) {
            Ok(bytes) => found.push((beside(name, location), place, bytes)),
            Err(problem) => problems.push(problem),
        }
    }
    let report = |(name, path, bytes): (String, _, u64)| {
        let sha256 = hash.then(|| sha256_of_file(path)).transpose()?;
        Ok(FileReport { name, bytes, sha256 })
    };
    let files = found.par_iter().map(|(name, path, bytes)| report((name.clone(), path, *bytes)));
    Ok((files.collect::<Result<_>>()?, problems))
}

/// The length of a file with weights, unless something is wrong with it.
fn problem_with(name: &str, location: &str, wanted: WeightFile, length: Option<u64>) -> Result<u64, Problem> {
    let outside = |part| !matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(location).components().any(outside) {
        return Err(Problem {
            what: format!("`{name}` has its weights in `{location}`, which is not in its folder"),
            hint: "export the model again: ONNX Runtime opens no files outside the folder of the graph".into(),
        });
    }
    match length {
        None => Err(Problem {
            what: format!("`{name}` has its weights in `{location}`, which is missing"),
            hint: "copy the file beside the graph, under this very name".into(),
        }),
        Some(length) if length < wanted.end => Err(Problem {
            what: format!("`{location}` of `{name}` has {length} bytes, of {} that the weights take", wanted.end),
            hint: "download or copy the file again".into(),
        }),
        Some(length) => Ok(length),
    }
}

/// The path in the model of a file beside the file `name`.
fn beside(name: &str, location: &str) -> String {
    name.rsplit_once('/').map_or_else(|| location.into(), |(folder, _)| format!("{folder}/{location}"))
}

fn weights_of(signature: &Signature) -> WeightsReport {
    let all = signature.all_weights();
    let mut types = BTreeMap::new();
    for (data_type, tally) in &signature.weights {
        types.insert(data_type::name(*data_type), [tally.tensors, tally.values, tally.bytes]);
    }
    WeightsReport { tensors: all.tensors, values: all.values, bytes: all.bytes, types }
}

fn port_of(declared: &Declared) -> PortReport {
    let axis = |axis: &DeclaredAxis| match axis {
        DeclaredAxis::Fixed(length) => AxisReport::Fixed(*length),
        DeclaredAxis::Named(name) => AxisReport::Named(name.clone()),
        DeclaredAxis::Free => AxisReport::Free(()),
    };
    PortReport {
        name: declared.name.clone(),
        data_type: data_type::name(declared.data_type),
        shape: declared.axes.as_ref().map(|axes| axes.iter().map(axis).collect()),
        shape_text: declared.shape_text(),
    }
}

/// The providers that are known not to run a graph, together where the reason is one.
fn refusals(signature: &Signature) -> Vec<ProviderReport> {
    let mut found: Vec<ProviderReport> = Vec::new();
    for provider in PROVIDERS {
        for obstacle in obstacles(signature, provider.name, None) {
            match found.iter_mut().find(|known| known.why == obstacle.why) {
                Some(known) => known.providers.push(provider.name),
                None => found.push(ProviderReport {
                    providers: vec![provider.name],
                    why: obstacle.why,
                    hint: obstacle.hint,
                }),
            }
        }
    }
    found
}
