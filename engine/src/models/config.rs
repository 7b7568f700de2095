//! The json files beside a model's graphs: what they say, and what petal makes of it.
use super::Files;
use crate::{
    Error, Result,
    preview::LatentColours,
    sampling::{FinalSigma, ModelScheduler, NoiseSchedule, Prediction, SchedulerClass, SigmaCurve, Spacing},
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
    /// How many tokens the text encoder takes.
    pub(crate) positions: Option<usize>,
    /// The colours of latents.
    pub(crate) colours: Option<LatentColours>,
    /// What `scheduler_config.json` asks for, or why petal cannot follow it.
    scheduler: std::result::Result<ModelScheduler, Unsupported>,
}

/// Why a scheduler cannot be followed; an error only when it is used.
#[derive(Clone, Debug)]
struct Unsupported {
    what: String,
    hint: String,
}

impl From<Error> for Unsupported {
    fn from(error: Error) -> Self {
        Self { what: error.to_string(), hint: error.hint().unwrap_or_default() }
    }
}

impl ModelConfig {
    /// Reads the files of a model; those that older exports lack may be missing.
    pub(crate) fn read(files: &Files) -> Result<Self> {
        let scheduler: SchedulerFile = parse(files, "scheduler/scheduler_config.json")?.ok_or_else(|| {
            Error::model(
                format!("model in `{}`: there is no `scheduler/scheduler_config.json`", files.place()),
                "add the file from the model's source: it says how the network was trained",
            )
        })?;
        let noise_schedule = scheduler.noise_schedule()?;
        let prediction = Prediction::parse(&scheduler.prediction_type)?;
        let unet: UnetFile = parse(files, "unet/config.json")?.unwrap_or_default();
        let text: TextEncoderFile = parse(files, "text_encoder/config.json")?.unwrap_or_default();
        let vae = parse(files, "vae_decoder/config.json")?;
        Ok(Self {
            scheduler: scheduler.follow(noise_schedule.clone(), prediction).map_err(Unsupported::from),
            noise_schedule,
            prediction,
            vae: vae.unwrap_or_default(),
            sample_size: unet.size(),
            positions: text.max_position_embeddings,
            colours: parse(files, "preview.json")?,
        })
    }

    /// What `scheduler_config.json` asks for.
    pub(crate) fn scheduler(&self) -> Result<&ModelScheduler> {
        self.scheduler.as_ref().map_err(|Unsupported { what, hint }| Error::model(what, hint))
    }
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

/// `vae_decoder/config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct VaeConfig {
    /// What latents are multiplied by for the network.
    pub(crate) scaling_factor: Option<f64>,
    /// What is taken from them before.
    pub(crate) shift_factor: Option<f64>,
    block_out_channels: Option<Vec<u32>>,
}

impl VaeConfig {
    /// Pixels to a latent: each block but the last halves the picture.
    pub(crate) fn downsampling(&self) -> Option<usize> {
        self.block_out_channels.as_ref().map(|blocks| 1 << blocks.len().saturating_sub(1).min(16))
    }
}

#[derive(Debug, Default, Deserialize)]
struct UnetFile {
    sample_size: Option<Value>, // a number, or [height, width]
}

