//! The samplers: each is one function, listed once in [`SAMPLERS`].
use super::{Denoiser, Latents, SCHEDULES, Schedule, ScheduleKind, latents::combine};
use crate::{Result, error::unknown};
use std::collections::VecDeque;

/// A way to go from noise to latents.
#[derive(Debug)]
pub struct Sampler {
    /// The name used on the command line and in files; that of k-diffusion and `ComfyUI`.
    pub name: &'static str,
    /// The name in stable-diffusion-webui.
    pub label: &'static str,
    /// Other names for it: short names, those of stable-diffusion.cpp and `InvokeAI`, diffusers' class.
    pub aliases: &'static [&'static str],
    /// One line for `--help`.
    pub about: &'static str,
    /// The sampler itself.
    pub run: fn(&mut Run<'_>, Latents) -> Result<Latents>,
}

/// Every sampler. To add one, write a function below and an entry here.
pub const SAMPLERS: &[Sampler] = &[
    Sampler {
        name: "euler",
        label: "Euler",
        aliases: &["k_euler", "EulerDiscreteScheduler"],
        about: "Euler's method",
        run: euler,
    },
    Sampler {
        name: "euler_ancestral",
        label: "Euler a",
        aliases: &["euler_a", "k_euler_a", "k_euler_ancestral", "EulerAncestralDiscreteScheduler"],
        about: "Euler's method with fresh noise each step",
        run: euler_ancestral,
    },
    Sampler {
        name: "heun",
        label: "Heun",
        aliases: &["k_heun", "HeunDiscreteScheduler"],
        about: "Heun's method, order 2",
        run: heun,
    },
    Sampler {
        name: "dpm_2",
        label: "DPM2",
        aliases: &["dpm2", "k_dpm_2", "kdpm_2", "KDPM2DiscreteScheduler"],
        about: "DPM-Solver-2: the midpoint method in log sigma",
        run: dpm_2,
    },
    Sampler {
        name: "dpm_2_ancestral",
        label: "DPM2 a",
        aliases: &["dpm_2_a", "k_dpm_2_a", "kdpm_2_a", "KDPM2AncestralDiscreteScheduler"],
        about: "DPM-Solver-2 with fresh noise each step",
        run: dpm_2_ancestral,
    },
    Sampler {
        name: "lms",
        label: "LMS",
        aliases: &["k_lms", "LMSDiscreteScheduler"],
        about: "linear multistep, order 4",
        run: lms,
    },
    Sampler {
        name: "dpmpp_2s_ancestral",
        label: "DPM++ 2S a",
        aliases: &["dpmpp_2s", "k_dpmpp_2s_a", "dpm++2s_a"],
        about: "DPM-Solver++(2S) with fresh noise each step",
        run: dpmpp_2s_ancestral,
    },
    Sampler {
        name: "dpmpp_sde",
        label: "DPM++ SDE",
        aliases: &["k_dpmpp_sde", "DPMSolverSDEScheduler"],
        about: "DPM-Solver++ for the reverse SDE, order 2",
        run: dpmpp_sde,
    },
    Sampler {
        name: "dpmpp_2m",
        label: "DPM++ 2M",
        aliases: &["dpm++2m", "k_dpmpp_2m", "DPMSolverMultistepScheduler"],
        about: "DPM-Solver++(2M): order 2 from one past estimate",
        run: dpmpp_2m,
    },
    Sampler {
        name: "dpmpp_2m_sde",
        label: "DPM++ 2M SDE",
        aliases: &["dpm++2m_sde", "k_dpmpp_2m_sde"],
        about: "DPM-Solver++(2M) for the reverse SDE",
        run: dpmpp_2m_sde,
    },
    Sampler {
        name: "dpmpp_3m_sde",
        label: "DPM++ 3M SDE",
        aliases: &["dpmpp_3m", "k_dpmpp_3m_sde"],
        about: "DPM-Solver++(3M) for the reverse SDE",
        run: dpmpp_3m_sde,
    },
    Sampler {
        name: "lcm",
        label: "LCM",
        aliases: &["k_lcm", "LCMScheduler"],
        about: "latent consistency models: few steps, for networks trained for it",
        run: lcm,
    },
    Sampler {
        name: "ddim",
        label: "DDIM",
        aliases: &["DDIMScheduler"],
        about: "denoising diffusion implicit models, without fresh noise; Euler's method in other words",
        run: euler,
    },
    Sampler {
        name: "plms",
        label: "PLMS",
        aliases: &["pndm", "PNDMScheduler"],
        about: "pseudo linear multistep, order 4 in timesteps; the first step asks twice",
        run: plms,
    },
];

