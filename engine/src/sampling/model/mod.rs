//! Which sampler and noise levels does a model's own `scheduler_config.json` ask for?
//!
//! The numbers are those of diffusers 0.42.1, `src/diffusers/schedulers`. Where its schedulers keep unit variance
//! (DDIM, PNDM, DPM-Solver, LCM), the same run is expressed here in variance-exploding coordinates; see
//! [`Schedule::initial_scale`] and [`Schedule::final_scale`](super::Schedule::final_scale).
//!
//! | question | file |
//! |---|---|
//! | which classes are there, with which options and defaults? | `classes.rs`, `options.rs` |
//! | which combinations are refused? | `check.rs` |
//! | which timesteps does a run have? | `timesteps.rs` |
//! | which noise levels? | `levels.rs`, `flow.rs`, `table.rs` |
//! | which solver goes through them? | `run.rs` |
mod check;
mod classes;
mod flow;
mod levels;
mod options;
mod run;
mod table;
mod timesteps;

use super::{
    FreshNoise, NoiseSchedule, Prediction, Process, SAMPLERS, Sampler, Schedule, find_sampler,
    noise_schedule::{BetaSchedule, TerminalSignal},
    samplers::dpm_solver::Algorithm,
    schedules::{Scaling, check_steps},
};
use crate::{Error, Result};

pub use classes::SchedulerClass;
pub(crate) use classes::{CLASSES, Word};
pub(crate) use options::{SchedulerOptions, Spacing, VarianceType};

/// What a `scheduler_config.json` asks for: one of diffusers' scheduler classes and its options.
#[derive(Clone, Debug)]
pub struct ModelScheduler {
    class: SchedulerClass,
    options: SchedulerOptions,
    /// `disable_corrector`, of `UniPCMultistepScheduler`: steps that are not corrected, counted from 0.
    disable_corrector: Vec<usize>,
    /// The levels that the class computes from betas, also where it then leaves them for those of a flow.
    training: NoiseSchedule,
    /// The levels of the flow, where it is one.
    flow: Option<NoiseSchedule>,
    /// Whether levels go evenly from 1 to one step above 0, where the class would choose its own ends.
    even: bool,
    /// The share of the timesteps that a distilled network knows, from the lowest, that a run is spread over.
    share: f64,
    /// A sampler that goes through the levels in place of the class's own solver.
    sampler: Option<&'static Sampler>,
}

impl ModelScheduler {
    /// The scheduler of `class` with `options`; `betas` are `trained_betas`.
    pub(crate) fn new(
        class: SchedulerClass,
        options: SchedulerOptions,
        betas: Option<&[f32]>,
        disable_corrector: Vec<usize>,
    ) -> Result<Self> {
        check::check(class, &options)?;
        let timesteps = options.num_train_timesteps;
        if betas.is_some_and(|betas| betas.len() != timesteps) {
            return Err(Error::model(
                format!("the model's `trained_betas` are not as many as its `num_train_timesteps`, {timesteps}"),
                "write the number of betas into `num_train_timesteps`",
            ));
        }
        let training = if class.is_flow() {
            NoiseSchedule::rectified_flow(timesteps, 1.0)?
        } else {
            let SchedulerOptions { beta_start, beta_end, beta_schedule, .. } = options;
            let betas = betas.map_or_else(|| beta_schedule.betas(beta_start, beta_end, timesteps), |b| Ok(b.to_vec()));
            NoiseSchedule::trained(&betas?, terminal_signal(class, &options))?
        };
        let flow = is_flow(class, &options)
            .then(|| NoiseSchedule::rectified_flow(timesteps, usual_shift(class, &options)))
            .transpose()?;
        Ok(Self { class, options, disable_corrector, training, flow, even: false, share: 1.0, sampler: None })
    }

    /// The same levels, gone through by `sampler` in place of the class's own solver.
    #[must_use]
    pub(crate) fn with_sampler(self, sampler: &'static Sampler) -> Self {
        Self { sampler: Some(sampler), ..self }
    }

    /// The same, with the levels that the pipelines of FLUX give to `FlowMatchEulerDiscreteScheduler`: from 1 down to
    /// one step above 0, all equally far apart before they are shifted.
    #[must_use]
    pub(crate) fn with_even_levels(self) -> Self {
        Self { even: true, ..self }
    }

    /// The same, with a run that is late by as much as `strength`, above 0 and at most 1, is below 1, and takes all of its
    /// steps all the same; none for classes that leave steps out instead.
    ///
    /// So do diffusers' pipelines for latent consistency models with `LCMScheduler`.
    #[must_use]
    pub(crate) fn late(&self, strength: f64) -> Option<Self> {
        let by_itself = self.class == SchedulerClass::Lcm && self.sampler.is_none();
        by_itself.then(|| Self { share: strength, ..self.clone() })
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> SchedulerClass {
        self.class
    }

    /// What the network is taken to predict.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        self.options.prediction
    }

