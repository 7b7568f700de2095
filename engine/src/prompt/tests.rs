//! Does the grammar of prompts hold on any text, however odd?
use super::{
    Emphasis, Prompt, Reading, Taken, TextEncoder, Tokenizer,
    attention::{Fragment, weighted},
    chunks,
    chunks::{check_chunks, equalise},
    schedule::PromptSchedule,
};
use crate::{
    Cancel, Catalogue, LONGEST_PROMPT, ProviderChoice,
    models::Files,
    runtime::{Graph, GraphSource, Runtime, Settings, Tensor, library},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

fn tiny() -> Tokenizer {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1");
    Tokenizer::read(&Files::folder(&root).unwrap(), "tokenizer", None).unwrap()
}

/// The text that holds when `done` steps are done.
fn at(schedule: &PromptSchedule, done: usize) -> String {
    schedule.entries().nth(schedule.index_at(done)).unwrap().1
}

/// A text of one chunk as diffusers frames it.
fn framed(tokenizer: &Tokenizer, text: &str) -> Vec<i64> {
    tokenizer.frame(&tokenizer.ids(text).unwrap())
}

/// Prompts as long as any may be, each the worst case of something.
fn worst() -> Vec<String> {
    let fill = |pattern: &str| pattern.repeat(LONGEST_PROMPT / pattern.len());
    let nested = |open: &str, middle: &str, close: &str| {
        let depth = LONGEST_PROMPT / (open.len() + close.len() + 1);
        open.repeat(depth) + middle + &close.repeat(depth)
    };
    let patterns =
        ["(", "[", ")", "]", "([", "(a", "[a", "a)", ":", "|", "[|", "a:b:", "[a:b:", "[a:b:1", "[a:b:1]", "\\"];
    let more =
        ["\\(", "(a:1", "(:1.1)", ": 1", ":1.", "BREAK ", "BREAK", "AND ", "AND", ":1 AND ", " ", "\n", "a|", "犬"];
    let groups = [("(a", "", "b)"), ("[a", "", "b]"), ("[", "a", ":1]"), ("[", "a", "|]"), ("(", "a", ":1.1)")];
    let crossed =
        [("([", "a", ")]"), ("(a[b", "", ")c]d"), ("[a:", "b", ":0.5]"), ("[[", "a", "]:1]"), ("(((", "a", ":9))]")];
    let nests = groups.iter().chain(&crossed).map(|(open, middle, close)| nested(open, middle, close));
    patterns.iter().chain(&more).map(|pattern| fill(pattern)).chain(nests).collect()
}

/// The bound is far above what linear time takes, and below what it takes to multiply each weight bracket by bracket.
#[test]
fn the_worst_prompts_are_read_in_linear_time() {
    for text in worst() {
        let start = Instant::now();
        let prompt = Prompt::positive(&text, 3, Emphasis::Original);
        for part in &prompt.parts {
            let resolved = at(&part.schedule, 0);
            let finite = |fragment: &Fragment| match fragment {
                Fragment::Break => true,
                Fragment::Words { weight, .. } => weight.is_finite(),
            };
            assert!(weighted(&resolved).iter().all(finite), "{}", &text[..12]);
        }
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(3), "{taken:?} for {}", text.chars().take(12).collect::<String>());
    }
}

#[test]
fn weights_of_deep_brackets_are_the_product() {
    for depth in [1, 63, 64, 65, 200, 2000] {
        let text = "(".repeat(depth) + &"[".repeat(depth) + "a";
        let [Fragment::Words { weight, .. }] = &weighted(&text)[..] else { panic!("one fragment") };
        assert!((weight - 1.0).abs() < 1e-9, "{depth}: {weight}");
        let text = "(".repeat(depth) + "a" + &":1.01)".repeat(depth);
        let [Fragment::Words { weight, .. }] = &weighted(&text)[..] else { panic!("one fragment") };
        let wanted = 1.01_f64.powi(i32::try_from(depth).unwrap());
        assert!((weight / wanted - 1.0).abs() < 1e-9, "{depth}: {weight}");
    }
}

/// xorshift64*, Vigna 2016.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn text(&mut self) -> String {
        const SIGNS: &[&str] =
            &["(", ")", "[", "]", ":", "|", "\\", "BREAK", "AND", "1.2", ".", "-", "e", " ", "\n", ","];
        const WORDS: &[&str] =
            &["a dog", "é", "犬", "🐶", "\u{200d}", "\u{301}", "\0", "\u{1c}", "<|endoftext|>", "1e999"];
        let length = self.below(60);
        let piece = |dice: &mut Self| match dice.below(10) {
            0..7 => SIGNS[dice.below(SIGNS.len())].to_owned(),
            7..9 => WORDS[dice.below(WORDS.len())].to_owned(),
            _ => char::from_u32(dice.below(0x11_0000) as u32).map_or_else(String::new, String::from),
        };
        (0..length).map(|_| piece(self)).collect()
    }
}

