//! A text encoder: from tokens to embeddings.
use super::{
    Chunk, Emphasis, Tokenizer, chunks,
    chunks::{check_chunks, equalise},
    clip_skip,
};
use crate::{
    Error, Result,
    runtime::{Graph, Tensor, Values},
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

/// A text encoder of the CLIP kind with its tokenizer.
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    graph: Graph,
    /// The graph with one output more, for the last clip skip above 1.
    skipping: Option<(u32, Graph)>,
}

impl TextEncoder {
    /// Fails if the graph is not a CLIP text encoder.
    pub(crate) fn new(tokenizer: Tokenizer, graph: Graph) -> Result<Self> {
        graph.input("input_ids")?;
        graph.output("last_hidden_state")?;
        graph.takes_only(&["input_ids"])?;
        Ok(Self { tokenizer, graph, skipping: None })
    }

    /// Fails if `texts` have more chunks than a request may have.
    pub(crate) fn check<'a>(&self, texts: impl Iterator<Item = &'a String> + Clone, emphasis: Emphasis) -> Result<()> {
        check_chunks(&self.tokenizer, texts, emphasis)
    }

    /// What each of `texts` became: `[1, 77 * chunks, width]`, all equally long. Texts of one schedule belong together,
    /// and text `i` stands for `counts[i]` of its entries: see [`Emphasis::apply`].
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub(crate) fn encode(&mut self, texts: &[String], counts: &[usize], reading: Reading) -> Result<Vec<Tensor>> {
        let Reading { emphasis, clip_skip } = reading;
        let rows = texts.iter().map(|text| chunks(&self.tokenizer, text, emphasis));
        let mut rows = rows.collect::<Result<Vec<_>>>()?;
        equalise(&self.tokenizer, &mut rows);
        let mut known: HashMap<Vec<i64>, Tensor> = HashMap::new(); // alternatives come back: `[a|b]`
        let mut joined: Vec<Tensor> = Vec::new();
        for at in 0..rows.first().map_or(0, Vec::len) {
            let (mut states, mut weights) = (Vec::new(), Vec::new());
            for Chunk { ids, weights: own, .. } in rows.iter().map(|row| &row[at]) {
                if !known.contains_key(ids) {
                    known.insert(ids.clone(), self.states(ids, clip_skip)?);
                }
                states.extend(known[ids].clone().into_floats());
                weights.extend_from_slice(own);
            }
            emphasis.apply(&mut states, &weights, counts);
            append(&mut joined, &states, texts.len(), weights.len() / texts.len());
        }
        Ok(joined)
    }

    /// The states of one chunk of token ids: `[1, tokens, width]`. One chunk at a time: exports with a fixed batch of 1
    /// take them too.
    ///
    /// `clip_skip` is that of stable-diffusion-webui: 1 skips nothing, 2 skips the last layer. The first call with
    /// another value above 1 loads the graph again, with the final layer norm on an earlier hidden state.
    ///
    /// # Errors
    /// [`Error::Request`] if no layer would be left; [`Error::Model`] if the graph is not known to be a transformer.
    pub(crate) fn states(&mut self, ids: &[i64], clip_skip: u32) -> Result<Tensor> {
        let (graph, output) = self.skipping(clip_skip)?;
        graph.bind("input_ids", Tensor::ints([1, ids.len()], ids.to_vec()))?;
        let states = graph.run(&output)?;
        match states.shape[..] {
            [1, tokens, _] if tokens == ids.len() => Ok(states),
            _ => Err(odd_states(&states)),
        }
    }

    /// The graph for a clip skip, and the name of its output.
    fn skipping(&mut self, clip_skip: u32) -> Result<(&mut Graph, String)> {
        if clip_skip == 1 {
            return Ok((&mut self.graph, "last_hidden_state".into()));
        }
        let graph = match self.skipping.take() {
            Some((skip, graph)) if skip == clip_skip => graph,
            other => {
                drop(other); // before the next: a graph may hold half a gigabyte
                self.graph.extended(|structure| clip_skip::earlier_state(structure, clip_skip))?
            }
        };
        Ok((&mut self.skipping.insert((clip_skip, graph)).1, clip_skip::output_name(clip_skip)))
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

fn odd_states(states: &Tensor) -> Error {
    Error::model(
        format!("the text encoder gives `last_hidden_state` of shape {}", states.shape_text()),
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
        TextEncoder::new(Tokenizer::read(&files, None).unwrap(), graph).unwrap()
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
                let states = encoder(source).states(&ids, skip).unwrap();
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
        let first: Vec<Tensor> = [1, 2, 3].map(|skip| encoder.states(&ids, skip).unwrap()).into();
        assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
        let again: Vec<Tensor> = [1, 2, 3].map(|skip| encoder.states(&ids, skip).unwrap()).into();
        assert_eq!(first, again);
        let error = encoder.states(&ids, 4).unwrap_err();
        assert!(matches!(error, Error::Request { .. }) && error.to_string().contains("3 layers"), "{error}");
        assert_eq!(encoder.states(&ids, 2).unwrap(), first[1]);
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
        let states = |folder: &Path| encoder(&GraphSource::File(folder.join("model.onnx"))).states(&ids, 2).unwrap();
        assert_eq!(states(&links), states(&original));
    }
}
