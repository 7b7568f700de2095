//! A text encoder: from tokens to embeddings.
use super::Tokenizer;
use crate::{
    Error, Result,
    runtime::{Graph, Tensor},
};

/// A text encoder of the CLIP kind with its tokenizer.
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    graph: Graph,
}

impl TextEncoder {
    /// Fails if the graph is not a CLIP text encoder.
    pub(crate) fn new(tokenizer: Tokenizer, graph: Graph) -> Result<Self> {
        graph.input("input_ids")?;
        graph.output("last_hidden_state")?;
        graph.takes_only(&["input_ids"])?;
        Ok(Self { tokenizer, graph })
    }

    /// The embeddings of each of `texts`, all of one length: `[texts, 77 * chunks, width]`.
    pub(crate) fn encode(&mut self, texts: &[&str]) -> Result<Tensor> {
        let counts = texts.iter().map(|text| self.tokenizer.chunk_count(text)).collect::<Result<Vec<_>>>()?;
        let chunks = counts.into_iter().max().unwrap_or(1);
        let mut rows = Vec::new();
        for text in texts {
            rows.extend(self.tokenizer.chunks(text, chunks)?);
        }
        let tokens = rows[0].len();
        // one chunk after the other: exports with a fixed batch of 1 take them too
        let mut values = Vec::new();
        let mut width = 0;
        for row in rows {
            self.graph.bind("input_ids", Tensor::ints([1, tokens], row))?;
            let states = self.graph.run("last_hidden_state")?; // [1, 77, width]
            width = match states.shape[..] {
                [1, length, width] if length == tokens => width,
                _ => return Err(odd_states(&states)),
            };
            values.extend(states.into_floats());
        }
        Ok(Tensor::floats([texts.len(), chunks * tokens, width], values))
    }
}

fn odd_states(states: &Tensor) -> Error {
    Error::model(
        format!("the text encoder gives `last_hidden_state` of shape {}", states.shape_text()),
        "use an export whose text encoder keeps one embedding a token",
    )
}
