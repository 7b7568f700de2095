//! Which flags change a request: those of `petal draw`, of `petal redraw` and of `petal grid`.
mod editing;
mod family;
mod passes;

use clap::Args;
use editing::Editing;
use family::FamilyFlags;
use passes::Passes;
use petal_engine::{
    AUTOMATIC_SCHEDULE, LoadOptions, MODEL_SCHEDULE, Request, SAMPLERS, SCHEDULES, Sampler, find_schedule,
    sampling::{FreshNoise, split_combined},
};

/// What the picture shall be; what is not named stays as it is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Changes {
    /// What the picture shall not show
    #[arg(short, long, value_name = "PROMPT")]
    negative_prompt: Option<String>,
    /// Width in pixels [default: the model's]
    #[arg(short = 'W', long, value_name = "PIXELS", allow_negative_numbers = true)]
    width: Option<u32>,
    /// Height in pixels [default: the model's]
    #[arg(short = 'H', long, value_name = "PIXELS", allow_negative_numbers = true)]
    height: Option<u32>,
    /// Steps from noise to picture [default: the model's, or 20]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, conflicts_with = "sigmas")]
    steps: Option<u32>,
    /// The same seed gives the same picture; -1 chooses one and says which [default: 0]
    ///
    /// With `--rng cpu`, only its low 32 bits count, as in torch; for `--rng nv` and for Brownian noise, all 64.
    #[arg(short, long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    seed: Option<u64>,
    /// How many pictures, with seeds that count up [default: 1]
    #[arg(short, long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) batch_count: Option<u32>,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    noise: Noise,
    #[command(flatten)]
    guidance: GuidanceFlags,
    #[command(flatten)]
    family: FamilyFlags,
    #[command(flatten)]
    editing: Editing,
    #[command(flatten)]
    passes: Passes,
}

/// How to go from noise to latents.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling")]
struct Sampling {
    /// How to go from noise to picture [default: what the model names]
    #[arg(long, alias = "sampling-method", value_name = "NAME", long_help = samplers_help())]
    sampler: Option<String>,
    /// Through which noise levels [default: what the model says]
    #[arg(long, alias = "schedule", value_name = "NAME", long_help = schedules_help(), conflicts_with = "sigmas")]
    scheduler: Option<String>,
    /// Noise levels to go through in place of a schedule's, as in 14.6,3.2,0.5
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true)]
    sigmas: Option<Vec<f64>>,
    /// The curvature of the schedules `karras` [default: 7] and `polyexponential` [default: 1]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    rho: Option<f64>,
    /// How much of its fresh noise the sampler adds [default: the sampler's own]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Noise added before each step and taken out by it, for `euler`, `heun`, `dpm_2` [default: 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    s_churn: Option<f64>,
    /// The lowest noise level that is churned [default: 0]
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    s_tmin: Option<f64>,
    /// The highest noise level that is churned [default: any]
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    s_tmax: Option<f64>,
    /// What all fresh noise is multiplied by [default: 1]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    s_noise: Option<f64>,
}

/// The noise that a picture starts from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Noise")]
struct Noise {
    /// Which generator: torch's on the CPU (diffusers, ComfyUI) or that of GPUs (stable-diffusion-webui) [default: cpu]
    #[arg(long, value_name = "cpu|nv")]
    rng: Option<String>,
    /// The seed of other noise to mix in; -1 chooses one
    #[arg(long, alias = "subseed", value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    variation_seed: Option<u64>,
    /// How much of the other noise, 0 to 1 [default: 0]
    #[arg(long, alias = "subseed-strength", value_name = "NUMBER", allow_negative_numbers = true)]
    variation_strength: Option<f64>,
    /// The width of the picture whose noise is kept in the middle
    #[arg(
        long,
        alias = "seed-resize-from-w",
        value_name = "PIXELS",
        requires = "seed_resize_height",
        allow_negative_numbers = true
    )]
    seed_resize_width: Option<u32>,
    /// The height of the picture whose noise is kept in the middle
    #[arg(
        long,
        alias = "seed-resize-from-h",
        value_name = "PIXELS",
        requires = "seed_resize_width",
        allow_negative_numbers = true
    )]
    seed_resize_height: Option<u32>,
    /// What is added to the seed for the noise of the steps (ENSD, "eta noise seed delta")
    #[arg(long, alias = "eta-noise-seed-delta", value_name = "NUMBER", allow_negative_numbers = true)]
    ensd: Option<u64>,
}

