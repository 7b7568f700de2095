//! The json files beside a model's graphs: what they say, and what petal makes of it.
use super::{Files, Layout, scheduler_config::SchedulerFile};
use crate::{
    Error, Result,
    preview::LatentColours,
    sampling::{ModelScheduler, NoiseSchedule, Prediction, Sampler},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// What a model's json files say.
#[derive(Debug)]
pub(crate) struct ModelConfig {
    /// The noise levels that the network was trained on.
    pub(crate) noise_schedule: NoiseSchedule,
    /// What the network predicts.
    pub(crate) prediction: Prediction,
    /// The autoencoder's numbers.
    pub(crate) vae: VaeConfig,
    /// Height and width of the latents that the network was trained on.
    pub(crate) sample_size: Option<(u32, u32)>,
    /// How wide the network says that states of texts are.
    pub(crate) states: Option<usize>,
    /// Whether no words at all become zeros on the negative side, if the model says.
    pub(crate) empty_is_zero: Option<bool>,
    /// The colours of latents.
    pub(crate) colours: Option<LatentColours>,
    /// Whether the levels of a run go evenly down to one step above 0, whatever the scheduler's own class does.
    pub(crate) even_levels: bool,
    /// Whether image to image takes all steps of a schedule that begins late, where the scheduler's class can do so.
    pub(crate) takes_all_steps: bool,
    /// `scheduler_config.json`.
    scheduler: SchedulerFile,
}

impl ModelConfig {
    /// Reads the files of a model; those that older exports lack may be missing. `network` and `vae` are the places of those
    /// of its graphs.
    pub(crate) fn read(files: &Files, network: &Place<'_>, vae: &Place<'_>) -> Result<Self> {
        let fields = parse(files, "scheduler/scheduler_config.json")?.ok_or_else(|| {
            Error::model(
                format!("model in `{}`: there is no `scheduler/scheduler_config.json`", files.place()),
                "add the file from the model's source: it says how the network was trained",
            )
        })?;
        let index: ModelIndex = parse(files, "model_index.json")?.unwrap_or_default();
        // graphs without an index are put into this pipeline by hand
        let pipeline = index.class.as_deref().unwrap_or("StableDiffusionPipeline");
        let scheduler = SchedulerFile::new(fields, Some(pipeline));
        let network: NetworkFile = parse_beside(network)?.unwrap_or_default();
        let vae = match parse_beside(vae)? {
            Some(vae) => Some(vae),
            None => parse(files, "vae/config.json")?, // where diffusers has it
        };
        Ok(Self {
            noise_schedule: scheduler.noise_schedule()?,
            prediction: scheduler.prediction()?,
            scheduler,
            vae: vae.unwrap_or_default(),
            sample_size: network.size(),
            states: network.joint_attention_dim.or(network.cross_attention_dim),
            even_levels: false,
            takes_all_steps: false,
            empty_is_zero: index.force_zeros_for_empty_prompt,
            colours: parse(files, "preview.json")?,
        })
    }

    /// The sampler by name that stands for the model's own scheduler, if one does.
    pub(crate) fn own_sampler(&self) -> Option<&'static Sampler> {
        self.scheduler.own_sampler()
    }

    /// What `scheduler_config.json` asks for; with `sampler`, what it means for the class of diffusers that is this
    /// sampler.
    pub(crate) fn scheduler_for(&self, sampler: Option<&'static Sampler>) -> Result<ModelScheduler> {
        let scheduler = sampler.map_or_else(|| self.scheduler.own(), |sampler| self.scheduler.for_sampler(sampler))?;
        Ok(if self.even_levels { scheduler.with_even_levels() } else { scheduler })
    }
}

/// `model_index.json`.
#[derive(Debug, Default, Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class: Option<String>,
    force_zeros_for_empty_prompt: Option<bool>,
}

/// A model's files, and one of its graphs among them.
pub(crate) type Place<'a> = (&'a Files, &'a str);

/// How many tokens the text encoder at `place` takes, if its `config.json` says.
pub(crate) fn positions(place: &Place<'_>) -> Result<Option<usize>> {
    let file: Option<TextEncoderFile> = parse_beside(place)?;
    Ok(file.and_then(|file| file.max_position_embeddings))
}