impl UnetFile {
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

/// `scheduler_config.json`, with the defaults that every class of diffusers shares.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct SchedulerFile {
    #[serde(rename = "_class_name")]
    class: String,
    num_train_timesteps: usize,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    beta_schedule: Option<String>,
    trained_betas: Option<Vec<f32>>,
    prediction_type: String,
    timestep_spacing: Option<String>,
    steps_offset: usize,
    use_karras_sigmas: Option<bool>,
    use_exponential_sigmas: Option<bool>,
    final_sigmas_type: String,
    set_alpha_to_one: Option<bool>,
    skip_prk_steps: bool,
    original_inference_steps: usize,
    algorithm_type: String,
    solver_order: usize,
    solver_type: String,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

impl Default for SchedulerFile {
    fn default() -> Self {
        Self {
            class: String::new(),
            num_train_timesteps: 1000,
            beta_start: None,
            beta_end: None,
            beta_schedule: None,
            trained_betas: None,
            prediction_type: "epsilon".into(),
            timestep_spacing: None,
            steps_offset: 0,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            final_sigmas_type: "zero".into(),
            set_alpha_to_one: None,
            skip_prk_steps: false,
            original_inference_steps: 50,
            algorithm_type: "dpmsolver++".into(),
            solver_order: 2,
            solver_type: "midpoint".into(),
            others: serde_json::Map::new(),
        }
    }
}

/// Switches of diffusers' classes that change the picture and that petal does not have yet.
const SWITCHES: &[&str] = &[
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "rescale_betas_zero_snr",
    "thresholding",
    "clip_sample",
    "euler_at_final",
    "use_dynamic_shifting",
];

/// Numbers of diffusers' classes that petal does not have; their usual value is none.
const NUMBERS: &[&str] = &["sigma_min", "sigma_max", "lambda_min_clipped"];

const CHOOSE_ANOTHER: &str = "choose another with `--sampler` and `--scheduler`";

impl SchedulerFile {
    /// The levels of training. Classes differ in their defaults for betas: see diffusers' constructors.
    fn noise_schedule(&self) -> Result<NoiseSchedule> {
        if let Some(betas) = &self.trained_betas {
            return NoiseSchedule::trained(betas);
        }
        if ["FlowMatch", "EDM", "SCM"].iter().any(|kind| self.class.starts_with(kind)) || self.class.is_empty() {
            return Err(Error::model(
                format!("the model was trained for `{}`, not for noise levels made of betas", self.class),
                "use a model of the kind of Stable Diffusion 1 or 2",
            ));
        }
        let (schedule, start, end) = match self.class.as_str() {
            "LCMScheduler" | "TCDScheduler" => ("scaled_linear", 0.00085, 0.012),
            name if name.starts_with("Heun") || name.starts_with("KDPM2") => ("linear", 0.00085, 0.012),
            "DPMSolverSDEScheduler" => ("linear", 0.00085, 0.012),
            _ => ("linear", 0.0001, 0.02),
        };
        NoiseSchedule::named(
            self.beta_schedule.as_deref().unwrap_or(schedule),
            self.beta_start.unwrap_or(start),
            self.beta_end.unwrap_or(end),
            self.num_train_timesteps,
        )
    }

    /// The scheduler of the class named here, as diffusers would configure it.
    fn follow(&self, noise_schedule: NoiseSchedule, prediction: Prediction) -> Result<ModelScheduler> {
        self.refuse_what_is_missing()?;
        let class = SchedulerClass::parse(&self.class)?;
        let class = class.with_algorithm(&self.algorithm_type, self.solver_order, &self.solver_type)?;
        let usual = ModelScheduler::new(class, noise_schedule);
        Ok(ModelScheduler {
            prediction,
            spacing: self.spacing()?.unwrap_or(usual.spacing),
            steps_offset: self.steps_offset,
            curve: self.curve(),
            final_sigma: self.final_sigma()?,
            set_alpha_to_one: self.set_alpha_to_one.unwrap_or(usual.set_alpha_to_one),
            skip_prk_steps: self.skip_prk_steps,
            original_inference_steps: self.original_inference_steps,
            ..usual
        })
    }

    /// Fails if the file asks for something that changes the picture and that petal does not have.
    fn refuse_what_is_missing(&self) -> Result<()> {
        // DDIM clips estimates unless it is told not to; the others do so only on demand.
        let clips_by_default = self.class == "DDIMScheduler" && !self.others.contains_key("clip_sample");
        let on = |name: &&&str| self.others.get(**name).and_then(Value::as_bool).unwrap_or(false);
        let switch = SWITCHES.iter().find(on).copied().or(clips_by_default.then_some("clip_sample"));
        let off = (self.others.get("lower_order_final") == Some(&Value::Bool(false))).then_some("lower_order_final");
        let number = NUMBERS.iter().find(|name| self.others.get(**name).is_some_and(Value::is_number)).copied();
        if let Some(name) = switch.or(off).or(number) {
            return Err(Error::model(
                format!("the model's scheduler sets `{name}`, which petal does not have"),
                CHOOSE_ANOTHER,
            ));
        }
        for (name, usual) in [("interpolation_type", "linear"), ("timestep_type", "discrete")] {
            if let Some(value) = self.others.get(name).and_then(Value::as_str).filter(|value| *value != usual) {
                return Err(unknown_value(name, value));
            }
        }
        for (name, value) in [
            ("steps_offset", self.steps_offset.saturating_add(1)),
            ("original_inference_steps", self.original_inference_steps),
        ] {
            if !(1..=self.num_train_timesteps).contains(&value) {
                return Err(unknown_value(name, &value.to_string()));
            }
        }
        Ok(())
    }

