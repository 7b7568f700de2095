//! What does a run begin with, and what does it know of the picture that it draws over?
use super::tiles;
use crate::{
    Bitmap, Error, Pipeline, Request, Result,
    editing::{Canvas, Mask},
    masked::{Kept, LatentFill},
    network::NetworkKind,
    plan::Plan,
    sampling::{FirstNoise, Latents, NoiseSource, Rng, Variation, find_rng},
    vae::{Encoded, Tiles},
};

/// What a run begins with, and what it knows of the picture that it draws over.
pub(super) struct Start {
    /// The latents at the run's first noise level.
    pub(super) x: Latents,
    /// The noise that the steps add.
    pub(super) steps: NoiseSource,
    /// What stays of the picture.
    pub(super) kept: Option<Kept>,
    /// What the network's input holds beside the latents.
    pub(super) beside: Option<Latents>,
}

impl Pipeline {
    /// The start of a run, over `canvas` where there is one.
    ///
    /// Random numbers come in the order of diffusers' pipelines: those of the picture's latents, the first noise, those
    /// of the latents of the masked picture.
    pub(super) fn start(&mut self, request: &Request, plan: &Plan, canvas: Option<&Canvas>) -> Result<Start> {
        let (kind, shape) = (self.network.kind(), self.shape(request));
        let mask = canvas.and_then(|canvas| canvas.mask.as_ref());
        let from_noise = is_from_noise(request, kind, mask);
        let painted = mask;
        let mask = mask.filter(|_| kind != NetworkKind::Inpaint); // which sees it itself
        let encoded = match canvas.filter(|_| !from_noise || mask.is_some()) {
            Some(canvas) => Some(self.encoded(request, &canvas.image)?),
            None => None,
        };
        let is_drawn = encoded.as_ref().is_some_and(Encoded::is_drawn);
        let first = self.first_noise(request, is_drawn)?;
        let original = encoded.map(|encoded| encoded.latents(Some(&first.encoding(shape))));
        let (unit, mut noise) = match &request.latents {
            Some(given) if given.shape() != shape => {
                let what = format!("the given latents have the shape {:?}, the picture's {shape:?}", given.shape());
                return Err(Error::request(what, "give noise of the picture's shape"));
            }
            Some(given) => (given.clone(), first.steps(shape)),
            None => first.draw(shape),
        };
        let beside = match canvas {
            _ if kind == NetworkKind::Plain => None,
            None if kind == NetworkKind::Inpaint => Some(self.beside_no_picture(shape)?),
            None => None, // `complete` refuses it
            Some(canvas) => Some(self.beside((kind, tiles(request)), canvas, &mut noise)?),
        };
        if is_drawn && mask.is_some() {
            let _ = noise.draw(shape); // diffusers encodes the masked picture for networks that never see it, too
        }
        let factor = self.decoder.format().downsampling as u32;
        let under = |mask: &Mask| {
            let original = original.clone()?;
            Some(Kept { original, mask: mask.latent(factor), noise: unit.clone() })
        };
        let filled = LatentFill::of(request.inpaint_fill.as_deref()).zip(painted.and_then(under));
        let filled = filled.map(|(fill, kept)| fill.apply(&kept)).transpose()?;
        let kept = mask.and_then(under);
        let image = filled.or(original).filter(|_| !from_noise);
        Ok(Start { x: plan.start(image.as_ref(), &unit), steps: noise, kept, beside })
    }

    /// What `picture` is to the autoencoder.
    ///
    /// With the noise of stable-diffusion-webui, its mean: there the latents are drawn from a generator that no seed sets,
    /// and the picture's own begins with the first noise.
    pub(super) fn encoded(&mut self, request: &Request, picture: &Bitmap) -> Result<Encoded> {
        let encoded = self.encoder()?.encode(picture, tiles(request))?;
        Ok(if rng(request)? == Rng::Nv { encoded.settled() } else { encoded })
    }