/// The `config.json` beside a graph.
fn parse_beside<T: DeserializeOwned>((files, graph): &Place<'_>) -> Result<Option<T>> {
    parse(files, &Layout::config_beside(graph))
}

fn parse<T: DeserializeOwned>(files: &Files, name: &str) -> Result<Option<T>> {
    let Some(text) = files.text(name)? else { return Ok(None) };
    serde_json::from_str(&without_infinities(&text)).map(Some).map_err(|error| {
        Error::model(
            format!("model in `{}`: `{name}` cannot be used: {error}", files.place()),
            "export or download the model again",
        )
    })
}

/// Python writes infinities into json (`"lambda_min_clipped": -Infinity`), which json does not have; they become null.
fn without_infinities(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    // outside strings, these words can only stand for a number
    while let Some(quote) = rest.find('"') {
        whole += &numbers_only(&rest[..quote]);
        let string = &rest[quote..];
        let mut escaped = false;
        let end = string[1..].find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let end = end.map_or(string.len(), |end| end + 2);
        whole += &string[..end];
        rest = &string[end..];
    }
    whole + &numbers_only(rest)
}

fn numbers_only(json: &str) -> String {
    json.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")
}

/// The `config.json` of the autoencoder.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct VaeConfig {
    /// What latents are multiplied by for the network.
    scaling_factor: Option<f64>,
    /// What is taken from them before.
    shift_factor: Option<f64>,
    block_out_channels: Option<Vec<u32>>,
}

impl VaeConfig {
    /// Scale and shift of latents; `usual` are those of the model's family.
    pub(crate) fn format(&self, usual: (f64, f64)) -> (f64, f64) {
        // a file that names a scale and no shift means none
        let shift = self.shift_factor.unwrap_or(if self.scaling_factor.is_some() { 0.0 } else { usual.1 });
        (self.scaling_factor.unwrap_or(usual.0), shift)
    }

    /// Pixels to a latent: each block but the last halves the picture.
    pub(crate) fn downsampling(&self) -> Option<usize> {
        self.block_out_channels.as_ref().map(|blocks| 1 << blocks.len().saturating_sub(1).min(16))
    }
}

#[derive(Debug, Default, Deserialize)]
struct NetworkFile {
    sample_size: Option<Value>, // a number, or [height, width]
    joint_attention_dim: Option<usize>,
    #[serde(default, deserialize_with = "lenient")]
    cross_attention_dim: Option<usize>, // or a list, one for each block
}

/// A number, or nothing where something else stands in its place.
fn lenient<'de, D: serde::Deserializer<'de>>(source: D) -> std::result::Result<Option<usize>, D::Error> {
    Ok(Value::deserialize(source)?.as_u64().map(|number| number as usize))
}

impl NetworkFile {
    /// Height and width.
    fn size(&self) -> Option<(u32, u32)> {
        let side = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|side| (1..=4096).contains(side));
        match self.sample_size.as_ref()? {
            Value::Array(sides) => Some((side(sides.first()?)?, side(sides.get(1)?)?)),
            value => side(value).map(|side| (side, side)),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct TextEncoderFile {
    max_position_embeddings: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_of_python_are_no_obstacle() {
        let json = r#"{"a": -Infinity, "b": [NaN, Infinity], "c": "\"Infinity", "d": "NaN"}"#;
        assert_eq!(without_infinities(json), r#"{"a": null, "b": [null, null], "c": "\"Infinity", "d": "NaN"}"#);
    }

    #[test]
    fn a_vae_of_four_blocks_makes_eight_pixels_of_a_latent() {
        let vae: VaeConfig = serde_json::from_str(r#"{"block_out_channels": [128, 256, 512, 512]}"#).unwrap();
        assert_eq!(vae.downsampling(), Some(8));
        assert_eq!(VaeConfig::default().downsampling(), None);
    }

    #[test]
    fn the_size_of_the_latents_is_a_number_or_two() {
        let size = |json: &str| serde_json::from_str::<NetworkFile>(json).unwrap().size();
        assert_eq!(size(r#"{"sample_size": 64}"#), Some((64, 64)));
        assert_eq!(size(r#"{"sample_size": [96, 64]}"#), Some((96, 64)));
        assert_eq!(size(r#"{"sample_size": 0}"#), None);
        assert_eq!(size("{}"), None);
    }
}