impl Sampler {
    /// All names of this sampler.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.label, self.name].into_iter().chain(self.aliases.iter().copied())
    }

    fn find(name: &str) -> Option<&'static Self> {
        SAMPLERS.iter().find(|sampler| sampler.names().any(|n| n.eq_ignore_ascii_case(name)))
    }
}

/// The sampler that `name` (a name, label or alias, in any case) means.
pub fn find_sampler(name: &str) -> Result<&'static Sampler> {
    Sampler::find(name).ok_or_else(|| unknown("sampler", name, SAMPLERS.iter().map(|sampler| sampler.name)))
}

/// The sampler that `name` means, and the schedule where `name` ends in one: the old combined names of
/// stable-diffusion-webui, like `DPM++ 2M Karras`.
pub fn split_combined(name: &str) -> Result<(&'static Sampler, Option<&'static ScheduleKind>)> {
    if let Some(sampler) = Sampler::find(name) {
        return Ok((sampler, None));
    }
    let split =
        SCHEDULES.iter().flat_map(|kind| kind.names().map(move |suffix| (kind, suffix))).find_map(|(kind, suffix)| {
            let (start, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
            let sampler = Sampler::find(start.strip_suffix([' ', '_'])?)?;
            end.eq_ignore_ascii_case(suffix).then_some((sampler, Some(kind)))
        });
    split.map_or_else(|| find_sampler(name).map(|sampler| (sampler, None)), Ok)
}

/// What a sampler may use: the model, the noise levels and fresh noise.
pub struct Run<'a> {
    /// The model.
    pub model: &'a mut dyn Denoiser,
    /// The noise levels.
    pub schedule: &'a Schedule,
    /// Draws unit noise for the interval between two noise levels.
    pub noise: &'a mut dyn FnMut(f64, f64) -> Latents,
    /// Strength of the fresh noise, for samplers that add some; 1 is the full amount, 0 is none.
    pub eta: f64,
}

impl Run<'_> {
    /// The step almost every sampler is made of.
    ///
    /// Moves `x` towards `estimate` (weighted estimates of the clean latents; the weights add up to 1), then adds
    /// `up` of fresh noise: `keep·x + (α(to) − α(from)·keep)·estimate + up·noise`, where
    /// `keep = sqrt(to² − up²) / from`.
    fn step(&mut self, x: &Latents, estimate: &[(f64, &Latents)], from: f64, to: f64, up: f64) -> Latents {
        let process = self.schedule.process();
        let keep = (to * to - up * up).max(0.0).sqrt() / from;
        let gain = process.alpha(to) - process.alpha(from) * keep;
        let noise = if up > 0.0 { Some((self.noise)(from, to)) } else { None };
        let moved = std::iter::once((keep, x)).chain(estimate.iter().map(|(weight, d)| (gain * weight, *d)));
        combine(&moved.chain(noise.iter().map(|noise| (up, noise))).collect::<Vec<_>>())
    }

    /// The slope `dx / dsigma = (x − clean) / sigma` of the probability-flow ODE, the same for both processes.
    fn slope(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        let denoised = self.model.denoise(x, sigma)?;
        Ok(combine(&[(1.0 / sigma, x), (-1.0 / sigma, &denoised)]))
    }
}

/// Karras et al. (2022), algorithm 2 without churn; in other coordinates DDIM with eta 0 (Song et al. 2021).
fn euler(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        x = run.step(&x, &[(1.0, &denoised)], from, to, 0.0);
    }
    Ok(x)
}