    fn curve(&self) -> SigmaCurve {
        match (self.use_karras_sigmas, self.use_exponential_sigmas) {
            (Some(true), _) => SigmaCurve::Karras,
            (_, Some(true)) => SigmaCurve::Exponential,
            _ => SigmaCurve::Timesteps,
        }
    }

    fn final_sigma(&self) -> Result<FinalSigma> {
        match self.final_sigmas_type.as_str() {
            "zero" => Ok(FinalSigma::Zero),
            "sigma_min" => Ok(FinalSigma::SigmaMin),
            other => Err(unknown_value("final_sigmas_type", other)),
        }
    }

    fn spacing(&self) -> Result<Option<Spacing>> {
        Ok(Some(match self.timestep_spacing.as_deref() {
            None => return Ok(None),
            Some("leading") => Spacing::Leading,
            Some("linspace") => Spacing::Linspace,
            Some("trailing") => Spacing::Trailing,
            Some(other) => return Err(unknown_value("timestep_spacing", other)),
        }))
    }
}

fn unknown_value(name: &str, value: &str) -> Error {
    Error::model(format!("the model's scheduler has the unknown `{name}` `{value}`"), CHOOSE_ANOTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> SchedulerFile {
        serde_json::from_str(json).unwrap()
    }

    fn follow(json: &str) -> Result<ModelScheduler> {
        let file = read(json);
        file.follow(file.noise_schedule()?, Prediction::Epsilon)
    }

    /// The file that Stable Diffusion 1.5 comes with.
    const SD_1_5: &str = r#"{"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": false,
        "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false}"#;

    #[test]
    fn reads_the_file_of_stable_diffusion_1_5() {
        let scheduler = follow(SD_1_5).unwrap();
        assert_eq!(scheduler.sampler().name, "plms");
        assert_eq!((scheduler.spacing, scheduler.steps_offset), (Spacing::Leading, 1));
        assert!(!scheduler.set_alpha_to_one && scheduler.skip_prk_steps);
        assert!((scheduler.noise_schedule.range().1 - 14.6146).abs() < 1e-3);
    }

    #[test]
    fn what_petal_does_not_have_is_refused_by_name() {
        for (json, word) in [
            (r#"{"_class_name": "EulerDiscreteScheduler", "rescale_betas_zero_snr": true}"#, "rescale_betas_zero_snr"),
            (r#"{"_class_name": "DDIMScheduler"}"#, "clip_sample"),
            (r#"{"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "odd"}"#, "odd"),
            (r#"{"_class_name": "TCDScheduler"}"#, "TCDScheduler"),
            (r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#, "FlowMatch"),
            (r#"{"_class_name": "EulerDiscreteScheduler", "steps_offset": 18446744073709551615}"#, "steps_offset"),
            (
                r#"{"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000000000000000000}"#,
                "1000000000000000000",
            ),
            (r#"{"_class_name": "DPMSolverMultistepScheduler", "lower_order_final": false}"#, "lower_order_final"),
            (r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -5.1}"#, "lambda_min_clipped"),
            (r#"{"_class_name": "EulerDiscreteScheduler", "beta_start": 0.5, "beta_end": 0.9}"#, "noise levels"),
        ] {
            assert!(follow(json).unwrap_err().to_string().contains(word), "{json}");
        }
    }

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
        let size = |json: &str| serde_json::from_str::<UnetFile>(json).unwrap().size();
        assert_eq!(size(r#"{"sample_size": 64}"#), Some((64, 64)));
        assert_eq!(size(r#"{"sample_size": [96, 64]}"#), Some((96, 64)));
        assert_eq!(size(r#"{"sample_size": 0}"#), None);
        assert_eq!(size("{}"), None);
    }
}
