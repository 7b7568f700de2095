//! A text encoder: from tokens to embeddings.
use super::{
    Chunk, Emphasis, Tokenizer, chunks,
    chunks::{check_chunks, equalise},
    clip_skip::{self, Earlier, Last},
};
use crate::{
    Error, Result,
    runtime::{Graph, Kind, Port, Tensor, Values},
};
use std::collections::HashMap;

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// What brackets mean.
    pub(crate) emphasis: Emphasis,
    /// At which layer from its end the text encoder stops; 1 uses all.
    pub(crate) clip_skip: u32,
}

/// The names of the final hidden state, `[batch, tokens, width]`.
const STATES: [&str; 2] = ["last_hidden_state", "text_embeddings"];
/// The names of what stands for a text as a whole, `[batch, width]`.
const POOLED: [&str; 4] = ["text_embeds", "pooler_output", "pooled_embeddings", "text_embeddings"];
/// Where exports that give every hidden state have them, from the embeddings, 0, to what the last layer gives.
const HIDDEN: &str = "hidden_states.";
/// Where exports that give one alone, the last but one, have it.
const PENULTIMATE: &str = "hidden_states";

/// Which of its hidden states a family takes from a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The last one, with the final layer norm; the clip skip counts from it.
    Final,
    /// The last but one, without that norm; a clip skip above 2 counts on from it.
    Penultimate,
}

/// A text encoder of the CLIP kind with its tokenizer.
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    graph: Graph,
    /// The names of its final state and of the pooled one, where it has them.
    states: Option<String>,
    pooled: Option<String>,
    /// The graph with one output more, for the last state that was asked for and that it does not give by itself.
    extended: Option<(Earlier, Graph)>,
}

/// What a text became.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    /// `[1, tokens, width]`.
    pub(crate) states: Tensor,
    /// `[1, width]`, of the first chunk; none where the encoder gives none.
    pub(crate) pooled: Option<Tensor>,
}

impl TextEncoder {
    /// Fails if the graph is not a CLIP text encoder.
    pub(crate) fn new(tokenizer: Tokenizer, graph: Graph) -> Result<Self> {
        graph.takes("input_ids", Kind::Whole)?;
        graph.takes_only(&["input_ids"])?;
        let named = |names: &[&str], rank: usize| {
            let is = |name: &&str| graph.outputs().iter().any(|port| port.name == **name && port.is_of_rank(rank));
            names.iter().copied().find(is).map(str::to_owned)
        };
        let (states, pooled) = (named(&STATES, 3), named(&POOLED, 2));
        let gives_any = pooled.is_some() || graph.outputs().iter().any(|port| port.name.starts_with(PENULTIMATE));
        if states.is_none() && !gives_any {
            graph.output(STATES[0])?;
            return Err(odd_states(graph.output(STATES[0])?.shape_text().as_str()));
        }
        states.iter().chain(&pooled).try_for_each(|name| graph.gives(name))?;
        Ok(Self { tokenizer, graph, states, pooled, extended: None })
    }

