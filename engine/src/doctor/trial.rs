//! Does each provider start, and does it compute what the CPU computes? Tried with a graph of a few kilobytes.
use crate::{
    LoadOptions, Result,
    runtime::{Cancel, Graph, GraphSource, ProviderChoice, Runtime, Settings, Tensor, Wishes},
};
use std::{f32::consts::TAU, time::Instant};

/// A small network of the operators that take the time in models that draw; `scripts/doctor_graph.py` made it.
const GRAPH: &[u8] = include_bytes!("../../assets/doctor.onnx");
const NAME: &str = "doctor.onnx";
/// Its input's shape.
const SHAPE: [usize; 4] = [1, 4, 8, 8];

/// How the test graph ran on a provider.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trial {
    /// The provider and its device, as `cuda:1`.
    pub provider: String,
    /// What it did, or why it did not start.
    pub outcome: Result<Ran>,
    /// Whether somebody named it.
    pub named: bool,
}

/// What a provider did with the test graph.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ran {
    /// The largest difference from the CPU's numbers, which are around 1.
    pub difference: f32,
    /// How long loading and the first run took.
    pub first_seconds: f64,
    /// How long the second run took.
    pub seconds: f64,
    /// Nodes that ran on the CPU instead.
    pub nodes_on_cpu: usize,
    /// All nodes.
    pub nodes: usize,
}

/// Runs the test graph on the first device of every provider that is there, and on those that the options name.
///
/// # Errors
/// [`Error::Request`](crate::Error::Request) for options that cannot be read; errors of a provider are in its [`Trial`].
pub(super) fn try_all(runtime: &Runtime, options: &LoadOptions) -> Result<Vec<Trial>> {
    let there = runtime.providers();
    let mut choices: Vec<(ProviderChoice, bool)> = Vec::new();
    let named = Wishes::parse(&options.provider, options.allow_fallback)?.among(&there);
    let named = named.assign(&[]).into_iter().flat_map(|assigned| assigned.each().collect::<Vec<_>>());
    let all = there.iter().map(|provider| ProviderChoice { provider, device: 0, strict: false });
    for (choice, is_named) in named.map(|(_, choice)| (choice, choice.strict)).chain(all.map(|choice| (choice, false)))
    {
        if !choices.iter().any(|(known, _)| *known == choice) {
            choices.push((ProviderChoice { strict: false, ..choice }, is_named));
        }
    }
    choices.sort_by_key(|(choice, _)| *choice != ProviderChoice::cpu()); // the CPU first: it is the measure
    let cpu = run(runtime, ProviderChoice::cpu(), options.threads).map(|(numbers, _)| numbers)?;
    let tried = choices.into_iter().map(|(choice, named)| {
        let outcome = run(runtime, choice, options.threads).map(|(numbers, ran)| {
            let differences = numbers.iter().zip(&cpu).map(|(one, other)| (one - other).abs());
            Ran { difference: differences.fold(0.0, larger), ..ran }
        });
        Trial { provider: choice.to_string(), outcome, named }
    });
    Ok(tried.collect())
}

/// The larger of two numbers; one that is none counts as the largest.
fn larger(one: f32, other: f32) -> f32 {
    if one.is_nan() || one > other { one } else { other }
}

/// The numbers that the test graph gives on a provider, and how it ran.
fn run(runtime: &Runtime, provider: ProviderChoice, threads: Option<usize>) -> Result<(Vec<f32>, Ran)> {
    let begun = Instant::now();
    let settings = Settings { provider, threads };
    let mut graph = Graph::load(runtime, NAME, &GraphSource::Memory(GRAPH), &settings, &Cancel::new()?)?;
    let count = SHAPE.iter().product::<usize>();
    let input = (0..count).map(|place| (place as f32 / count as f32 * TAU * 3.0).sin()).collect();
    graph.bind("x", Tensor::floats(SHAPE, input))?;
    graph.run("y")?;
    let first_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let numbers = graph.run("y")?.into_floats();
    let seconds = begun.elapsed().as_secs_f64();
    let nodes = graph.placed_nodes()?;
    let nodes_on_cpu = nodes.iter().filter(|node| node.is_on_cpu()).count();
    Ok((numbers, Ran { difference: 0.0, first_seconds, seconds, nodes_on_cpu, nodes: nodes.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_the_largest_difference() {
        assert!([1.0, f32::NAN, 2.0].into_iter().fold(0.0, larger).is_nan());
        assert_eq!([1.0, 3.0, 2.0].into_iter().fold(0.0, larger).to_bits(), 3.0_f32.to_bits());
    }
}
