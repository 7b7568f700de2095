//! Which noise levels does a rectified flow go through? The flow-matching classes of diffusers, and `use_flow_sigmas`.
use super::{
    ModelScheduler, SchedulerClass,
    levels::{Curve, Levels},
};
use crate::{Error, Result, sampling::schedules::linspace};

/// How levels are drawn towards noise.
#[derive(Clone, Copy, Debug)]
enum Shift {
    /// By a factor: `shift` and `flow_shift` (Esser et al. 2024, equation 23).
    By(f64),
    /// By `weight / (weight + 1/sigma − 1)`, with a weight that depends on the picture.
    Dynamic(f64),
}

impl Shift {
    fn of(self, sigma: f64) -> f64 {
        match self {
            Self::By(shift) => shift * sigma / (1.0 + (shift - 1.0) * sigma),
            Self::Dynamic(weight) => weight / (weight + (1.0 / sigma - 1.0)),
        }
    }
}

impl ModelScheduler {
    /// `FlowMatchEulerDiscreteScheduler` and `FlowMatchHeunDiscreteScheduler`.
    pub(super) fn flow_match_levels(&self, steps: usize, tokens: Option<usize>) -> Result<Levels> {
        let count = self.options.num_train_timesteps as f64;
        let shift = match self.dynamic_shift(tokens)? {
            Some(weight) => Shift::Dynamic(weight),
            None => Shift::By(self.options.shift),
        };
        // the ends of training are shifted once there, and once more with the others
        let first = |u: f64| if self.options.use_dynamic_shifting { u } else { Shift::By(self.options.shift).of(u) };
        let end = |u: f64| f64::from(first(u) as f32) * count;
        let (high, low) = match self.class {
            SchedulerClass::FlowMatchEuler if self.even => (count, count / steps as f64),
            _ => (end(1.0), end(1.0 / count)),
        };
        let mut sigmas: Vec<f64> = linspace(high, low, steps).map(|t| shift.of(t / count)).collect();
        self.stretch(&mut sigmas)?;
        if let Some(curve) = self.curve() {
            let (max, min) = self.ends_of(curve, (sigmas[0], sigmas[sigmas.len() - 1]));
            sigmas = curve.between(max, min, steps)?;
        }
        let timesteps = sigmas.iter().map(|sigma| f64::from(*sigma as f32 * count as f32)).collect();
        sigmas.push(0.0);
        Ok((sigmas, timesteps))
    }

    /// The solvers with `use_flow_sigmas`, whose timesteps are whole.
    pub(super) fn flow_solver_levels(&self, steps: usize, tokens: Option<usize>) -> Result<Levels> {
        let count = self.options.num_train_timesteps as f64;
        let mut sigmas = match (self.class, self.curve()) {
            (SchedulerClass::UniPc, Some(curve)) => self.folded(curve, steps)?,
            (SchedulerClass::UniPc, None) => self.uni_pc_flow(steps, tokens)?,
            _ => self.even_flow(steps, tokens)?,
        };
        let timesteps = sigmas.iter().map(|sigma| (sigma * count).trunc()).collect();
        sigmas.push(self.end(sigmas[sigmas.len() - 1]));
        Ok((sigmas, timesteps))
    }

    /// Levels of a variance-exploding curve as those of a flow: `sigma / (sigma + 1)`.
    fn folded(&self, curve: Curve, steps: usize) -> Result<Vec<f64>> {
        let (lowest, highest) = self.training.range();
        let (max, min) = self.ends_of(curve, (highest, lowest));
        Ok(curve.between(max, min, steps)?.into_iter().map(|sigma| sigma / (sigma + 1.0)).collect())
    }

    /// `UniPCMultistepScheduler`: from 1, or nearly, because its clock has no 1.
    fn uni_pc_flow(&self, steps: usize, tokens: Option<usize>) -> Result<Vec<f64>> {
        let shift = self.dynamic_shift(tokens)?.map_or(Shift::By(self.options.flow_shift), Shift::Dynamic);
        let ramp = linspace(1.0, 1.0 / self.options.num_train_timesteps as f64, steps + 1).take(steps);
        let mut sigmas: Vec<f64> = ramp.map(|sigma| shift.of(sigma)).collect();
        self.stretch(&mut sigmas)?;
        if (sigmas[0] - 1.0).abs() < 1e-6 {
            sigmas[0] -= 1e-6;
        }
        Ok(sigmas)
    }

    /// The other solvers: even from the last training timestep but one, and shifted.
    fn even_flow(&self, steps: usize, tokens: Option<usize>) -> Result<Vec<f64>> {
        let shift = Shift::By(self.dynamic_shift(tokens)?.unwrap_or(self.options.flow_shift));
        let kept = linspace(1.0, 1.0 / self.options.num_train_timesteps as f64, steps + 1);
        let mut sigmas: Vec<f64> = kept.skip(1).map(|alpha| shift.of(1.0 - alpha)).collect();
        sigmas.reverse();
        Ok(sigmas)
    }

    /// The weight of a picture of `tokens`, where shifting is dynamic: on the line through the two lengths that are
    /// given (`calculate_shift` in diffusers' pipelines), its exponential unless `time_shift_type` is `linear`.
    fn dynamic_shift(&self, tokens: Option<usize>) -> Result<Option<f64>> {
        let options = &self.options;
        if !options.use_dynamic_shifting {
            return Ok(None);
        }
        let tokens = tokens.ok_or_else(|| {
            Error::request(
                "the model's scheduler shifts noise levels by the size of the picture, which is not known here",
                "choose a schedule yourself",
            )
        })?;
        let (low, high) = (options.base_image_seq_len as f64, options.max_image_seq_len as f64);
        let slope = (options.max_shift - options.base_shift) / (high - low);
        let shift = tokens as f64 * slope + options.base_shift - slope * low;
        Ok(Some(if options.linear_shift { shift } else { shift.exp() }))
    }

    /// `shift_terminal`: stretches the levels so that the last of them is the one given.
    fn stretch(&self, sigmas: &mut [f64]) -> Result<()> {
        let Some(terminal) = self.options.shift_terminal.filter(|terminal| *terminal != 0.0) else { return Ok(()) };
        if sigmas.len() < 2 {
            return Err(Error::request(
                "the model's scheduler stretches noise levels (`shift_terminal`), and one step has no length",
                "use 2 steps or more",
            ));
        }
        let scale = (1.0 - sigmas[sigmas.len() - 1]) / (1.0 - terminal);
        for sigma in sigmas {
            *sigma = 1.0 - (1.0 - *sigma) / scale;
        }
        Ok(())
    }
}
