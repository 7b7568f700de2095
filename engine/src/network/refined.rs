//! Which of two networks is asked? A refiner takes over from the base near the end of a run.
use super::Conditioned;
use crate::{
    Result,
    sampling::{Denoiser, Latents},
};

/// A network, and another one that takes over below a timestep.
pub(crate) struct Refined<'a> {
    base: Conditioned<'a>,
    refiner: Option<(Conditioned<'a>, f64)>,
}

/// `base`, until timesteps are below that of `refiner`.
pub(crate) fn refined<'a>(base: Conditioned<'a>, refiner: Option<(Conditioned<'a>, f64)>) -> Refined<'a> {
    Refined { base, refiner }
}

impl<'a> Refined<'a> {
    fn at(&mut self, sigma: f64) -> &mut Conditioned<'a> {
        let timestep = self.base.timestep(sigma);
        match &mut self.refiner {
            Some((refiner, below)) if timestep < *below => refiner,
            _ => &mut self.base,
        }
    }
}

impl Denoiser for Refined<'_> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self.at(sigma).denoise(x, sigma)
    }

    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        self.at(sigma).denoise_both(x, sigma)
    }
}
