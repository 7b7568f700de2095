//! What a request means for a model: which sampler goes through which noise levels, and with how much fresh noise.
use crate::{
    Error, Request, Result,
    models::ModelConfig,
    sampling::{
        FreshNoise, Latents, ModelScheduler, NoiseSchedule, Prediction, Process, Run, Sampler, Schedule, ScheduleKind,
        Strength, combine, find_schedule, split_combined,
    },
    strength::{Part, STRENGTH_STEPS, find_strength_steps},
};

/// The schedule that the model's own `scheduler_config.json` describes.
pub const MODEL_SCHEDULE: &str = "model";
/// The schedule that stable-diffusion-webui chooses for the sampler.
pub const AUTOMATIC_SCHEDULE: &str = "automatic";

/// Latents to a token of a transformer, which dynamic shifting counts: 2 by 2.
const PATCH: usize = 4;

/// How one picture goes from noise to latents.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The sampler; none where no name stands for the model's own scheduler.
    pub(crate) sampler: Option<&'static Sampler>,
    /// Where the noise levels come from.
    pub(crate) levels: Levels,
    /// The noise levels that are gone through.
    pub(crate) schedule: Schedule,
    /// The lowest level above 0 and the highest, also of those that image to image leaves out: a Brownian path lies
    /// between them, as in diffusers and stable-diffusion-webui.
    pub(crate) ends: (f64, f64),
    /// The steps that prompts count which change along the run.
    pub(crate) prompt_steps: usize,
    /// How many steps image to image leaves out at the start.
    skipped: usize,
    /// How much fresh noise.
    pub(crate) strength: Strength,
    /// Where the fresh noise comes from.
    pub(crate) noise: FreshNoise,
}

/// Where noise levels come from.
#[derive(Debug)]
pub(crate) enum Levels {
    /// From a class of diffusers, which goes through them itself.
    Model(Box<ModelScheduler>),
    /// What stable-diffusion-webui chooses for the sampler.
    Automatic,
    /// From a schedule by name.
    Named(&'static ScheduleKind),
    /// From the request.
    Given,
}

impl Levels {
    /// How many levels a run leaves out that skips `steps` steps.
    fn left_out(&self, steps: usize) -> usize {
        match self {
            Self::Model(model) => model.left_out(steps),
            _ => steps,
        }
    }
}

impl Plan {
    /// The plan for `request`, whose steps are filled in; its picture has `area` latents.
    ///
    /// With a `strength`, above 0 and at most 1, the run begins with a picture of which so much is drawn anew.
    pub(crate) fn new(request: &Request, config: &ModelConfig, area: usize, strength: Option<f64>) -> Result<Self> {
        let (named, joined) = request.sampler.as_deref().map(split_combined).transpose()?.unzip();
        let share = strength;
        let (levels, strength) = late(levels(request, joined.flatten(), named, config)?, config, strength);
        let share = share.filter(|_| strength.is_none());
        let sampler = match (&levels, named) {
            (_, Some(sampler)) => Some(sampler),
            (Levels::Model(_), None) => config.own_sampler(),
            (_, None) => Some(config.scheduler_for(None)?.sampler()),
        };
        let whole = |steps| schedule(&levels, sampler, request, steps, config, area);
        if let (Levels::Model(model), Some(share)) = (&levels, share)
            && model.most_steps() < steps(request)
        {
            return Err(Error::request(
                format!(
                    "a strength of {share} leaves {} steps of this model, not {}",
                    model.most_steps(),
                    steps(request)
                ),
                "use a higher strength, or fewer steps",
            ));
        }
        let Taken { whole, skipped, counted } = match strength {
            Some(strength) => end_of(&levels, request, (strength, is_flow(config)), whole)?,
            None => Taken { whole: whole(steps(request))?, skipped: 0, counted: None },
        };
        let schedule = whole.after(levels.left_out(skipped));
        let (ends, prompt_steps) = ((whole.lowest(), whole.start()), counted.unwrap_or(schedule.len()));
        let (noise, eta) = match (&levels, sampler) {
            (Levels::Model(model), sampler) => (model.noise(), sampler.and_then(|s| s.eta).map(|_| model.eta())),
            (_, Some(sampler)) => (sampler.noise, sampler.eta),
            (_, None) => (FreshNoise::None, None),
        };
        let strength = fresh_noise(request, sampler, noise, eta)?;
        Ok(Self { sampler, levels, schedule, ends, prompt_steps, skipped, strength, noise })
    }

    /// Whether the sampler asks for the negative side by itself.
    pub(crate) fn uses_negative(&self) -> bool {
        self.sampler.is_some_and(|sampler| sampler.uses_negative)
    }

    /// What the guidance scale is multiplied by.
    pub(crate) fn guidance(&self) -> f64 {
        self.sampler.map_or(1.0, |sampler| sampler.guidance)
    }

