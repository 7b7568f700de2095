//! What does a request mean for this model, with all that it leaves open?
use super::{is_left_out, second_pass::target};
use crate::{
    Error, ImageSource, Pipeline, Request, Result, editing,
    families::{takes_guidance, takes_score, takes_sizes},
    network::NetworkKind,
    prompt::{EMPHASES, find_emphasis},
    runtime::Port,
    sampling::{Latents, find_rng},
    upscalers::{UPSCALERS, find_upscaler},
    vae::Tiles,
};

/// Steps when neither request nor catalogue say any.
const USUAL_STEPS: u32 = 20;
/// How many times the model's own area a picture may have that is drawn over without naming a size.
const MOST_TIMES_USUAL: f64 = 4.0;
/// How much the image counts for networks that edit, as in diffusers.
const USUAL_IMAGE_GUIDANCE: f64 = 1.5;

impl Pipeline {
    /// The request with every value that it leaves open filled in, names in their canonical form.
    ///
    /// # Errors
    /// [`Error::Request`] if a value is out of range or does not suit the model.
    pub fn complete(&self, request: &Request) -> Result<Request> {
        request.check()?;
        let mut whole = request.with_images()?;
        self.complete_size(&mut whole)?;
        self.complete_editing(&mut whole)?;
        self.complete_autoencoder(&mut whole)?;
        let steps = request.sigmas.as_ref().map(|levels| levels.iter().filter(|level| **level > 0.0).count() as u32);
        let steps = steps.or(request.steps).or(self.defaults.steps).unwrap_or(USUAL_STEPS);
        whole.steps = Some(steps);
        self.complete_conditions(&mut whole)?;
        let plan = self.plan(&whole)?;
        whole.sampler = plan.sampler.map(|sampler| sampler.name.into());
        whole.scheduler = plan.scheduler().map(Into::into);
        if let Some(name) = whole.hires.as_mut().map(|hires| hires.upscaler.get_or_insert(UPSCALERS[0].name.into())) {
            *name = find_upscaler(name).map_or(std::mem::take(name), |kind| kind.name.into());
        }
        self.second(&whole)?;
        if let Some(upscale) = &whole.upscale {
            self.loader.catalogue.check_upscaler(upscale.model.as_deref())?;
        }
        if let Some(name) = &mut whole.rng {
            *name = find_rng(name)?.name.into();
        }
        if let Some(name) = &mut whole.emphasis {
            let kind = EMPHASES.iter().find(|kind| find_emphasis(name).is_ok_and(|emphasis| emphasis == kind.emphasis));
            *name = kind.map_or(std::mem::take(name), |kind| kind.name.into());
        }
        whole.check()?;
        Ok(whole)
    }

    /// Fills in width and height.
    fn complete_size(&self, request: &mut Request) -> Result<()> {
        let (factor, pixels) = (self.grid(), self.decoder.format().downsampling as u32);
        let side = self.family.usual.side;
        let fixed = self.network.fixed_size().or(self.decoder.fixed_size()).map(|(h, w)| (h as u32, w as u32));
        let usual = fixed.or(self.config.sample_size).unwrap_or((side, side));
        let usual = (usual.1 * pixels, usual.0 * pixels);
        let drawn_over = request.init_image.as_ref().and_then(ImageSource::bitmap);
        let (own_width, own_height) = match (&request.latents, drawn_over) {
            (Some(latents), None) => self.size_of(latents)?,
            (_, Some(image)) => editing::usual_size(request, image, usual),
            (None, None) => usual,
        };
        if drawn_over.is_some() && request.width.or(request.height).is_none() && !is_left_out(request) {
            check_area((own_width, own_height), usual, factor)?;
        }
        // with one side named, the other follows in proportion
        let other = |own: u32, named: Option<u32>, of: u32| match named.filter(|_| !request.only_masked) {
            Some(named) if drawn_over.is_some() => {
                ((f64::from(own) * f64::from(named) / f64::from(of)).round() as u32).max(1)
            }
            _ => own,
        };
        let (own_width, own_height) =
            (other(own_width, request.height, own_height), other(own_height, request.width, own_width));
        let width = *request.width.get_or_insert(own_width);
        let height = *request.height.get_or_insert(own_height);
        for (name, length) in [
            ("width", Some(width)),
            ("height", Some(height)),
            ("seed resize width", request.seed_resize_width),
            ("seed resize height", request.seed_resize_height),
        ] {
            if drawn_over.is_none() || name.starts_with("seed") {
                check_multiple(name, length.unwrap_or(factor), factor)?;
            }
        }
        self.check_fixed_size(request)?;
        if request.latents.is_some() && drawn_over.is_none() && (width, height) != (own_width, own_height) {
            return Err(Error::request(
                format!("the size is {width}x{height}, but the given latents are those of {own_width}x{own_height}"),
                "leave out the size, or give latents of that size",
            ));
        }
        Ok(())
    }

