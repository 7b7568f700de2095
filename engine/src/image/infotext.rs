//! What does a picture say of itself, in stable-diffusion-webui's form, both ways?
//!
//! The text is the prompt, a line `Negative prompt: ...`, and a last line of `Name: value` pairs. A value that holds a
//! comma, a colon or a line break is a JSON string. petal adds one pair, `petal`, with the whole request as JSON, for
//! what the other pairs cannot hold.
use super::{
    editing_fields::settle,
    fields::{self, OWN, QUALITIES, STARTING_NOISE, Said, find, noise_hash},
};
use crate::{AUTOMATIC_SCHEDULE, Error, Request, Result, sampling::Latents};

/// Pairs that say something of a picture and nothing of how to draw it again.
const REMARKS: [&str; 2] = ["User", "Civitai metadata"];
/// The pair that says by what a picture was made larger after it was drawn.
const UPSCALER: &str = "Postprocess upscaler";
/// What stands before the name in a prompt's tags for networks that change the model.
const NETWORKS: [&str; 3] = ["lora", "lyco", "hypernet"];

/// Which program's words a picture uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// petal.
    Petal,
    /// stable-diffusion-webui, or one of the many that write as it does.
    #[default]
    WebUi,
    /// `ComfyUI`.
    ComfyUi,
    /// `InvokeAI`.
    InvokeAi,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Petal => "petal",
            Self::WebUi => "stable-diffusion-webui",
            Self::ComfyUi => "ComfyUI",
            Self::InvokeAi => "InvokeAI",
        })
    }
}

/// What a picture says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Infotext {
    /// Whose words they are.
    pub origin: Origin,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative_prompt: String,
    /// The other pairs, in their order, unquoted, under stable-diffusion-webui's names; without petal's own.
    pub fields: Vec<(String, String)>,
    /// The whole request, if petal drew the picture.
    pub whole: Option<Request>,
    /// What the pairs leave out: parts of the picture's making that have no pair.
    pub(super) lacking: Vec<String>,
    /// Why no request can be made of it.
    pub(super) unclear: Option<String>,
}

/// The text of a picture.
pub(super) fn write(said: &Said<'_>) -> String {
    let request = said.request;
    let mut lines = vec![request.prompt.clone()];
    if !request.negative_prompt.is_empty() {
        lines.push(format!("Negative prompt: {}", request.negative_prompt));
    }
    let pairs = fields::all().filter_map(|field| Some((field.name, (field.write)(said)?)));
    let pairs = pairs.chain([(OWN, request.to_json().to_string())]);
    lines.push(pairs.map(|(name, value)| format!("{name}: {}", quote(&value))).collect::<Vec<_>>().join(", "));
    lines.join("\n")
}

/// A value as the last line holds it.
pub(super) fn quote(value: &str) -> String {
    let plain = !value.contains([',', ':', '\n']) && !value.starts_with('"') && value.trim() == value;
    if plain { value.into() } else { serde_json::Value::from(value).to_string() }
}

