//! What did a picture look like on its way?
use crate::{
    Bitmap, Error, Event, Picture, Pipeline, Result,
    grid::caption,
    image::{AnimationFormat, Cell, CellPixels, Sheet, SheetRow, animation},
    sampling::Latents,
};

/// The largest sides of a picture of the animation, in pixels, for up to so many pictures; then smaller ones.
const SIDES: [(usize, u32); 3] = [(64, 512), (256, 256), (1024, 128)];
const SMALLEST: u32 = 64;
/// The largest side of a picture of the contact sheet, in pixels.
const LARGEST_ON_SHEET: u32 = 256;
/// The side that small pictures are enlarged to, in pixels, each pixel becoming a square.
const ENLARGED: u32 = 128;

/// How the estimates of a [`Trace`] become pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceWith {
    /// As the picture does: by the model's VAE.
    #[default]
    Vae,
    /// Roughly and fast: a pixel for each latent, by a linear map of the model's.
    Preview,
}

/// The estimates of the steps of one picture.
///
/// ```
/// use petal_engine::{AnimationFormat, LoadOptions, Pipeline, Request, Trace, TraceWith};
/// use std::ops::ControlFlow;
///
/// # fn main() -> petal_engine::Result<()> {
/// let mut pipeline = Pipeline::load(&LoadOptions::default(), |_| {})?;
/// let request = Request { prompt: "a dog in space".into(), steps: Some(4), ..Request::default() };
/// let mut trace = Trace::new(&pipeline, TraceWith::Vae)?;
/// let pictures = pipeline.draw(&request, |event| {
///     trace.hear(&event);
///     ControlFlow::Continue(())
/// })?;
/// let files = trace.develop(&mut pipeline, &pictures[0], AnimationFormat::Apng)?;
/// assert!(files.sheet.starts_with(b"\x89PNG"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trace {
    with: TraceWith,
    /// Steps of the first pass, once the second has begun.
    before: usize,
    estimates: Vec<Estimate>,
}

/// One step's estimate.
#[derive(Debug)]
struct Estimate {
    step: usize,
    sigma: f64,
    sight: Sight,
}

/// What is kept of an estimate: little, until it is looked at.
#[derive(Debug)]
enum Sight {
    Latents(Latents),
    Preview(Bitmap),
}

/// The files of a [`Trace`].
#[derive(Clone, Debug)]
pub struct TraceFiles {
    /// A PNG file: every step's estimate with its number and noise level, then the picture.
    pub sheet: Vec<u8>,
    /// An animation of the same.
    pub animation: Vec<u8>,
}

impl Trace {
    /// A trace of the next picture.
    ///
    /// # Errors
    /// [`Error::Request`] for [`TraceWith::Preview`] if the model's latents have no known colours.
    pub fn new(pipeline: &Pipeline, with: TraceWith) -> Result<Self> {
        if with == TraceWith::Preview && pipeline.colours.factors.len() != pipeline.network.channels() {
            let what = format!("the colours of the latents of `{}` are not known", pipeline.model());
            return Err(Error::request(what, "trace with the VAE"));
        }
        Ok(Self { with, before: 0, estimates: Vec::new() })
    }

    /// Keeps the estimate of a step; other events are passed over. Where a sampler asks several times in a step, the
    /// last answer at the step's own noise level counts.
    pub fn hear(&mut self, event: &Event<'_>) {
        let step = match event {
            Event::Step(step) => step,
            Event::SecondPass { .. } => {
                self.before = self.estimates.len();
                return;
            }
            _ => return,
        };
        let number = self.before + step.step;
        let sight = match self.with {
            TraceWith::Vae => Sight::Latents(step.denoised().clone()),
            TraceWith::Preview => match step.preview() {
                Some(preview) => Sight::Preview(preview),
                None => return, // never: `new` made sure of it
            },
        };
        let estimate = Estimate { step: number, sigma: step.sigma, sight };
        match self.estimates.iter_mut().find(|other| other.step == number) {
            Some(other) if other.sigma <= step.sigma => *other = estimate,
            Some(_) => {}
            None => self.estimates.push(estimate),
        }
    }

