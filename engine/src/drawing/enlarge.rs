//! How does a finished picture become larger?
use super::observe::{Event, Observer};
use crate::{Bitmap, Pipeline, Request, Result};

impl Pipeline {
    /// Loads the upscaler that `request` names, if it names one, and fills in what the request leaves open; before anything is
    /// drawn, so that nothing is drawn in vain.
    ///
    /// `size` is that of the picture that will be enlarged.
    pub(super) fn prepare_upscale(&mut self, request: &mut Request, size: (u32, u32)) -> Result<()> {
        if let Some(upscale) = &mut request.upscale {
            let upscaler = self.upscaler(upscale.model.as_deref())?;
            upscale.model.get_or_insert_with(|| upscaler.model().to_owned());
            let scale = *upscale.scale.get_or_insert(f64::from(upscaler.scale()));
            upscaler.result_size(size, scale)?;
        }
        Ok(())
    }

    /// The picture as large as `request` wants it.
    pub(super) fn enlarged(
        &mut self,
        request: &Request,
        picture: Bitmap,
        observe: &mut Observer<'_>,
    ) -> Result<Bitmap> {
        let Some(upscale) = &request.upscale else { return Ok(picture) };
        let upscaler = self.upscaler(upscale.model.as_deref())?;
        upscaler.enlarge(&picture, upscale.scale, &mut |done| observe(Event::Upscaling(done)))
    }
}