    /// How the first noise of `request` is drawn; `encoded` says whether an autoencoder draws before.
    pub(super) fn first_noise(&self, request: &Request, encoded: bool) -> Result<FirstNoise> {
        let axis = |length: u32| length as usize / self.decoder.format().downsampling;
        Ok(FirstNoise {
            rng: rng(request)?,
            seed: request.seed,
            variation: Some(Variation { seed: request.variation_seed, strength: request.variation_strength }),
            resized_from: request.seed_resize_width.zip(request.seed_resize_height).map(|(w, h)| [axis(w), axis(h)]),
            ensd: request.ensd,
            encoded,
        })
    }

    /// What the input of a network of `kind` holds of `canvas`: see [`NetworkKind`]. Latents of what an inpainting
    /// network is shown are drawn with `noise`, those of a picture that is edited are the mean, not scaled, as in
    /// diffusers.
    fn beside(
        &mut self,
        (kind, tiles): (NetworkKind, Option<Tiles>),
        canvas: &Canvas,
        noise: &mut NoiseSource,
    ) -> Result<Latents> {
        let factor = self.decoder.format().downsampling as u32;
        if kind == NetworkKind::Edit {
            return Ok(self.encoder()?.encode(&canvas.image, tiles)?.mean().clone());
        }
        let is_shown = |i| canvas.mask.as_ref().is_some_and(|mask| !mask.is_white(i));
        let encoded = self.encoder()?.encode_part(&canvas.image, is_shown, tiles)?;
        let is_settled = matches!(noise, NoiseSource::Nv(_)); // as in `encoded`
        let drawn = if encoded.is_drawn() && !is_settled { Some(noise.draw(encoded.mean().shape())) } else { None };
        let mask = canvas.mask.as_ref().map(|mask| mask.nearest(factor));
        with_mask(mask, &encoded.latents(drawn.as_ref()))
    }

    /// What the input of the network holds beside latents of a shape where no picture is drawn over, or all of it.
    pub(super) fn beside_nothing(&mut self, shape: [usize; 4]) -> Result<Option<Latents>> {
        match self.network.kind() {
            NetworkKind::Inpaint => self.beside_no_picture(shape).map(Some),
            NetworkKind::Plain | NetworkKind::Edit => Ok(None), // `complete` refuses to edit nothing
        }
    }

    /// The same where there is no picture: an inpainting network is shown a grey one, all of it masked, as in
    /// stable-diffusion-webui.
    fn beside_no_picture(&mut self, [_, _, height, width]: [usize; 4]) -> Result<Latents> {
        let factor = self.decoder.format().downsampling;
        let [width, height] = [width * factor, height * factor];
        let grey = Bitmap::opaque(width as u32, height as u32, vec![0; width * height * 3]);
        with_mask(None, &self.encoder()?.encode_part(&grey, |_| false, None)?.latents(None))
    }
}

/// Whether the run begins with noise alone: at full strength, where the network or a mask keeps what shall stay and
/// nobody said what is under the mask.
fn is_from_noise(request: &Request, kind: NetworkKind, mask: Option<&Mask>) -> bool {
    let full = request.strength.is_none_or(|strength| strength >= 1.0);
    full && request.inpaint_fill.is_none() && (mask.is_some() || kind != NetworkKind::Plain)
}

/// A mask, 1 everywhere where there is none, and after it the channels of `shown`.
fn with_mask(mask: Option<Vec<f32>>, shown: &Latents) -> Result<Latents> {
    let [pictures, channels, height, width] = shown.shape();
    let mut values = mask.unwrap_or_else(|| vec![1.0; height * width]);
    values.extend_from_slice(shown.values());
    Latents::new([pictures, channels + 1, height, width], values)
}

/// Which generator draws the noise of `request`.
pub(super) fn rng(request: &Request) -> Result<Rng> {
    request.rng.as_deref().map_or(Ok(Rng::default()), |name| find_rng(name).map(|kind| kind.rng))
}
