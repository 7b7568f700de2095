//! What holds for all samplers: order of convergence, equivalence of coordinates, errors, names.
use super::{
    Denoiser, FreshNoise, Latents, Process, Run, SAMPLERS, Schedule, Strength, find_sampler, find_schedule,
    latents::combine, schedules, split_combined,
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
    schedules::karras_between(14.6, 0.03, n, 7.0)
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

/// Rectified flow is the same ODE in other coordinates: `x_flow = x_ve / (1 + sigma_ve)`.
#[test]
fn flow_and_variance_exploding_agree() {
    for name in [
        "euler",
        "euler_cfg_pp",
        "dpmpp_2m",
        "dpmpp_2m_sde_heun",
        "dpmpp_3m_sde",
        "dpmpp_2s_ancestral",
        "dpmpp_sde",
        "res_multistep",
        "res_2s",
        "seeds_2",
        "seeds_3",
        "exp_heun_2_x0",
    ] {
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

/// A flow begins at pure noise, where the ratio of noise to data is infinite.
#[test]
fn a_flow_may_begin_at_pure_noise() {
    let mut model = |x: &Latents, sigma: f64| {
        let alpha = 1.0 - sigma;
        let share = 0.25 * alpha / (0.25 * alpha * alpha + sigma * sigma);
        Ok(combine(&[(share, x), (1.0 - alpha * share, &mean())]))
    };
    let later: Vec<f64> = (1..10).rev().map(|i| f64::from(i) / 10.0).collect();
    for sampler in SAMPLERS {
        for strength in [
            Strength { eta: 0.0, ..Strength::default() },
            Strength { s_churn: 2.0, s_tmax: 0.5, ..Strength::default() },
        ] {
            let mut draw = |start_level: f64| {
                let levels = std::iter::once(start_level).chain(later.iter().copied()).collect();
                let schedule = Schedule::new(Process::RectifiedFlow, levels);
                let mut noise = |_: f64, _: f64| start(-0.7);
                let mut run = Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength };
                (sampler.run)(&mut run, start(1.0)).unwrap()
            };
            let (whole, almost) = (draw(1.0), draw(0.9999));
            assert!(worst(&whole, &almost) < 0.02, "{}: {}", sampler.name, worst(&whole, &almost));
        }
    }
}

/// Every image of a batch is what it would be alone.
#[test]
fn a_batch_is_its_images() {
    let schedule = Schedule::new(Process::VarianceExploding, karras(5));
    let mut model = |x: &Latents, sigma: f64| Ok(combine(&[(1.0 / (1.0 + sigma), x)]));
    let whole = start(14.6);
    // the images of a batch share the steps that `dpm_adaptive` chooses
    for sampler in SAMPLERS.iter().filter(|sampler| sampler.name != "dpm_adaptive") {
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
        // these look ahead and come back
        let looks_ahead = ["heunpp2", "dpm_adaptive"].contains(&sampler.name);
        assert!(seen.is_sorted() || looks_ahead, "{}: {seen:?}", sampler.name);
        assert_eq!(seen.first(), Some(&0), "{}", sampler.name);
    }
}

#[test]
fn samplers_are_found_by_any_name() {
    for (name, want) in [
        ("DPM++ 2M", "dpmpp_2m"),
        ("EULER A", "euler_ancestral"),
        ("k_lms", "lms"),
        ("dpm fast", "dpm_fast"),
        ("k_dpm_ad", "dpm_adaptive"),
        ("Restart", "restart"),
        ("DDIM CFG++", "ddim_cfgpp"),
        ("ddim_cfgpp", "ddim_cfgpp"),
        ("euler_a_cfg_pp", "euler_ancestral_cfg_pp"),
        ("euler_ge", "gradient_estimation"),
        ("dpm++2m_sde_bt", "dpmpp_2m_sde"),
        ("dpmpp_2m_sde_gpu", "dpmpp_2m_sde"),
        ("DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun"),
        ("IPNDM_V", "ipndm_v"),
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
        assert!(find_schedule(sampler.automatic).is_ok(), "{}: {}", sampler.name, sampler.automatic);
    }
}

/// What the table says a sampler adds is what it asks for.
#[test]
fn samplers_add_the_noise_they_say() {
    let schedule = Schedule::new(Process::VarianceExploding, karras(24));
    for sampler in SAMPLERS {
        let draws = |strength: Strength| {
            let mut count = 0;
            let mut noise = |_: f64, _: f64| {
                count += 1;
                ramp(|i| (0.61 * i).sin())
            };
            let mut model = gaussian();
            let mut run = Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength };
            let drawn = (sampler.run)(&mut run, start(14.6)).unwrap();
            (count, drawn)
        };
        let plain = Strength { eta: sampler.eta.unwrap_or(0.0), ..Strength::default() };
        let (_, without) = draws(Strength { eta: 0.0, ..plain });
        let (with, noisy) = draws(Strength { eta: 1.0, ..plain });
        let (churned, churny) = draws(Strength { s_churn: 1.0, ..plain });
        assert_eq!(noisy != without, sampler.eta.is_some(), "{}", sampler.name);
        assert_eq!(churny != draws(plain).1, sampler.churns, "{}", sampler.name);
        assert_eq!(with + churned > 0, sampler.noise != FreshNoise::None, "{}", sampler.name);
    }
}

#[test]
fn old_combined_names_are_split() {
    for (name, sampler, schedule) in [
        ("DPM++ 2M Karras", "dpmpp_2m", Some("karras")),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde", Some("exponential")),
        ("euler a sgm uniform", "euler_ancestral", Some("sgm_uniform")),
        ("dpmpp_2m_karras", "dpmpp_2m", Some("karras")),
        ("DPM++ 2M SDE Heun Karras", "dpmpp_2m_sde_heun", Some("karras")),
        ("DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", None),
        ("DPM2 a Karras", "dpm_2_ancestral", Some("karras")),
        ("DPM++ 3M SDE Exponential", "dpmpp_3m_sde", Some("exponential")),
        ("Euler SGMUniform", "euler", Some("sgm_uniform")),
        ("Euler a Uniform", "euler_ancestral", Some("normal")),
        ("Euler Align Your Steps", "euler", Some("align_your_steps")),
        ("k_dpmpp_2m_ka", "dpmpp_2m", Some("karras")),
        ("k_dpmpp_2m_sde_exp", "dpmpp_2m_sde", Some("exponential")),
        ("dpmpp_2m_sde_k", "dpmpp_2m_sde", Some("karras")),
        ("kdpm_2_a_k", "dpm_2_ancestral", Some("karras")),
        ("IPNDM_V Karras", "ipndm_v", Some("karras")),
        ("Euler", "euler", None),
    ] {
        let (found, kind) = split_combined(name).unwrap();
        assert_eq!((found.name, kind.map(|kind| kind.name)), (sampler, schedule), "{name}");
    }
    for name in ["Karras", " Karras", "DPM Karras", "ß", ""] {
        assert_eq!(split_combined(name).unwrap_err().to_string(), format!("unknown sampler `{name}`"));
    }
}
