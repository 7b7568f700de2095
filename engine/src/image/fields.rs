//! Which pairs of stable-diffusion-webui's last line mean which field of a request? To add one, write a line in
//! [`FIELDS`].
use super::{FileFormat, editing_fields::EDITING};
use crate::{
    AUTOMATIC_SCHEDULE, EMPHASES, EmphasisKind, MODEL_SCHEDULE, Request, find_emphasis,
    models::{ModelName, sha256},
    sampling::{Latents, RNGS, find_rng, find_sampler, find_schedule, split_combined},
};

/// What a picture is to say of itself.
pub(super) struct Said<'a> {
    pub(super) request: &'a Request,
    pub(super) size: (u32, u32),
    pub(super) model: &'a ModelName,
    /// The provider, and the version of ONNX Runtime.
    pub(super) drawn_on: &'a str,
    /// The format that keeps the pixels only nearly, and at which quality.
    pub(super) quality: Option<(FileFormat, u8)>,
}

/// A pair of the last line.
pub(super) struct Field {
    /// Its name; most are stable-diffusion-webui's.
    pub(super) name: &'static str,
    /// Its value; `None` leaves the pair out, as stable-diffusion-webui does where a value is the usual one.
    pub(super) write: fn(&Said<'_>) -> Option<String>,
    /// Puts a value into a request; `None` if it cannot be read.
    pub(super) read: fn(&mut Request, &str) -> Option<()>,
}

/// The name of the pair that holds petal's own request.
pub(super) const OWN: &str = "petal";
/// The name of the pair that tells given noise from the seed's.
pub(super) const STARTING_NOISE: &str = "Starting noise";
/// The names of the pairs with the quality of a file that keeps pixels only nearly.
pub(super) const QUALITIES: [(FileFormat, &str); 2] =
    [(FileFormat::Jpeg, "JPEG quality"), (FileFormat::WebP, "WebP quality")];

/// The samplers of stable-diffusion-webui that go by timesteps.
const ETA_DDIM: [&str; 4] = ["ddim", "ddim_cfgpp", "plms", "uni_pc"];

/// The pairs of every picture, in the order of stable-diffusion-webui, then petal's own; [`EDITING`] has the others.
#[rustfmt::skip]
pub(super) const FIELDS: &[Field] = &[
    Field { name: "Steps", write: |s| text(s.request.steps), read: |r, v| put_some(&mut r.steps, v.parse().ok()) },
    Field { name: "Sampler", write: |s| s.request.sampler.as_deref().map(sampler_label), read: read_sampler },
    Field { name: "Schedule type", write: |s| schedule_label(s.request), read: read_schedule },
    Field { name: "CFG scale", write: |s| text(s.request.cfg_scale), read: |r, v| put_some(&mut r.cfg_scale, number(v)) },
    Field { name: "Seed", write: |s| text(Some(s.request.seed)), read: |r, v| put(&mut r.seed, v.parse().ok()) },
    Field { name: STARTING_NOISE, write: |s| s.request.latents.as_ref().map(noise_hash), read: nothing },
    Field { name: "Size", write: |s| Some(size(s.request.width.unwrap_or(s.size.0), s.request.height.unwrap_or(s.size.1))), read: |r, v| read_size(&mut r.width, &mut r.height, v) },
    Field { name: "Model hash", write: |s| s.model.hash.as_ref().map(|hash| hash.chars().take(10).collect()), read: nothing },
    Field { name: "Model", write: |s| Some(s.model.name.clone()), read: nothing },
    Field { name: "VAE", write: |s| s.model.vae.clone(), read: nothing },
    Field { name: "Text encoder", write: |s| s.model.text_encoder.clone(), read: nothing },
    Field { name: "Variation seed", write: |s| text(varies(s.request).then_some(s.request.variation_seed)), read: |r, v| put(&mut r.variation_seed, v.parse().ok()) },
    Field { name: "Variation seed strength", write: |s| other_than(0.0, s.request.variation_strength), read: |r, v| put(&mut r.variation_strength, number(v)) },
    Field { name: "Seed resize from", write: |s| Some(size(s.request.seed_resize_width?, s.request.seed_resize_height?)), read: |r, v| read_size(&mut r.seed_resize_width, &mut r.seed_resize_height, v) },
    Field { name: "Clip skip", write: |s| text(Some(s.request.clip_skip).filter(|skip| *skip > 1)), read: |r, v| put(&mut r.clip_skip, v.parse().ok()) },
    Field { name: "ENSD", write: |s| text(Some(s.request.ensd).filter(|ensd| *ensd != 0)), read: |r, v| put(&mut r.ensd, signed(v)) },
    Field { name: "RNG", write: |s| Some(rng_label(s.request.rng.as_deref())), read: |r, v| put_some(&mut r.rng, find_rng(v).ok().map(|kind| kind.name.into())) },
    Field { name: "Emphasis", write: |s| s.request.emphasis.as_deref().and_then(emphasis_label), read: |r, v| put_some(&mut r.emphasis, emphasis(v).map(|kind| kind.name.into())) },
    Field { name: "Eta", write: |s| text(s.request.eta.filter(|_| !has_eta_ddim(s.request))), read: |r, v| put_some(&mut r.eta, number(v)) },
    Field { name: "Eta DDIM", write: |s| text(s.request.eta.filter(|_| has_eta_ddim(s.request))), read: read_eta_ddim },
    Field { name: "Sigma churn", write: |s| other_than(0.0, s.request.s_churn), read: |r, v| put(&mut r.s_churn, number(v)) },
    Field { name: "Sigma tmin", write: |s| other_than(0.0, s.request.s_tmin), read: |r, v| put(&mut r.s_tmin, number(v)) },
    Field { name: "Sigma tmax", write: |s| text(s.request.s_tmax), read: read_s_tmax },
    Field { name: "Sigma noise", write: |s| other_than(1.0, s.request.s_noise), read: |r, v| put(&mut r.s_noise, number(v)) },
    Field { name: "Schedule rho", write: |s| text(s.request.rho), read: |r, v| put_some(&mut r.rho, number(v)) },
    Field { name: "CFG Rescale φ", write: |s| other_than(0.0, s.request.cfg_rescale), read: |r, v| put(&mut r.cfg_rescale, number(v)) },
    Field { name: "CFG Rescale phi", write: |_| None, read: |r, v| put(&mut r.cfg_rescale, number(v)) },
    Field { name: "CFG Rescale", write: |_| None, read: |r, v| put(&mut r.cfg_rescale, number(v)) },
    Field { name: "Guidance start", write: |s| other_than(0.0, s.request.guidance_start), read: |r, v| put(&mut r.guidance_start, number(v)) },
    Field { name: "Guidance end", write: |s| other_than(1.0, s.request.guidance_end), read: |r, v| put(&mut r.guidance_end, number(v)) },
    Field { name: "CFG schedule", write: |s| s.request.cfg_schedule.as_deref().map(list), read: |r, v| put_some(&mut r.cfg_schedule, numbers(v)) },
    Field { name: "Sigmas", write: |s| s.request.sigmas.as_deref().map(list), read: |r, v| put_some(&mut r.sigmas, numbers(v)) },
    Field { name: "Postprocess upscale by", write: |s| text(s.request.upscale.as_ref()?.scale), read: |_, _| None },
    Field { name: "Postprocess upscaler", write: |s| s.request.upscale.as_ref()?.model.clone(), read: |_, _| None },
    Field { name: QUALITIES[0].1, write: |s| quality(s, QUALITIES[0].0), read: nothing },
    Field { name: QUALITIES[1].1, write: |s| quality(s, QUALITIES[1].0), read: nothing },
    Field { name: "Drawn on", write: |s| Some(s.drawn_on.into()), read: nothing },
    Field { name: "Version", write: |_| Some(format!("petal {}", env!("CARGO_PKG_VERSION"))), read: nothing },
];

/// Every pair in the order in which they are written.
pub(super) fn all() -> impl Iterator<Item = &'static Field> {
    let (whole, rest) = FIELDS.split_at(FIELDS.iter().position(|field| field.name == "Clip skip").unwrap_or_default());
    whole.iter().chain(EDITING).chain(rest)
}

