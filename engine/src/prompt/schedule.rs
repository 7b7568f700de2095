//! Which text does a prompt stand for at each step? `[a:b:when]`, `[b:when]`, `[a::when]`, `[a|b]`.
//!
//! The rules are those of stable-diffusion-webui's `get_learned_conditioning_prompt_schedules`. There they are an
//! ambiguous grammar for a general parser; here one pass with a stack finds the brackets that have a meaning. They differ
//! only where a stray bracket or colon follows a choice directly, `[a:b:3]](`: that parser takes some of these choices
//! for text, by no rule that its grammar has. Here a choice is always one.
use super::characters::{is_space, scientific};
use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

/// The run along which a prompt is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Along {
    /// Its steps.
    pub(crate) steps: usize,
    /// Of a second pass, the steps of the first: there fractions go on from 1, whole numbers from these.
    pub(crate) before: Option<usize>,
}

impl From<usize> for Along {
    fn from(steps: usize) -> Self {
        Self { steps, before: None }
    }
}

/// The texts that a prompt stands for during a run of some number of steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromptSchedule {
    text: String,
    marks: Vec<Mark>,
    /// The last step of each entry, from 1: rising, and the last one is the number of steps.
    ends: Vec<usize>,
}

/// The distinct texts that a schedule stands for.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// Each text once, in the order in which they come first.
    pub(crate) distinct: Vec<String>,
    /// How many entries each of them is.
    pub(crate) counts: Vec<usize>,
    /// Which of them each entry is.
    pub(crate) which: Vec<usize>,
}

/// A piece of the text, or where a choice begins, goes on and ends.
#[derive(Debug, Clone, PartialEq)]
enum Mark {
    Text(Range<usize>),
    Open(Rule),
    Next,
    Close,
}

/// Which alternative of a choice is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// `[before:after:when]`: the first up to step `when`, then the second; the third is the number.
    Replace(usize),
    /// `[after:when]`: nothing up to step `when`, then the first; the second is the number.
    Appear(usize),
    /// `[a|b]`: one after the other, of so many.
    Turns(usize),
}

impl Rule {
    /// At `step`, from 1.
    fn choice(self, step: usize) -> Option<usize> {
        match self {
            Self::Replace(when) => Some(usize::from(step > when)),
            Self::Appear(when) => (step > when).then_some(0),
            Self::Turns(count) => Some(step.saturating_sub(1) % count),
        }
    }
}

impl PromptSchedule {
    /// Reads `text` for the run `along`, of some number of steps. `when` is a fraction of the steps if it has a point, a number of steps
    /// if it has none, and at most `steps`. Brackets without such a meaning stay in the text, with the schedules inside
    /// them resolved; a backslash keeps the next character from being one. A text with a `|` that belongs to no choice,
    /// or with a backslash at its end or the end of a line, has no schedules at all. Never fails; takes time linear in
    /// the text.
    pub(crate) fn parse(text: &str, along: impl Into<Along>) -> Self {
        let along = along.into();
        let steps = along.steps;
        let marks = Reader { text, along, ..Reader::default() }.read();
        let marks = marks.unwrap_or_else(|| vec![Mark::Text(0..text.len())]);
        let mut ends = BTreeSet::from([steps]);
        for mark in &marks {
            match mark {
                Mark::Open(Rule::Replace(when) | Rule::Appear(when)) if *when > 0 => drop(ends.insert(*when)),
                Mark::Open(Rule::Turns(_)) => ends.extend(1..=steps),
                _ => {}
            }
        }
        Self { text: text.into(), marks, ends: ends.into_iter().collect() }
    }

    /// `text` as it stands, for the whole run.
    pub(crate) fn fixed(text: &str, steps: usize) -> Self {
        Self { text: text.into(), marks: vec![Mark::Text(0..text.len())], ends: vec![steps] }
    }

    /// Each text with the last step, from 1, at which it holds. Neighbours may be equal.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, String)> {
        self.ends.iter().map(|end| (*end, self.resolve(*end)))
    }

    /// How many bytes it takes to write down the text of every entry, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.ends.len() * self.text.len()
    }

    /// The distinct texts of the entries.
    pub(crate) fn texts(&self) -> Texts {
        let mut known = HashMap::new();
        let mut texts = Texts::default();
        for (_, text) in self.entries() {
            let number = *known.entry(text).or_insert_with_key(|text| {
                texts.distinct.push(text.clone());
                texts.counts.push(0);
                texts.counts.len() - 1
            });
            texts.counts[number] += 1;
            texts.which.push(number);
        }
        texts
    }

    /// Which of [`entries`](Self::entries) holds when `done` steps are done. As in stable-diffusion-webui an entry holds
    /// while `done` is not above its last step: `[b:3]` appears after 4 steps, and `[a|b]` begins with `a` twice. After
    /// the last entry comes the first one again.
    pub(crate) fn index_at(&self, done: usize) -> usize {
        let at = self.ends.partition_point(|end| *end < done);
        if at < self.ends.len() { at } else { 0 }
    }

    /// The text of `step`, from 1.
    fn resolve(&self, step: usize) -> String {
        let mut text = String::new();
        let mut choices: Vec<(Option<usize>, usize)> = Vec::new(); // what is taken, and where we are
        let mut hidden = 0; // choices around us of which another part is taken
        let is_hidden = |(taken, here): (Option<usize>, usize)| usize::from(taken != Some(here));
        for mark in &self.marks {
            match mark {
                Mark::Text(range) if hidden == 0 => text.push_str(&self.text[range.clone()]),
                Mark::Text(_) => {}
                Mark::Open(rule) => {
                    choices.push((rule.choice(step), 0));
                    hidden += choices.last().copied().map_or(0, is_hidden);
                }
                Mark::Next => {
                    if let Some(choice) = choices.last_mut() {
                        hidden -= is_hidden(*choice);
                        choice.1 += 1;
                        hidden += is_hidden(*choice);
                    }
                }
                Mark::Close => hidden -= choices.pop().map_or(0, is_hidden),
            }
        }
        text
    }
}