    /// How training mixed data and noise.
    #[must_use]
    pub fn process(&self) -> Process {
        if self.flow.is_some() { Process::RectifiedFlow } else { Process::VarianceExploding }
    }

    /// The levels of training, to ask for timesteps between those of a run.
    ///
    /// Of a rectified flow, those of the shift in the file; with dynamic shifting, those of the longest sequence that
    /// it names. Of `IPNDMScheduler`, which has no betas, those of diffusers' usual ones.
    #[must_use]
    pub fn noise_schedule(&self) -> &NoiseSchedule {
        self.flow.as_ref().unwrap_or(&self.training)
    }

    /// The noise levels of a run of `steps` steps, and their timesteps.
    ///
    /// `tokens` is the length of the sequence that the picture is to the network; only dynamic shifting asks for it.
    /// Levels are rounded to 32 bits, as there. Two differences: a first timestep that occurs twice does not end the
    /// run with an error, and trailing timesteps never go on to −1 (diffusers does so for 61 steps, for one).
    ///
    /// # Errors
    /// [`Error::Request`] if there are too many or too few steps for the class, or `tokens` is missing;
    /// [`Error::Model`] where diffusers would fail or go on with numbers that are not finite.
    pub fn schedule(&self, steps: usize, tokens: Option<usize>) -> Result<Schedule> {
        self.check_steps(steps)?;
        let (sigmas, timesteps) = self.levels(steps, tokens)?;
        if sigmas.iter().any(|sigma| !sigma.is_finite()) || sigmas.windows(2).any(|pair| pair[0] < pair[1]) {
            return Err(Error::model(
                format!("the model's {} makes no noise levels that fall for {steps} steps", self.class.row().name),
                "change the number of steps, or choose a schedule yourself",
            ));
        }
        Ok(Schedule::with_timesteps(self.process(), sigmas, Some(timesteps), self.scaling()))
    }

    /// How many levels of its [`schedule`](Self::schedule) a run leaves out that is to skip `steps` steps, as image to image
    /// does.
    ///
    /// As many, but for `PNDMScheduler` with `skip_prk_steps`: there diffusers counts along a list that names the second
    /// timestep twice, so that a run begins one step earlier than with other classes, unless it skips one alone.
    #[must_use]
    pub fn left_out(&self, steps: usize) -> usize {
        let names_one_twice = self.class == SchedulerClass::Pndm && self.options.skip_prk_steps;
        if names_one_twice && self.sampler.is_none() && steps > 1 { steps - 1 } else { steps }
    }

    /// Fails for a class that cannot begin late: `PNDMScheduler` with Runge-Kutta steps, whose first steps make the
    /// history of the others. diffusers takes the wrong timesteps for them there.
    pub fn check_late_start(&self, strength: f64) -> Result<()> {
        let by_itself = self.sampler.is_none() && self.class == SchedulerClass::Pndm;
        if strength >= 1.0 || !by_itself || self.options.skip_prk_steps {
            return Ok(());
        }
        Err(Error::request(
            "the model's PNDMScheduler begins with Runge-Kutta steps, which cannot be left out at the start of a run",
            "choose a sampler, such as `--sampler plms`, or a strength of 1",
        ))
    }

    /// The most steps that a run has.
    pub(crate) fn most_steps(&self) -> usize {
        let trained = self.options.num_train_timesteps;
        match self.class {
            SchedulerClass::Lcm | SchedulerClass::Tcd => self.taken_steps().min(trained),
            _ if self.solves() => trained - 1,
            _ => trained,
        }
    }

    /// Fails unless the class can take `steps` steps.
    fn check_steps(&self, steps: usize) -> Result<()> {
        use SchedulerClass::Pndm;
        check_steps(steps, self.most_steps())?;
        if self.class == Pndm && !self.options.skip_prk_steps && steps < 4 {
            return Err(Error::request(
                format!("steps {steps} is too few for the Runge-Kutta steps of the model's PNDMScheduler"),
                "use 4 steps or more, or choose another sampler",
            ));
        }
        Ok(())
    }

    /// In which units latents begin and end.
    fn scaling(&self) -> Scaling {
        match self.options.spacing {
            _ if self.class.keeps_variance() => Scaling::UnitVariance,
            Spacing::Leading => Scaling::UnitStart,
            Spacing::Linspace | Spacing::Trailing => Scaling::Sigma,
        }
    }