    /// The name of the schedule; none where the request brings its noise levels.
    pub(crate) fn scheduler(&self) -> Option<&'static str> {
        match &self.levels {
            Levels::Model(_) => Some(MODEL_SCHEDULE),
            Levels::Automatic => Some(AUTOMATIC_SCHEDULE),
            Levels::Named(kind) => Some(kind.name),
            Levels::Given => None,
        }
    }

    /// What the network predicts, and the noise levels that it was trained on.
    pub(crate) fn training<'a>(&'a self, config: &'a ModelConfig) -> (Prediction, &'a NoiseSchedule) {
        match &self.levels {
            Levels::Model(model) => (model.prediction(), model.noise_schedule()),
            _ => (config.prediction, &config.noise_schedule),
        }
    }

    /// The seed of Brownian noise for a picture of `seed`; a model's configuration may name its own.
    pub(crate) fn noise_seed(&self, seed: u64) -> u64 {
        match &self.levels {
            Levels::Model(model) => model.noise_seed().unwrap_or(seed),
            _ => seed,
        }
    }

    /// What the run begins with: unit `noise` at its first level, and the latents of an `image` where it begins with one.
    pub(crate) fn start(&self, image: Option<&Latents>, noise: &Latents) -> Latents {
        let level = self.schedule.start();
        match image {
            Some(image) => combine(&[(self.schedule.process().alpha(level), image), (level, noise)]),
            None => noise.scaled(self.schedule.initial_scale()),
        }
    }

    /// Goes from noise to latents, scaled as the network's autoencoder knows them.
    pub(crate) fn run(&self, run: &mut Run<'_>, start: Latents) -> Result<Latents> {
        let latents = match &self.levels {
            Levels::Model(model) => model.run(run, start, self.skipped),
            _ => (self.sampler.unwrap_or(&crate::SAMPLERS[0]).run)(run, start), // by name there is always one
        };
        Ok(latents?.scaled(self.schedule.final_scale()))
    }
}

/// `levels` that begin late by themselves, and no strength any more, where the model has it so.
fn late(levels: Levels, config: &ModelConfig, strength: Option<f64>) -> (Levels, Option<f64>) {
    let share = strength.filter(|_| config.takes_all_steps);
    match (&levels, share) {
        (Levels::Model(model), Some(share)) => match model.late(share) {
            Some(late) => (Levels::Model(Box::new(late)), None),
            None => (levels, strength),
        },
        _ => (levels, strength),
    }
}

fn is_flow(config: &ModelConfig) -> bool {
    config.prediction.process() == Process::RectifiedFlow
}

/// The steps that `request` asks for.
fn steps(request: &Request) -> usize {
    let given = request.sigmas.as_ref().map(|levels| levels.iter().filter(|level| **level > 0.0).count());
    given.unwrap_or(request.steps.unwrap_or_default() as usize)
}

/// What a run goes through of a schedule.
struct Taken {
    whole: Schedule,
    /// Steps that are left out at its start.
    skipped: usize,
    /// The steps that prompts count, where those are not the ones that are taken.
    counted: Option<usize>,
}

/// The end of a schedule that image to image takes; `whole` makes a schedule of a number of steps.
fn end_of(
    levels: &Levels,
    request: &Request,
    (strength, is_flow): (f64, bool),
    whole: impl Fn(usize) -> Result<Schedule>,
) -> Result<Taken> {
    let steps = steps(request);
    if let Levels::Model(model) = levels {
        model.check_late_start(strength)?;
    }
    let kind = request.strength_steps.as_deref().map_or(Ok(&STRENGTH_STEPS[0]), find_strength_steps)?;
    let part = kind.part(steps, strength, is_flow);
    if matches!(levels, Levels::Given) && part.steps != steps {
        let what =
            format!("noise levels are given, and `{}` needs more of them for a strength of {strength}", kind.name);
        return Err(Error::request(what, "leave out the levels, or count steps in another way"));
    }
    let reaches = |part: Part, schedule: &Schedule| part.skipped < schedule.len();
    let what = match whole(part.steps) {
        Ok(schedule) if reaches(part, &schedule) => {
            let counted = kind.prompts_count_all.then_some(steps);
            return Ok(Taken { whole: schedule, skipped: part.skipped, counted });
        }
        Ok(_) => format!("a strength of {strength} leaves none of {steps} steps"),
        Err(error) if part.steps == steps => return Err(error),
        Err(_) => {
            format!("{steps} steps at a strength of {strength} are the end of {}, which are too many", part.steps)
        }
    };
    let least = kind.least(steps, is_flow, |part| whole(part.steps).is_ok_and(|schedule| reaches(part, &schedule)));
    Err(Error::request(
        what,
        match least {
            Some(least) => format!("use a strength of at least {least}, or another number of steps"),
            None => "use fewer steps".into(),
        },
    ))
}

