//! The text encoder T5 (Raffel et al. 2020): from tokens to embeddings, all of a text at a time.
use super::{
    Emphasis, Reading,
    attention::{Fragment, weighted},
    t5::T5Tokenizer,
};
use crate::{
    Error, Result,
    runtime::{Graph, Kind, Tensor},
};

/// The names of the states, `[batch, tokens, width]`.
const STATES: [&str; 2] = ["last_hidden_state", "text_embeddings"];
/// The longest text, in tokens: memory grows with its square.
const MOST_TOKENS: usize = 2048;

/// The most tokens of all texts that a prompt stands for: their states are kept, a gigabyte of them.
const MOST_TOGETHER: usize = 65_536;

/// T5 with its tokenizer.
pub(crate) struct T5Encoder {
    tokenizer: T5Tokenizer,
    graph: Graph,
    output: String,
}

impl T5Encoder {
    /// Fails if the graph is not a T5 encoder.
    pub(crate) fn new(tokenizer: T5Tokenizer, graph: Graph) -> Result<Self> {
        graph.takes("input_ids", Kind::Whole)?;
        graph.takes_only(&["input_ids"])?;
        let output = graph.output_of(&STATES)?;
        graph.gives(&output)?;
        Ok(Self { tokenizer, graph, output })
    }

    /// The width of its states, where the graph fixes it.
    pub(crate) fn width(&self) -> Option<usize> {
        let port = self.graph.output(&self.output).ok()?;
        port.axes.get(2).copied().flatten()
    }

    /// What each of `texts` became, `[1, tokens, width]`: at least `least` tokens, the end and padding included, as
    /// diffusers' pipelines have it. Texts that are longer are not cut.
    ///
    /// Texts of one schedule belong together, and text `i` stands for `counts[i]` of its entries: see
    /// [`Emphasis::apply`].
    ///
    /// # Errors
    /// [`Error::Request`] if a text is longer than 2,048 tokens.
    pub(crate) fn encode(
        &mut self,
        texts: &[String],
        counts: &[usize],
        reading: Reading,
        least: usize,
    ) -> Result<Vec<Tensor>> {
        let tokens = texts.iter().map(|text| self.tokens(text, reading.emphasis));
        let mut rows = tokens.collect::<Result<Vec<_>>>()?;
        let length = rows.iter().map(Vec::len).max().unwrap_or(0).max(least);
        if rows.len() * length > MOST_TOGETHER {
            let what = format!("the prompts stand for {} texts of {length} tokens, more than are kept", rows.len());
            return Err(Error::request(what, "write shorter prompts with fewer alternatives"));
        }
        let (mut states, mut weights) = (Vec::new(), Vec::new());
        for row in &mut rows {
            row.resize(length, (self.tokenizer.pad(), 1.0));
            let ids = row.iter().map(|(id, _)| i64::from(*id)).collect();
            self.graph.bind("input_ids", Tensor::ints([1, length], ids))?;
            let output = self.graph.run(&self.output)?;
            if !matches!(output.shape[..], [1, tokens, _] if tokens == length) {
                return Err(odd_states(&output.shape_text()));
            }
            states.extend(output.into_floats());
            weights.extend(row.iter().map(|(_, weight)| *weight));
        }
        reading.emphasis.apply(&mut states, &weights, counts);
        let size = states.len() / texts.len().max(1);
        let shape = [1, length, size / length.max(1)];
        Ok(states.chunks(size.max(1)).map(|states| Tensor::floats(shape, states.to_vec())).collect())
    }

    /// The tokens of `text` with their weights, the end included.
    fn tokens(&self, text: &str, emphasis: Emphasis) -> Result<Vec<(u32, f32)>> {
        let mut tokens = t5_tokens(&self.tokenizer, text, emphasis)?;
        tokens.push((self.tokenizer.end(), 1.0));
        if tokens.len() > MOST_TOKENS {
            let what = format!("the prompt has {} tokens, more than the {MOST_TOKENS} that T5 is given", tokens.len());
            return Err(Error::request(what, "write a shorter prompt"));
        }
        Ok(tokens)
    }
}

/// The tokens of `text` with their weights.
pub(crate) fn t5_tokens(tokenizer: &T5Tokenizer, text: &str, emphasis: Emphasis) -> Result<Vec<(u32, f32)>> {
    let fragments = match emphasis {
        Emphasis::None => vec![Fragment::Words { text: text.into(), weight: 1.0 }],
        _ => weighted(text),
    };
    let mut tokens = Vec::new();
    for fragment in fragments {
        // T5 takes all of a text at once, so that a `BREAK` breaks nothing
        let Fragment::Words { text, weight } = fragment else { continue };
        let weight = (weight as f32).clamp(f32::MIN, f32::MAX);
        tokens.extend(tokenizer.ids(&text)?.into_iter().map(|id| (id, weight)));
    }
    Ok(tokens)
}

fn odd_states(shape: &str) -> Error {
    Error::model(
        format!("the text encoder T5 gives states of shape {shape}"),
        "use an export whose text encoder keeps one embedding a token",
    )
}