/// How the prompts count.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Prompt and guidance")]
struct GuidanceFlags {
    /// How much the prompt counts; 1 leaves the negative prompt out [default: the model's, or what is usual for its kind]
    #[arg(
        long,
        alias = "guidance-scale",
        value_name = "NUMBER",
        allow_negative_numbers = true,
        conflicts_with = "cfg_schedule"
    )]
    cfg_scale: Option<f64>,
    /// Guidance along the run, as in 9,7,3: from the first step to the last, linear in between
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true)]
    cfg_schedule: Option<Vec<f64>>,
    /// How far guidance is scaled back to the contrast of the prompt alone, 0 to 1 [default: 0]
    #[arg(long, alias = "guidance-rescale", value_name = "NUMBER", allow_negative_numbers = true)]
    cfg_rescale: Option<f64>,
    /// The part of the run after which guidance begins [default: 0]
    #[arg(long, value_name = "0..1", allow_negative_numbers = true)]
    guidance_start: Option<f64>,
    /// The part of the run after which guidance ends [default: 1]
    #[arg(long, value_name = "0..1", allow_negative_numbers = true)]
    guidance_end: Option<f64>,
    /// What brackets in prompts mean: `original`, `no_norm`, `ignore` or `none` [default: original]
    #[arg(long, value_name = "NAME")]
    emphasis: Option<String>,
    /// At which layer from its end the text encoder stops; 2 leaves the last one out [default: 1]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    clip_skip: Option<u32>,
}

impl Changes {
    /// Writes what was named into `request`.
    pub(crate) fn apply(&self, request: &mut Request) {
        let Self { sampling, noise, guidance, .. } = self;
        set(&mut request.negative_prompt, self.negative_prompt.as_ref());
        set_some(&mut request.width, self.width.as_ref());
        set_some(&mut request.height, self.height.as_ref());
        set_some(&mut request.steps, self.steps.as_ref());
        set(&mut request.seed, self.seed.as_ref());
        set(&mut request.batch_count, self.batch_count.as_ref());
        if self.steps.is_some() {
            request.sigmas = None;
        }
        sampling.apply(request);
        set_some(&mut request.rng, noise.rng.as_ref());
        set(&mut request.variation_seed, noise.variation_seed.as_ref());
        set(&mut request.variation_strength, noise.variation_strength.as_ref());
        set_some(&mut request.seed_resize_width, noise.seed_resize_width.as_ref());
        set_some(&mut request.seed_resize_height, noise.seed_resize_height.as_ref());
        set(&mut request.ensd, noise.ensd.as_ref());
        guidance.apply(request);
        self.family.apply(request);
        self.editing.apply(request);
        self.passes.apply(request);
    }

    /// The model with what was named put in place of parts of it.
    pub(crate) fn options(&self, options: LoadOptions) -> LoadOptions {
        LoadOptions { vae: self.passes.vae_folder(), ..options }
    }

    /// Takes out of `request` what a new sampler or schedule has not, unless a flag asks for it; the names of what was
    /// taken out. To be called after [`apply`](Self::apply), for a request that a file brought.
    pub(crate) fn take_out_lacking(&self, request: &mut Request) -> Vec<&'static str> {
        let Self { sampling, .. } = self;
        let sampler = request.sampler.as_deref().and_then(|name| split_combined(name).ok()).map(|(sampler, _)| sampler);
        let mut names = Vec::new();
        if let Some(sampler) = sampler.filter(|_| sampling.sampler.is_some()) {
            names = sampling.take_out_strengths(request, sampler);
        }
        let changed = sampling.sampler.is_some() || sampling.scheduler.is_some();
        if changed && sampling.rho.is_none() && request.rho.is_some() && lacks_rho(request, sampler) {
            request.rho = None;
            names.push("rho");
        }
        names
    }
}

/// Whether the schedule of `request` is known to have no rho.
fn lacks_rho(request: &Request, sampler: Option<&Sampler>) -> bool {
    let kind = match request.scheduler.as_deref() {
        None => return true,
        Some(name) if name.eq_ignore_ascii_case(MODEL_SCHEDULE) => return true,
        Some(name) if name.eq_ignore_ascii_case(AUTOMATIC_SCHEDULE) => sampler.map(|sampler| sampler.automatic),
        Some(name) => Some(name),
    };
    kind.and_then(|name| find_schedule(name).ok()).is_some_and(|kind| kind.rho.is_none())
}

