//! How fast do samplers come near the exact solution as their steps grow shorter?
//!
//! A multistep method begins with steps of lower order, for want of past estimates, and the error of one step of order
//! 1 is of order 2. The problem here begins at rest: the slope and its first three derivatives are 0 at the highest
//! level, so that the first steps are all but exact and the order that shows is the method's own. The slope depends on
//! the latents, and not linearly, so that conditions on orders above 2 count. Errors are those between 1e-1, where terms
//! of the next order are small, and 1e-6, where 32 bits end.
use super::{
    Latents, Process, Run, SAMPLERS, Schedule, Strength, find_sampler,
    schedules::{Scaling, exponential_between, linspace},
};
use std::{collections::BTreeSet, f64::consts::FRAC_PI_2};

const HIGH: f64 = 4.0;
const LOW: f64 = 1.0;

/// Where steps are of even length.
#[derive(Clone, Copy)]
enum Even {
    /// In sigma.
    Sigma,
    /// In the logarithm of sigma.
    Log,
    /// In the square root of sigma: in neither of the others.
    Root,
}

impl Even {
    fn levels(self, steps: usize) -> Vec<f64> {
        match self {
            Self::Sigma => linspace(HIGH, LOW, steps + 1).collect(),
            Self::Log => exponential_between(HIGH, LOW, steps + 1),
            Self::Root => linspace(HIGH.sqrt(), LOW.sqrt(), steps + 1).map(|root| root * root).collect(),
        }
    }

    /// How fast the latents change once a share `done` of the levels is behind, and the mean of that over the run.
    ///
    /// Towards the end, a power changes too fast for steps that are even in sigma to show their order before 32 bits
    /// end; a quarter of a sine's power does not.
    fn pace(self, done: f64) -> (f64, f64) {
        match self {
            Self::Sigma => (8.0 * (FRAC_PI_2 * done).sin().powi(4), 3.0),
            Self::Log | Self::Root => (6.0 * done.powi(4), 1.2),
        }
    }
}

/// Sampler, order, steps and how many: the error is that of twice as many against it.
#[rustfmt::skip]
const ORDERS: &[(&str, f64, Even, usize)] = &[
    ("euler", 1.0, Even::Log, 64),
    ("euler_ancestral", 1.0, Even::Log, 64),
    ("euler_cfg_pp", 1.0, Even::Log, 64), // with one estimate for both prompts
    ("euler_ancestral_cfg_pp", 1.0, Even::Log, 64),
    ("ddim_cfgpp", 1.0, Even::Log, 64),
    ("ddim", 1.0, Even::Log, 64),
    ("gradient_estimation", 1.0, Even::Log, 64), // goes past the slope that would make it of order 2
    ("heunpp2", 1.0, Even::Log, 64), // its weights are not those of Heun's method
    ("heun", 2.0, Even::Log, 32),
    ("restart", 2.0, Even::Log, 9), // from 20 steps on, it adds noise
    ("dpm_2", 2.0, Even::Log, 32),
    ("dpm_2_ancestral", 2.0, Even::Log, 32),
    ("dpm_fast", 3.0, Even::Log, 35), // 12 steps of which the last is of order 2, then 24
    ("lms", 4.0, Even::Log, 24),
    ("lms", 4.0, Even::Sigma, 48),
    ("ipndm", 4.0, Even::Sigma, 48),
    ("ipndm", 2.0, Even::Log, 32), // its weights are those of even steps
    ("ipndm_v", 3.0, Even::Log, 64), // its weights for four slopes are not Adams and Bashforth's
    ("ipndm_v", 3.0, Even::Sigma, 48),
    ("plms", 2.0, Even::Log, 32),
    ("dpmpp_2s_ancestral", 2.0, Even::Log, 32),
    ("dpmpp_2s", 2.0, Even::Log, 33), // an even number of steps
    ("dpmpp_sde", 2.0, Even::Log, 32),
    ("dpmpp_2m", 2.0, Even::Log, 32),
    ("dpmpp_2m", 2.0, Even::Root, 32),
    ("dpmpp_2m_sde", 2.0, Even::Log, 32),
    ("dpmpp_2m_sde_heun", 2.0, Even::Log, 32),
    ("dpmpp_2m_sde_heun", 2.0, Even::Root, 32),
    ("dpmpp_3m_sde", 2.0, Even::Log, 48), // takes half of the second difference that order 3 needs
    ("res_2s", 2.0, Even::Log, 32),
    ("seeds_2", 2.0, Even::Log, 32),
    ("seeds_3", 3.0, Even::Log, 16),
    ("exp_heun_2_x0", 2.0, Even::Log, 32),
    ("exp_heun_2_x0_sde", 2.0, Even::Log, 32),
    ("res_multistep", 2.0, Even::Log, 32),
    ("res_multistep", 2.0, Even::Root, 32),
    ("res_multistep_ancestral", 2.0, Even::Log, 32),
    ("deis", 2.0, Even::Log, 32),
    ("sa_solver", 2.0, Even::Log, 32),
    ("uni_pc", 2.0, Even::Log, 32), // its last step is of order 1 and not corrected, as in diffusers
    ("uni_pc_bh2", 2.0, Even::Log, 32),
];

