//! What does drawing tell of itself?
use crate::{
    Bitmap, Error, Result, TileDone,
    masked::Masked,
    network::Refined,
    preview::LatentColours,
    sampling::{Denoiser, Latents, Schedule},
    vae::{Decoder, Tiles},
};

/// What drawing tells of itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A new picture begins: its number from 0, and the number of steps.
    Begin {
        /// Number of the picture.
        picture: u32,
        /// Its steps.
        steps: usize,
    },
    /// The network gave an estimate.
    Step(Step<'a>),
    /// The picture is drawn a second time, larger: the steps of that, which are counted anew.
    SecondPass {
        /// Its steps, over all tiles.
        steps: usize,
    },
    /// All steps are done; the latents are being decoded.
    Decoding,
    /// A tile of the finished picture was made larger.
    Upscaling(TileDone),
}

/// An estimate of the picture.
#[derive(Debug)]
pub struct Step<'a> {
    /// Steps begun so far, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The noise level at which the network was asked.
    pub sigma: f64,
    /// Seconds that the evaluation took.
    pub seconds: f64,
    denoised: &'a Latents,
    colours: &'a LatentColours,
    /// Whether it is this step's turn to be looked at.
    due: bool,
    developed: Option<Bitmap>,
}

impl Step<'_> {
    /// The estimate; [`Pipeline::decode`](crate::Pipeline::decode) makes a picture of it.
    #[must_use]
    pub fn denoised(&self) -> &Latents {
        self.denoised
    }

    /// A picture of the estimate, as [`Pipeline::preview_with`](crate::Pipeline::preview_with) asked for it: by default a
    /// rough and small one of every step. `None` if it is not this step's turn, or the model's latents have no known
    /// colours.
    #[must_use]
    pub fn preview(&self) -> Option<Bitmap> {
        if !self.due {
            return None;
        }
        self.developed.clone().or_else(|| self.colours.draw(self.denoised))
    }
}

/// Hears of every event; an error ends the picture.
pub(crate) type Observer<'a> = dyn FnMut(Event<'_>) -> Result<()> + 'a;

/// The network of a run, whose estimates are timed, checked and told of.
pub(super) struct Observed<'a, 'o> {
    pub(super) network: Masked<'a, Refined<'a>>,
    pub(super) schedule: &'a Schedule,
    pub(super) colours: &'a LatentColours,
    /// What makes pictures of estimates, unless the colours do, of which steps, and in which tiles.
    pub(super) previews: (Option<&'a mut Decoder>, usize, Option<Tiles>),
    /// The furthest step so far, from 1: some samplers go back, which is no way to tell of progress.
    pub(super) furthest: usize,
    /// Steps that are behind this run, and steps in all.
    pub(super) progress: (usize, usize),
    pub(super) times: &'a mut Vec<f64>,
    pub(super) observe: &'a mut Observer<'o>,
}

impl<'a> Observed<'a, '_> {
    /// Tells of the estimate that `ask` gives.
    fn told<T>(
        &mut self,
        sigma: f64,
        ask: impl FnOnce(&mut Masked<'a, Refined<'a>>) -> Result<T>,
        denoised: impl Fn(&T) -> &Latents,
    ) -> Result<T> {
        let mut seconds = 0.0;
        let answer = super::timed(&mut seconds, || ask(&mut self.network))?;
        self.times.push(seconds);
        self.furthest = self.furthest.max(self.schedule.step_at(sigma) + 1).min(self.schedule.len());
        let (before, steps) = self.progress;
        let step = before + self.furthest;
        let denoised = denoised(&answer);
        if !denoised.is_finite() {
            return Err(Error::NotFinite { stage: format!("the network at step {step} of {steps}") });
        }
        let (decoder, every, tiles) = &mut self.previews;
        let due = step.is_multiple_of(*every) || step == steps;
        let developed = decoder.as_mut().filter(|_| due).map(|decoder| decoder.decode(denoised, *tiles)).transpose()?;
        let colours = self.colours;
        (self.observe)(Event::Step(Step { step, steps, sigma, seconds, denoised, colours, due, developed }))?;
        Ok(answer)
    }
}

impl Denoiser for Observed<'_, '_> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self.told(sigma, |network| network.denoise(x, sigma), |denoised| denoised)
    }

    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        self.told(sigma, |network| network.denoise_both(x, sigma), |(denoised, _)| denoised)
    }
}