impl Infotext {
    /// Reads the text. Nothing is an error: what is not a pair belongs to the prompt.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut body, mut fields) = match text.trim().rsplit_once('\n') {
            Some((body, last)) => (body, scan_pairs(last)),
            None => ("", scan_pairs(text.trim())),
        };
        if fields.len() < 3 {
            (body, fields) = (text.trim(), Vec::new());
        }
        let mut info = Self::default();
        let mut negative = false;
        for line in body.lines().map(str::trim) {
            let rest = line.strip_prefix("Negative prompt:");
            negative |= rest.is_some();
            let side = if negative { &mut info.negative_prompt } else { &mut info.prompt };
            if !side.is_empty() {
                side.push('\n');
            }
            side.push_str(rest.map_or(line, str::trim));
        }
        let (own, others) = fields.into_iter().partition::<Vec<_>, _>(|(name, _)| name == OWN);
        info.fields = others;
        if let Some((_, json)) = own.first() {
            info.take_own(json);
        }
        info
    }

    /// petal's own request takes the place of the prompts; one that a later petal wrote is named as not understood.
    fn take_own(&mut self, json: &str) {
        self.origin = Origin::Petal;
        match serde_json::from_str::<Request>(json) {
            Ok(request) => {
                (self.prompt, self.negative_prompt) = (request.prompt.clone(), request.negative_prompt.clone());
                self.whole = Some(request);
            }
            Err(error) => self.lacking.push(format!("petal's own request ({error})")),
        }
    }

    /// The value of the pair `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The model's name.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.field("Model")
    }

    /// The quality at which petal wrote a JPEG or WebP file.
    #[must_use]
    pub fn quality(&self) -> Option<u8> {
        QUALITIES
            .iter()
            .find_map(|(_, name)| self.field(name))?
            .parse()
            .ok()
            .filter(|quality| (1..=100).contains(quality))
    }

    /// The request that draws the picture again, as far as petal can; [`left_out`](Self::left_out) says what it lacks.
    /// What the file does not say is what the program that wrote it leaves out.
    ///
    /// # Errors
    /// [`Error::Request`] if the file does not say enough, or the picture was drawn from given noise.
    pub fn request(&self) -> Result<Request> {
        if let Some(noise) = self.field(STARTING_NOISE) {
            return Err(Error::request(
                format!("the picture was drawn from noise that the file does not hold ({noise})"),
                "give the noise with `--latents`",
            ));
        }
        self.request_without_noise()
    }

    /// Like [`request`](Self::request), for a picture that was drawn from `noise`.
    ///
    /// # Errors
    /// [`Error::Request`] if the file does not say enough, or the picture was not drawn from this noise.
    pub fn request_from(&self, noise: Latents) -> Result<Request> {
        let hash = noise_hash(&noise);
        match self.field(STARTING_NOISE) {
            Some(wanted) if wanted == hash => Ok(Request { latents: Some(noise), ..self.request_without_noise()? }),
            Some(wanted) => Err(Error::request(
                format!("this is not the noise of the picture: it is {hash}, the picture's was {wanted}"),
                "give the file that `--latents` named when the picture was drawn",
            )),
            None => Err(Error::request("the picture was drawn from its seed", "leave out `--latents`")),
        }
    }

    fn request_without_noise(&self) -> Result<Request> {
        if let Some(request) = &self.whole {
            return Ok(Request { batch_count: 1, ..request.clone() }); // a file is one picture, whatever it says
        }
        let hint = "write the request yourself, with `petal draw`; `petal inspect` shows what is there";
        match &self.unclear {
            Some(why) => Err(Error::request(why.clone(), hint)),
            None if self.field("Seed").is_none() => Err(Error::request("the picture does not say its seed", hint)),
            None => Ok(self.understand().0),
        }
    }

    /// What of the picture's making the request does not carry over, by name.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        match (&self.whole, &self.unclear) {
            // made larger since it was drawn
            (Some(whole), _) if whole.upscale.is_none() => {
                self.field(UPSCALER).map(|name| format!("{UPSCALER} ({name})")).into_iter().collect()
            }
            (Some(_), _) => Vec::new(),
            (None, Some(_)) => self.lacking.clone(), // there is no request that could lack anything else
            (None, None) => self.understand().1,
        }
    }

    /// The request, and what it lacks.
    fn understand(&self) -> (Request, Vec<String>) {
        let mut lacking = self.lacking.clone();
        let mut request = Request {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            ..Request::default()
        };
        for (name, value) in &self.fields {
            match find(name) {
                Some(field) => {
                    if (field.read)(&mut request, value).is_none() {
                        lacking.push(format!("{name} ({value})"));
                    }
                }
                None if REMARKS.contains(&name.as_str()) => {}
                None => lacking.push(name.clone()),
            }
        }
        if self.origin == Origin::WebUi {
            settle(&mut request);
            request.rng.get_or_insert("nv".into()); // its default is the GPU, and is left out
            request.scheduler.get_or_insert(AUTOMATIC_SCHEDULE.into());
            for prompt in [&mut request.prompt, &mut request.negative_prompt] {
                lacking.extend(take_networks(prompt));
            }
        }
        (request, lacking)
    }
}

/// Why there is no request for a picture that was drawn with `name` at `value`.
pub(super) fn undrawable(name: &str, value: &str) -> String {
    format!("the picture was drawn with `{name}` {value}, which petal does not follow")
}