#[test]
fn any_text_is_a_prompt() {
    let tokenizer = tiny();
    let mut dice = Dice(7);
    for _ in 0..3000 {
        let text = dice.text();
        let steps = dice.below(12);
        for part in Prompt::positive(&text, steps, Emphasis::Original)
            .parts
            .iter()
            .chain(&Prompt::negative(&text, steps, Emphasis::Original).parts)
        {
            assert!(part.weight.is_finite(), "{text:?}");
            let entries: Vec<_> = part.schedule.entries().collect();
            assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0), "{text:?}");
            assert_eq!(entries.last().unwrap().0, steps, "{text:?}");
            for (_, text) in &entries[..entries.len().min(2)] {
                for chunk in chunks(&tokenizer, text, Emphasis::Original).unwrap() {
                    assert_eq!((chunk.ids.len(), chunk.weights.len()), (77, 77), "{text:?}");
                    assert!(chunk.weights.iter().all(|weight| weight.is_finite()), "{text:?}");
                    assert_eq!(chunk.tokens(&tokenizer).len(), chunk.used, "{text:?}");
                }
            }
        }
    }
}

/// A text without brackets is what diffusers takes it to be, whatever the emphasis.
#[test]
fn plain_prompts_are_those_of_diffusers() {
    let tokenizer = tiny();
    for text in ["", "a dog in space", "red, green, blue; don't!", "Café 犬 🐶", &"1 ".repeat(75)] {
        for emphasis in [Emphasis::Original, Emphasis::NoNorm, Emphasis::Ignore, Emphasis::None] {
            let ours = chunks(&tokenizer, text, emphasis).unwrap();
            assert_eq!((ours.len(), &ours[0].ids), (1, &framed(&tokenizer, text)), "{text}");
            assert!(ours[0].weights.iter().all(|weight| weight.to_bits() == 1.0_f32.to_bits()), "{text}");
        }
    }
    for text in ["(a:1.2) [b]", "a \\( BREAK b"] {
        let ours = chunks(&tokenizer, text, Emphasis::None).unwrap();
        assert_eq!(ours[0].ids, framed(&tokenizer, text), "{text}");
    }
}

#[test]
fn chunks_are_made_equal_by_empty_ones() {
    let tokenizer = tiny();
    let mut texts = ["a", "a BREAK b BREAK c", ""].map(|text| chunks(&tokenizer, text, Emphasis::Original).unwrap());
    assert_eq!(texts.each_ref().map(Vec::len), [1, 3, 1]);
    equalise(&tokenizer, &mut texts);
    assert_eq!(texts.each_ref().map(Vec::len), [3, 3, 3]);
    assert_eq!(texts[0][2], texts[2][0]);
    assert_eq!(texts[0][2].used, 0);
    let shown = texts[1][1].tokens(&tokenizer);
    assert_eq!((shown[0].text.as_str(), shown[0].weight), ("b ", 1.0));
}

#[test]
fn schedules_hold_as_long_as_in_the_reference() {
    let schedule = PromptSchedule::parse("a [b:3]", 10);
    assert_eq!((schedule.entries().count(), PromptSchedule::parse("a [b]", 10).entries().count()), (2, 1));
    let texts: Vec<String> = (0..10).map(|done| at(&schedule, done)).collect();
    assert!(texts[..4].iter().all(|text| text == "a ") && texts[4..].iter().all(|text| text == "a b"));
    let turns = PromptSchedule::parse("[a|b]", 4);
    assert_eq!([0, 1, 2, 3, 4].map(|done| at(&turns, done)).concat(), "aabab");
    assert_eq!(turns.index_at(99), 0);
}

#[test]
fn a_negative_prompt_has_one_part() {
    let prompt = Prompt::negative("a AND b :2", 5, Emphasis::Original);
    assert_eq!(prompt.parts.len(), 1);
    assert_eq!((prompt.parts[0].weight, at(&prompt.parts[0].schedule, 0)), (1.0, "a AND b :2".to_owned()));
}

fn encoder() -> TextEncoder {
    let catalogue = Catalogue::load(None).unwrap();
    let search = library::Search { named: None, offline: false, wheel: catalogue.runtime() };
    let (library, _) = library::find_or_install(&search, |_| {}).unwrap();
    let runtime = Runtime::start(&library).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1/text_encoder/model.onnx");
    let settings = Settings { provider: ProviderChoice::parse("cpu").unwrap()[0], threads: Some(1) };
    let (source, cancel) = (GraphSource::File(path), Cancel::new().unwrap());
    TextEncoder::new(tiny(), Graph::load(&runtime, "text_encoder", &source, &settings, &cancel).unwrap()).unwrap()
}

