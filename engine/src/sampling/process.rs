//! How training mixed clean data with noise: `x = alpha(sigma) * clean + sigma * noise`.

/// The noising process a network was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// `x = clean + sigma * noise` (SD 1, SD 2 and SDXL, after scaling the network's input).
    VarianceExploding,
    /// `x = (1 - sigma) * clean + sigma * noise` (SD 3, Flux).
    RectifiedFlow,
}

impl Process {
    /// How much of the clean signal is left at `sigma`.
    #[must_use]
    pub fn alpha(self, sigma: f64) -> f64 {
        match self {
            Self::VarianceExploding => 1.0,
            Self::RectifiedFlow => 1.0 - sigma,
        }
    }

    /// Half the log signal-to-noise ratio, `ln(alpha / sigma)`: the clock of the DPM-Solver family (Lu et al. 2022).
    #[must_use]
    pub fn lambda(self, sigma: f64) -> f64 {
        (self.alpha(sigma) / sigma).ln()
    }

    /// The inverse of [`lambda`](Self::lambda).
    #[must_use]
    pub fn sigma(self, lambda: f64) -> f64 {
        match self {
            Self::VarianceExploding => (-lambda).exp(),
            Self::RectifiedFlow => 1.0 / (1.0 + lambda.exp()),
        }
    }

    /// How much fresh noise an ancestral step from `from` to `to` adds; `eta` 0 adds none.
    ///
    /// Variance exploding: `get_ancestral_step` of k-diffusion. Rectified flow: the step goes down to
    /// `to · (1 + (to / from − 1) · eta)` and what is missing to the variance at `to` is added.
    #[must_use]
    pub fn ancestral_noise(self, from: f64, to: f64, eta: f64) -> f64 {
        match self {
            Self::VarianceExploding => (eta * to * (1.0 - (to / from).powi(2)).max(0.0).sqrt()).min(to),
            Self::RectifiedFlow => {
                let down = to * (1.0 + (to / from - 1.0) * eta);
                let kept = down * (self.alpha(to) / self.alpha(down)); // exactly `to` where `eta` is 0
                (to * to - kept * kept).max(0.0).sqrt()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_and_sigma_are_inverse() {
        for process in [Process::VarianceExploding, Process::RectifiedFlow] {
            for sigma in [0.01, 0.3, 0.999] {
                assert!((process.sigma(process.lambda(sigma)) - sigma).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn ancestral_noise_never_exceeds_the_level_it_ends_at() {
        for process in [Process::VarianceExploding, Process::RectifiedFlow] {
            assert!(process.ancestral_noise(0.9, 0.5, 0.0).abs() < 1e-12);
            assert!(process.ancestral_noise(0.9, 0.0, 1.0).abs() < 1e-12);
            for eta in [0.5, 1.0, 3.0] {
                let up = process.ancestral_noise(0.9, 0.5, eta);
                assert!(up > 0.0 && up <= 0.5, "{process:?} {eta}: {up}");
            }
        }
    }
}
