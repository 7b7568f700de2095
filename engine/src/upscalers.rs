//! Which ways are there to enlarge a picture before it is drawn over?
use crate::{Filter, Result, error::unknown, sampling::Interpolation};

/// A way to enlarge a picture for a second pass. A name that is none of them is a network's.
#[derive(Debug)]
pub struct UpscalerKind {
    /// The name used on the command line and in files.
    pub name: &'static str,
    /// The name in stable-diffusion-webui.
    pub label: &'static str,
    /// One line for `petal list`.
    pub about: &'static str,
    pub(crate) way: Way,
}

/// What is enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Latents, which stay latents.
    Latents(Interpolation),
    /// Pixels, which become latents again.
    Pixels(Filter),
}

/// Every way without a network; the first is the default.
#[rustfmt::skip]
pub const UPSCALERS: &[UpscalerKind] = &[
    UpscalerKind { name: "latent", label: "Latent", about: "latents, in a straight line between two: soft, for a strength above 0.5 (default)", way: Way::Latents(Interpolation::Bilinear) },
    UpscalerKind { name: "latent_antialiased", label: "Latent (antialiased)", about: "the same, widened where there become fewer", way: Way::Latents(Interpolation::BilinearAntialiased) },
    UpscalerKind { name: "latent_bicubic", label: "Latent (bicubic)", about: "latents, along a cubic curve: sharper", way: Way::Latents(Interpolation::Bicubic) },
    UpscalerKind { name: "latent_bicubic_antialiased", label: "Latent (bicubic antialiased)", about: "the same, widened where there become fewer", way: Way::Latents(Interpolation::BicubicAntialiased) },
    UpscalerKind { name: "latent_nearest", label: "Latent (nearest)", about: "latents, each repeated", way: Way::Latents(Interpolation::Nearest) },
    UpscalerKind { name: "latent_nearest_exact", label: "Latent (nearest-exact)", about: "latents, the nearest to the centre", way: Way::Latents(Interpolation::NearestExact) },
    UpscalerKind { name: "nearest", label: "Nearest", about: "pixels, each repeated", way: Way::Pixels(Filter::Nearest) },
    UpscalerKind { name: "lanczos", label: "Lanczos", about: "pixels, with Lanczos' filter: keeps the picture at any strength", way: Way::Pixels(Filter::Lanczos) },
];

/// The way that `name` (a name or label, in any case) means; none if it is not one of [`UPSCALERS`].
#[must_use]
pub fn find_upscaler(name: &str) -> Option<&'static UpscalerKind> {
    UPSCALERS.iter().find(|kind| [kind.name, kind.label].iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Fails for a name that is neither a way nor, in `networks` or as a path, a network.
pub(crate) fn check(name: &str, mut networks: impl Iterator<Item = String>) -> Result<()> {
    let known: Vec<String> = networks.by_ref().collect();
    let is_path = std::path::Path::new(name).exists();
    if find_upscaler(name).is_some() || is_path || known.iter().any(|network| network == name) {
        return Ok(());
    }
    let names = UPSCALERS.iter().map(|kind| kind.name).chain(known.iter().map(String::as_str));
    Err(unknown("upscaler", name, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_known_and_others_are_networks() {
        assert_eq!(find_upscaler("latent (NEAREST-exact)").unwrap().name, "latent_nearest_exact");
        let networks = || ["net".to_owned()].into_iter();
        assert!(check("net", networks()).is_ok() && check("Lanczos", networks()).is_ok());
        let error = check("lanczo", networks()).unwrap_err();
        assert_eq!(error.to_string(), "unknown upscaler `lanczo`");
        assert!(error.hint().unwrap().ends_with("lanczos, net"), "{error:?}");
    }
}
