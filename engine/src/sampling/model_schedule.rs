//! Which sampler and noise levels a model's own `scheduler_config.json` asks for.
//!
//! The numbers are those of diffusers 0.42.1, `src/diffusers/schedulers`. Where its schedulers keep unit variance
//! (DDIM, PNDM, DPM-Solver, LCM), the same run is expressed here in variance-exploding coordinates; see
//! [`Schedule::initial_scale`] and [`Schedule::final_scale`].
use super::{
    NoiseSchedule, Prediction, Process, Sampler, Schedule, find_sampler,
    schedules::{Scaling, check_steps, exponential_between, karras_between, linspace},
};
use crate::{Error, Result};

/// The classes of diffusers that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerClass {
    /// `EulerDiscreteScheduler`
    Euler,
    /// `EulerAncestralDiscreteScheduler`
    EulerAncestral,
    /// `HeunDiscreteScheduler`
    Heun,
    /// `LMSDiscreteScheduler`
    Lms,
    /// `KDPM2DiscreteScheduler`
    Kdpm2,
    /// `KDPM2AncestralDiscreteScheduler`
    Kdpm2Ancestral,
    /// `DPMSolverMultistepScheduler` with `algorithm_type` `dpmsolver++`
    DpmSolverMultistep,
    /// `DPMSolverMultistepScheduler` with `algorithm_type` `sde-dpmsolver++`
    DpmSolverMultistepSde,
    /// `DDIMScheduler`
    Ddim,
    /// `PNDMScheduler` with `skip_prk_steps`
    Pndm,
    /// `LCMScheduler`
    Lcm,
}

/// Each class, its name in diffusers and the name of its sampler here.
const CLASSES: &[(SchedulerClass, &str, &str)] = &[
    (SchedulerClass::Euler, "EulerDiscreteScheduler", "euler"),
    (SchedulerClass::EulerAncestral, "EulerAncestralDiscreteScheduler", "euler_ancestral"),
    (SchedulerClass::Heun, "HeunDiscreteScheduler", "heun"),
    (SchedulerClass::Lms, "LMSDiscreteScheduler", "lms"),
    (SchedulerClass::Kdpm2, "KDPM2DiscreteScheduler", "dpm_2"),
    (SchedulerClass::Kdpm2Ancestral, "KDPM2AncestralDiscreteScheduler", "dpm_2_ancestral"),
    (SchedulerClass::DpmSolverMultistep, "DPMSolverMultistepScheduler", "dpmpp_2m"),
    (SchedulerClass::DpmSolverMultistepSde, "DPMSolverMultistepScheduler", "dpmpp_2m_sde"),
    (SchedulerClass::Ddim, "DDIMScheduler", "ddim"),
    (SchedulerClass::Pndm, "PNDMScheduler", "plms"),
    (SchedulerClass::Lcm, "LCMScheduler", "lcm"),
];

impl SchedulerClass {
    /// The class that diffusers calls `name` (`_class_name` in `scheduler_config.json`).
    pub fn parse(name: &str) -> Result<Self> {
        let found = CLASSES.iter().find(|(_, class_name, _)| *class_name == name);
        found.map(|(class, ..)| *class).ok_or_else(|| {
            let names: Vec<&str> = CLASSES.iter().map(|(_, class_name, _)| *class_name).collect();
            let mut list = names.join(", ");
            list = list.replace("DPMSolverMultistepScheduler, DPMSolver", "DPMSolver");
            Error::model(
                format!("the model's scheduler `{name}` is not supported"),
                format!("choose a sampler and a schedule yourself; models may bring: {list}"),
            )
        })
    }

    /// The class with the `algorithm_type`, `solver_order` and `solver_type` of a `DPMSolverMultistepScheduler`.
    pub fn with_algorithm(self, algorithm_type: &str, solver_order: usize, solver_type: &str) -> Result<Self> {
        if !matches!(self, Self::DpmSolverMultistep | Self::DpmSolverMultistepSde) {
            return Ok(self);
        }
        match (algorithm_type, solver_order, solver_type) {
            ("dpmsolver++" | "deis", 2, "midpoint" | "logrho" | "bh1" | "bh2") => Ok(Self::DpmSolverMultistep),
            ("sde-dpmsolver++", 2, "midpoint") => Ok(Self::DpmSolverMultistepSde),
            _ => Err(Error::model(
                format!("the model's `{algorithm_type}` of order {solver_order} ({solver_type}) is not supported"),
                "choose a sampler yourself; models may bring `dpmsolver++` or `sde-dpmsolver++` of order 2 (midpoint)",
            )),
        }
    }
}

