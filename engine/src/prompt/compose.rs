//! Which prompts does a prompt consist of? `a cat AND a dog :0.5`.
use super::{
    Emphasis,
    characters::{decimal, is_space, whole_words},
    schedule::{Along, PromptSchedule, Texts},
};
use crate::{Error, Result};

/// The largest number of parts of a prompt, joined with `AND`: each is an evaluation of the network at every step.
pub const MOST_PARTS: usize = 100;
/// How many bytes the texts of all parts may have, written down for every entry of their schedules.
const MOST_BYTES: usize = 64 << 20;

/// A prompt, read for a run of some number of steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prompt {
    /// At least one.
    pub(crate) parts: Vec<Part>,
}

/// One of the prompts that are combined: Liu et al. 2022, "Compositional Visual Generation with Composable Diffusion
/// Models".
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// How strongly its guidance counts: 1 if the prompt does not say.
    pub(crate) weight: f64,
    /// Its text at each step, which may have emphasis.
    pub(crate) schedule: PromptSchedule,
}

impl Prompt {
    /// Reads a positive prompt: parts between the words `AND`, each with its weight, each with its schedule. Without
    /// emphasis it is one part, as it stands. Never fails.
    pub(crate) fn positive(text: &str, along: impl Into<Along>, emphasis: Emphasis) -> Self {
        let along = along.into();
        let parts = match emphasis {
            Emphasis::None => vec![(text, 1.0)],
            _ => compose(text),
        };
        let part = |(text, weight)| Part { weight, schedule: schedule(text, along, emphasis) };
        Self { parts: parts.into_iter().map(part).collect() }
    }

    /// The texts of each part.
    ///
    /// # Errors
    /// [`Error::Request`] for more than [`MOST_PARTS`] parts, and for texts that would fill more than 64 MiB.
    pub(crate) fn texts(&self) -> Result<Vec<Texts>> {
        let count = self.parts.len();
        if count > MOST_PARTS {
            let hint = format!("join at most {MOST_PARTS} with `AND`");
            return Err(Error::request(format!("the prompt has {count} parts"), hint));
        }
        let bytes: usize = self.parts.iter().map(|part| part.schedule.bytes()).sum();
        if bytes > MOST_BYTES {
            let what = format!("the texts that a prompt stands for along the run may have {bytes} bytes together");
            let hint = format!("use fewer steps or a shorter prompt: at most {MOST_BYTES}");
            return Err(Error::request(what, hint));
        }
        Ok(self.parts.iter().map(|part| part.schedule.texts()).collect())
    }

    /// Reads a negative prompt, which is one part: as in stable-diffusion-webui `AND` is a word of it.
    pub(crate) fn negative(text: &str, along: impl Into<Along>, emphasis: Emphasis) -> Self {
        Self { parts: vec![Part { weight: 1.0, schedule: schedule(text, along.into(), emphasis) }] }
    }
}

fn schedule(text: &str, along: Along, emphasis: Emphasis) -> PromptSchedule {
    match emphasis {
        Emphasis::None => PromptSchedule::fixed(text, along.steps),
        _ => PromptSchedule::parse(text, along),
    }
}

/// The parts of `text` between the words `AND`, without the spaces at their end, and the weight that ends each of them:
/// `a cat :0.5`.
fn compose(text: &str) -> Vec<(&str, f64)> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in whole_words(text, "AND") {
        parts.push(&text[start..at.start]);
        start = at.end;
    }
    parts.push(&text[start..]);
    parts.into_iter().map(weighed).collect()
}

fn weighed(part: &str) -> (&str, f64) {
    let part = part.trim_end_matches(is_space);
    let split = part.rsplit_once(':').and_then(|(text, weight)| {
        Some((text.trim_end_matches(is_space), decimal(weight.trim_start_matches(is_space))?))
    });
    split.unwrap_or((part, 1.0))
}