/// The pair `name`, if it is one that is understood.
pub(super) fn find(name: &str) -> Option<&'static Field> {
    all().find(|field| field.name.eq_ignore_ascii_case(name))
}

/// What tells given noise from the seed's: the SHA-256 of its numbers as 32-bit floats.
pub(super) fn noise_hash(noise: &Latents) -> String {
    let bytes: Vec<u8> = noise.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    format!("given, SHA-256 {}", sha256(&bytes))
}

fn quality(said: &Said<'_>, of: FileFormat) -> Option<String> {
    text(said.quality.filter(|(format, _)| *format == of).map(|(_, quality)| quality))
}

pub(super) fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

#[allow(clippy::float_cmp)] // the usual value itself, not one near it
fn other_than(usual: f64, value: f64) -> Option<String> {
    (value != usual).then(|| value.to_string())
}

fn list(numbers: &[f64]) -> String {
    numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn size(width: u32, height: u32) -> String {
    format!("{width}x{height}")
}

fn varies(request: &Request) -> bool {
    request.variation_strength > 0.0
}

pub(super) fn sampler_label(name: &str) -> String {
    find_sampler(name).map_or(name, |sampler| sampler.label).into()
}

/// `Automatic`, or the label of a schedule. What the model's own file says has no name in stable-diffusion-webui.
fn schedule_label(request: &Request) -> Option<String> {
    let name = request.scheduler.as_deref().filter(|name| !name.eq_ignore_ascii_case(MODEL_SCHEDULE))?;
    let automatic = name.eq_ignore_ascii_case(AUTOMATIC_SCHEDULE);
    Some(if automatic { "Automatic" } else { find_schedule(name).map_or(name, |schedule| schedule.label) }.into())
}

/// stable-diffusion-webui's name for a generator; a name that is not known stays.
fn rng_label(name: Option<&str>) -> String {
    name.map_or(RNGS[0].label, |name| find_rng(name).map_or(name, |kind| kind.label)).into()
}

/// stable-diffusion-webui's name for an emphasis; none for the usual one, and a name that is not known stays.
fn emphasis_label(name: &str) -> Option<String> {
    let label = emphasis(name).map_or(name, |kind| kind.label);
    (label != EMPHASES[0].label).then(|| label.into())
}

fn emphasis(name: &str) -> Option<&'static EmphasisKind> {
    let found = find_emphasis(name).ok()?;
    EMPHASES.iter().find(|kind| kind.emphasis == found)
}