/// `sample_euler_ancestral` of k-diffusion.
fn euler_ancestral(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let up = run.schedule.process().ancestral_noise(from, to, run.eta);
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

/// Karras et al. (2022), algorithm 1; the last step to 0 is Euler's.
fn heun(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let guess = run.step(&x, &[(1.0, &denoised)], from, to, 0.0);
        if to > 0.0 {
            let corrected = run.model.denoise(&guess, to)?;
            let (here, there) = ((to - from) / from / 2.0, (to - from) / to / 2.0); // half of each slope
            x = combine(&[(1.0 + here, &x), (-here, &denoised), (there, &guess), (-there, &corrected)]);
        } else {
            x = guess;
        }
    }
    Ok(x)
}

fn dpm_2(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpm_2_with(run, x, 0.0)
}

fn dpm_2_ancestral(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpm_2_with(run, x, run.eta)
}

/// `sample_dpm_2` and `sample_dpm_2_ancestral` of k-diffusion: DPM-Solver-2 of Lu et al. (2022).
fn dpm_2_with(run: &mut Run<'_>, mut x: Latents, eta: f64) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        let up = run.schedule.process().ancestral_noise(from, to, eta);
        let down = (to * to - up * up).sqrt();
        if down > 0.0 {
            let middle = (from * down).sqrt();
            let guess = run.step(&x, &[(1.0, &denoised)], from, middle, 0.0);
            let r = from / middle;
            denoised = combine(&[(1.0, &x), (-r, &guess), (r, &run.model.denoise(&guess, middle)?)]);
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

/// `sample_lms` of k-diffusion: Adams–Bashforth for uneven steps, order 4.
fn lms(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut slopes: VecDeque<(f64, Latents)> = VecDeque::new(); // newest first
    for (from, to) in run.schedule.steps() {
        slopes.push_front((from, run.slope(&x, from)?));
        slopes.truncate(4);
        let nodes: Vec<f64> = slopes.iter().map(|(sigma, _)| *sigma).collect();
        let mut terms = vec![(1.0, &x)];
        terms.extend(slopes.iter().enumerate().map(|(j, (_, slope))| (lagrange_integral(&nodes, j, from, to), slope)));
        x = combine(&terms);
    }
    Ok(x)
}

/// The integral from `a` to `b` of the Lagrange polynomial of `nodes` that is 1 at node `j` (exact to degree 5).
fn lagrange_integral(nodes: &[f64], j: usize, a: f64, b: f64) -> f64 {
    let basis = |t: f64| {
        nodes.iter().enumerate().filter(|(k, _)| *k != j).map(|(_, n)| (t - n) / (nodes[j] - n)).product::<f64>()
    };
    let (middle, half, r) = (f64::midpoint(a, b), (b - a) / 2.0, 0.6_f64.sqrt());
    half * (5.0 * basis(middle - half * r) + 8.0 * basis(middle) + 5.0 * basis(middle + half * r)) / 9.0
}

/// `sample_dpmpp_2s_ancestral` of k-diffusion: DPM-Solver++(2S) of Lu et al. (2022b), algorithm 1.
fn dpmpp_2s_ancestral(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        let up = process.ancestral_noise(from, to, run.eta);
        let down = (to * to - up * up).sqrt();
        if down > 0.0 {
            let middle = process.sigma(f64::midpoint(process.lambda(from), process.lambda(down)));
            let guess = run.step(&x, &[(1.0, &denoised)], from, middle, 0.0);
            denoised = run.model.denoise(&guess, middle)?;
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

/// `sample_dpmpp_sde` of k-diffusion, with `r` 1/2.
fn dpmpp_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        if to > 0.0 {
            let middle = process.sigma(f64::midpoint(process.lambda(from), process.lambda(to)));
            let guess = run.step(&x, &[(1.0, &denoised)], from, middle, process.ancestral_noise(from, middle, run.eta));
            denoised = run.model.denoise(&guess, middle)?;
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, process.ancestral_noise(from, to, run.eta));
    }
    Ok(x)
}

fn dpmpp_2m(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, 0.0)
}

fn dpmpp_2m_sde(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, run.eta)
}

