//! Which pairs say how a picture was drawn over another, or twice?
//!
//! stable-diffusion-webui's `Denoising strength` is that of image to image, or, where there are pairs of a second pass, of
//! that one; a picture of petal may have both, and says both in petal's own pair.
use super::fields::{Field, Said, nothing, number, put, put_some, read_size, sampler_label, size, text};
use crate::{AUTOMATIC_SCHEDULE, Hires, ImageSource, MODEL_SCHEDULE, Refiner, Request, find_sampler, find_schedule};

/// stable-diffusion-webui's words for what is under a mask.
const MASKED_CONTENT: [(&str, &str); 4] =
    [("fill", "fill"), ("original", "original"), ("noise", "latent noise"), ("nothing", "latent nothing")];
/// Its words for [`Request::only_masked`] and [`Request::mask_invert`].
const ONLY_MASKED: &str = "Only masked";
const NOT_MASKED: &str = "Inpaint not masked";

/// The pairs, in the order of stable-diffusion-webui.
#[rustfmt::skip]
pub(super) const EDITING: &[Field] = &[
    Field { name: "Image CFG scale", write: |s| text(s.request.img_cfg_scale), read: |r, v| put_some(&mut r.img_cfg_scale, number(v)) },
    Field { name: "Distilled CFG Scale", write: |s| text(s.request.guidance), read: |r, v| put_some(&mut r.guidance, number(v)) },
    Field { name: "Refiner", write: |s| s.request.refiner.as_ref().map(|refiner| refiner.model.clone()), read: |r, v| put(&mut refiner_of(r).model, Some(v.into())) },
    Field { name: "Refiner switch at", write: |s| text(s.request.refiner.as_ref().map(|refiner| refiner.switch_at)), read: |r, v| put(&mut refiner_of(r).switch_at, number(v)) },
    Field { name: "Denoising strength", write: |s| text(s.request.strength.or(s.request.hires.as_ref().map(|hires| hires.strength))), read: |r, v| put_some(&mut r.strength, number(v)) },
    Field { name: "Init image hash", write: |s| s.request.init_image.as_ref().and_then(ImageSource::sha256).map(Into::into), read: nothing },
    Field { name: "Mask hash", write: |s| s.request.mask.as_ref().and_then(ImageSource::sha256).map(Into::into), read: nothing },
    Field { name: "Hires upscale", write: |s| hires(s, |hires| hires.width.or(hires.height).is_none().then(|| hires.scale.to_string())), read: |r, v| put(&mut hires_of(r).scale, number(v)) },
    Field { name: "Hires resize", write: |s| hires(s, |hires| hires.width.or(hires.height).map(|_| size(hires.width.unwrap_or(0), hires.height.unwrap_or(0)))), read: read_hires_size },
    Field { name: "Hires steps", write: |s| hires(s, |hires| text(hires.steps)), read: |r, v| put_some(&mut hires_of(r).steps, v.parse().ok()) },
    Field { name: "Hires upscaler", write: |s| hires(s, |hires| hires.upscaler.clone()), read: |r, v| put_some(&mut hires_of(r).upscaler, Some(v.into())) },
    Field { name: "Hires sampler", write: |s| hires(s, |hires| hires.sampler.as_deref().map(sampler_label)), read: |r, v| put_some(&mut hires_of(r).sampler, Some(find_sampler(v).map_or(v, |sampler| sampler.name).into())) },
    Field { name: "Hires schedule type", write: |s| hires(s, |hires| hires.scheduler.as_deref().map(schedule_label)), read: |r, v| put_some(&mut hires_of(r).scheduler, Some(schedule_name(v))) },
    Field { name: "Hires CFG Scale", write: |s| hires(s, |hires| text(hires.cfg_scale)), read: |r, v| put_some(&mut hires_of(r).cfg_scale, number(v)) },
    Field { name: "Hires prompt", write: |s| hires(s, |hires| hires.prompt.clone()), read: |r, v| put_some(&mut hires_of(r).prompt, Some(v.into())) },
    Field { name: "Hires negative prompt", write: |s| hires(s, |hires| hires.negative_prompt.clone()), read: |r, v| put_some(&mut hires_of(r).negative_prompt, Some(v.into())) },
    Field { name: "Mask blur", write: |s| masked(s, |r| Some(r.mask_blur.to_string())), read: |r, v| put(&mut r.mask_blur, number(v)) },
    Field { name: "Inpaint area", write: |s| masked(s, |r| r.only_masked.then(|| ONLY_MASKED.into())), read: |r, v| put(&mut r.only_masked, Some(v.eq_ignore_ascii_case(ONLY_MASKED))) },
    Field { name: "Masked area padding", write: |s| masked(s, |r| text(r.only_masked.then_some(r.mask_padding))), read: |r, v| put(&mut r.mask_padding, v.parse().ok()) },
    Field { name: "Mask mode", write: |s| masked(s, |r| r.mask_invert.then(|| NOT_MASKED.into())), read: |r, v| put(&mut r.mask_invert, Some(v.eq_ignore_ascii_case(NOT_MASKED))) },
    Field { name: "Masked content", write: |s| masked(s, |r| r.inpaint_fill.as_deref().map(masked_content)), read: read_masked_content },
];