/// Whether stable-diffusion-webui (1.6 and later) calls the sampler's eta `Eta DDIM`. Earlier it was `Eta` for all.
fn has_eta_ddim(request: &Request) -> bool {
    let sampler = request.sampler.as_deref().and_then(|name| split_combined(name).ok());
    sampler.is_some_and(|(sampler, _)| ETA_DDIM.contains(&sampler.name))
}

pub(super) fn put<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
}

pub(super) fn put_some<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    *field = Some(value?);
    Some(())
}

/// For pairs that say something and change nothing in a request.
#[allow(clippy::unnecessary_wraps)] // all readers are alike
pub(super) fn nothing(_: &mut Request, _: &str) -> Option<()> {
    Some(())
}

pub(super) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split(',').map(|part| number(part.trim())).collect()
}

/// A whole number, which stable-diffusion-webui adds to seeds even if it is below 0.
fn signed(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text.parse().ok().map(i64::cast_unsigned))
}

pub(super) fn read_size(width: &mut Option<u32>, height: &mut Option<u32>, value: &str) -> Option<()> {
    let (w, h) = value.split_once('x')?;
    (*width, *height) = (Some(w.trim().parse().ok()?), Some(h.trim().parse().ok()?));
    Some(())
}

/// A name that is known, and the schedule of old combined names; what is not known stays, for an error that names it.
#[allow(clippy::unnecessary_wraps)] // all readers are alike
fn read_sampler(request: &mut Request, value: &str) -> Option<()> {
    let (sampler, kind) = split_combined(value).map_or((value, None), |(sampler, kind)| (sampler.name, kind));
    request.sampler = Some(sampler.into());
    if let Some(kind) = kind {
        request.scheduler = Some(kind.name.into());
    }
    Some(())
}

/// As in stable-diffusion-webui, `Automatic` leaves the schedule of an old combined name.
#[allow(clippy::unnecessary_wraps)] // all readers are alike
fn read_schedule(request: &mut Request, value: &str) -> Option<()> {
    if value.eq_ignore_ascii_case(AUTOMATIC_SCHEDULE) {
        request.scheduler.get_or_insert(AUTOMATIC_SCHEDULE.into());
    } else {
        request.scheduler = Some(find_schedule(value).map_or(value, |schedule| schedule.name).into());
    }
    Some(())
}

/// Only for the samplers of [`ETA_DDIM`]: it says nothing of the others.
fn read_eta_ddim(request: &mut Request, value: &str) -> Option<()> {
    let eta = number(value).filter(|_| has_eta_ddim(request));
    put_some(&mut request.eta, eta)
}