    /// Fails if a graph takes latents of one size alone, and the picture's are of another.
    fn check_fixed_size(&self, request: &Request) -> Result<()> {
        let [_, _, height, width] = self.shape(request);
        let pixels = self.decoder.format().downsampling;
        let network = (self.network.latents_name(), self.network.fixed_size());
        let decoder = (self.decoder.latents_name(), self.decoder.fixed_size());
        for (graph, (name, size)) in [("network", network), ("VAE decoder", decoder)] {
            if let Some((high, wide)) = size.filter(|size| *size != (height, width)) {
                return Err(Error::model(
                    format!(
                        "the {graph}'s `{name}` takes latents of {wide}x{high} alone, the picture's are {width}x{height}"
                    ),
                    format!("draw `-W {} -H {}`, or export the model with free axes", wide * pixels, high * pixels),
                ));
            }
        }
        Ok(())
    }

    /// Fills in guidance, and refuses what the network does not take.
    fn complete_conditions(&self, request: &mut Request) -> Result<()> {
        let (inputs, usual) = (self.network.inputs(), self.family.usual);
        let taught = takes_guidance(inputs);
        let cfg_scale = if taught { 1.0 } else { usual.cfg_scale };
        request.cfg_scale.get_or_insert(self.defaults.cfg_scale.unwrap_or(cfg_scale));
        // a refiner may take what the model does not; that is seen when it is loaded
        if let Some(Untaken { what, hint }) = untaken(request, &[inputs]).filter(|_| request.refiner.is_none()) {
            let what = format!("{what} is given, which model `{}` does not take", self.name.name);
            return Err(Error::request(what, hint));
        }
        if request.clip_skip > 1 && !self.family.skips_layers {
            let what = format!("a clip skip is given, but {} takes no state of a layer", self.family.title);
            return Err(Error::request(what, "leave it out"));
        }
        if taught {
            request.guidance.get_or_insert(usual.guidance);
        }
        Ok(())
    }

    /// Fills in what a request to draw over a picture leaves open.
    fn complete_editing(&self, request: &mut Request) -> Result<()> {
        let edits = self.network.kind() == NetworkKind::Edit;
        if edits && request.init_image.is_none() {
            return Err(Error::request("the model edits pictures, but none is given", "name one with `-i`"));
        }
        if request.img_cfg_scale.is_some() && !edits {
            let hint = "leave out `--img-cfg-scale`, or use a model of the kind of instruct-pix2pix";
            return Err(Error::request("image guidance is given, but the model does not edit pictures", hint));
        }
        if request.init_image.is_none() {
            return Ok(());
        }
        // what a network sees of the picture it need not begin with
        let masked = request.mask.is_some() || request.extend.is_some();
        let (plain, with_mask) = self.family.usual.strength;
        request.strength.get_or_insert(if edits || masked { with_mask } else { plain });
        if edits {
            request.img_cfg_scale.get_or_insert(USUAL_IMAGE_GUIDANCE);
        }
        Ok(())
    }