    /// Makes pictures of the estimates, one after the other, each made small at once; the last is `picture`, which they
    /// led to. The animation is of this `format`.
    ///
    /// # Errors
    /// [`Error::Request`] if the estimates are not of this model; [`Error::NotFinite`] if one gives no picture.
    pub fn develop(self, pipeline: &mut Pipeline, picture: &Picture, format: AnimationFormat) -> Result<TraceFiles> {
        let number = self.estimates.len() + 1;
        let side = SIDES.iter().find(|(most, _)| number <= *most).map_or(SMALLEST, |(_, side)| *side);
        let mut frames = Vec::with_capacity(number);
        let mut labels = Vec::with_capacity(number);
        for Estimate { step, sigma, sight } in self.estimates {
            let seen = match sight {
                Sight::Latents(latents) => pipeline.decode(&latents)?,
                Sight::Preview(preview) => {
                    let times = picture.pixels.width / preview.width.max(1);
                    preview.enlarged(times)
                }
            };
            frames.push(sized(seen, side));
            labels.push(format!("step {step}\nsigma {}", rounded(sigma)));
        }
        frames.push(sized(picture.thumbnail(side), side));
        labels.push("picture".into());
        let caption = caption(std::iter::once(&picture.request), &picture.model.name);
        let sheet = sheet(&frames, labels, caption).to_png()?;
        Ok(TraceFiles { sheet, animation: animation(&frames, format)? })
    }
}

/// A picture of at most `side` pixels; a very small one is enlarged.
fn sized(picture: Bitmap, side: u32) -> Bitmap {
    let longest = picture.width.max(picture.height).max(1);
    picture.enlarged(ENLARGED.min(side) / longest).fit(side)
}

/// A number of three digits or more, as people write noise levels.
fn rounded(sigma: f64) -> String {
    let digits = if sigma >= 100.0 {
        0
    } else if sigma >= 10.0 {
        1
    } else if sigma >= 1.0 {
        2
    } else {
        3
    };
    format!("{sigma:.digits$}")
}

/// A sheet that is about as wide as it is high, without a row of one or two pictures if that can be helped.
fn sheet(frames: &[Bitmap], labels: Vec<String>, caption: Vec<String>) -> Sheet {
    let cells = frames
        .iter()
        .zip(labels)
        .map(|(frame, label)| Cell { label, pixels: CellPixels::Memory(frame.clone().fit(LARGEST_ON_SHEET)) });
    let mut cells: Vec<Cell> = cells.collect();
    let columns = columns(cells.len());
    let mut rows = Vec::new();
    while !cells.is_empty() {
        let rest = cells.split_off(columns.min(cells.len()));
        rows.push(SheetRow { label: String::new(), cells: std::mem::replace(&mut cells, rest) });
    }
    Sheet { caption, rows, ..Sheet::default() }
}

/// How many of `number` pictures stand in a row: of the numbers near a sheet that is somewhat wider than high, the one
/// that leaves the fewest places free.
fn columns(number: usize) -> usize {
    let least = ((number as f64).sqrt().ceil() as usize).max(1);
    let free = |columns: usize| number.div_ceil(columns) * columns - number;
    (least..=least + least / 2 + 1).min_by_key(|columns| (free(*columns), *columns)).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_about_as_long_as_they_are_many() {
        assert_eq!([1, 2, 5, 11, 21, 31].map(columns), [1, 2, 5, 4, 7, 8]);
        assert!((1..2000).all(|number| (1..=number.max(2)).contains(&columns(number))));
    }

    #[test]
    fn noise_levels_have_three_digits() {
        assert_eq!([700.25, 14.6146, 1.0, 0.0292].map(rounded), ["700", "14.6", "1.00", "0.029"]);
    }

    #[test]
    fn small_pictures_are_enlarged_and_large_ones_made_small() {
        let picture = |width, height| Bitmap::opaque(width, height, vec![0; (width * height * 3) as usize]);
        let size = |picture: Bitmap| (picture.width, picture.height);
        assert_eq!(size(sized(picture(64, 32), 512)), (128, 64));
        assert_eq!(size(sized(picture(1024, 512), 256)), (256, 128));
        assert_eq!(size(sized(picture(200, 100), 512)), (200, 100));
    }
}