/// `timestep_spacing`: how a run's timesteps are spread over those of training (Lin et al. 2023, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Whole intervals from the first training timestep; the last one is not reached.
    Leading,
    /// From the first to the last training timestep.
    Linspace,
    /// Even intervals from the last training timestep.
    Trailing,
}

/// `use_karras_sigmas`, `use_exponential_sigmas`: how noise levels lie between the run's highest and lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigmaCurve {
    /// Those of the timesteps.
    Timesteps,
    /// Karras et al. (2022), equation 5.
    Karras,
    /// Even in log sigma.
    Exponential,
}

/// `final_sigmas_type`: where a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalSigma {
    /// At no noise.
    Zero,
    /// At the lowest training level.
    SigmaMin,
}

/// What a model's `scheduler_config.json` asks for. Fields that diffusers' class does not have are ignored, as there.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelScheduler {
    /// `_class_name`.
    pub class: SchedulerClass,
    /// The levels of the training timesteps.
    pub noise_schedule: NoiseSchedule,
    /// `prediction_type`.
    pub prediction: Prediction,
    /// `timestep_spacing`.
    pub spacing: Spacing,
    /// `steps_offset`: what is added to the timesteps of leading spacing.
    pub steps_offset: usize,
    /// `use_karras_sigmas`, `use_exponential_sigmas`.
    pub curve: SigmaCurve,
    /// `final_sigmas_type`, of Euler and DPM-Solver.
    pub final_sigma: FinalSigma,
    /// `set_alpha_to_one`, of DDIM and PNDM: whether a run ends at no noise or at the lowest training level.
    pub set_alpha_to_one: bool,
    /// `skip_prk_steps`, of PNDM; must be true, because the Runge-Kutta steps are not followed.
    pub skip_prk_steps: bool,
    /// `original_inference_steps`, of LCM: how many timesteps the network was distilled for.
    pub original_inference_steps: usize,
}

impl ModelScheduler {
    /// A scheduler with the defaults that diffusers gives to `class`, `epsilon` prediction included.
    #[must_use]
    pub fn new(class: SchedulerClass, noise_schedule: NoiseSchedule) -> Self {
        use SchedulerClass::{Ddim, Lcm, Pndm};
        Self {
            class,
            noise_schedule,
            prediction: Prediction::Epsilon,
            spacing: if matches!(class, Ddim | Lcm | Pndm) { Spacing::Leading } else { Spacing::Linspace },
            steps_offset: 0,
            curve: SigmaCurve::Timesteps,
            final_sigma: FinalSigma::Zero,
            set_alpha_to_one: class != Pndm,
            skip_prk_steps: false,
            original_inference_steps: 50,
        }
    }