/// Takes tags like `<lora:name:0.8>` out of a prompt; what they were.
fn take_networks(prompt: &mut String) -> Vec<String> {
    let mut found = Vec::new();
    let mut kept = String::with_capacity(prompt.len());
    let mut rest = prompt.as_str();
    while let Some((before, after)) = rest.split_once('<') {
        kept.push_str(before);
        let end = after.find(['<', '>']).filter(|end| after[*end..].starts_with('>'));
        let tag = end.map(|end| &after[..end]);
        let kind = tag.and_then(|tag| tag.split_once(':')).map(|(kind, _)| kind);
        rest = match (tag, kind) {
            (Some(tag), Some(kind)) if NETWORKS.contains(&kind) => {
                found.push(format!("<{tag}>"));
                &after[tag.len() + 1..]
            }
            _ => {
                kept.push('<');
                after
            }
        };
    }
    kept.push_str(rest);
    if !found.is_empty() {
        *prompt = kept;
    }
    found
}

/// The pairs of a line: `Name: value, Name: "quoted value", ...`, as stable-diffusion-webui finds them: a name of two
/// or more letters, digits, spaces and `-/_`, of which the first is no space or sign; a colon; a quoted string up to a
/// comma or the end, or anything up to one.
fn scan_pairs(line: &str) -> Vec<(String, String)> {
    let starts = |c: char| c.is_alphanumeric() || c == '_';
    let goes_on = |c: char| starts(c) || " -/".contains(c);
    let mut pairs = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(starts) {
        let name_and_more = &rest[start..];
        let end = name_and_more.find(|c| !goes_on(c)).unwrap_or(name_and_more.len());
        let (name, after) = name_and_more.split_at(end);
        let Some(after) = after.strip_prefix(':').filter(|_| name.chars().nth(1).is_some()) else {
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let end = quoted_length(after).unwrap_or_else(|| after.find(',').unwrap_or(after.len()));
        let value = &after[..end];
        pairs.push((name.to_owned(), unquote(value)));
        rest = after[end..].strip_prefix(',').unwrap_or_default();
    }
    pairs
}

/// The length of the quoted string at the start of `text`, if a comma or the end follows.
fn quoted_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let length = end + 2;
    let followed = text[length..].is_empty() || text[length..].starts_with(',');
    (end > 0 && followed).then_some(length)
}

