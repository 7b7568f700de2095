//! Where do the nodes of a model's graphs run, and which of them fall to the CPU?
use crate::{
    LoadOptions, Result,
    loader::Loader,
    models::Catalogue,
    runtime::{Cancel, PROVIDERS, PlacedNode, Runtime, Stage, Wishes, does_work},
    survey::survey,
};
use std::collections::BTreeMap;

/// Where the nodes of a graph run, after ONNX Runtime has joined some of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GraphPlacement {
    /// The graph's file, as `unet/model.onnx`.
    pub graph: String,
    /// The provider that was to run it.
    pub wanted: String,
    /// What each provider runs.
    pub shares: Vec<ProviderShare>,
    /// The operators that run on the CPU though another provider was wanted, the commonest first.
    pub on_cpu: Vec<(String, usize)>,
}

/// What a provider runs of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderShare {
    /// The provider's name.
    pub provider: String,
    /// Its nodes.
    pub nodes: usize,
    /// Those that do work: more than the arithmetic of shapes.
    pub working: usize,
}

/// Loads the graphs of the model that `options` name, one after the other, and asks where their nodes run.
pub(super) fn place_all(runtime: &Runtime, options: &LoadOptions) -> Result<Vec<GraphPlacement>> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
    let (_, _, files) = catalogue.open(options.model.as_deref())?;
    let survey = survey(&files, options.elsewhere())?;
    // falling back is what this is to show
    let wishes = Wishes::parse(&options.provider, true)?.among(&runtime.providers());
    let Some(assigned) = wishes.assign(&[]) else { return Ok(Vec::new()) };
    let (threads, cancel) = (options.threads, Cancel::new()?);
    let loader = Loader { runtime: runtime.clone(), assigned, threads, cancel, catalogue };
    let texts = survey.text_encoders.iter().map(|text| (Stage::Text, &text.graph));
    let others = [(Stage::Network, &survey.network), (Stage::Vae, &survey.decoder)];
    let encoder = survey.encoder.iter().map(|graph| (Stage::Vae, graph));
    texts
        .chain(others)
        .chain(encoder)
        .map(|(stage, component)| {
            let nodes = loader.graph(stage, component)?.placed_nodes()?;
            Ok(place(&component.graph, &assigned.of(stage).to_string(), &nodes))
        })
        .collect()
}

fn place(graph: &str, wanted: &str, nodes: &[PlacedNode]) -> GraphPlacement {
    let mut shares: Vec<ProviderShare> = Vec::new();
    let mut on_cpu: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        let known = PROVIDERS.iter().find(|provider| provider.id == node.provider);
        let provider = known.map_or(node.provider.as_str(), |provider| provider.name);
        let working = usize::from(does_work(&node.operator));
        match shares.iter_mut().find(|share| share.provider == provider) {
            Some(share) => (share.nodes, share.working) = (share.nodes + 1, share.working + working),
            None => shares.push(ProviderShare { provider: provider.into(), nodes: 1, working }),
        }
        if node.is_on_cpu() && wanted != "cpu" {
            *on_cpu.entry(&node.operator).or_default() += 1;
        }
    }
    shares.sort_by(|one, other| other.nodes.cmp(&one.nodes).then(one.provider.cmp(&other.provider)));
    let mut on_cpu: Vec<_> = on_cpu.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    on_cpu.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    GraphPlacement { graph: graph.into(), wanted: wanted.into(), shares, on_cpu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_by_provider_and_operator() {
        let node = |provider: &str, operator: &str| PlacedNode { provider: provider.into(), operator: operator.into() };
        let nodes = [
            node("CPUExecutionProvider", "Shape"),
            node("CPUExecutionProvider", "Resize"),
            node("CPUExecutionProvider", "Shape"),
            node("WebGpuExecutionProvider", "Conv"),
            node("Unheard", "Add"),
        ];
        let placed = place("unet/model.onnx", "webgpu", &nodes);
        let share = |provider: &str, nodes, working| ProviderShare { provider: provider.into(), nodes, working };
        assert_eq!(placed.shares, [share("cpu", 3, 1), share("Unheard", 1, 0), share("webgpu", 1, 1)]);
        assert_eq!(placed.on_cpu, [("Shape".to_owned(), 2), ("Resize".to_owned(), 1)]);
        assert!(place("unet/model.onnx", "cpu", &nodes).on_cpu.is_empty());
    }
}