    /// The sampler that does what the class does.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a test goes through all classes")]
    pub fn sampler(&self) -> &'static Sampler {
        let (_, _, name) = CLASSES.iter().find(|(class, ..)| *class == self.class).expect("every class is listed");
        find_sampler(name).expect("the table names samplers")
    }

    /// The noise levels of a run of `steps` steps, and their timesteps.
    pub fn schedule(&self, steps: usize) -> Result<Schedule> {
        check_steps(steps, self.most_steps())?;
        self.check_supported()?;
        let mut timesteps = self.timesteps(steps);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| self.noise_schedule.sigma_linear(*t)).collect();
        if let Some(curved) = self.curved(&sigmas) {
            timesteps = curved.iter().map(|sigma| self.known_timestep(*sigma)).collect();
            sigmas = curved;
        }
        sigmas.push(self.end());
        Ok(Schedule::with_timesteps(Process::VarianceExploding, sigmas, Some(timesteps), self.scaling()))
    }

    fn most_steps(&self) -> usize {
        let trained = self.noise_schedule.timesteps();
        match self.class {
            SchedulerClass::Lcm => self.original_inference_steps.min(trained),
            SchedulerClass::DpmSolverMultistep | SchedulerClass::DpmSolverMultistepSde => trained - 1,
            _ => trained,
        }
    }

    fn check_supported(&self) -> Result<()> {
        let fault = if self.class == SchedulerClass::Pndm && !self.skip_prk_steps {
            "the model's PNDMScheduler asks for Runge-Kutta steps (`skip_prk_steps` is off)"
        } else if self.prediction == Prediction::Flow {
            "the model's scheduler mixes `flow_prediction` with betas"
        } else {
            return Ok(());
        };
        Err(Error::model(fault, "choose a sampler and a schedule yourself"))
    }

    /// Whether latents keep unit variance in diffusers' class.
    fn keeps_variance(&self) -> bool {
        use SchedulerClass::{Ddim, DpmSolverMultistep, DpmSolverMultistepSde, Lcm, Pndm};
        matches!(self.class, Ddim | DpmSolverMultistep | DpmSolverMultistepSde | Lcm | Pndm)
    }

    fn scaling(&self) -> Scaling {
        match self.spacing {
            _ if self.keeps_variance() => Scaling::UnitVariance,
            Spacing::Leading => Scaling::UnitStart,
            Spacing::Linspace | Spacing::Trailing => Scaling::Sigma,
        }
    }

    /// The level the run ends at.
    fn end(&self) -> f64 {
        use SchedulerClass::{Ddim, DpmSolverMultistep, DpmSolverMultistepSde, Euler, Pndm};
        let zero = match self.class {
            Ddim | Pndm => self.set_alpha_to_one,
            Euler | DpmSolverMultistep | DpmSolverMultistepSde => self.final_sigma == FinalSigma::Zero,
            _ => true,
        };
        if zero { 0.0 } else { self.noise_schedule.range().0 }
    }

    /// The timesteps of `set_timesteps`, highest first.
    fn timesteps(&self, steps: usize) -> Vec<f64> {
        use SchedulerClass::{DpmSolverMultistep, DpmSolverMultistepSde};
        let trained = self.noise_schedule.timesteps();
        if self.class == SchedulerClass::Lcm {
            return self.distilled_timesteps(steps);
        }
        // DPM-Solver spreads one timestep more and drops the lowest.
        let spread = steps + usize::from(matches!(self.class, DpmSolverMultistep | DpmSolverMultistepSde));
        let timesteps: Vec<f64> = match self.spacing {
            Spacing::Leading => {
                let stride = trained / spread;
                (0..spread).rev().map(|i| ((i * stride + self.steps_offset).min(trained - 1)) as f64).collect()
            }
            Spacing::Linspace => {
                let ramp = linspace(0.0, (trained - 1) as f64, spread);
                let mut timesteps: Vec<f64> = if self.keeps_variance() {
                    ramp.map(f64::round_ties_even).collect()
                } else {
                    ramp.map(|t| f64::from(t as f32)).collect()
                };
                timesteps.reverse();
                timesteps
            }
            Spacing::Trailing => {
                let last = trained as f64;
                let stride = (last - last / steps as f64) - last; // as `numpy.arange` computes it
                (0..steps).map(|i| (last + i as f64 * stride).round_ties_even() - 1.0).collect()
            }
        };
        timesteps.into_iter().take(steps).collect()
    }

    /// The timesteps of LCM: evenly chosen from those the network was distilled for.
    fn distilled_timesteps(&self, steps: usize) -> Vec<f64> {
        let original = self.original_inference_steps.min(self.noise_schedule.timesteps());
        let interval = self.noise_schedule.timesteps() / original;
        let stride = original as f64 / steps as f64;
        (0..steps).map(|i| ((original - (i as f64 * stride) as usize) * interval - 1) as f64).collect()
    }

    /// The noise levels of `curve` in place of `sigmas`, where there is one and the class has it.
    fn curved(&self, sigmas: &[f64]) -> Option<Vec<f64>> {
        use SchedulerClass::{DpmSolverMultistep, DpmSolverMultistepSde, Euler, Heun, Kdpm2, Kdpm2Ancestral, Lms};
        let (min, max) = match self.class {
            DpmSolverMultistep | DpmSolverMultistepSde => self.noise_schedule.range(),
            Euler | Heun | Lms | Kdpm2 | Kdpm2Ancestral => (sigmas[sigmas.len() - 1], sigmas[0]),
            _ => return None,
        };
        match self.curve {
            SigmaCurve::Timesteps => None,
            SigmaCurve::Karras => Some(karras_between(max, min, sigmas.len())),
            SigmaCurve::Exponential => Some(exponential_between(max, min, sigmas.len())),
        }
    }

    /// The timestep that the class gives a level of a curve: some classes make it whole.
    fn known_timestep(&self, sigma: f64) -> f64 {
        use SchedulerClass::{DpmSolverMultistep, DpmSolverMultistepSde, Kdpm2, Kdpm2Ancestral};
        let timestep = self.noise_schedule.timestep(sigma);
        match (self.class, self.curve) {
            (DpmSolverMultistep | DpmSolverMultistepSde | Kdpm2 | Kdpm2Ancestral, SigmaCurve::Karras) => {
                timestep.round_ties_even()
            }
            // Cut off there, where 32-bit logarithms put the highest level just below the last timestep.
            (DpmSolverMultistep | DpmSolverMultistepSde, SigmaCurve::Exponential) => (timestep - 1e-4).max(0.0).trunc(),
            _ => timestep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(class: SchedulerClass) -> ModelScheduler {
        let noise_schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap();
        ModelScheduler { skip_prk_steps: true, ..ModelScheduler::new(class, noise_schedule) }
    }

    #[test]
    fn every_class_has_a_sampler_and_falls() {
        for (class, name, sampler) in CLASSES {
            assert_eq!(scheduler(*class).sampler().name, *sampler);
            assert!(SchedulerClass::parse(name).is_ok());
            for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
                for curve in [SigmaCurve::Timesteps, SigmaCurve::Karras, SigmaCurve::Exponential] {
                    for steps in [1, 2, 4, 20, 50] {
                        let model = ModelScheduler { spacing, curve, ..scheduler(*class) };
                        let schedule = model.schedule(steps).unwrap();
                        assert_eq!(schedule.len(), steps, "{name} {spacing:?} {curve:?}");
                        assert!(schedule.sigmas().is_sorted_by(|a, b| a >= b), "{name} {spacing:?} {curve:?}");
                    }
                }
            }
        }
    }

    /// The configuration that Stable Diffusion 1 comes with.
    #[test]
    fn stable_diffusion_1_starts_and_ends_like_diffusers() {
        let mut model = scheduler(SchedulerClass::Pndm);
        model.steps_offset = 1;
        let schedule = model.schedule(20).unwrap();
        let timestep = |i: usize| schedule.timestep(schedule.sigmas()[i], &model.noise_schedule);
        assert_eq!([0, 1, 19].map(|i| timestep(i) as usize), [951, 901, 1]);
        assert!((schedule.end() - model.noise_schedule.range().0).abs() < 1e-12);
        assert!((schedule.final_scale() - (1.0_f64 - 0.00085).sqrt()).abs() < 1e-6);
        assert!((schedule.initial_scale() - (schedule.start().powi(2) + 1.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_supported_is_the_models_fault() {
        let error = SchedulerClass::parse("TCDScheduler").unwrap_err();
        assert!(matches!(error, Error::Model { .. }));
        assert_eq!(error.to_string(), "the model's scheduler `TCDScheduler` is not supported");
        let hint = error.hint().unwrap();
        assert_eq!(hint.matches("DPMSolverMultistepScheduler").count(), 1, "{hint}");
        assert!(SchedulerClass::DpmSolverMultistep.with_algorithm("dpmsolver++", 3, "midpoint").is_err());
        let prk = ModelScheduler { skip_prk_steps: false, ..scheduler(SchedulerClass::Pndm) };
        assert!(matches!(prk.schedule(20), Err(Error::Model { .. })));
        let flow = ModelScheduler { prediction: Prediction::Flow, ..scheduler(SchedulerClass::Euler) };
        assert!(matches!(flow.schedule(20), Err(Error::Model { .. })));
    }

    #[test]
    fn steps_out_of_range_are_refused() {
        assert!(scheduler(SchedulerClass::Euler).schedule(0).is_err());
        assert!(scheduler(SchedulerClass::Euler).schedule(1001).is_err());
        assert!(scheduler(SchedulerClass::Lcm).schedule(51).is_err());
    }
}
