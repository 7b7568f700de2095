//! Which values does a field of a request take along one side of a grid?
use crate::{Error, Extend, Hires, Refiner, Request, Result, Upscale, error::unknown};
use serde_json::{Value, json};

/// The most values of an axis: a row of a grid reads as many files at once.
pub const LONGEST_AXIS: usize = 200;

/// A field of [`Request`], by its name in JSON, and the values that it takes one after the other.
///
/// ```
/// let axis: petal_engine::Axis = "steps=10,20,40".parse().unwrap();
/// assert_eq!((axis.field(), axis.len(), axis.label(1)), ("steps", 3, "steps: 20".into()));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    field: String,
    values: Vec<Value>,
}

/// What a field holds, which says how its values are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prompt,
    Name,
    Whole,
    Number,
    Numbers,
    Pair,
    Switch,
}

impl std::str::FromStr for Axis {
    type Err = Error;

    /// Reads `field=value,value`. Prompts and lists have `|` between their values, so that commas may be inside; a `|`
    /// in square brackets belongs to the prompt. Whole numbers may be ranges, as in `seed=1-4`.
    fn from_str(text: &str) -> Result<Self> {
        let Some((name, values)) = text.split_once('=') else {
            return Err(Error::request(
                format!("`{text}` does not say a field and its values"),
                "write it as in `sampler=euler,heun`",
            ));
        };
        let field = name.trim().replace('-', "_");
        let kind = kind(&field)?;
        let mut read = Vec::new();
        for value in split(values, kind) {
            read.extend(kind.read(&field, value.trim())?);
            if read.len() > LONGEST_AXIS {
                return Err(Error::request(
                    format!("`{field}` has more than {LONGEST_AXIS} values"),
                    "make several grids of fewer",
                ));
            }
        }
        let axis = Self { field, values: read };
        for index in 0..axis.len() {
            axis.apply(index, &Request::default())?;
        }
        Ok(axis)
    }
}

impl Axis {
    /// The field's name.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The values, as JSON.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The number of values, 1 or more.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // it is never empty
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The value `index`, for people; empty if there is none.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        let text = match self.values.get(index) {
            None => return String::new(),
            Some(Value::String(text)) if text.is_empty() => "(none)".into(),
            Some(value) => readable(value),
        };
        if self.field == "prompt" { text } else { format!("{}: {text}", self.field) }
    }

    /// `request` with the value `index` in the field. Noise levels take the place of the schedule, its rho and the
    /// number of steps; a schedule that of noise levels.
    ///
    /// # Errors
    /// [`Error::Request`] if the field cannot hold it.
    pub fn apply(&self, index: usize, request: &Request) -> Result<Request> {
        let value = self.values.get(index).cloned().unwrap_or_default();
        let mut request = request.clone();
        match self.field.as_str() {
            "sigmas" => (request.scheduler, request.rho, request.steps) = (None, None, None),
            "scheduler" => request.sigmas = None,
            _ => {}
        }
        let changed = with(&request, &self.field, value.clone());
        changed.map_err(|_| Error::request(format!("`{}` cannot be {value}", self.field), "use a smaller number"))
    }
}

/// A value as people write it: on one line, and whole numbers without a point.
pub(crate) fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(['\n', '\t'], " "),
        Value::Array(list) => list.iter().map(readable).collect::<Vec<_>>().join(", "),
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    }
}

/// `request` with another value in `field`.
fn with(request: &Request, field: &str, value: Value) -> serde_json::Result<Request> {
    let mut json = serde_json::to_value(request)?;
    match field.split_once('.') {
        Some((group, field)) => json[group][field] = value,
        None => json[field] = value,
    }
    let changed: Request = serde_json::from_value(json)?;
    Ok(Request { latents: request.latents.clone(), ..changed }) // which JSON leaves out
}

/// The names of all fields; those of a group stand behind its name, as in `hires.scale`.
fn fields() -> Vec<String> {
    let groups = Request {
        extend: Some(Extend::default()),
        refiner: Some(Refiner::default()),
        hires: Some(Hires::default()),
        upscale: Some(Upscale::default()),
        ..Request::default()
    };
    let json = serde_json::to_value(groups).unwrap_or_default();
    let mut names = Vec::new();
    for (name, value) in json.as_object().into_iter().flatten() {
        match value {
            Value::Object(group) => names.extend(group.keys().map(|field| format!("{name}.{field}"))),
            _ if name == "batch_count" => {}
            _ => names.push(name.clone()),
        }
    }
    names
}