impl GuidanceFlags {
    /// One guidance scale takes the place of a schedule of them, and the other way round.
    fn apply(&self, request: &mut Request) {
        if self.cfg_scale.is_some() {
            request.cfg_schedule = None;
        } else if self.cfg_schedule.is_some() {
            request.cfg_scale = None;
        }
        set_some(&mut request.cfg_scale, self.cfg_scale.as_ref());
        set_some(&mut request.cfg_schedule, self.cfg_schedule.as_ref());
        set(&mut request.cfg_rescale, self.cfg_rescale.as_ref());
        set(&mut request.guidance_start, self.guidance_start.as_ref());
        set(&mut request.guidance_end, self.guidance_end.as_ref());
        set_some(&mut request.emphasis, self.emphasis.as_ref());
        set(&mut request.clip_skip, self.clip_skip.as_ref());
    }
}

impl Sampling {
    /// A schedule takes the place of noise levels, and the other way round.
    fn apply(&self, request: &mut Request) {
        if self.sigmas.is_some() {
            (request.scheduler, request.rho, request.steps) = (None, None, None);
        } else if self.scheduler.is_some() {
            request.sigmas = None;
        }
        set_some(&mut request.sampler, self.sampler.as_ref());
        self.apply_combined(request);
        set_some(&mut request.scheduler, self.scheduler.as_ref());
        set_some(&mut request.sigmas, self.sigmas.as_ref());
        set_some(&mut request.rho, self.rho.as_ref());
        set_some(&mut request.eta, self.eta.as_ref());
        set(&mut request.s_churn, self.s_churn.as_ref());
        set(&mut request.s_tmin, self.s_tmin.as_ref());
        set_some(&mut request.s_tmax, self.s_tmax.as_ref());
        set(&mut request.s_noise, self.s_noise.as_ref());
    }

    /// The schedule in an old combined name, like `DPM++ 2M Karras`, is as good as one that is named by itself. Beside
    /// `--sigmas` the name stays whole, so that the two are refused together.
    fn apply_combined(&self, request: &mut Request) {
        let combined = self.sampler.as_deref().filter(|_| self.sigmas.is_none());
        if let Some(Ok((sampler, Some(kind)))) = combined.map(split_combined) {
            request.sampler = Some(sampler.name.into());
            (request.scheduler, request.sigmas) = (Some(kind.name.into()), None);
        }
    }

    /// Takes out of `request` what `sampler` has not, unless a flag asks for it; the names of what was taken out.
    fn take_out_strengths(&self, request: &mut Request, sampler: &Sampler) -> Vec<&'static str> {
        let usual = Request::default();
        let mut names = Vec::new();
        if sampler.eta.is_none() && self.eta.is_none() && request.eta.take().is_some() {
            names.push("eta");
        }
        if !sampler.churns {
            let churns = [
                ("s_churn", self.s_churn, &mut request.s_churn, usual.s_churn),
                ("s_tmin", self.s_tmin, &mut request.s_tmin, usual.s_tmin),
            ];
            for (name, flag, value, usual) in churns {
                if flag.is_none() && *value > usual {
                    *value = usual;
                    names.push(name);
                }
            }
            if self.s_tmax.is_none() && request.s_tmax.take().is_some() {
                names.push("s_tmax");
            }
        }
        let churned = request.s_churn > 0.0 || request.s_tmin > 0.0 || request.s_tmax.is_some();
        let scales = (request.s_noise - usual.s_noise).abs() > f64::EPSILON;
        if scales && self.s_noise.is_none() && sampler.noise == FreshNoise::None && !churned {
            request.s_noise = usual.s_noise;
            names.push("s_noise");
        }
        names
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn set_some<T: Clone>(field: &mut Option<T>, value: Option<&T>) {
    if value.is_some() {
        *field = value.cloned();
    }
}

/// A seed; -1 chooses one of 32 bits, as other tools do.
fn seed(text: &str) -> Result<u64, String> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    match text {
        "-1" => Ok(RandomState::new().build_hasher().finish() >> 32),
        _ => text.parse().map_err(|_| "it is neither -1 nor a number from 0 to 18446744073709551615".into()),
    }
}

fn samplers_help() -> String {
    let names: Vec<_> = SAMPLERS.iter().map(|sampler| sampler.name).collect();
    format!(
        "How to go from noise to picture [default: what the model names]: {}. Names of other tools are understood, \
         such as \"DPM++ 2M Karras\"; `petal list samplers` says more",
        names.join(", ")
    )
}

