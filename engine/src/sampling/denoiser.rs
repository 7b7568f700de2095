//! The one question a sampler asks.
use super::Latents;
use crate::Result;

/// Estimates the clean latents hidden in `x` at noise level `sigma`. Closures implement it.
pub trait Denoiser {
    /// Returns the estimate, which must have the shape of `x`.
    ///
    /// A sampler calls this once or more a step, with `sigma` mostly one of the run's noise levels and sometimes one
    /// between two of them; never with 0. An error stops the run and is passed on as it is.
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents>;

    /// As [`denoise`](Self::denoise), and after it the estimate for the negative prompt alone, which CFG++ steps along.
    ///
    /// Where there is no negative side, which is what this default says, the two are the same.
    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        let denoised = self.denoise(x, sigma)?;
        Ok((denoised.clone(), denoised))
    }
}

impl<F: FnMut(&Latents, f64) -> Result<Latents>> Denoiser for F {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self(x, sigma)
    }
}
