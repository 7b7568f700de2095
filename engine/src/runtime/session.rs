//! How is a session made for a provider, and does it run there as a whole?
//!
//! ONNX Runtime can refuse a graph of which any node is left to the CPU (`session.disable_cpu_ep_fallback`). That would
//! refuse every model with free axes: ONNX Runtime itself puts the arithmetic of shapes (`Shape`, `Gather`, `Concat` ...)
//! on the CPU, because its results are wanted there. So petal has it record where each node goes, and judges by operator.
use super::{
    Graph, ProviderChoice, Runtime,
    graph::failed_while,
    provider::CPU,
    raw::{self, PlacedNode},
};
use crate::{Error, Result};
use ort::{
    logging::LogLevel,
    session::{
        Session,
        builder::{AutoDevicePolicy, SessionBuilder},
    },
};
use std::collections::BTreeMap;

/// How graphs are run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The device.
    pub(crate) provider: ProviderChoice,
    /// Threads inside an operator; `None` leaves the number to ONNX Runtime (one a core).
    pub(crate) threads: Option<usize>,
}

/// Operators that compute shapes, indices and conditions, and move values about; ONNX Runtime puts them on the CPU where
/// their results are wanted there. They do no work to speak of.
const SHAPE_ARITHMETIC: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "CumSum",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "If",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "NonZero",
    "Not",
    "Or",
    "Range",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Sign",
    "Size",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Operators in one message: enough to know what it is about.
const MOST_OPERATORS: usize = 8;

/// A builder with everything that is the same for all graphs.
pub(super) fn prepare(runtime: &Runtime, settings: &Settings) -> Result<SessionBuilder> {
    let choice = settings.provider;
    let configure = || -> ort::Result<SessionBuilder> {
        let mut builder = Session::builder(&runtime.environment)?
            .with_auto_device(AutoDevicePolicy::PreferCPU)? // otherwise CoreML joins by itself on macOS
            .with_log_level(LogLevel::Fatal)?
            .with_prepacking(false)? // saves half of the load and a copy of the weights, and costs no measurable time
            .with_config_entry("session.record_ep_graph_assignment_info", "1")?
            .with_memory_pattern(false)?; // with it, the second run takes as long as the first, and twice the memory
        if let Some(threads) = settings.threads {
            builder = builder.with_intra_threads(threads)?;
        }
        Ok(builder)
    };
    let builder = configure().map_err(failed_while("making a session"))?;
    if let Some(devices) = runtime.plugin_devices(choice.provider) {
        let device = devices.into_iter().skip(choice.device as usize).take(1);
        // pictures must equal the reference's
        let exact = [("CUDAExecutionProvider.use_tf32".to_owned(), "0".to_owned())];
        return builder.with_devices(device, Some(&exact)).map_err(|error| cannot_start(choice, error.message()));
    }
    match choice.dispatch() {
        None => Ok(builder),
        Some(dispatch) => {
            builder.with_execution_providers([dispatch]).map_err(|error| cannot_start(choice, error.message()))
        }
    }
}

impl Graph {
    /// Where each of its nodes runs, after ONNX Runtime has joined some.
    pub(crate) fn placed_nodes(&self) -> Result<Vec<PlacedNode>> {
        raw::placed_nodes(&self.session).map_err(failed_while(format!("asking where `{}` runs", self.name)))
    }
}

/// Fails if a provider that must run the whole graph leaves work to the CPU.
pub(super) fn check_placement(name: &str, session: &Session, choice: ProviderChoice) -> Result<()> {
    if !choice.strict || choice.provider.name == CPU.name {
        return Ok(());
    }
    let nodes = raw::placed_nodes(session).map_err(failed_while(format!("asking where `{name}` runs")))?;
    match work_on_cpu(&nodes) {
        None => Ok(()),
        Some(left) => Err(Error::model(
            format!("`{name}` does not run on `{choice}` alone, which leaves work to the CPU: {left}"),
            "use another export of the model, or add `--allow-fallback` to let the CPU do that work",
        )),
    }
}

/// The commonest operators that do work on the CPU, and how often.
fn work_on_cpu(nodes: &[PlacedNode]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let left = nodes.iter().filter(|node| node.is_on_cpu() && does_work(&node.operator));
    left.for_each(|node| *counts.entry(&node.operator).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = counts.len().saturating_sub(MOST_OPERATORS);
    let texts: Vec<_> = counts.iter().take(MOST_OPERATORS).map(|(name, count)| format!("{name} ({count})")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!texts.is_empty()).then(|| texts.join(", ") + &more)
}

/// Whether an operator is more than the arithmetic of shapes.
pub(crate) fn does_work(operator: &str) -> bool {
    !SHAPE_ARITHMETIC.contains(&operator)
}

/// Whether a message of ONNX Runtime speaks of memory.
pub(super) fn is_out_of_memory(message: &str) -> bool {
    ["bad_alloc", "Failed to allocate memory", "out of memory"].iter().any(|words| message.contains(words))
}

/// Why a graph did not load: no memory, the device, or the file.
pub(super) fn cannot_load(name: &str, provider: ProviderChoice, message: &str) -> Error {
    if is_out_of_memory(message) {
        return Error::Memory { what: format!("loading `{name}`") };
    }
    if provider.provider.name != CPU.name && message.contains("ExecutionProvider") {
        return cannot_start(provider, message);
    }
    Error::model(
        format!("ONNX Runtime cannot load `{name}`: {message}"),
        "export or download the model again; `petal doctor` says which ONNX Runtime is used",
    )
}

fn cannot_start(provider: ProviderChoice, message: &str) -> Error {
    Error::Provider {
        provider: provider.to_string(),
        hint: "install what ONNX Runtime names above, or use `--ep cpu`, or add `--allow-fallback`".into(),
        source: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(provider: &str, operators: &[&str]) -> Vec<PlacedNode> {
        let node = |operator: &&str| PlacedNode { provider: provider.into(), operator: (*operator).into() };
        operators.iter().map(node).collect()
    }

    #[test]
    fn the_arithmetic_of_shapes_may_stay_on_the_cpu() {
        let mut all = nodes(CPU.id, &["Shape", "Gather", "Unsqueeze", "Concat"]);
        all.extend(nodes("CUDAExecutionProvider", &["Conv", "MatMul"]));
        assert_eq!(work_on_cpu(&all), None);
    }

    #[test]
    fn work_on_the_cpu_is_named_the_commonest_first() {
        let mut all = nodes(CPU.id, &["Shape", "Resize", "com.microsoft.GroupNorm", "Resize"]);
        all.extend(nodes("WebGpuExecutionProvider", &["Conv"]));
        assert_eq!(work_on_cpu(&all).as_deref(), Some("Resize (2), com.microsoft.GroupNorm (1)"));
        let many: Vec<String> = (0..10).map(|number| format!("Op{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(work_on_cpu(&nodes(CPU.id, &many)).unwrap().ends_with(" and 2 more"));
    }
}