    /// Fails if `texts` have more chunks than a request may have.
    pub(crate) fn check<'a>(&self, texts: impl Iterator<Item = &'a String> + Clone, emphasis: Emphasis) -> Result<()> {
        check_chunks(&self.tokenizer, texts, emphasis)
    }

    /// The width of its states, where the graph fixes it.
    pub(crate) fn width(&self) -> Option<usize> {
        let is_states = |port: &&Port| port.is_of_rank(3) && !port.axes.is_empty();
        self.graph.outputs().iter().find(is_states).and_then(|port| port.axes[2])
    }

    /// What each of `texts` became, all equally long: `77 * chunks` tokens. Texts of one schedule belong together,
    /// and text `i` stands for `counts[i]` of its entries: see [`Emphasis::apply`].
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub(crate) fn encode(
        &mut self,
        texts: &[String],
        counts: &[usize],
        reading: Reading,
        taken: Taken,
    ) -> Result<Vec<Encoded>> {
        let Reading { emphasis, clip_skip } = reading;
        let rows = texts.iter().map(|text| chunks(&self.tokenizer, text, emphasis));
        let mut rows = rows.collect::<Result<Vec<_>>>()?;
        equalise(&self.tokenizer, &mut rows);
        let mut known: HashMap<Vec<i64>, Encoded> = HashMap::new(); // alternatives come back: `[a|b]`
        let mut joined: Vec<Tensor> = Vec::new();
        for at in 0..rows.first().map_or(0, Vec::len) {
            let (mut states, mut weights) = (Vec::new(), Vec::new());
            for Chunk { ids, weights: own, .. } in rows.iter().map(|row| &row[at]) {
                if !known.contains_key(ids) {
                    known.insert(ids.clone(), self.states(ids, clip_skip, taken)?);
                }
                states.extend(known[ids].states.clone().into_floats());
                weights.extend_from_slice(own);
            }
            emphasis.apply(&mut states, &weights, counts);
            append(&mut joined, &states, texts.len(), weights.len() / texts.len());
        }
        let pooled = rows.iter().map(|row| row.first().and_then(|chunk| known[&chunk.ids].pooled.clone()));
        Ok(joined.into_iter().zip(pooled).map(|(states, pooled)| Encoded { states, pooled }).collect())
    }

    /// The states of one chunk of token ids: `[1, tokens, width]`. One chunk at a time: exports with a fixed batch of 1
    /// take them too.
    ///
    /// `clip_skip` is that of stable-diffusion-webui: 1 skips nothing, 2 skips the last layer. The first call that wants
    /// a state which the graph does not give loads it again, with that one as an output more.
    ///
    /// # Errors
    /// [`Error::Request`] if no layer would be left; [`Error::Model`] if the graph is not known to be a transformer.
    pub(crate) fn states(&mut self, ids: &[i64], clip_skip: u32, taken: Taken) -> Result<Encoded> {
        let pooled = self.pooled.clone();
        let (graph, output) = self.giving(clip_skip, taken)?;
        graph.bind("input_ids", Tensor::ints([1, ids.len()], ids.to_vec()))?;
        let (states, pooled) = match pooled.filter(|_| taken == Taken::Penultimate) {
            Some(pooled) => {
                let [states, pooled] = graph.run_for([&*output, &*pooled])?;
                (states, Some(pooled))
            }
            None => (graph.run(&output)?, None),
        };
        match states.shape[..] {
            [1, tokens, _] if tokens == ids.len() => Ok(Encoded { states, pooled }),
            _ => Err(odd_states(&states.shape_text())),
        }
    }

    /// What stands for the chunk of `text` as a whole, `[1, width]`: what follows its first chunk has no say.
    pub(crate) fn pooled(&mut self, text: &str, emphasis: Emphasis) -> Result<Tensor> {
        let Some(name) = self.pooled.clone() else { return Err(self.lacks_pooled()) };
        let ids = chunks(&self.tokenizer, text, emphasis)?.swap_remove(0).ids;
        self.graph.bind("input_ids", Tensor::ints([1, ids.len()], ids))?;
        self.graph.run(&name)
    }

    /// The error for an encoder that gives nothing for a text as a whole.
    pub(crate) fn lacks_pooled(&self) -> Error {
        self.graph.output(POOLED[0]).err().unwrap_or_else(|| odd_states("?"))
    }

    /// The graph that gives a state, and the name of its output.
    fn giving(&mut self, clip_skip: u32, taken: Taken) -> Result<(&mut Graph, String)> {
        let earlier = match (taken, &self.states) {
            (Taken::Final, Some(states)) if clip_skip == 1 => return Ok((&mut self.graph, states.clone())),
            (Taken::Final, _) => Earlier { skip: clip_skip, normed: true },
            (Taken::Penultimate, _) => Earlier { skip: clip_skip.max(2), normed: false },
        };
        if let Some(name) = self.given(earlier)? {
            return Ok((&mut self.graph, name));
        }
        let graph = match self.extended.take() {
            Some((known, graph)) if known == earlier => graph,
            other => {
                drop(other); // before the next: a graph may hold half a gigabyte
                let last = self.states.as_deref().map_or(Last::Inside, Last::Output);
                self.graph.extended(|structure| clip_skip::earlier_state(structure, last, earlier))?
            }
        };
        Ok((&mut self.extended.insert((earlier, graph)).1, earlier.name()))
    }

    /// The output that is a raw hidden state, if the graph gives it.
    fn given(&self, Earlier { skip, normed }: Earlier) -> Result<Option<String>> {
        let names = self.graph.outputs().iter().map(|port| port.name.as_str());
        let last = names.clone().filter_map(|name| name.strip_prefix(HIDDEN)?.parse::<u32>().ok()).max();
        match last {
            _ if normed => Ok(None),
            Some(last) if skip > last => Err(clip_skip::out_of_range(skip, last as usize)),
            Some(last) => Ok(Some(format!("{HIDDEN}{}", last + 1 - skip))),
            None => Ok(names.clone().find(|name| skip == 2 && *name == PENULTIMATE).map(str::to_owned)),
        }
    }
}

/// Appends the states of one chunk of each of `texts` texts, `[texts, tokens, width]`, to what there is of each.
fn append(joined: &mut Vec<Tensor>, states: &[f32], texts: usize, tokens: usize) {
    let size = states.len() / texts;
    joined.resize_with(texts, || Tensor::floats([1, 0, size / tokens.max(1)], Vec::new()));
    for (text, states) in joined.iter_mut().zip(states.chunks(size.max(1))) {
        text.shape[1] += tokens;
        if let Values::Float(values) = &mut text.values {
            values.extend_from_slice(states);
        }
    }
}