fn encode(encoder: &mut TextEncoder, texts: &[&str], emphasis: Emphasis) -> Vec<Tensor> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let reading = Reading { emphasis, clip_skip: 1 };
    let texts = encoder.encode(&texts, &vec![1; texts.len()], reading, Taken::Final).unwrap();
    texts.into_iter().map(|text| text.states).collect()
}

#[test]
fn embeddings_without_weights_are_those_of_diffusers() {
    let mut encoder = encoder();
    let texts = ["a dog in space", "a cat"];
    for emphasis in [Emphasis::Original, Emphasis::NoNorm, Emphasis::Ignore] {
        let ours = encode(&mut encoder, &texts, emphasis);
        assert_eq!(ours, encode(&mut encoder, &texts, Emphasis::None), "{emphasis:?}");
    }
}

#[test]
fn embeddings_are_weighted_chunk_by_chunk() {
    let mut encoder = encoder();
    let texts = ["a (dog:1.5) BREAK in space", "[a cat]"];
    let ours = encode(&mut encoder, &texts, Emphasis::Original);
    let width = ours[0].shape[2];
    assert!(ours.iter().all(|text| text.shape == [1, 2 * 77, width]));
    let joined = |texts: Vec<Tensor>| texts.into_iter().flat_map(Tensor::into_floats).collect::<Vec<f32>>();
    let ours = joined(ours);
    let bare = joined(encode(&mut encoder, &["a dog", "a cat", "in space", ""], Emphasis::None));
    let size = 77 * width;
    // the first chunk of both texts, then the second of both; the tiny vocabulary cuts words to pieces
    let pieces = |text: &str| tiny().ids(text).unwrap().len();
    let dog = (1 + pieces("a"))..(1 + pieces("a dog"));
    let cat = 78..(78 + pieces("a cat"));
    let mean = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>();
    let weight = |at: usize| match at / width {
        token if dog.contains(&token) => 1.5,
        token if cat.contains(&token) => (1.0 / 1.1) as f32,
        _ => 1.0,
    };
    let first = &bare[..2 * size];
    let weighted: Vec<f32> = first.iter().enumerate().map(|(at, value)| value * weight(at)).collect();
    let scale = (mean(first) / mean(&weighted)) as f32;
    let wanted: Vec<f32> = weighted.into_iter().map(|value| value * scale).collect();
    let near = |ours: &[f32], wanted: &[f32]| {
        assert_eq!(ours.len(), wanted.len());
        assert!(ours.iter().zip(wanted).all(|(ours, wanted)| (ours - wanted).abs() <= 1e-5 * wanted.abs().max(1.0)));
    };
    assert!((scale - 1.0).abs() > 1e-6, "the mean must have changed: {scale}");
    near(&ours[..size], &wanted[..size]);
    near(&ours[2 * size..3 * size], &wanted[size..]);
    near(&ours[size..2 * size], &bare[2 * size..3 * size]);
    near(&ours[3 * size..], &bare[3 * size..]);
}

/// Limits hold over all parts and texts together, and are told of without any text being written down.
#[test]
fn prompts_that_would_fill_the_memory_are_refused() {
    let tokenizer = tiny();
    let check = |text: &str, steps: usize| {
        let texts = Prompt::positive(text, steps, Emphasis::Original).texts()?;
        check_chunks(&tokenizer, texts.iter().flat_map(|texts| &texts.distinct), Emphasis::Original)
    };
    let many = "[a|b][a|b|c][a|b|c|d|e][a|b|c|d|e|f|g]"; // 210 texts
    let breaks = |count: usize| "a BREAK ".repeat(count);
    let long = " ".repeat(60_000) + "a";
    for (text, steps, wanted) in [
        ("a AND ".repeat(100), 20, "the prompt has 101 parts"),
        (breaks(1001), 20, "the prompts have 1001 chunks"),
        (format!("{}AND b", breaks(501)), 20, "the prompts have 1002 chunks"),
        (format!("{many} AND ").repeat(5), 210, "the prompts have 1051 chunks"),
        (format!("[{}::1] {many}", breaks(5)), 210, "the prompts have 1260 chunks"),
        (format!("[a|b]{long}"), 2000, "the texts that a prompt stands for along the run may have 120012000 bytes"),
    ] {
        let error = check(&text, steps).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
    for (text, steps) in [
        ("a AND ".repeat(99), 20),
        (breaks(1000), 20),
        (format!("{}AND b", breaks(500)), 20),
        (many.into(), 10_000),
        (format!("{}{long}", "[a|b]".repeat(100)), 1000),
    ] {
        check(&text, steps).unwrap();
    }
}

#[test]
fn each_text_is_kept_once() {
    let texts = PromptSchedule::parse("[a|b|a]", 7).texts();
    assert_eq!((texts.distinct, texts.counts), (vec!["a".to_owned(), "b".to_owned()], vec![5, 2]));
    assert_eq!(texts.which, [0, 1, 0, 0, 1, 0, 0]);
}
