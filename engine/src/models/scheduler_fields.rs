//! How is each option of diffusers' schedulers written in `scheduler_config.json`, and which of ours is it?
use super::scheduler_config::CHOOSE_ANOTHER;
use crate::{
    Error, Result,
    sampling::{Prediction, SchedulerClass, SchedulerOptions, Spacing, VarianceType, Word},
};
use Kind::{ByClass, Count, MaybeCount, MaybeNumber, MaybeWords, Number, Refused, Switch, Words};
use serde_json::{Map, Value};

/// How an option is written in the file, and which of ours it is.
enum Kind {
    Switch(fn(&mut SchedulerOptions) -> &mut bool),
    Count(fn(&mut SchedulerOptions) -> &mut usize),
    MaybeCount(fn(&mut SchedulerOptions) -> &mut Option<usize>),
    Number(fn(&mut SchedulerOptions) -> &mut f64),
    MaybeNumber(fn(&mut SchedulerOptions) -> &mut Option<f64>),
    /// One of these words.
    Words(&'static [Word]),
    /// One of these words, or none.
    MaybeWords(&'static [Word]),
    /// One of the words that the class takes.
    ByClass,
    /// `prediction_type`.
    Predicted,
    /// Lists, which are read by themselves.
    List,
    /// Anything but nothing is refused, with this remedy.
    Refused(&'static str),
}

/// Every option of every class that can be followed.
const FIELDS: &[(&str, Kind)] = &[
    ("num_train_timesteps", Count(|o| &mut o.num_train_timesteps)),
    ("beta_start", Number(|o| &mut o.beta_start)),
    ("beta_end", Number(|o| &mut o.beta_end)),
    ("beta_schedule", ByClass),
    ("trained_betas", Kind::List),
    ("rescale_betas_zero_snr", Switch(|o| &mut o.rescale_betas_zero_snr)),
    ("prediction_type", Kind::Predicted),
    ("timestep_spacing", Words(SPACINGS)),
    ("steps_offset", Count(|o| &mut o.steps_offset)),
    ("timestep_type", Words(TIMESTEP_TYPES)),
    ("interpolation_type", Words(INTERPOLATIONS)),
    ("use_karras_sigmas", Switch(|o| &mut o.use_karras_sigmas)),
    ("use_exponential_sigmas", Switch(|o| &mut o.use_exponential_sigmas)),
    ("use_beta_sigmas", Switch(|o| &mut o.use_beta_sigmas)),
    ("use_lu_lambdas", Switch(|o| &mut o.use_lu_lambdas)),
    ("use_flow_sigmas", Switch(|o| &mut o.use_flow_sigmas)),
    ("flow_shift", Number(|o| &mut o.flow_shift)),
    ("sigma_min", MaybeNumber(|o| &mut o.sigma_min)),
    ("sigma_max", MaybeNumber(|o| &mut o.sigma_max)),
    ("final_sigmas_type", Words(FINAL_SIGMAS)),
    ("lambda_min_clipped", Number(|o| &mut o.lambda_min_clipped)),
    ("set_alpha_to_one", Switch(|o| &mut o.set_alpha_to_one)),
    ("skip_prk_steps", Switch(|o| &mut o.skip_prk_steps)),
    ("original_inference_steps", MaybeCount(|o| &mut o.original_inference_steps)),
    ("timestep_scaling", Number(|o| &mut o.timestep_scaling)),
    ("shift", Number(|o| &mut o.shift)),
    ("use_dynamic_shifting", Switch(|o| &mut o.use_dynamic_shifting)),
    ("base_shift", Number(|o| &mut o.base_shift)),
    ("max_shift", Number(|o| &mut o.max_shift)),
    ("base_image_seq_len", Count(|o| &mut o.base_image_seq_len)),
    ("max_image_seq_len", Count(|o| &mut o.max_image_seq_len)),
    ("time_shift_type", Words(TIME_SHIFTS)),
    ("shift_terminal", MaybeNumber(|o| &mut o.shift_terminal)),
    ("stochastic_sampling", Switch(|o| &mut o.stochastic_sampling)),
    ("algorithm_type", ByClass),
    ("solver_order", Count(|o| &mut o.solver_order)),
    ("solver_type", ByClass),
    ("lower_order_final", Switch(|o| &mut o.lower_order_final)),
    ("euler_at_final", Switch(|o| &mut o.euler_at_final)),
    ("predict_x0", Switch(|o| &mut o.predict_x0)),
    ("disable_corrector", Kind::List),
    ("predictor_order", Count(|o| &mut o.predictor_order)),
    ("corrector_order", Count(|o| &mut o.corrector_order)),
    ("clip_sample", Switch(|o| &mut o.clip_sample)),
    ("clip_sample_range", Number(|o| &mut o.clip_sample_range)),
    ("thresholding", Switch(|o| &mut o.thresholding)),
    ("dynamic_thresholding_ratio", Number(|o| &mut o.dynamic_thresholding_ratio)),
    ("sample_max_value", Number(|o| &mut o.sample_max_value)),
    ("noise_sampler_seed", MaybeCount(|o| &mut o.noise_sampler_seed)),
    ("variance_type", MaybeWords(VARIANCES)),
    ("invert_sigmas", Refused("choose a model whose flow goes from noise to data as its levels fall")),
    ("tau_func", Refused("leave it out: steps are then stochastic between timesteps 200 and 800")),
    ("solver_p", Refused("leave it out: UniPC then predicts by itself")),
];

const SPACINGS: &[Word] = &[
    ("leading", "leading", |o| o.spacing = Spacing::Leading),
    ("linspace", "linspace", |o| o.spacing = Spacing::Linspace),
    ("trailing", "trailing", |o| o.spacing = Spacing::Trailing),
];
const TIMESTEP_TYPES: &[Word] =
    &[("discrete", "discrete", |o| o.continuous = false), ("continuous", "continuous", |o| o.continuous = true)];
const INTERPOLATIONS: &[Word] =
    &[("linear", "linear", |o| o.log_linear = false), ("log_linear", "log_linear", |o| o.log_linear = true)];
const FINAL_SIGMAS: &[Word] =
    &[("zero", "zero", |o| o.ends_at_zero = true), ("sigma_min", "sigma_min", |o| o.ends_at_zero = false)];
const TIME_SHIFTS: &[Word] =
    &[("exponential", "exponential", |o| o.linear_shift = false), ("linear", "linear", |o| o.linear_shift = true)];
/// Not `learned` and `learned_range`, whose networks give twice the channels.
const VARIANCES: &[Word] = &[
    ("fixed_small", "fixed_small", |o| o.variance = VarianceType::Small),
    ("fixed_small_log", "fixed_small_log", |o| o.variance = VarianceType::Small),
    ("fixed_large", "fixed_large", |o| o.variance = VarianceType::Large),
    ("fixed_large_log", "fixed_large_log", |o| o.variance = VarianceType::LargeLog),
];

/// Options that have an effect though the class does not have them, if it has the second.
const HIDDEN: &[(&str, &str)] = &[
    ("sigma_min", "use_karras_sigmas"),
    ("sigma_max", "use_karras_sigmas"),
    ("base_shift", "use_dynamic_shifting"),
    ("max_shift", "use_dynamic_shifting"),
    ("base_image_seq_len", "use_dynamic_shifting"),
    ("max_image_seq_len", "use_dynamic_shifting"),
];

/// The options of `class` with those of `fields` that have an effect on it.
pub(super) fn read(class: SchedulerClass, fields: &Map<String, Value>) -> Result<SchedulerOptions> {
    let row = class.row();
    let mut options = row.usual;
    for (name, kind) in FIELDS {
        let hidden = HIDDEN.iter().any(|(hidden, with)| hidden == name && row.has(with));
        let Some(value) = fields.get(*name).filter(|_| row.has(name) || hidden) else { continue };
        let words = row.words.iter().find(|(field, _)| field == name).map_or(&[][..], |(_, words)| *words);
        read_field(&mut options, kind, words, value).map_err(|remedy| fault(name, value, &remedy))?;
    }
    Ok(options)
}

/// Sets one option, or says what to do about `value`.
fn read_field(
    options: &mut SchedulerOptions,
    kind: &Kind,
    words: &[Word],
    value: &Value,
) -> std::result::Result<(), String> {
    let whole = value.as_u64().and_then(|value| usize::try_from(value).ok());
    let done = match (kind, value) {
        (Kind::List, _) | (Refused(_), Value::Null | Value::Bool(false)) | (MaybeWords(_), Value::Null) => Some(()),
        (Refused(remedy), _) => return Err((*remedy).into()),
        (Switch(of), Value::Null) => put(of(options), Some(false)),
        (Switch(of), _) => put(of(options), value.as_bool()),
        (Count(of), _) => put(of(options), whole),
        (MaybeCount(of), Value::Null) => put(of(options), Some(None)),
        (MaybeCount(of), _) => put(of(options), whole.map(Some)),
        (MaybeNumber(of), Value::Null) => put(of(options), Some(None)),
        (MaybeNumber(of), _) => put(of(options), value.as_f64().map(Some)),
        // Python's -Infinity, which json does not have
        (Number(of), Value::Null) if of(options).is_infinite() => Some(()),
        (Number(of), _) => put(of(options), value.as_f64()),
        (Kind::Predicted, _) => return predicted(options, value),
        (Words(known) | MaybeWords(known), _) => return word(options, known, value),
        (ByClass, _) => return word(options, words, value),
    };
    done.ok_or_else(|| "write a number, or `true` or `false`, as the field has it in diffusers".into())
}

fn put<T>(option: &mut T, value: Option<T>) -> Option<()> {
    *option = value?;
    Some(())
}

fn word(options: &mut SchedulerOptions, known: &[Word], value: &Value) -> std::result::Result<(), String> {
    let Some((.., set)) = known.iter().find(|(word, ..)| value.as_str() == Some(word)) else {
        let words: Vec<&str> = known.iter().map(|(word, ..)| *word).collect();
        return Err(format!("use one of: {}; or {CHOOSE_ANOTHER}", words.join(", ")));
    };
    set(options);
    Ok(())
}

fn predicted(options: &mut SchedulerOptions, value: &Value) -> std::result::Result<(), String> {
    let parsed = Prediction::parse(value.as_str().unwrap_or_default());
    options.prediction = parsed.map_err(|error| error.hint().unwrap_or_default())?;
    Ok(())
}

/// An error about the option `name`.
pub(super) fn fault(name: &str, value: &Value, remedy: &str) -> Error {
    Error::model(format!("the model's scheduler has the `{name}` {value}, which petal does not have"), remedy)
}
