//! What holds for all samplers: order of convergence, equivalence of coordinates, errors, names.
use super::{
    Denoiser, Latents, Process, Run, SAMPLERS, Schedule, Strength, find_sampler, latents::combine, schedules,
    split_combined,
};
use crate::{Error, Result};

const SHAPE: [usize; 4] = [2, 4, 3, 3];

fn ramp(f: impl Fn(f64) -> f64) -> Latents {
    Latents::new(SHAPE, (0..72).map(|i| f(f64::from(i)) as f32).collect()).unwrap()
}

fn start(scale: f64) -> Latents {
    ramp(|i| (0.5 + 1.7 * i).sin() * scale)
}

fn mean() -> Latents {
    ramp(|i| (0.37 * i).cos())
}

/// The exact denoiser of data ~ N(mean, 0.25).
fn gaussian() -> impl FnMut(&Latents, f64) -> Result<Latents> {
    move |x: &Latents, sigma: f64| {
        let variance = 0.25 + sigma * sigma;
        Ok(combine(&[(0.25 / variance, x), (sigma * sigma / variance, &mean())]))
    }
}

fn worst(a: &Latents, b: &Latents) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.values().iter().zip(b.values()).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

fn karras(n: usize) -> Vec<f64> {
    schedules::karras_between(14.6, 0.03, n)
}

/// A run without fresh noise.
fn sample(name: &str, model: &mut dyn Denoiser, schedule: &Schedule, x: Latents) -> Latents {
    let mut noise = |_: f64, _: f64| unreachable!("eta is 0");
    let sampler = find_sampler(name).unwrap();
    (sampler.run)(
        &mut Run { model, schedule, noise: &mut noise, strength: Strength { eta: 0.0, ..Strength::default() } },
        x,
    )
    .unwrap()
}

/// Halving the step divides the error by 2^order.
#[test]
fn samplers_converge_at_their_order() {
    let (min, max) = (0.03_f64, 14.6_f64);
    // the probability-flow ODE of a Gaussian has a closed form
    let shrink = ((0.25 + min * min) / (0.25 + max * max)).sqrt();
    let exact = combine(&[(1.0 - shrink, &mean()), (shrink, &start(max))]);
    for (name, order) in [
        ("euler", 1.0),
        ("euler_ancestral", 1.0),
        ("ddim", 1.0),
        ("heun", 2.0),
        ("dpm_2", 2.0),
        ("dpm_2_ancestral", 2.0),
        ("dpmpp_2s_ancestral", 2.0),
        ("dpmpp_sde", 2.0),
        ("dpmpp_2m", 2.0),
        ("dpmpp_2m_sde", 2.0),
        ("plms", 2.0),         // its weights are of order 4 only for steps of equal length
        ("dpmpp_3m_sde", 2.0), // of order 3 but for its first step
        ("lms", 3.0),
    ] {
        let error = |n| {
            let process = Process::VarianceExploding;
            let schedule = Schedule::with_timesteps(process, karras(n), None, schedules::Scaling::Sigma);
            worst(&sample(name, &mut gaussian(), &schedule, start(max)), &exact)
        };
        let (coarse, fine) = (error(33), error(65)); // 32 and 64 steps
        let measured = f64::from(coarse / fine).log2();
        assert!(measured > order - 0.25, "{name} is of order {measured:.2}: {coarse:.1e}, {fine:.1e}");
    }
}

/// Rectified flow is the same ODE in other coordinates: `x_flow = x_ve / (1 + sigma_ve)`.
#[test]
fn flow_and_variance_exploding_agree() {
    for name in ["euler", "dpmpp_2m", "dpmpp_3m_sde", "dpmpp_2s_ancestral", "dpmpp_sde"] {
        let exploding = Schedule::new(Process::VarianceExploding, karras(12));
        let in_flow = karras(12).iter().map(|sigma| sigma / (1.0 + sigma)).collect();
        let flow = Schedule::new(Process::RectifiedFlow, in_flow);
        let mut model = gaussian();
        let mut flow_model = |x: &Latents, s: f64| model.denoise(&combine(&[(1.0 / (1.0 - s), x)]), s / (1.0 - s));
        let a = sample(name, &mut gaussian(), &exploding, start(14.6));
        let b = sample(name, &mut flow_model, &flow, start(14.6 / 15.6));
        assert!(worst(&a, &b) < 1e-4, "{name}: {:.1e}", worst(&a, &b));
    }
}