/// What the field holds: the first kind of value that it takes.
fn kind(field: &str) -> Result<Kind> {
    let usual = Request::default();
    let names = fields();
    if field == "batch_count" {
        return Err(Error::request(
            "a cell is one picture, so `batch_count` is no axis",
            "use seeds, as in `seed=1-4`",
        ));
    }
    if !names.iter().any(|name| name == field) {
        return Err(unknown("field", field, names.iter().map(String::as_str)));
    }
    let samples = [
        (json!("x"), Kind::Name),
        (json!([0.5]), Kind::Numbers),
        (json!([2, 1]), Kind::Pair),
        (json!(0.5), Kind::Number),
        (json!(true), Kind::Switch),
    ];
    let kind = samples.into_iter().find(|(sample, _)| with(&usual, field, sample.clone()).is_ok());
    Ok(match kind {
        _ if field.ends_with("prompt") => Kind::Prompt,
        Some((_, kind)) => kind,
        None => Kind::Whole,
    })
}

/// The pieces between separators.
fn split(text: &str, kind: Kind) -> Vec<&str> {
    match kind {
        Kind::Prompt => split_prompts(text),
        Kind::Numbers | Kind::Pair => text.split('|').collect(),
        Kind::Name | Kind::Whole | Kind::Number | Kind::Switch => text.split(',').collect(),
    }
}

/// The prompts between `|`, which in square brackets, `[a|b]`, belongs to the prompt.
fn split_prompts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut escaped) = (0_usize, 0, false);
    let mut prompts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                prompts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    prompts.push(&text[start..]);
    prompts
}

impl Kind {
    /// The values that `text` means: several if it is a range.
    fn read(self, field: &str, text: &str) -> Result<Vec<Value>> {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        let values = match self {
            Self::Prompt => Some(vec![text.into()]),
            Self::Name => (!text.is_empty()).then(|| vec![text.into()]),
            Self::Number => number(text).map(|number| vec![number.into()]),
            Self::Numbers => {
                text.split(',').map(number).collect::<Option<Vec<f64>>>().map(|numbers| vec![numbers.into()])
            }
            Self::Pair => {
                match text.split([',', 'x']).map(|part| part.trim().parse().ok()).collect::<Vec<Option<u32>>>()[..] {
                    [Some(first), Some(second)] => Some(vec![vec![first, second].into()]),
                    _ => None,
                }
            }
            Self::Whole => range(text),
            Self::Switch => text.parse::<bool>().ok().map(|on| vec![on.into()]),
        };
        values.ok_or_else(|| {
            let (takes, example) = self.explain();
            Error::request(
                format!("`{field}` takes {takes}, not `{text}`"),
                format!("write it as in `{field}={example}`"),
            )
        })
    }

    /// What the field takes, and an example.
    fn explain(self) -> (&'static str, &'static str) {
        match self {
            Self::Prompt => ("prompts", "a dog|a cat"),
            Self::Name => ("names", "NAME,NAME"),
            Self::Whole => ("whole numbers", "1,2,3` or `1-3"),
            Self::Number => ("numbers", "0.5,1.5"),
            Self::Numbers => ("lists of numbers", "9,5,1|3,3,3"),
            Self::Pair => ("pairs of whole numbers", "64,0|128,32"),
            Self::Switch => ("true and false", "true,false"),
        }
    }
}