    /// Where its fresh noise comes from.
    #[must_use]
    pub fn noise(&self) -> FreshNoise {
        use SchedulerClass::{
            Ddim, Ddpm, DpmSolverMultistep, DpmSolverSde, DpmSolverSinglestep, EulerAncestral, FlowMatchEuler,
            Kdpm2Ancestral, Lcm, SaSolver, Tcd,
        };
        if let Some(sampler) = self.sampler {
            return sampler.noise;
        }
        let draws = match self.class {
            DpmSolverSde => return FreshNoise::Brownian,
            EulerAncestral | Kdpm2Ancestral | SaSolver | Ddim | Ddpm | Lcm | Tcd => true,
            DpmSolverMultistep | DpmSolverSinglestep => self.is_sde(),
            FlowMatchEuler => self.options.stochastic_sampling,
            _ => false,
        };
        if draws { FreshNoise::Independent } else { FreshNoise::None }
    }

    fn is_sde(&self) -> bool {
        matches!(self.options.algorithm, Algorithm::SdeDpmSolver | Algorithm::SdeDpmSolverPlusPlus)
    }

    /// `noise_sampler_seed`, of `DPMSolverSDEScheduler`: the seed of its Brownian path, in place of the picture's.
    #[must_use]
    pub fn noise_seed(&self) -> Option<u64> {
        self.options.noise_sampler_seed.map(|seed| seed as u64)
    }

    /// How much of its fresh noise is added unless a request says otherwise: what is usual for its sampler, except that
    /// diffusers' `StableDiffusionPipeline` gives 0 to every class that takes an `eta`, TCD's too.
    #[must_use]
    pub fn eta(&self) -> f64 {
        if self.sampler.is_none() && self.class == SchedulerClass::Tcd {
            return 0.0;
        }
        self.sampler().eta.unwrap_or(1.0)
    }

    /// Whether both go through the same levels in the same way.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let sampler = |one: &Self| one.sampler.map(|sampler| sampler.name);
        (self.class, &self.options, &self.disable_corrector) == (other.class, &other.options, &other.disable_corrector)
            && (&self.training, &self.flow, self.even) == (&other.training, &other.flow, other.even)
            && self.share.total_cmp(&other.share).is_eq()
            && sampler(self) == sampler(other)
    }

    /// The sampler by name that is nearest to it.
    #[must_use]
    pub fn sampler(&self) -> &'static Sampler {
        let class = match self.class {
            SchedulerClass::FlowMatchEuler => SchedulerClass::Euler,
            SchedulerClass::FlowMatchHeun => SchedulerClass::Heun,
            SchedulerClass::Ipndm => return find_sampler("ipndm").unwrap_or(&SAMPLERS[0]),
            class => class,
        };
        // the one whose options agree the most; of equals the first
        let faults = |sampler: &&Sampler| {
            sampler.class_options.iter().map(|option| if self.agrees(*option) { -1 } else { 1 }).sum::<i32>()
        };
        let of_class = SAMPLERS.iter().filter(|sampler| sampler.class == Some(class.row().name));
        self.sampler.or_else(|| of_class.min_by_key(faults)).unwrap_or(&SAMPLERS[0])
    }

    /// Whether an option of a sampler's class is as it is here.
    fn agrees(&self, (name, value): (&str, &str)) -> bool {
        let options = &self.options;
        match name {
            "algorithm_type" => value.starts_with("sde") == self.is_sde(),
            "solver_type" if self.class == SchedulerClass::UniPc => (value == "bh1") == options.bh1,
            "solver_type" => (value == "heun") == options.heun,
            "solver_order" => value.parse() == Ok(options.solver_order),
            "final_sigmas_type" => (value == "zero") == options.ends_at_zero,
            _ => false,
        }
    }
}

/// Whether latents are mixed with noise as in rectified flow.
fn is_flow(class: SchedulerClass, options: &SchedulerOptions) -> bool {
    class.is_flow() || options.use_flow_sigmas
}

/// The shift of the levels that a flow was trained on, as far as it does not depend on the picture.
fn usual_shift(class: SchedulerClass, options: &SchedulerOptions) -> f64 {
    match class {
        _ if options.use_dynamic_shifting && options.linear_shift => options.max_shift,
        _ if options.use_dynamic_shifting => options.max_shift.exp(),
        _ if class.is_flow() => options.shift,
        _ => options.flow_shift,
    }
}

/// What `rescale_betas_zero_snr` leaves: the classes differ.
fn terminal_signal(class: SchedulerClass, options: &SchedulerOptions) -> TerminalSignal {
    use SchedulerClass::{DpmSolverMultistep, Euler, EulerAncestral, UniPc};
    match class {
        _ if !options.rescale_betas_zero_snr => TerminalSignal::Kept,
        Euler | EulerAncestral | DpmSolverMultistep | UniPc => TerminalSignal::Least,
        _ => TerminalSignal::None,
    }
}