fn schedules_help() -> String {
    let names: Vec<_> = SCHEDULES.iter().map(|schedule| schedule.name).collect();
    format!(
        "Through which noise levels [default: {MODEL_SCHEDULE}]: {MODEL_SCHEDULE}, {AUTOMATIC_SCHEDULE}, {}. \
         `{MODEL_SCHEDULE}` is what the model says, as diffusers reads it; `{AUTOMATIC_SCHEDULE}` what \
         stable-diffusion-webui chooses for the sampler",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_minus_one_chooses() {
        assert!(u32::try_from(seed("-1").unwrap()).is_ok());
        assert_eq!(seed("18446744073709551615").unwrap(), u64::MAX);
        assert!(seed("-2").is_err() && seed("x").is_err());
    }

    #[test]
    fn what_is_not_named_stays() {
        let before = Request { steps: Some(7), sigmas: Some(vec![1.0]), ..Request::default() };
        let mut request = before.clone();
        Changes::default().apply(&mut request);
        assert_eq!(request, before);
        let sampling = Sampling { scheduler: Some("karras".into()), ..Sampling::default() };
        Changes { sampling, ..Changes::default() }.apply(&mut request);
        assert_eq!((request.steps, request.sigmas, request.scheduler.as_deref()), (Some(7), None, Some("karras")));
    }

    #[test]
    fn what_is_named_takes_the_place_of_what_it_excludes() {
        let of = |name: &str| Sampling { sampler: Some(name.into()), ..Sampling::default() };
        let mut request = Request { scheduler: Some("karras".into()), sigmas: Some(vec![1.0]), ..Request::default() };
        Changes { sampling: of("DPM++ 2M SDE Exponential"), ..Changes::default() }.apply(&mut request);
        let chosen = (request.sampler.as_deref(), request.scheduler.as_deref());
        assert_eq!((chosen, &request.sigmas), ((Some("dpmpp_2m_sde"), Some("exponential")), &None));
        request.sigmas = Some(vec![1.0]);
        Changes { steps: Some(3), ..Changes::default() }.apply(&mut request);
        assert_eq!((request.steps, &request.sigmas), (Some(3), &None));
        let guidance = GuidanceFlags { cfg_schedule: Some(vec![2.0]), ..GuidanceFlags::default() };
        request.cfg_scale = Some(7.0);
        Changes { guidance, ..Changes::default() }.apply(&mut request);
        assert_eq!((request.cfg_scale, request.cfg_schedule.as_deref()), (None, Some(&[2.0][..])));
        let guidance = GuidanceFlags { cfg_scale: Some(3.0), ..GuidanceFlags::default() };
        Changes { guidance, ..Changes::default() }.apply(&mut request);
        assert_eq!((request.cfg_scale, request.cfg_schedule), (Some(3.0), None));
    }

    #[test]
    fn what_a_new_sampler_lacks_is_taken_out_unless_a_flag_asks_for_it() {
        let file = Request {
            scheduler: Some("karras".into()),
            rho: Some(5.0),
            eta: Some(0.5),
            s_churn: 2.0,
            s_tmin: 0.1,
            s_tmax: Some(9.0),
            s_noise: 1.1,
            ..Request::default()
        };
        let taken = |sampling: Sampling| {
            let (mut request, changes) = (file.clone(), Changes { sampling, ..Changes::default() });
            changes.apply(&mut request);
            (changes.take_out_lacking(&mut request), request)
        };
        let of = |name: &str| Sampling { sampler: Some(name.into()), ..Sampling::default() };
        let (names, request) = taken(of("dpmpp_2m"));
        assert_eq!(names, ["eta", "s_churn", "s_tmin", "s_tmax", "s_noise"]);
        assert_eq!((request.eta, request.s_churn, request.s_tmax, request.rho), (None, 0.0, None, Some(5.0)));
        assert_eq!(taken(of("euler")).0, ["eta"]);
        assert_eq!(taken(of("euler_ancestral")).0, ["s_churn", "s_tmin", "s_tmax"]);
        assert_eq!(
            taken(Sampling { eta: Some(1.0), ..of("euler") }),
            (vec![], Request { eta: Some(1.0), sampler: Some("euler".into()), ..file.clone() })
        );
        for (name, wanted) in [("normal", &["rho"][..]), ("model", &["rho"]), ("polyexponential", &[]), ("karas", &[])]
        {
            assert_eq!(taken(Sampling { scheduler: Some(name.into()), ..Sampling::default() }).0, wanted, "{name}");
        }
        assert_eq!(taken(Sampling::default()), (vec![], file.clone()));
    }
}