/// Samplers without an order: that choose their own steps, that add noise whatever `eta` is, or that trust each estimate.
const WITHOUT: [&str; 5] = ["dpm_adaptive", "er_sde", "lcm", "tcd", "ddpm"];

fn places() -> impl Iterator<Item = f64> {
    (0..16).map(|i| 0.4 + 0.14 * f64::from(i))
}

fn latents(values: impl Iterator<Item = f64>) -> Latents {
    Latents::new([1, 1, 4, 4], values.map(|x| x as f32).collect()).unwrap()
}

/// The mean error of a run without fresh noise of `dx / dsigma = −pace(sigma)·sin(x)`, whose solution is
/// `tan(x / 2) = tan(x₀ / 2)·exp(∫ pace)`.
fn error(name: &str, even: Even, steps: usize) -> f64 {
    let schedule = Schedule::with_timesteps(Process::VarianceExploding, even.levels(steps), None, Scaling::Sigma);
    let mut model = |x: &Latents, sigma: f64| {
        let pace = even.pace((HIGH - sigma) / (HIGH - LOW)).0 / (HIGH - LOW);
        Ok(latents(x.values().iter().map(|x| f64::from(*x)).map(|x| x + sigma * pace * x.sin())))
    };
    let mut noise = |_: f64, _: f64| latents([0.0; 16].into_iter()); // eta is 0; SA-Solver draws all the same
    let strength = Strength { eta: 0.0, ..Strength::default() };
    let mut run = Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength };
    let drawn = (find_sampler(name).unwrap().run)(&mut run, latents(places())).unwrap();
    let grown = even.pace(1.0).1.exp();
    let exact = places().map(|x| 2.0 * ((x / 2.0).tan() * grown).atan());
    drawn.values().iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs()).sum::<f64>() / 16.0
}

#[test]
fn samplers_are_of_their_order() {
    for &(name, order, even, steps) in ORDERS {
        let more = if name == "dpm_fast" { 2 * steps + 1 } else { 2 * steps };
        let (coarse, fine) = (error(name, even, steps), error(name, even, more));
        let measured = (coarse / fine).log2();
        println!("fidelity: order {name} {measured:.2} of {order}: {coarse:.1e}, {fine:.1e}");
        assert!((measured - order).abs() < 0.2, "{name} is of order {measured:.2}: {coarse:.1e}, {fine:.1e}");
    }
    let measured: BTreeSet<&str> = ORDERS.iter().map(|(name, ..)| *name).chain(WITHOUT).collect();
    let missing: Vec<_> = SAMPLERS.iter().map(|sampler| sampler.name).filter(|name| !measured.contains(name)).collect();
    assert!(missing.is_empty(), "samplers without an order: {missing:?}");
}

/// Tolerances bound the error of the sampler that chooses its own steps.
#[test]
fn dpm_adaptive_keeps_to_its_tolerance() {
    let error = error("dpm_adaptive", Even::Log, 1);
    assert!(error < 0.05, "{error:.1e}");
}