/// A whole number, or all from one to another; of a very long range only as many as show that there are too many.
fn range(text: &str) -> Option<Vec<Value>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then(|| (first..=last).take(LONGEST_AXIS + 1).map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<Value> {
        text.parse::<Axis>().unwrap().values
    }

    #[test]
    fn every_kind_of_field_has_its_separators() {
        assert_eq!(values("sampler=euler, DPM++ 2M Karras"), ["euler", "DPM++ 2M Karras"]);
        assert_eq!(values("steps=10,20-22"), [10, 20, 21, 22]);
        assert_eq!(values("seed=18446744073709551615"), [u64::MAX]);
        assert_eq!(values("cfg-scale=1,7.5"), [1.0, 7.5]);
        assert_eq!(values("sigmas=14,1.5|9"), [json!([14.0, 1.5]), json!([9.0])]);
        assert_eq!(values("crop=64,0|640x480"), [json!([64, 0]), json!([640, 480])]);
        assert_eq!(values("prompt=a, b | [c|d] e|\\[f"), ["a, b", "[c|d] e", "\\[f"]);
        assert_eq!(values("negative_prompt=|blur"), ["", "blur"]);
    }

    /// A field that is added to the request is one of a grid, too, and what it is given arrives.
    #[test]
    fn every_field_of_a_request_can_be_an_axis() {
        let usual = serde_json::to_value(Request::default()).unwrap();
        for field in fields() {
            let field = field.as_str();
            let text = match kind(field).unwrap() {
                Kind::Prompt | Kind::Name => "x",
                Kind::Whole => "3",
                Kind::Number => "0.25",
                Kind::Numbers | Kind::Pair => "3,2",
                Kind::Switch => "true",
            };
            let axis: Axis = format!("{field}={text}").parse().unwrap();
            let changed = serde_json::to_value(axis.apply(0, &Request::default()).unwrap()).unwrap();
            let (group, name) = field.split_once('.').map_or((field, None), |(group, name)| (group, Some(name)));
            let found = name.map_or(&changed[group], |name| &changed[group][name]);
            assert_eq!(*found, axis.values[0]);
            let others = usual.as_object().unwrap().keys().filter(|name| *name != group);
            others.for_each(|name| assert_eq!(changed[name], usual[name]));
        }
    }

    #[test]
    fn noise_levels_and_schedules_take_each_others_place() {
        let karras = Some("karras".into());
        let before = Request { steps: Some(9), scheduler: karras, rho: Some(5.0), ..Request::default() };
        let axis = |text: &str| text.parse::<Axis>().unwrap();
        let levels = axis("sigmas=9,5").apply(0, &before).unwrap();
        assert_eq!(levels, Request { sigmas: Some(vec![9.0, 5.0]), ..Request::default() });
        let back = axis("scheduler=karras").apply(0, &levels).unwrap();
        assert_eq!(back, Request { scheduler: Some("karras".into()), ..Request::default() });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, what, hint) in [
            ("sampler", "`sampler` does not say a field and its values", "write it as in `sampler=euler,heun`"),
            ("steps=10,ten", "`steps` takes whole numbers, not `ten`", "write it as in `steps=1,2,3` or `1-3`"),
            ("seed=-1", "`seed` takes whole numbers, not `-1`", "write it as in `seed=1,2,3` or `1-3`"),
            ("seed=4-1", "`seed` takes whole numbers, not `4-1`", "write it as in `seed=1,2,3` or `1-3`"),
            ("steps=", "`steps` takes whole numbers, not ``", "write it as in `steps=1,2,3` or `1-3`"),
            ("cfg_scale=nan", "`cfg_scale` takes numbers, not `nan`", "write it as in `cfg_scale=0.5,1.5`"),
            ("sigmas=3,x", "`sigmas` takes lists of numbers, not `3,x`", "write it as in `sigmas=9,5,1|3,3,3`"),
            ("crop=3", "`crop` takes pairs of whole numbers, not `3`", "write it as in `crop=64,0|128,32`"),
            ("sampler=euler,", "`sampler` takes names, not ``", "write it as in `sampler=NAME,NAME`"),
            ("steps=4294967296", "`steps` cannot be 4294967296", "use a smaller number"),
            ("seed=0-99999999999", "`seed` has more than 200 values", "make several grids of fewer"),
            ("batch_count=2", "a cell is one picture, so `batch_count` is no axis", "use seeds, as in `seed=1-4`"),
        ] {
            let error = text.parse::<Axis>().unwrap_err();
            assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (what, Some(hint)));
        }
        let error = "samplr=euler".parse::<Axis>().unwrap_err();
        assert_eq!(error.to_string(), "unknown field `samplr`");
        assert!(error.hint().unwrap().starts_with("use `sampler`, or another of: prompt, negative_prompt, width"));
    }

    #[test]
    fn labels_are_for_people() {
        let label = |text: &str| text.parse::<Axis>().unwrap().label(0);
        assert_eq!(label("prompt=a dog"), "a dog");
        assert_eq!(label("negative_prompt="), "negative_prompt: (none)");
        assert_eq!(label("cfg_schedule=9,7.5"), "cfg_schedule: 9, 7.5");
    }
}
