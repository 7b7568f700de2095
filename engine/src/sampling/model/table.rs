//! Which noise levels do the classes have that know no others than those of training? DDPM, DDIM, PNDM and the classes
//! for distilled networks, which count in whole timesteps, and IPNDM, which has a table of its own.
use super::{ModelScheduler, SchedulerClass, levels::Levels};
use crate::{
    Error, Result,
    sampling::{
        Prediction,
        clip::Clip,
        noise_schedule::{NO_SIGNAL, linspace_f32},
    },
};
use std::f32::consts::{FRAC_PI_2, PI};

impl ModelScheduler {
    /// The levels at the run's timesteps, and where it ends.
    pub(super) fn table_levels(&self, steps: usize) -> Result<Levels> {
        let timesteps = self.spaced(steps);
        let mut sigmas = timesteps.iter().map(|t| self.level(*t)).collect::<Result<Vec<_>>>()?;
        // there, an estimate divides by 0; clipped, its sign is left
        let clips = matches!(self.options.clip(), Clip::Range(_)) && self.class != SchedulerClass::Tcd;
        if sigmas[0] >= NO_SIGNAL && self.prediction() == Prediction::Epsilon && !clips {
            return Err(Error::model(
                format!(
                    "the model's {} starts where no signal is left (`rescale_betas_zero_snr`), and the clean latents \
                     cannot be told from noise there",
                    self.class.row().name
                ),
                "set `prediction_type` as the network was trained, or choose a sampler and a schedule yourself",
            ));
        }
        sigmas.push(match self.class {
            SchedulerClass::Ddim | SchedulerClass::Pndm => self.level_below(timesteps[timesteps.len() - 1], steps)?,
            SchedulerClass::Tcd => self.training.range().0,
            _ => 0.0,
        });
        Ok((sigmas, timesteps))
    }

    /// The level of a whole timestep.
    pub(super) fn level(&self, timestep: f64) -> Result<f64> {
        self.training.sigmas().get(timestep as usize).copied().ok_or_else(|| {
            Error::model(
                format!("the model's scheduler asks for timestep {timestep}, and the network knows none so high"),
                "correct `steps_offset` in `scheduler_config.json`, or use fewer steps",
            )
        })
    }

    /// The level that DDIM and PNDM go to from `timestep` in a run of `steps`: that of the timestep a whole interval
    /// lower, or the end.
    fn level_below(&self, timestep: f64, steps: usize) -> Result<f64> {
        let below = timestep - (self.options.num_train_timesteps / steps) as f64;
        match self.options.set_alpha_to_one {
            _ if below >= 0.0 => self.level(below),
            true => Ok(0.0),
            false => Ok(self.training.range().0),
        }
    }

    /// Where each step of DDIM and PNDM ends, if for some that is not where the next one starts; else empty.
    pub(super) fn ends(&self, levels: &[f64], timesteps: &[f64], steps: usize) -> Result<Vec<f64>> {
        let ends = timesteps.iter().map(|t| self.level_below(*t, steps).map(|level| f64::from(level as f32)));
        let ends = ends.collect::<Result<Vec<_>>>()?;
        let same = ends.iter().zip(&levels[1..]).all(|(end, next)| end.total_cmp(next).is_eq());
        Ok(if same { Vec::new() } else { ends })
    }

    /// Of each of the first three steps of PNDM with Runge–Kutta steps, the levels of its stages.
    pub(super) fn runge_kutta(&self, timesteps: &[f64], steps: usize) -> Result<Vec<[f64; 3]>> {
        let half = (self.options.num_train_timesteps / steps / 2) as f64;
        let stage = |t: f64| self.level(t.max(0.0)).map(|level| f64::from(level as f32));
        timesteps
            .windows(2)
            .take(3)
            .map(|pair| Ok([stage(pair[0] - half)?, stage(pair[1] + half)?, stage(pair[1])?]))
            .collect()
    }
}

/// `IPNDMScheduler`: `betas / alphas` of its sines, whose first alpha is 0.
pub(super) fn ipndm_levels(steps: usize) -> Levels {
    let sine = |share: f32| ((f64::from(share * PI / 2.0)).sin() as f32).powi(2);
    let pairs: Vec<(f32, f32)> = linspace_f32(1.0, 0.0, steps + 1)
        .into_iter()
        .map(|share| {
            let beta = sine(share);
            (beta, (1.0 - beta * beta).max(0.0).sqrt())
        })
        .collect();
    let level = |&(beta, alpha): &(f32, f32)| if alpha > 1e-6 { f64::from(beta) / f64::from(alpha) } else { NO_SIGNAL };
    let timesteps = pairs[..steps].iter().map(|(beta, alpha)| f64::from(beta.atan2(*alpha) / FRAC_PI_2));
    (pairs.iter().map(level).collect(), timesteps.collect())
}