    /// Makes sure of the autoencoder, and decides whether it works in tiles, by the picture's size alone, so that a request gives the same
    /// picture everywhere.
    fn complete_autoencoder(&self, request: &mut Request) -> Result<()> {
        let first = (request.width.unwrap_or_default(), request.height.unwrap_or_default());
        let (width, height) = match &request.hires {
            Some(hires) => target(hires, first, self.grid())?,
            None => first,
        };
        if request.vae.as_deref() == Some("fast") {
            self.tiny.check()?;
        }
        request.vae_tiling = match request.vae_tiling.take() {
            Some(tiling) if tiling != "auto" => Some(tiling),
            _ => self.decoder.needs_tiles(width, height)?.then(|| "on".into()),
        };
        if request.vae_tiling.as_deref() == Some("on") {
            request.vae_tile_size.get_or_insert(Tiles::default().size as u32);
        }
        Ok(())
    }

    /// The size in pixels of a picture with these latents.
    pub(super) fn size_of(&self, latents: &Latents) -> Result<(u32, u32)> {
        let [pictures, channels, height, width] = latents.shape();
        let wanted = self.network.channels();
        if (pictures, channels) != (1, wanted) {
            return Err(Error::request(
                format!("the given latents have the shape {:?}", latents.shape()),
                format!("give latents of shape [1, {wanted}, height, width]"),
            ));
        }
        let pixels = |latents: usize| u32::try_from(latents * self.decoder.format().downsampling).unwrap_or(u32::MAX);
        Ok((pixels(width), pixels(height)))
    }
}

/// What a request gives, and no network takes.
pub(super) struct Untaken {
    pub(super) what: &'static str,
    pub(super) hint: &'static str,
}

/// The first condition of `request` that none of the networks with these inputs takes.
pub(super) fn untaken(request: &Request, networks: &[&[Port]]) -> Option<Untaken> {
    let sized = request.original_size.or(request.crop).or(request.target_size);
    let scored = request.aesthetic_score.or(request.negative_aesthetic_score);
    let any = |takes: fn(&[Port]) -> bool| networks.iter().any(|inputs| takes(inputs));
    let conditions = [
        ("guidance that a network was taught", request.guidance.is_some(), any(takes_guidance), "use `--cfg-scale`"),
        ("an original size, a crop or a target size", sized.is_some(), any(takes_sizes), "leave it out"),
        ("an aesthetic score", scored.is_some(), any(takes_score), "leave it out; refiners of SDXL take it"),
    ];
    let mut missing = conditions.into_iter().filter(|(_, given, taken, _)| *given && !taken);
    missing.next().map(|(what, _, _, hint)| Untaken { what, hint })
}

/// Fails for a picture that is drawn over in its own size, which nobody named, if that is far above the model's: photographs
/// are, and would take hours and more memory than there is.
fn check_area((width, height): (u32, u32), usual: (u32, u32), factor: u32) -> Result<()> {
    let area = |width: u32, height: u32| f64::from(width) * f64::from(height);
    let times = area(width, height) / area(usual.0, usual.1);
    if times <= MOST_TIMES_USUAL {
        return Ok(());
    }
    let fitting = |length: u32| {
        let latents = (f64::from(length) / times.sqrt() / f64::from(factor)).round().max(1.0);
        latents as u32 * factor
    };
    Err(Error::request(
        format!("the picture is {width}x{height}, {times:.0} times what the model draws ({}x{})", usual.0, usual.1),
        format!("name a size, such as `-W {} -H {}`, or use `--only-masked`", fitting(width), fitting(height)),
    ))
}

fn check_multiple(name: &str, length: u32, factor: u32) -> Result<()> {
    if length.is_multiple_of(factor) {
        return Ok(());
    }
    let below = length / factor * factor;
    let near = if below == 0 { factor.to_string() } else { format!("{below} or {}", below + factor) };
    Err(Error::request(
        format!("{name} is {length}, which is not a multiple of {factor}"),
        format!("use {near}; sizes of this model are multiples of {factor} pixels"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photographs_are_not_drawn_over_in_their_own_size_unasked() {
        assert!(check_area((1024, 1024), (512, 512), 8).is_ok());
        let error = check_area((4000, 3000), (512, 512), 8).unwrap_err();
        assert_eq!(error.to_string(), "the picture is 4000x3000, 46 times what the model draws (512x512)");
        assert!(error.hint().unwrap().contains("`-W 592 -H 440`"), "{error:?}");
    }
}
