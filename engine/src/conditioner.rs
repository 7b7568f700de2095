//! What the prompts of a request become: parsed, encoded, and kept for the next picture.
use crate::{
    Request, Result,
    conditioning::{Conditioning, Embedding, Side},
    families::Family,
    prompt::{Along, Emphasis, Part, Prompt, Reading, TextEncoder, Texts, find_emphasis},
};
use std::sync::Arc;

/// The text encoders of a model, and what they made of the last prompts.
pub(crate) struct Conditioner {
    encoder: TextEncoder,
    family: &'static Family,
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
    pub(crate) fn new(encoder: TextEncoder, family: &'static Family) -> Self {
        Self { encoder, family, kept: Vec::new() }
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
        self.encoder.check(entries.iter().flat_map(|texts| &texts.distinct), emphasis)?;
        let before = std::mem::take(&mut self.kept);
        let mut texts = Vec::new();
        let sides = parts.zip(entries).map(|(part, of)| self.side((part, of), steps, reading, &before, &mut texts));
        let mut positives = sides.collect::<Result<Vec<_>>>()?;
        let negative = positives.split_off(positive.parts.len()).pop();
        let all_alike = texts.windows(2).all(|pair| pair[0].is_as_long_as(&pair[1]));
        let filler =
            if all_alike { None } else { self.embeddings(vec![String::new()], vec![1], reading, &before)?.pop() };
        Ok(Conditioning { texts, filler, negative, positives })
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
                (self.family.encode)(&mut self.encoder, &texts, &counts, reading)?.into_iter().map(Arc::new).collect()
            }
        };
        self.kept.push(Kept { texts, counts, reading, embeddings: embeddings.clone() });
        Ok(embeddings)
    }
}