/// In stable-diffusion-webui, 0 means that no level is too high.
fn read_s_tmax(request: &mut Request, value: &str) -> Option<()> {
    request.s_tmax = match value {
        "inf" => None,
        _ => Some(number(value)?).filter(|sigma| *sigma > 0.0),
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageSource;

    /// Fields that only petal's own pair holds, and the second pass, which is tested beside its pairs.
    const OWN_ONLY: [&str; 16] = [
        "original_size",
        "crop",
        "target_size",
        "aesthetic_score",
        "negative_aesthetic_score",
        "init_image",
        "strength_steps",
        "resize_mode",
        "extend",
        "hires",
        "upscale",
        "vae",
        "vae_tiling",
        "vae_tile_size",
        "vae_tile_overlap",
        "mask",
    ];

    /// Every field that a pair holds, away from its default.
    fn unusual() -> Request {
        Request {
            steps: Some(7),
            sampler: Some("euler_ancestral".into()),
            scheduler: Some("karras".into()),
            cfg_scale: Some(3.25),
            seed: u64::MAX,
            width: Some(512),
            height: Some(768),
            variation_seed: 5,
            variation_strength: 0.25,
            seed_resize_width: Some(64),
            seed_resize_height: Some(128),
            clip_skip: 2,
            ensd: 31337,
            rng: Some("nv".into()),
            emphasis: Some("no_norm".into()),
            eta: Some(0.5),
            s_churn: 1.5,
            s_tmin: 0.1,
            s_tmax: Some(9.0),
            s_noise: 1.01,
            rho: Some(5.0),
            cfg_rescale: 0.7,
            guidance_start: 0.1,
            guidance_end: 0.9,
            cfg_schedule: Some(vec![9.0, 3.5]),
            sigmas: Some(vec![14.5, 1.0, 0.5]),
            strength: Some(0.25),
            mask: Some(ImageSource::Alpha),
            mask_blur: 2.5,
            mask_invert: true,
            inpaint_fill: Some("noise".into()),
            only_masked: true,
            mask_padding: 7,
            img_cfg_scale: Some(1.25),
            guidance: Some(2.25),
            refiner: Some(crate::Refiner { model: "fine".into(), switch_at: 0.625 }),
            ..Request::default()
        }
    }

    #[test]
    fn every_pair_brings_its_value_back() {
        let model = ModelName { name: "m".into(), hash: Some("0123456789abcdef".into()), ..ModelName::default() };
        let request = unusual();
        let (size, quality) = ((512, 768), Some((FileFormat::Jpeg, 90)));
        let said = Said { request: &request, size, model: &model, drawn_on: "cpu", quality };
        let mut back = Request::default();
        for field in all() {
            if let Some(value) = (field.write)(&said) {
                (field.read)(&mut back, &value).unwrap();
            }
        }
        assert_eq!(Request { mask: request.mask.clone(), ..back }, request);
    }

    /// A new field of a request must be written: by a pair, or, if no pair can hold it, by name here.
    #[test]
    fn every_field_of_a_request_is_in_the_pairs() {
        let whole = serde_json::to_value(unusual()).unwrap();
        let usual = serde_json::to_value(Request::default()).unwrap();
        for (name, value) in usual.as_object().unwrap() {
            let elsewhere = ["prompt", "negative_prompt", "batch_count"].contains(&name.as_str())
                || OWN_ONLY.contains(&name.as_str());
            assert!(elsewhere || whole[name] != *value, "`{name}` has no pair");
        }
    }

    #[test]
    fn values_have_the_words_of_stable_diffusion_webui() {
        let pair = |name: &str, request: &Request| {
            let model = ModelName { name: "m".into(), ..ModelName::default() };
            (find(name).unwrap().write)(&Said { request, size: (8, 8), model: &model, drawn_on: "cpu", quality: None })
        };
        for (sampler, eta, eta_ddim) in [("euler_ancestral", Some("0.5"), None), ("DDIM", None, Some("0.5"))] {
            let mut request = Request { sampler: Some(sampler.into()), eta: Some(0.5), ..Request::default() };
            let found = (pair("Eta", &request), pair("Eta DDIM", &request));
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (eta, eta_ddim));
            assert_eq!((find("Eta DDIM").unwrap().read)(&mut request, "0.25").is_some(), eta_ddim.is_some());
        }
        for (name, label) in [(None, "CPU"), (Some("comfyui"), "CPU"), (Some("cuda"), "NV"), (Some("nv"), "NV")] {
            let request = Request { rng: name.map(Into::into), ..Request::default() };
            assert_eq!(pair("RNG", &request).as_deref(), Some(label));
        }
        for (name, label) in
            [("original", None), ("Original", None), ("No norm", Some("No norm")), ("none", Some("None"))]
        {
            let request = Request { emphasis: Some(name.into()), ..Request::default() };
            assert_eq!(pair("Emphasis", &request).as_deref(), label);
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (name, value) in [("Steps", "many"), ("Size", "512"), ("RNG", "dice"), ("CFG scale", "inf"), ("Eta", "")] {
            assert!((find(name).unwrap().read)(&mut Request::default(), value).is_none(), "{name}");
        }
    }
}