/// An opening bracket that may yet be closed.
#[derive(Debug)]
struct Bracket {
    /// Its mark.
    at: usize,
    round: bool,
    /// The marks of the separators directly inside.
    colons: Vec<usize>,
    bars: Vec<usize>,
}

#[derive(Debug, Default)]
struct Reader<'a> {
    text: &'a str,
    along: Along,
    marks: Vec<Mark>,
    open: Vec<Bracket>,
    /// How many `|` belong to no choice, or not yet.
    loose_bars: usize,
}

impl Reader<'_> {
    /// `None` for a text that is taken literally.
    fn read(mut self) -> Option<Vec<Mark>> {
        let mut at = 0;
        while let Some(first) = self.text[at..].chars().next() {
            let start = at;
            at = match first {
                '\\' => {
                    let escaped = self.text[at + 1..].chars().next().filter(|c| *c != '\n')?;
                    at + 1 + escaped.len_utf8()
                }
                '[' | ']' | '(' | ')' | ':' | '|' => at + 1,
                _ => self.text[at..].find(['\\', '[', ']', '(', ')', ':', '|']).map_or(self.text.len(), |end| at + end),
            };
            self.marks.push(Mark::Text(start..at));
            match first {
                '[' | '(' => {
                    let (mark, round) = (self.marks.len() - 1, first == '(');
                    self.open.push(Bracket { at: mark, round, colons: Vec::new(), bars: Vec::new() });
                }
                ']' | ')' => self.close(first == ')', start),
                ':' | '|' => self.separator(first),
                _ => {}
            }
        }
        (self.loose_bars == 0).then_some(self.marks)
    }

    fn separator(&mut self, which: char) {
        self.loose_bars += usize::from(which == '|');
        if let Some(bracket) = self.open.last_mut() {
            let separators = if which == '|' { &mut bracket.bars } else { &mut bracket.colons };
            separators.push(self.marks.len() - 1);
        }
    }

    /// A bracket that is closed by the wrong one, or holds what it must not, is text; so are all around it, for no pair
    /// may hold such a bracket.
    fn close(&mut self, round: bool, at: usize) {
        let Some(bracket) = self.open.pop().filter(|bracket| bracket.round == round) else {
            return self.open.clear();
        };
        match (round, bracket.colons.len(), bracket.bars.len()) {
            (true, 0 | 1, 0) | (false, 0, 0) => {}
            (false, 0, bars) => {
                self.loose_bars -= bars;
                self.choose(&bracket, Rule::Turns(bars + 1));
            }
            (false, colons @ (1 | 2), 0) => match self.when(&bracket, at) {
                Some(when) => {
                    self.choose(&bracket, if colons == 2 { Rule::Replace(when) } else { Rule::Appear(when) });
                }
                None => self.open.clear(),
            },
            _ => self.open.clear(),
        }
    }

    /// The number between the last colon and `end`, as a step.
    fn when(&self, bracket: &Bracket, end: usize) -> Option<usize> {
        let Some(Mark::Text(colon)) = bracket.colons.last().map(|at| &self.marks[*at]) else { return None };
        let number = self.text[colon.end..end].trim_matches(is_space);
        let value = scientific(number)?;
        let Along { steps, before } = self.along;
        let value = match (number.contains('.'), before) {
            (true, None) => value * steps as f64,
            (true, Some(_)) => (value - 1.0) * steps as f64,
            (false, before) => value - before.unwrap_or_default() as f64,
        };
        Some((value.max(0.0) as usize).min(steps))
    }

    fn choose(&mut self, bracket: &Bracket, rule: Rule) {
        for at in bracket.colons.iter().chain(&bracket.bars) {
            self.marks[*at] = Mark::Next;
        }
        self.marks[bracket.at] = Mark::Open(rule);
        if let Some(last) = self.marks.last_mut() {
            *last = Mark::Close;
        }
    }
}
