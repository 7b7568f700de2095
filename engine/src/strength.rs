//! How many steps does image to image take, given its strength? Each program counts its own way.
use crate::{Result, error::unknown};

/// The share of a schedule that stable-diffusion-webui takes at most: it never begins with noise alone.
const MOST_OF_WEBUI: f64 = 0.999;
/// More steps than any schedule has.
const MOST_STEPS: usize = 1 << 24;

/// The end of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Steps of the whole schedule.
    pub(crate) steps: usize,
    /// How many of them are left out at its start.
    pub(crate) skipped: usize,
}

/// A way to count the steps of image to image.
#[derive(Debug)]
pub struct StrengthSteps {
    /// The name used on the command line and in files.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Whether prompts that change along the run count the steps that were asked for, not those that are taken.
    pub(crate) prompts_count_all: bool,
    /// The part of a schedule that is taken: of the steps that were asked for and a strength above 0, at most 1.
    part: fn(usize, f64) -> Part,
    /// The same for models of a flow.
    part_of_flow: fn(usize, f64) -> Part,
}

/// Every way to count the steps of image to image; the first is the default.
pub const STRENGTH_STEPS: &[StrengthSteps] = &[
    StrengthSteps {
        name: "diffusers",
        about: "the last steps * strength, rounded down, of all steps",
        prompts_count_all: false,
        part: of_diffusers,
        part_of_flow: of_diffusers_flow,
    },
    StrengthSteps {
        name: "webui",
        about: "as stable-diffusion-webui: steps * strength, rounded down, and one more",
        prompts_count_all: true,
        part: of_webui,
        part_of_flow: of_webui,
    },
    StrengthSteps {
        name: "exact",
        about: "as many steps as are asked for, of a schedule of steps / strength",
        prompts_count_all: false,
        part: exact,
        part_of_flow: exact,
    },
];

/// `StableDiffusionImg2ImgPipeline.get_timesteps` of diffusers.
fn of_diffusers(steps: usize, strength: f64) -> Part {
    Part { steps, skipped: steps - ((steps as f64 * strength) as usize).min(steps) }
}

/// `StableDiffusion3Img2ImgPipeline.get_timesteps` of diffusers, which rounds what is left out, not what is taken.
fn of_diffusers_flow(steps: usize, strength: f64) -> Part {
    Part { steps, skipped: (steps as f64 - (steps as f64 * strength).min(steps as f64)) as usize }
}

/// `setup_img2img_steps` of stable-diffusion-webui, and the sampler's `sigmas[steps - t_enc - 1:]`.
fn of_webui(steps: usize, strength: f64) -> Part {
    let encoded = (strength.min(MOST_OF_WEBUI) * steps as f64) as usize;
    Part { steps, skipped: steps.saturating_sub(encoded + 1) }
}

/// The same with the option "do exactly the amount of steps the slider specifies", which its second pass always has.
fn exact(steps: usize, strength: f64) -> Part {
    let whole = ((steps as f64 / strength.min(MOST_OF_WEBUI)) as usize).min(MOST_STEPS);
    Part { steps: whole, skipped: whole.saturating_sub(steps) }
}

impl StrengthSteps {
    /// The part of a schedule that a run of `steps` steps takes; of models of a flow, if it `is_flow`.
    pub(crate) fn part(&self, steps: usize, strength: f64, is_flow: bool) -> Part {
        if is_flow { (self.part_of_flow)(steps, strength) } else { (self.part)(steps, strength) }
    }

    /// The least strength of three digits at which `is_enough` says so of the part that is taken.
    pub(crate) fn least(&self, steps: usize, is_flow: bool, is_enough: impl Fn(Part) -> bool) -> Option<f64> {
        (1..=1000_u16).map(|n| f64::from(n) / 1000.0).find(|strength| is_enough(self.part(steps, *strength, is_flow)))
    }
}

/// The way to count that `name` means, in any case.
pub fn find_strength_steps(name: &str) -> Result<&'static StrengthSteps> {
    STRENGTH_STEPS
        .iter()
        .find(|kind| kind.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| unknown("way to count steps", name, STRENGTH_STEPS.iter().map(|kind| kind.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(name: &str, steps: usize, strength: f64) -> (usize, usize) {
        let Part { steps, skipped } = find_strength_steps(name).unwrap().part(steps, strength, false);
        (steps, steps - skipped)
    }

    /// Computed by hand from the formulas of both programs, with the binary fractions of their language.
    #[test]
    fn steps_are_those_of_diffusers_and_of_the_webui() {
        for (steps, strength, diffusers, webui, exact) in [
            (20, 0.75, 15, 16, (26, 20)),
            (20, 0.3, 6, 7, (66, 20)),
            (20, 1.0, 20, 20, (20, 20)),
            (20, 0.999, 19, 20, (20, 20)),
            (20, 0.01, 0, 1, (2000, 20)),
            (30, 0.55, 16, 17, (54, 30)),
            (100, 0.29, 28, 29, (344, 100)), // 100 · 0.29 is 28.999999999999996
            (7, 0.5, 3, 4, (14, 7)),
            (1, 0.5, 0, 1, (2, 1)),
            (1, 1.0, 1, 1, (1, 1)),
            (1000, 1.0, 1000, 1000, (1001, 1000)),
        ] {
            let of = |name| taken(name, steps, strength);
            assert_eq!((of("diffusers"), of("webui"), of("exact")), ((steps, diffusers), (steps, webui), exact));
        }
    }

    /// 8 · 0.6 is 4.8: a flow leaves out 3 of 8 steps, others 4.
    #[test]
    fn a_flow_rounds_what_is_left_out() {
        let part = |is_flow| find_strength_steps("diffusers").unwrap().part(8, 0.6, is_flow).skipped;
        assert_eq!((part(true), part(false)), (3, 4));
    }

    #[test]
    fn the_least_strength_takes_a_step() {
        let kind = find_strength_steps("diffusers").unwrap();
        for steps in 1..=2000 {
            let is_enough = |part: Part| part.skipped < part.steps;
            let least = kind.least(steps, false, is_enough).unwrap();
            assert!(
                is_enough(kind.part(steps, least, false)) && (steps as f64 * (least - 0.001)) < 1.0,
                "{steps}: {least}"
            );
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = find_strength_steps("webu").unwrap_err();
        assert_eq!(error.to_string(), "unknown way to count steps `webu`");
        assert_eq!(error.hint().as_deref(), Some("use `webui`, or another of: diffusers, webui, exact"));
    }
}
