//! Which solver goes through the levels of a model's own scheduler, and with which options?
use super::{ModelScheduler, SchedulerClass, VarianceType};
use crate::{
    Result,
    sampling::{
        Denoiser, Latents, Prediction, Run,
        clip::Clip,
        samplers::{
            consistency,
            ddim::{Ddim, Variance, ddim_with, ddpm_with},
            deis::{Deis, deis_with},
            dpm_solver::{DpmSolver, dpm_solver_multistep, dpm_solver_singlestep},
            lms_after,
            pndm::{Begin, Pndm, ipndm, pndm},
            sa_solver::{SaSolver, sa_solver_with},
            unipc::{UniPc, uni_pc},
        },
    },
};

/// A denoiser that is asked for the halves of steps in turn.
///
/// The second half of a step of `KDPM2AncestralDiscreteScheduler` is at the level where the next step begins, but the
/// network knows it by another timestep there, not rounded. Its last digits tell the two apart.
struct Halves<'a> {
    model: &'a mut dyn Denoiser,
    second: bool,
}

impl Denoiser for Halves<'_> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self.second = !self.second;
        self.model.denoise(x, if self.second { sigma * (1.0 - 1e-12) } else { sigma })
    }
}

impl ModelScheduler {
    /// Denoises `x` along the schedule of `run`, which must be one of this scheduler's.
    ///
    /// `skipped` is how many steps of the whole run were left out at its start, as in image to image; else 0. The run's
    /// schedule is then that of the whole run [`after`](crate::sampling::Schedule::after) [`left_out`](Self::left_out) of
    /// these.
    ///
    /// As in diffusers, a run of `LMSDiscreteScheduler` that begins late gives estimates the weights that they have
    /// beside those of the steps before, which it does not have.
    pub fn run(&self, run: &mut Run<'_>, x: Latents, skipped: usize) -> Result<Latents> {
        match self.options.clip() {
            _ if self.sampler.is_some() => self.run_unclipped(run, x, skipped),
            Clip::None => self.run_unclipped(run, x, skipped),
            // DDIM clips its own way, and TCD not at all
            _ if matches!(self.class, SchedulerClass::Ddim | SchedulerClass::Tcd) => {
                self.run_unclipped(run, x, skipped)
            }
            clip => run.clipped(clip, x, |run, x| self.run_unclipped(run, x, skipped)),
        }
    }

    fn run_unclipped(&self, run: &mut Run<'_>, x: Latents, skipped: usize) -> Result<Latents> {
        use SchedulerClass as Class;
        let options = &self.options;
        match self.class {
            _ if self.sampler.is_some() => (self.sampler().run)(run, x),
            Class::DpmSolverMultistep => dpm_solver_multistep(run, x, &self.dpm_solver(skipped)),
            Class::DpmSolverSinglestep => dpm_solver_singlestep(run, x, &self.dpm_solver(skipped)),
            Class::UniPc => uni_pc(run, x, &self.uni_pc(skipped)),
            Class::Deis => deis_with(run, x, &self.deis(skipped)),
            Class::SaSolver => sa_solver_with(run, x, &self.sa_solver(run)),
            Class::Ddim => ddim_with(run, x, &Ddim { clip: options.clip(), ends: self.run_ends(run, skipped)? }),
            Class::Ddpm => ddpm_with(run, x, self.variance()),
            Class::Pndm => pndm(run, x, &self.pndm(run, skipped)?),
            Class::Kdpm2Ancestral => {
                let mut model = Halves { model: &mut *run.model, second: true };
                let Run { schedule, noise, strength, .. } = run;
                let mut run = Run { model: &mut model, schedule, noise: &mut **noise, strength: *strength };
                (self.sampler().run)(&mut run, x)
            }
            Class::Ipndm => ipndm(run, x),
            Class::Lms => {
                let (whole, _) = self.levels(run.schedule.len() + skipped, None)?;
                lms_after(run, x, &whole[..skipped])
            }
            Class::Lcm => consistency::lcm_with(run, x, options.timestep_scaling),
            Class::Tcd => consistency::tcd_with(run, x, &self.training),
            Class::FlowMatchEuler if options.stochastic_sampling => consistency::lcm(run, x),
            _ => (self.sampler().run)(run, x), // the samplers by name that came from k-diffusion
        }
    }

    fn dpm_solver(&self, skipped: usize) -> DpmSolver {
        DpmSolver {
            order: self.options.solver_order,
            algorithm: self.options.algorithm,
            heun: self.options.heun,
            lower_order_final: self.options.lower_order_final,
            euler_at_final: self.options.euler_at_final,
            skipped,
        }
    }

    fn uni_pc(&self, skipped: usize) -> UniPc {
        UniPc {
            order: self.options.solver_order,
            bh1: self.options.bh1,
            predict_x0: self.options.predict_x0,
            lower_order_final: self.options.lower_order_final,
            disable_corrector: self.disable_corrector.clone(),
            skipped,
        }
    }

    fn deis(&self, skipped: usize) -> Deis {
        Deis { order: self.options.solver_order, lower_order_final: self.options.lower_order_final, skipped }
    }

    /// `tau_func` is that of diffusers: steps are stochastic between timesteps 200 and 800.
    fn sa_solver(&self, run: &Run<'_>) -> SaSolver {
        let timesteps = run.schedule.timesteps().unwrap_or_default();
        SaSolver {
            predictor_order: self.options.predictor_order,
            corrector_order: self.options.corrector_order,
            data_prediction: self.options.data_prediction,
            lower_order_final: self.options.lower_order_final,
            tau: timesteps.iter().map(|t| if (200.0..=800.0).contains(t) { run.strength.eta } else { 0.0 }).collect(),
        }
    }

    fn variance(&self) -> Variance {
        match self.options.variance {
            VarianceType::Small => Variance::Small,
            VarianceType::Large | VarianceType::LargeLog => Variance::Large,
        }
    }

    fn pndm(&self, run: &Run<'_>, skipped: usize) -> Result<Pndm> {
        let timesteps = run.schedule.timesteps().unwrap_or_default();
        let steps = run.schedule.len() + self.left_out(skipped);
        let interval = (self.options.num_train_timesteps / steps) as f64;
        let mut options = Pndm {
            velocity: self.prediction() == Prediction::V,
            ends: self.run_ends(run, skipped)?,
            ..Pndm::default()
        };
        if !self.options.skip_prk_steps {
            options.runge_kutta = self.runge_kutta(timesteps, steps)?;
            return Ok(options);
        }
        options.begin = match skipped {
            0 => Begin::First,
            1 => Begin::Twice,
            _ => Begin::Later,
        };
        let second = timesteps.get(usize::from(skipped != 1));
        if let Some(second) = second {
            let restart = f64::from(self.level(second + interval)? as f32);
            options.restart = Some(restart).filter(|level| level.total_cmp(&run.schedule.start()).is_ne());
        }
        Ok(options)
    }

    fn run_ends(&self, run: &Run<'_>, skipped: usize) -> Result<Vec<f64>> {
        let timesteps = run.schedule.timesteps().unwrap_or_default();
        self.ends(run.schedule.sigmas(), timesteps, run.schedule.len() + self.left_out(skipped))
    }
}