fn odd_states(shape: &str) -> Error {
    Error::model(
        format!("the text encoder gives `last_hidden_state` of shape {shape}"),
        "use an export whose text encoder keeps one embedding a token",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        models::{Catalogue, Files},
        runtime::{
            Cancel, GraphSource, ProviderChoice, Runtime, Settings,
            library::{Search, find_or_install},
        },
    };
    use serde_json::Value;
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// The text encoder in a file or in memory; the tokenizer is that of the tiny SD 1.
    fn encoder(source: &GraphSource) -> TextEncoder {
        let catalogue = Catalogue::load(None).unwrap();
        let search = Search { named: None, offline: false, wheel: catalogue.runtime() };
        let (library, _) = find_or_install(&search, |_| {}).unwrap();
        let (runtime, cancel) = (Runtime::start(&library).unwrap(), Cancel::new().unwrap());
        let settings = Settings { provider: ProviderChoice::parse("cpu").unwrap()[0], threads: Some(1) };
        let graph = Graph::load(&runtime, "the encoder", source, &settings, &cancel).unwrap();
        let files = Files::folder(&root().join("tests/models/sd1")).unwrap();
        TextEncoder::new(Tokenizer::read(&files, "tokenizer", None).unwrap(), graph).unwrap()
    }

    /// Against transformers: see `made_by` and `about` in the file. Weights inside and beside the file, from a file and
    /// from memory, layer norms whole, taken apart and joined with sums.
    #[test]
    fn skipped_layers_are_those_of_transformers() {
        let golden = fs::read_to_string(root().join("tests/golden/clip.json")).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let results = golden["results"].as_array().unwrap();
        assert_eq!(results.len(), 4 * 2 + 2 * 3);
        for result in results {
            let file = result["file"].as_str().unwrap();
            let numbers = |key: &str| serde_json::from_value::<Vec<f32>>(result[key].clone()).unwrap();
            let (skip, wanted) = (result["clip_skip"].as_u64().unwrap() as u32, numbers("states"));
            let ids: Vec<i64> = numbers("ids").into_iter().map(|id| id as i64).collect();
            let path = root().join(file);
            let mut sources = vec![GraphSource::File(path.clone())];
            if !path.with_extension("onnx_data").exists() {
                sources.push(GraphSource::Memory(fs::read(&path).unwrap().leak()));
            }
            for source in &sources {
                let states = encoder(source).states(&ids, skip, Taken::Final).unwrap().states;
                let shape: Vec<usize> = numbers("shape").into_iter().map(|length| length as usize).collect();
                assert_eq!(states.shape, shape);
                let values = states.into_floats();
                let worst = values.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // 16 bits carry 1e-3 at the size of these values: without any skip they are off by 3.1e-3
                let bound = if file.contains("fp16") { 5e-3 } else { 1e-5 };
                assert!(worst < bound, "{file}, clip skip {skip}: off by {worst}");
            }
        }
    }

    /// The second skip replaces the first; going back gives the same numbers as before.
    #[test]
    fn skips_do_not_disturb_each_other() {
        let mut encoder = encoder(&GraphSource::File(root().join("tests/models/clip/fused.onnx")));
        let ids = [30, 4, 17, 31];
        let first: Vec<Tensor> = [1, 2, 3].map(|skip| encoder.states(&ids, skip, Taken::Final).unwrap().states).into();
        assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
        let again: Vec<Tensor> = [1, 2, 3].map(|skip| encoder.states(&ids, skip, Taken::Final).unwrap().states).into();
        assert_eq!(first, again);
        let error = encoder.states(&ids, 4, Taken::Final).unwrap_err();
        assert!(matches!(error, Error::Request { .. }) && error.to_string().contains("3 layers"), "{error}");
        assert_eq!(encoder.states(&ids, 2, Taken::Final).unwrap().states, first[1]);
    }

    /// The cache of the Hugging Face Hub holds links to files that have other names and lie elsewhere.
    #[cfg(unix)]
    #[test]
    fn linked_weights_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let (files, links) = (folder.path().join("blobs"), folder.path().join("snapshot"));
        fs::create_dir(&files).unwrap();
        fs::create_dir(&links).unwrap();
        let original = root().join("tests/models/sd1/text_encoder");
        for (name, blob) in [("model.onnx", "aa"), ("model.onnx_data", "bb")] {
            fs::copy(original.join(name), files.join(blob)).unwrap();
            std::os::unix::fs::symlink(Path::new("../blobs").join(blob), links.join(name)).unwrap();
        }
        let ids = [622, 320, 519, 623];
        let states = |folder: &Path| {
            encoder(&GraphSource::File(folder.join("model.onnx"))).states(&ids, 2, Taken::Final).unwrap().states
        };
        assert_eq!(states(&links), states(&original));
    }
}
