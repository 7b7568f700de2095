//! What the prompts of a request become: parsed, encoded, and kept for the next picture.
use crate::{
    Error, Request, Result,
    conditioning::{Conditioning, Embedding, Side},
    families::{Asked, Family, width_of},
    network::STATES,
    prompt::{Along, Emphasis, Part, Prompt, Reading, TextEncoders, Texts, find_emphasis},
    runtime::Port,
};
use std::sync::Arc;

/// The text encoders of a model, and what they made of the last prompts.
pub(crate) struct Conditioner {
    encoders: TextEncoders,
    family: &'static Family,
    /// The inputs of the network.
    inputs: Vec<Port>,
    /// Whether no words at all become zeros on the negative side.
    empty_is_zero: bool,
    kept: Vec<Kept>,
}

/// Texts that were encoded together, and what became of each.
struct Kept {
    texts: Vec<String>,
    counts: Vec<usize>,
    reading: Reading,
    embeddings: Vec<Arc<Embedding>>,
}

impl Conditioner {
    /// Fails if the network does not take the states that the text encoders give.
    pub(crate) fn new(
        encoders: TextEncoders,
        family: &'static Family,
        inputs: Vec<Port>,
        empty_is_zero: Option<bool>,
    ) -> Result<Self> {
        if let Some((given, taken)) = (family.width)(&encoders).zip(width_of(&inputs, STATES))
            && given != taken
        {
            return Err(odd_width(given, taken));
        }
        let empty_is_zero = family.empty_is_zero && empty_is_zero.unwrap_or(true);
        Ok(Self { encoders, family, inputs, empty_is_zero, kept: Vec::new() })
    }

    /// The prompts of a run; the negative one only where it has a say: where it is `asked` for, and
    /// where the positive prompt is not one part of weight 1.
    ///
    /// # Errors
    /// [`Error::Request`] if a prompt has too many parts or chunks, or is of another kind than the encoder knows.
    pub(crate) fn conditioning(&mut self, request: &Request, along: Along, asked: bool) -> Result<Conditioning> {
        let steps = along.steps;
        let emphasis = request.emphasis.as_deref().map_or(Ok(Emphasis::default()), find_emphasis)?;
        let reading = Reading { emphasis, clip_skip: request.clip_skip };
        let positive = Prompt::positive(&request.prompt, along, emphasis);
        let negative = Prompt::negative(&request.negative_prompt, along, emphasis);
        let entries = positive.texts()?;
        let has_negative = asked || !matches!(&positive.parts[..], [part] if (part.weight - 1.0).abs() < f64::EPSILON);
        let parts = positive.parts.iter().chain(negative.parts.iter().filter(|_| has_negative));
        let entries = entries.into_iter().chain(if has_negative { negative.texts()? } else { Vec::new() });
        let entries: Vec<Texts> = entries.collect();
        self.encoders.check(entries.iter().flat_map(|texts| &texts.distinct), emphasis)?;
        let before = std::mem::take(&mut self.kept);
        let mut texts = Vec::new();
        let places = positive.parts.len();
        let sides = parts.zip(entries).enumerate().map(|(place, (part, of))| {
            let first = texts.len();
            let side = self.side((part, of), steps, reading, &before, &mut texts)?;
            self.complete(request, place >= places, &mut texts[first..]);
            Ok(side)
        });
        let mut positives = sides.collect::<Result<Vec<_>>>()?;
        let negative = positives.split_off(positive.parts.len()).pop();
        let all_alike = texts.windows(2).all(|pair| pair[0].is_as_long_as(&pair[1]));
        let filler = if all_alike || !self.family.fills_texts {
            None
        } else {
            let mut filler = self.embeddings(vec![String::new()], vec![1], reading, &before)?;
            self.complete(request, false, &mut filler);
            filler.pop()
        };
        Ok(Conditioning { texts, filler, negative, positives })
    }

    /// Makes of what the texts of one side became what the network is given: it may want more, and nothing where there are
    /// no words.
    fn complete(&self, request: &Request, negative: bool, texts: &mut [Arc<Embedding>]) {
        let beside = (self.family.beside)(&Asked { request, negative, inputs: &self.inputs });
        let is_zero = negative && self.empty_is_zero && request.negative_prompt.is_empty();
        if beside.is_empty() && !is_zero {
            return;
        }
        for text in texts {
            let mut whole = Embedding::clone(text);
            if is_zero {
                whole.tensors.iter_mut().for_each(|(_, tensor)| tensor.clear());
            }
            whole.tensors.extend(beside.iter().cloned());
            *text = Arc::new(whole);
        }
    }

    /// One side of guidance, whose embeddings go to the end of `texts`.
    fn side(
        &mut self,
        (part, of): (&Part, Texts),
        steps: usize,
        reading: Reading,
        before: &[Kept],
        texts: &mut Vec<Arc<Embedding>>,
    ) -> Result<Side> {
        let first = texts.len();
        let Texts { distinct, counts, which } = of;
        texts.extend(self.embeddings(distinct, counts, reading, before)?);
        let along = (0..steps.max(1)).map(|done| first + which[part.schedule.index_at(done)]).collect();
        Ok(Side { weight: part.weight, texts: along })
    }

    /// What `texts`, which belong together, became: now, for this picture or for the one before.
    fn embeddings(
        &mut self,
        texts: Vec<String>,
        counts: Vec<usize>,
        reading: Reading,
        before: &[Kept],
    ) -> Result<Vec<Arc<Embedding>>> {
        let same = |kept: &&Kept| (&kept.texts, &kept.counts, kept.reading) == (&texts, &counts, reading);
        let embeddings = match self.kept.iter().chain(before).find(same) {
            Some(kept) => kept.embeddings.clone(),
            None => {
                (self.family.encode)(&mut self.encoders, &texts, &counts, reading)?.into_iter().map(Arc::new).collect()
            }
        };
        self.kept.push(Kept { texts, counts, reading, embeddings: embeddings.clone() });
        Ok(embeddings)
    }
}

fn odd_width(given: usize, taken: usize) -> Error {
    Error::model(
        format!("the text encoders give states {given} wide, but the network's `{STATES}` takes {taken}"),
        "use text encoders and a network of one model",
    )
}