/// The noise levels of `steps` steps.
fn schedule(
    levels: &Levels,
    sampler: Option<&Sampler>,
    request: &Request,
    steps: usize,
    config: &ModelConfig,
    area: usize,
) -> Result<Schedule> {
    let (process, noise) = (config.prediction.process(), &config.noise_schedule);
    let by_name = |kind: &ScheduleKind| {
        if sampler.is_some_and(|sampler| sampler.drops_next_to_last) {
            return Ok(kind.schedule(process, noise, steps + 1, request.rho)?.without_next_to_last());
        }
        kind.schedule(process, noise, steps, request.rho)
    };
    match levels {
        Levels::Model(model) => model.schedule(steps, Some(area / PATCH)),
        Levels::Automatic => by_name(find_schedule(sampler.map_or("normal", |sampler| sampler.automatic))?),
        Levels::Named(kind) => by_name(kind),
        Levels::Given => Schedule::explicit(process, request.sigmas.clone().unwrap_or_default()),
    }
}

/// Where the levels of `request` come from; `joined` is the schedule in an old combined name.
fn levels(
    request: &Request,
    joined: Option<&'static ScheduleKind>,
    sampler: Option<&'static Sampler>,
    config: &ModelConfig,
) -> Result<Levels> {
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    if let (Some(kind), Some(name)) = (joined, request.scheduler.as_deref())
        && find_schedule(name).map_or(true, |other| other.name != kind.name)
    {
        return Err(Error::request(
            format!("the sampler's name holds the schedule `{}`, but `{name}` is given as well", kind.name),
            "give one of the two",
        ));
    }
    match (request.scheduler.as_deref(), joined) {
        (Some(name), _) if is(name, AUTOMATIC_SCHEDULE) => Ok(Levels::Automatic),
        (Some(name), _) if !is(name, MODEL_SCHEDULE) => Ok(Levels::Named(find_schedule(name)?)),
        (_, Some(kind)) if request.sigmas.is_some() => Err(Error::request(
            format!("noise levels are given, and the schedule `{}` as well", kind.name),
            "give one of the two",
        )),
        (_, Some(kind)) => Ok(Levels::Named(kind)),
        (None, None) if request.sigmas.is_some() => Ok(Levels::Given),
        _ if request.rho.is_some() => {
            Err(Error::request("rho is given without a schedule that has one", "use `--scheduler karras` with it"))
        }
        _ => Ok(Levels::Model(Box::new(config.scheduler_for(sampler)?))),
    }
}

/// How much fresh noise `request` asks for; what has no effect is refused.
fn fresh_noise(
    request: &Request,
    sampler: Option<&Sampler>,
    noise: FreshNoise,
    usual_eta: Option<f64>,
) -> Result<Strength> {
    let eta = request.eta.or(usual_eta).unwrap_or(1.0);
    let churns = request.s_churn > 0.0;
    let only_churns = usual_eta.is_none() && sampler.is_some_and(|sampler| sampler.churns);
    let adds_noise = noise != FreshNoise::None && !only_churns && (usual_eta.is_none() || eta > 0.0);
    let who = || sampler.map_or("the model's own scheduler".into(), |sampler| format!("sampler `{}`", sampler.name));
    let others = |has: fn(&Sampler) -> bool| {
        let names: Vec<_> = crate::SAMPLERS.iter().filter(|sampler| has(sampler)).map(|sampler| sampler.name).collect();
        format!("leave it out, or use one of: {}", names.join(", "))
    };
    let refused = |what: &str, hint: String| Err(Error::request(format!("{} has no {what}", who()), hint));
    if request.eta.is_some() && usual_eta.is_none() {
        return refused("`eta`", others(|sampler| sampler.eta.is_some()));
    }
    if churns && !sampler.is_some_and(|sampler| sampler.churns) {
        return refused("`s_churn`", others(|sampler| sampler.churns));
    }
    if !churns && (request.s_tmin > 0.0 || request.s_tmax.is_some()) {
        return Err(Error::request(
            "`s_tmin` or `s_tmax` is given without `s_churn`",
            "add `--s-churn`, or leave them out",
        ));
    }
    if (request.s_noise - 1.0).abs() > f64::EPSILON && !adds_noise && !churns {
        return refused("fresh noise here for `s_noise`", others(|sampler| sampler.noise != FreshNoise::None));
    }
    Ok(Strength {
        eta,
        s_churn: request.s_churn,
        s_tmin: request.s_tmin,
        s_tmax: request.s_tmax.unwrap_or(f64::INFINITY),
        s_noise: request.s_noise,
    })
}