/// What a value means: a JSON string in quotes, else itself.
fn unquote(value: &str) -> String {
    let value = value.trim_end();
    let json = value.strip_prefix('"').and_then(|_| serde_json::from_str(value).ok());
    json.unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of stable-diffusion-webui's reader.
    #[test]
    fn reads_what_stable_diffusion_webui_writes() {
        let info = Infotext::parse(
            "girl with an artist's beret, (coquettish), detailed\n\
             Negative prompt: ugly, [blurry], bad anatomy\nmessy drawing\n\
             Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b",
        );
        assert_eq!(info.prompt, "girl with an artist's beret, (coquettish), detailed");
        assert_eq!(info.negative_prompt, "ugly, [blurry], bad anatomy\nmessy drawing");
        let fields: Vec<_> = info.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted =
            [("Steps", "20"), ("Sampler", "Euler a"), ("CFG scale", "7"), ("Seed", "965400086"), ("Size", "512x512")];
        assert_eq!(fields[..5], wanted);
        assert_eq!(fields[5], ("Model hash", "45dee52b"));
    }

    #[test]
    fn a_text_without_pairs_is_a_prompt() {
        let info = Infotext::parse("a dog: big, brown\nin space");
        assert_eq!((info.prompt.as_str(), info.fields.len()), ("a dog: big, brown\nin space", 0));
        assert_eq!(Infotext::parse(""), Infotext::default());
    }

    #[test]
    fn quotes_bring_odd_values_back() {
        for value in ["plain", "a, b: c", "line\nbreak", "\"", "back\\slash, \"q\"", " spaced ", "ü, 中"] {
            let line = format!("Steps: 1, Odd name: {}, Seed: 2", quote(value));
            assert_eq!(scan_pairs(&line)[1], ("Odd name".into(), value.into()), "{line}");
        }
    }

    #[test]
    fn broken_texts_do_no_harm() {
        for text in ["::::", ",,,:,", "\"", "a: \"open, b: 1, c: 2", "Steps: , : , :", "a:b\n\n\n", "\u{0}: \u{0}, :"] {
            let _ = Infotext::parse(text);
        }
    }

    /// Whatever stable-diffusion-webui leaves out has its default there, not petal's.
    #[test]
    fn what_is_left_out_has_the_default_of_its_program() {
        let info = Infotext::parse("a\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 5, Size: 512x768");
        let request = info.request().unwrap();
        assert_eq!((request.rng.as_deref(), request.scheduler.as_deref()), (Some("nv"), Some("karras")));
        assert_eq!((request.sampler.as_deref(), request.clip_skip, request.emphasis), (Some("dpmpp_2m"), 1, None));
        assert_eq!((request.width, request.height, request.seed), (Some(512), Some(768), 5));
        let info =
            Infotext::parse("a\nSteps: 20, Sampler: Euler, Schedule type: Automatic, Seed: 5, RNG: CPU, ENSD: -1");
        let request = info.request().unwrap();
        assert_eq!((request.rng.as_deref(), request.scheduler.as_deref()), (Some("cpu"), Some("automatic")));
        assert_eq!(request.ensd, u64::MAX);
    }

    #[test]
    fn what_is_not_carried_over_is_named() {
        let info = Infotext::parse(
            "a <lora:b c:0.8> < d <x:y>\nNegative prompt: <hypernet:z:1>e\nSteps: 1, Seed: 2, Hires checkpoint: x, \
             RNG: dice, Model: m, Version: v1.10.1, Lora hashes: \"b c: 123, d: 4\"",
        );
        let request = info.request().unwrap();
        assert_eq!((request.prompt.as_str(), request.negative_prompt.as_str()), ("a  < d <x:y>", "e"));
        let wanted = ["Hires checkpoint", "RNG (dice)", "Lora hashes", "<lora:b c:0.8>", "<hypernet:z:1>"];
        assert_eq!(info.left_out(), wanted);
        assert_eq!(info.model(), Some("m"));
    }

    #[test]
    fn a_file_is_one_picture() {
        let whole = Some(Request { batch_count: 3000, ..Request::default() });
        let info = Infotext { whole, ..Infotext::default() };
        assert_eq!(info.request().unwrap(), Request::default());
    }

    /// The pairs of a line by the regular expression of stable-diffusion-webui, run by hand.
    #[test]
    fn pairs_are_found_as_stable_diffusion_webui_finds_them() {
        for (line, wanted) in [
            ("A: 1, Bc: 2", &[("Bc", "2")][..]), // a name has two characters
            ("x (y) Steps: 1", &[("Steps", "1")]),
            ("Steps: 1 , -Size: 2", &[("Steps", "1"), ("Size", "2")]),
            ("Ab: \"c, d\" e, Fg: \"\"", &[("Ab", "\"c"), ("Fg", "")]),
            ("Ab: \"c\\\"d\", Ef: \"\\q\"", &[("Ab", "c\"d"), ("Ef", "\"\\q\"")]),
            ("Ab:, Cd:", &[("Ab", ""), ("Cd", "")]),
            ("CFG Rescale φ: 0.7, Hires/x-y: 1", &[("CFG Rescale φ", "0.7"), ("Hires/x-y", "1")]),
            ("Ab: c: d, Ef: 1", &[("Ab", "c: d"), ("Ef", "1")]),
        ] {
            let pairs = scan_pairs(line);
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(pairs, wanted, "{line}");
        }
    }

    #[test]
    fn a_request_of_a_later_petal_is_named() {
        let info = Infotext::parse("a\nSteps: 1, Seed: 2, petal: \"{\\\"new\\\": 1}\"");
        assert_eq!((info.origin, info.request().unwrap().seed), (Origin::Petal, 2));
        assert!(info.left_out()[0].contains("unknown field `new`"), "{:?}", info.left_out());
    }

    /// Reading is linear: a megabyte of anything takes no time.
    #[test]
    fn long_texts_are_read_quickly() {
        let begun = std::time::Instant::now();
        for piece in ["a", "a:", ",", "\"", "a b ", "ab: \"", "<lora:", "\n", "[", "Steps: 1,"] {
            let info = Infotext::parse(&piece.repeat((1 << 20) / piece.len()));
            let _ = info.left_out();
        }
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}
