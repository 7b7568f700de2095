//! Random requests, the same in every run. To add a field, add a line to [`FIELDS`].
use petal_engine::{Request, SAMPLERS, SCHEDULES};

/// Numbers that look random: `SplitMix64` (Steele, Lea and Flood 2014).
pub(crate) struct Dice(pub(crate) u64);

/// Sets a field to something.
type Change = fn(&mut Request, &mut Dice);

/// Every field of a request, and how often it is set: once in so many times.
#[rustfmt::skip]
const FIELDS: &[(u64, Change)] = &[
    (1, |r, d| r.prompt = d.text()),
    (2, |r, d| r.negative_prompt = d.text()),
    (2, |r, d| r.width = Some(32 + 8 * d.below(5) as u32)),
    (2, |r, d| r.height = Some(32 + 8 * d.below(5) as u32)),
    (1, |r, d| r.steps = Some(1 + d.below(5) as u32)),
    (2, |r, d| r.cfg_scale = Some(d.number(0.0, 20.0))),
    (1, |r, d| r.seed = d.next()),
    (2, |r, d| r.sampler = Some(SAMPLERS[d.below(SAMPLERS.len() as u64) as usize].name.into())),
    (3, |r, d| r.scheduler = Some(SCHEDULES[d.below(SCHEDULES.len() as u64) as usize].name.into())),
    (9, |r, _| r.scheduler = Some("model".into())),
    (9, |r, _| r.scheduler = Some("automatic".into())),
    (9, |r, d| (r.scheduler, r.rho, r.sigmas) = (None, None, Some(vec![d.number(5.0, 14.0), d.number(1.0, 4.0), 0.5]))),
    (9, |r, d| if r.sigmas.is_none() { r.rho = Some(d.number(1.0, 9.0)) }),
    (4, |r, d| r.eta = Some(d.number(0.0, 1.0))),
    (6, |r, d| (r.s_churn, r.s_tmin, r.s_tmax) = (d.number(0.0, 9.0), d.number(0.0, 1.0), Some(d.number(1.0, 9.0)))),
    (4, |r, d| r.s_noise = d.number(0.9, 1.1)),
    (3, |r, _| r.rng = Some("nv".into())),
    (9, |r, _| r.rng = Some("cpu".into())),
    (3, |r, d| (r.variation_seed, r.variation_strength) = (d.next(), d.number(0.0, 1.0))),
    (5, |r, d| (r.seed_resize_width, r.seed_resize_height) = (Some(32 + 8 * d.below(5) as u32), Some(48))),
    (4, |r, d| r.ensd = d.below(40_000)),
    (3, |r, d| r.emphasis = Some(["original", "no_norm", "ignore", "none"][d.below(4) as usize].into())),
    (9, |r, _| r.clip_skip = 2),
    (4, |r, d| r.cfg_rescale = d.number(0.0, 1.0)),
    (5, |r, d| (r.guidance_start, r.guidance_end) = (d.number(0.0, 0.5), d.number(0.5, 1.0))),
    (6, |r, d| r.cfg_schedule = Some((0..=d.below(3)).map(|_| d.number(0.0, 20.0)).collect())),
];

/// What a prompt may hold that a reader may stumble over.
const PIECES: [&str; 24] = [
    "a dog",
    " in space",
    ", ",
    ":",
    "\n",
    "\r\n",
    "\t",
    " ",
    "Negative prompt: x",
    "\nSteps: 1, Sampler: b, Cd: e",
    "\"",
    "\\",
    "\\\"",
    "犬",
    "🚀",
    "é",
    "(x:1.2)",
    "[a|b]",
    "petal: \"{}\"",
    "<lora:x:1>",
    "\u{feff}",
    "\u{fffe}",
    "\u{1b}[31m",
    "\u{0}",
];

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number with all 53 bits.
    fn number(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * ((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    fn text(&mut self) -> String {
        (0..self.below(8)).map(|_| PIECES[self.below(PIECES.len() as u64) as usize]).collect()
    }

    /// A request that is right in itself.
    pub(crate) fn request(&mut self) -> Request {
        let mut request = Request::default();
        for (often, set) in FIELDS {
            if self.below(*often) == 0 {
                set(&mut request, self);
            }
        }
        request.check().unwrap();
        request
    }
}
