//! Which noise levels does a run of a model's own scheduler go through? `set_timesteps` of diffusers.
use super::{BetaSchedule, ModelScheduler, SchedulerClass};
use crate::{
    Error, Result,
    sampling::{
        Prediction,
        schedules::{beta_between, exponential_between, karras_between, linspace},
    },
};

/// Noise levels, the end included, and the timestep of each but the end.
pub(super) type Levels = (Vec<f64>, Vec<f64>);

/// How levels lie between the highest and the lowest, where timesteps do not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    /// `use_karras_sigmas`: Karras et al. (2022), equation 5, with rho 7.
    Karras,
    /// `use_exponential_sigmas`, and `use_lu_lambdas` whose rho is 1: even in log sigma.
    Exponential,
    /// `use_beta_sigmas`: quantiles of the beta distribution (Lee et al. 2024), 0.6 and 0.6.
    Beta,
}

impl Curve {
    /// `n` levels from `max` to `min`.
    pub(super) fn between(self, max: f64, min: f64, n: usize) -> Result<Vec<f64>> {
        if n == 1 && max > 0.0 && max.is_finite() {
            return Ok(vec![max]);
        }
        if !(min > 0.0 && min <= max && max.is_finite()) {
            return Err(Error::model(
                format!("the noise levels of the model's scheduler go from {max} down to {min}"),
                "correct `sigma_min` and `sigma_max` in `scheduler_config.json`, or choose a schedule yourself",
            ));
        }
        Ok(match self {
            Self::Karras => karras_between(max, min, n, 7.0),
            Self::Exponential => exponential_between(max, min, n),
            Self::Beta => beta_between(max, min, n, 0.6, 0.6),
        })
    }
}

impl ModelScheduler {
    /// The levels of a run, by family of classes, in the 32 bits of diffusers.
    pub(super) fn levels(&self, steps: usize, tokens: Option<usize>) -> Result<Levels> {
        use SchedulerClass::{Ddim, Ddpm, Ipndm, Lcm, Pndm, Tcd};
        let (sigmas, timesteps) = match self.class {
            Ddim | Ddpm | Pndm | Lcm | Tcd => self.table_levels(steps)?,
            Ipndm => super::table::ipndm_levels(steps),
            class if class.is_flow() => self.flow_match_levels(steps, tokens)?,
            _ if self.options.use_flow_sigmas => self.flow_solver_levels(steps, tokens)?,
            _ => self.curved_levels(steps)?,
        };
        Ok((sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect(), timesteps))
    }

    /// The curve that the options ask for. At most one of its switches is on, but for `use_lu_lambdas`.
    pub(super) fn curve(&self) -> Option<Curve> {
        let options = &self.options;
        let curves = [
            (options.use_karras_sigmas, Curve::Karras),
            (options.use_lu_lambdas || options.use_exponential_sigmas, Curve::Exponential),
            (options.use_beta_sigmas, Curve::Beta),
        ];
        curves.into_iter().find(|(on, _)| *on).map(|(_, curve)| curve)
    }

    /// The highest and lowest level of a curve: those given, or the `usual` ones.
    pub(super) fn ends_of(&self, curve: Curve, usual: (f64, f64)) -> (f64, f64) {
        use SchedulerClass::{DpmSolverSde, Lms};
        // the Karras levels of two classes do not look at what is given
        if curve == Curve::Karras && matches!(self.class, Lms | DpmSolverSde) {
            return usual;
        }
        (self.options.sigma_max.unwrap_or(usual.0), self.options.sigma_min.unwrap_or(usual.1))
    }

    /// The levels of the classes that interpolate between those of training.
    fn curved_levels(&self, steps: usize) -> Result<Levels> {
        let (lowest, highest) = self.training.range();
        let mut timesteps = self.spaced(steps);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| self.training.sigma_linear(*t)).collect();
        if self.options.log_linear {
            sigmas = linspace(highest.ln(), lowest.ln(), steps + 1).map(f64::exp).collect();
        }
        if let Some(curve) = self.curve() {
            let usual = if self.solves() { (highest, lowest) } else { (sigmas[0], sigmas[sigmas.len() - 1]) };
            let (max, min) = self.ends_of(curve, usual);
            sigmas = curve.between(max, min, steps)?;
            timesteps = sigmas.iter().map(|sigma| self.known_timestep(*sigma, curve)).collect();
        } else if self.solves() && timesteps.windows(2).any(|pair| pair[0] <= pair[1]) {
            return Err(Error::request(
                format!("the timesteps of the model's scheduler are too few for {steps} steps"),
                "use fewer steps, or choose a schedule yourself",
            ));
        }
        if self.options.continuous && self.prediction() == Prediction::V {
            timesteps = sigmas.iter().map(|sigma| 0.25 * sigma.ln()).collect();
        }
        sigmas.push(self.end(sigmas[sigmas.len() - 1]));
        sigmas.truncate(timesteps.len() + 1); // log-linear levels end at the lowest of training, and go no further
        Ok((sigmas, timesteps))
    }

    /// The level a run ends at, after its `last` one.
    pub(super) fn end(&self, last: f64) -> f64 {
        use SchedulerClass::{Deis, DpmSolverMultistep, DpmSolverSinglestep, Euler, SaSolver, UniPc};
        let kept = self.curve().is_some() || self.options.use_flow_sigmas;
        match self.class {
            UniPc | Euler | DpmSolverMultistep | DpmSolverSinglestep if self.options.ends_at_zero => 0.0,
            UniPc | Deis | SaSolver if kept => last,
            UniPc | Deis | SaSolver | Euler | DpmSolverMultistep | DpmSolverSinglestep => self.training.range().0,
            _ => 0.0,
        }
    }

    /// The timestep that the class gives a level of a curve; some make it whole, some by cutting off.
    fn known_timestep(&self, sigma: f64, curve: Curve) -> f64 {
        use SchedulerClass::{DpmSolverMultistep, Kdpm2, Kdpm2Ancestral};
        let timestep = timestep_in_single_precision(self.training.sigmas(), sigma);
        let rounds = curve == Curve::Karras || self.options.use_lu_lambdas;
        match self.class {
            Kdpm2 | Kdpm2Ancestral if rounds => timestep.round_ties_even(),
            DpmSolverMultistep if rounds && self.options.beta_schedule == BetaSchedule::Cosine => timestep.trunc(),
            _ if self.solves() && rounds => timestep.round_ties_even(),
            _ if self.solves() => timestep.trunc(),
            _ => timestep,
        }
    }
}

/// `_sigma_to_t` of diffusers: interpolation between the logarithms of `levels`, which are in 32 bits there. Where a
/// timestep is cut off to a whole number, that decides between it and the one below.
fn timestep_in_single_precision(levels: &[f64], sigma: f64) -> f64 {
    let log = |i: usize| levels[i].ln() as f32;
    let wanted = sigma.max(1e-10).ln();
    // from the highest: where betas are rescaled, the last level may be lower than the one before
    let low = (0..levels.len() - 1).rev().find(|i| f64::from(log(*i)) <= wanted).unwrap_or(0);
    let weight = (f64::from(log(low)) - wanted) / f64::from(log(low) - log(low + 1));
    let weight = weight.clamp(0.0, 1.0);
    (1.0 - weight) * low as f64 + weight * (low + 1) as f64
}