/// Every image of a batch is what it would be alone.
#[test]
fn a_batch_is_its_images() {
    let schedule = Schedule::new(Process::VarianceExploding, karras(5));
    let mut model = |x: &Latents, sigma: f64| Ok(combine(&[(1.0 / (1.0 + sigma), x)]));
    let whole = start(14.6);
    for sampler in SAMPLERS {
        let mut draw = |shape: [usize; 4], x: Latents| {
            let mut noise = |_: f64, _: f64| Latents::new(shape, vec![0.5; shape.iter().product()]).unwrap();
            let mut run =
                Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength: Strength::default() };
            (sampler.run)(&mut run, x).unwrap()
        };
        let batch = draw(SHAPE, whole.clone());
        for (image, drawn) in whole.values().chunks(36).zip(batch.values().chunks(36)) {
            let shape = [1, SHAPE[1], SHAPE[2], SHAPE[3]];
            assert_eq!(draw(shape, Latents::new(shape, image.to_vec()).unwrap()).values(), drawn, "{}", sampler.name);
        }
    }
}

/// Steps count up as a run asks, and an error of the model ends it.
#[test]
fn steps_count_up_and_an_error_ends_the_run() {
    let schedule = Schedule::new(Process::VarianceExploding, karras(10));
    for sampler in SAMPLERS {
        let mut seen = Vec::new();
        let mut inner = gaussian();
        let mut model = |x: &Latents, sigma: f64| {
            let step = schedule.step_at(sigma);
            seen.push(step);
            if step == 4 { Err(Error::Cancelled) } else { inner.denoise(x, sigma) }
        };
        let mut noise = |_: f64, _: f64| Latents::zeros(SHAPE);
        let mut run = Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength: Strength::default() };
        assert!(matches!((sampler.run)(&mut run, start(14.6)), Err(Error::Cancelled)), "{}", sampler.name);
        assert!(seen.is_sorted() && seen.first() == Some(&0), "{}: {seen:?}", sampler.name);
    }
}

#[test]
fn samplers_are_found_by_any_name() {
    for (name, want) in [
        ("DPM++ 2M", "dpmpp_2m"),
        ("EULER A", "euler_ancestral"),
        ("k_lms", "lms"),
        ("dpm++2s_a", "dpmpp_2s_ancestral"),
        ("PNDMScheduler", "plms"),
    ] {
        assert_eq!(find_sampler(name).unwrap().name, want);
    }
    let error = find_sampler("eulr").unwrap_err();
    assert_eq!(error.to_string(), "unknown sampler `eulr`");
    assert!(error.hint().unwrap().starts_with("use `euler`, or another of: euler, euler_ancestral,"));
    for sampler in SAMPLERS {
        for name in sampler.names() {
            assert_eq!(find_sampler(name).unwrap().name, sampler.name, "{name} means two samplers");
        }
    }
}

#[test]
fn old_combined_names_are_split() {
    for (name, sampler, schedule) in [
        ("DPM++ 2M Karras", "dpmpp_2m", Some("karras")),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde", Some("exponential")),
        ("euler a sgm uniform", "euler_ancestral", Some("sgm_uniform")),
        ("dpmpp_2m_karras", "dpmpp_2m", Some("karras")),
        ("Euler", "euler", None),
    ] {
        let (found, kind) = split_combined(name).unwrap();
        assert_eq!((found.name, kind.map(|kind| kind.name)), (sampler, schedule), "{name}");
    }
    for name in ["Karras", " Karras", "DPM Karras", "ß", ""] {
        assert_eq!(split_combined(name).unwrap_err().to_string(), format!("unknown sampler `{name}`"));
    }
}