/// DPM-Solver++(2M) of Lu et al. (2022b), algorithm 2; with `eta`, `sample_dpmpp_2m_sde` of k-diffusion (midpoint).
fn dpmpp_2m_with(run: &mut Run<'_>, mut x: Latents, eta: f64) -> Result<Latents> {
    let process = run.schedule.process();
    // the last step is of first order where it ends in 0 or the run is short (diffusers' `lower_order_final`)
    let lowest = if run.schedule.len() < 15 { run.schedule.end() } else { 0.0 };
    let mut last: Option<(f64, Latents)> = None; // the previous step's length and estimate
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let h = process.lambda(to) - process.lambda(from);
        x = match &last {
            Some((h_last, old)) if to > lowest => {
                let bend = h / h_last / 2.0;
                run.step(&x, &[(1.0 + bend, &denoised), (-bend, old)], from, to, sde_noise(h, to, eta))
            }
            _ => run.step(&x, &[(1.0, &denoised)], from, to, sde_noise(h, to, eta)),
        };
        last = Some((h, denoised));
    }
    Ok(x)
}

/// How much noise the reverse SDE adds over a step of `h` in lambda that ends at `to`.
fn sde_noise(h: f64, to: f64, eta: f64) -> f64 {
    if to > 0.0 { to * (-(-2.0 * eta * h).exp_m1()).sqrt() } else { 0.0 }
}

/// `sample_dpmpp_3m_sde` of k-diffusion.
fn dpmpp_3m_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    let mut past: VecDeque<(f64, Latents)> = VecDeque::new(); // step lengths and estimates, newest first
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let h = process.lambda(to) - process.lambda(from);
        let h_eta = h * (run.eta + 1.0);
        let (phi_1, phi_2) = (-(-h_eta).exp_m1(), (-h_eta).exp_m1() / h_eta + 1.0);
        let phi_3 = phi_2 / h_eta - 0.5;
        // weights of the three newest estimates
        let weights = match (past.front(), past.get(1)) {
            (Some((h_1, _)), Some((h_2, _))) if to > 0.0 => {
                let (r0, r1) = (h_1 / h, h_2 / h);
                let (first, second) = (1.0 / r0, 1.0 / r1); // divided differences
                let (a, b) =
                    (phi_2 * (1.0 + r0 / (r0 + r1)) - phi_3 / (r0 + r1), -phi_2 * r0 / (r0 + r1) + phi_3 / (r0 + r1));
                [phi_1 + a * first, -a * first + b * second, -b * second]
            }
            (Some((h_1, _)), None) if to > 0.0 => [phi_1 + phi_2 * h / h_1, -phi_2 * h / h_1, 0.0],
            _ => [phi_1, 0.0, 0.0],
        };
        let estimates = std::iter::once(&denoised).chain(past.iter().map(|(_, old)| old));
        let mixture: Vec<_> = weights.iter().map(|w| w / phi_1).zip(estimates).collect();
        x = run.step(&x, &mixture, from, to, sde_noise(h, to, run.eta));
        past.push_front((h, denoised));
        past.truncate(2);
    }
    Ok(x)
}

/// Multistep consistency sampling (Song et al. 2023, algorithm 1): all noise of a step is fresh.
fn lcm(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        x = run.step(&x, &[(1.0, &denoised)], from, to, to);
    }
    Ok(x)
}

/// `step_plms` of diffusers' PNDM: Adams–Bashforth weights for even timesteps (Liu et al. 2022, equation 12), begun
/// with a step of Heun's.
fn plms(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut slopes: VecDeque<Latents> = VecDeque::new(); // newest first
    for (from, to) in run.schedule.steps() {
        let slope = run.slope(&x, from)?;
        slopes.push_front(slope);
        slopes.truncate(4);
        let weights: &[f64] = match slopes.len() {
            1 if run.schedule.len() > 1 && to > 0.0 => {
                let guess = combine(&[(1.0, &x), (to - from, &slopes[0])]);
                let corrected = run.slope(&guess, to)?;
                x = combine(&[(1.0, &x), ((to - from) / 2.0, &slopes[0]), ((to - from) / 2.0, &corrected)]);
                continue;
            }
            1 => &[1.0],
            2 => &[1.5, -0.5],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let moves = weights.iter().zip(&slopes).map(|(weight, slope)| (weight * (to - from), slope));
        x = combine(&std::iter::once((1.0, &x)).chain(moves).collect::<Vec<_>>());
    }
    Ok(x)
}