/// Gives a strength to the pass that it is of, once all pairs of another program were read.
pub(super) fn settle(request: &mut Request) {
    match (&mut request.hires, request.strength) {
        (Some(hires), Some(strength)) => {
            hires.strength = strength;
            request.strength = None;
        }
        (None, Some(_)) => request.strength_steps = Some("webui".into()),
        (_, None) => {}
    }
}

fn hires(said: &Said<'_>, value: impl FnOnce(&Hires) -> Option<String>) -> Option<String> {
    said.request.hires.as_ref().and_then(value)
}

fn hires_of(request: &mut Request) -> &mut Hires {
    request.hires.get_or_insert_with(Hires::default)
}

fn refiner_of(request: &mut Request) -> &mut Refiner {
    request.refiner.get_or_insert_with(Refiner::default)
}

/// A value that says something of a mask; none where there is no mask.
fn masked(said: &Said<'_>, value: impl FnOnce(&Request) -> Option<String>) -> Option<String> {
    let request = said.request;
    value(request).filter(|_| request.mask.is_some() || request.extend.is_some())
}

/// In stable-diffusion-webui, a side of 0 follows from the other.
fn read_hires_size(request: &mut Request, value: &str) -> Option<()> {
    let hires = hires_of(request);
    read_size(&mut hires.width, &mut hires.height, value)?;
    for side in [&mut hires.width, &mut hires.height] {
        *side = side.filter(|length| *length > 0);
    }
    Some(())
}

fn schedule_label(name: &str) -> String {
    match name {
        MODEL_SCHEDULE => name.into(),
        _ if name.eq_ignore_ascii_case(AUTOMATIC_SCHEDULE) => "Automatic".into(),
        _ => find_schedule(name).map_or(name, |schedule| schedule.label).into(),
    }
}

fn schedule_name(label: &str) -> String {
    if label.eq_ignore_ascii_case(AUTOMATIC_SCHEDULE) {
        return AUTOMATIC_SCHEDULE.into();
    }
    find_schedule(label).map_or(label, |schedule| schedule.name).into()
}

fn masked_content(name: &str) -> String {
    MASKED_CONTENT.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| *theirs).into()
}

fn read_masked_content(request: &mut Request, value: &str) -> Option<()> {
    let found = MASKED_CONTENT.iter().find(|(_, theirs)| theirs.eq_ignore_ascii_case(value));
    put_some(&mut request.inpaint_fill, found.map(|(ours, _)| (*ours).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bitmap, image::Infotext};

    /// As stable-diffusion-webui writes a picture of two passes, and one over another with a mask.
    #[test]
    fn pictures_of_stable_diffusion_webui_are_understood() {
        let request = |line: &str| Infotext::parse(&format!("a dog\n{line}")).request().unwrap();
        let twice = request(
            "Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512, \
             Denoising strength: 0.5, Hires upscale: 1.5, Hires steps: 10, Hires upscaler: Latent, \
             Hires prompt: \"a cat, big\", Hires schedule type: Karras, Version: v1.10.1",
        );
        let hires = Hires {
            scale: 1.5,
            steps: Some(10),
            upscaler: Some("Latent".into()),
            strength: 0.5,
            prompt: Some("a cat, big".into()),
            scheduler: Some("karras".into()),
            ..Hires::default()
        };
        assert_eq!((twice.hires, twice.strength, twice.strength_steps), (Some(hires), None, None));
        let sized = request("Steps: 20, Sampler: Euler, Seed: 1, Denoising strength: 0.7, Hires resize: 0x768");
        assert_eq!(sized.hires.map(|hires| (hires.width, hires.height)), Some((None, Some(768))));
        let over = request(
            "Steps: 20, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 512x512, Denoising strength: 0.75, Mask blur: 8, \
             Inpaint area: Only masked, Masked area padding: 64, Masked content: latent noise, Mask mode: Inpaint not masked",
        );
        assert_eq!((over.strength, over.strength_steps.as_deref()), (Some(0.75), Some("webui")));
        assert_eq!((over.only_masked, over.mask_padding, over.mask_invert), (true, 64, true));
        assert_eq!((over.inpaint_fill.as_deref(), over.mask_blur.to_string().as_str()), (Some("noise"), "8"));
        assert!(over.check().unwrap_err().hint().unwrap().contains("`-i`"), "the picture is asked for");
    }

    #[test]
    fn what_was_drawn_over_is_known_by_its_hash() {
        let image = ImageSource::from(Bitmap::opaque(1, 1, vec![1, 2, 3]));
        let request = Request { init_image: Some(image.clone()), strength: Some(0.5), ..Request::default() };
        let json = request.to_json().to_string();
        assert!(json.contains(image.sha256().unwrap()), "{json}");
        let back = Infotext::parse(&format!("Steps: 1, Seed: 1, Sampler: Euler, petal: {}", serde_json::json!(json)));
        assert_eq!(back.request().unwrap().init_image, Some(ImageSource::Hash(image.sha256().unwrap().into())));
    }
}
