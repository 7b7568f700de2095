//! Comparison with the numbers of torch, diffusers and k-diffusion in `tests/golden`, which `scripts/golden.py` made.
use super::{
    FinalSigma, Latents, ModelScheduler, NoiseSchedule, Process, Run, SAMPLERS, SCHEDULES, Sampler, Schedule,
    SchedulerClass, SigmaCurve, Spacing, Strength, TorchNoise, find_sampler, find_schedule, latents::combine,
    schedules,
};
use crate::Result;
use serde_json::Value;
use std::collections::BTreeSet;

/// A golden file.
fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The results of a golden file.
fn results(name: &str) -> Vec<Value> {
    golden(name)["results"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn worst(got: &[f64], want: &[f64], scale: impl Fn(f64) -> f64) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs() / scale(b.abs())).fold(0.0, f64::max)
}

/// Fails unless `got` is `want` to 1e-6 of each number, or of 0.01 where it is smaller.
fn assert_close(got: &[f64], want: &[f64], what: &Value) {
    let error = worst(got, want, |size| size.max(0.01));
    assert!(error < 1e-6, "{error:.1e} in {what}");
}

fn stable_diffusion() -> NoiseSchedule {
    NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap()
}

#[test]
fn noise_schedules_are_those_of_diffusers() {
    let indices = numbers(&golden("betas")["indices"]);
    for case in results("betas") {
        let ends = ["beta_start", "beta_end"].map(|name| case[name].as_f64().unwrap_or(0.0));
        let kind = case["beta_schedule"].as_str().unwrap();
        let schedule = NoiseSchedule::named(kind, ends[0], ends[1], 1000).unwrap();
        let kept: Vec<f64> = indices.iter().map(|t| 1.0 / (schedule.sigma(*t).powi(2) + 1.0)).collect();
        let error = worst(&kept, &numbers(&case["alphas_cumprod"]), |size| size);
        assert!(error < 1e-6, "{error:.1e} in {kind}");
    }
}

fn assert_noise(got: &[f32], want: &Value, what: &Value) {
    let got: Vec<f64> = got.iter().copied().map(f64::from).collect();
    let error = worst(&got, &numbers(want), |_| 1.0);
    assert!(error < 2e-6, "{error:.1e} in {what}");
}

#[test]
fn noise_is_that_of_torch() {
    for case in results("noise") {
        let size = whole(&case["size"]);
        let drawn = TorchNoise::new(case["seed"].as_u64().unwrap()).draw([1, 1, 1, size]);
        if case["values"].is_array() {
            assert_noise(drawn.values(), &case["values"], &case);
        } else {
            assert_noise(&drawn.values()[..8], &case["first"], &case);
            assert_noise(&drawn.values()[size - 8..], &case["last"], &case);
        }
    }
    for sequence in golden("noise")["sequences"].as_array().unwrap() {
        let mut noise = TorchNoise::new(sequence["seed"].as_u64().unwrap());
        for draw in sequence["draws"].as_array().unwrap() {
            let size = draw["shape"].as_array().unwrap().iter().map(whole).product();
            assert_noise(noise.draw([1, 1, 1, size]).values(), &draw["values"], draw);
        }
    }
}

/// Stable Diffusion's levels in 64 bits, as the file's `about` says.
fn precise_stable_diffusion() -> NoiseSchedule {
    let mut product = 1.0;
    let roots = schedules::linspace(0.00085_f64.sqrt(), 0.012_f64.sqrt(), 1000);
    NoiseSchedule::from_sigmas(
        roots
            .map(|root| {
                product *= 1.0 - root * root;
                ((1.0 - product) / product).sqrt()
            })
            .collect(),
    )
}

#[test]
fn every_schedule_is_that_of_its_origin() {
    let mut seen = BTreeSet::new();
    for case in results("schedules") {
        let kind = find_schedule(case["schedule"].as_str().unwrap()).unwrap();
        let process = Process::VarianceExploding;
        let schedule = kind.schedule(process, &precise_stable_diffusion(), whole(&case["n"])).unwrap();
        assert_close(schedule.sigmas(), &numbers(&case["sigmas"]), &case);
        seen.insert(kind.name);
    }
    assert_eq!(seen.len(), SCHEDULES.len(), "a schedule without golden numbers; there are {seen:?}");
}

/// The scheduler of a case of `diffusers_schedulers.json`.
fn scheduler(case: &Value) -> ModelScheduler {
    let (class, options) = (SchedulerClass::parse(case["class"].as_str().unwrap()).unwrap(), &case["options"]);
    let on = |name: &str| options[name].as_bool() == Some(true);
    ModelScheduler {
        spacing: match options["timestep_spacing"].as_str().unwrap() {
            "leading" => Spacing::Leading,
            "linspace" => Spacing::Linspace,
            "trailing" => Spacing::Trailing,
            other => panic!("{other}"),
        },
        curve: match (on("use_karras_sigmas"), on("use_exponential_sigmas")) {
            (true, _) => SigmaCurve::Karras,
            (_, true) => SigmaCurve::Exponential,
            _ => SigmaCurve::Timesteps,
        },
        steps_offset: 1,
        skip_prk_steps: on("skip_prk_steps"),
        set_alpha_to_one: on("set_alpha_to_one"),
        ..ModelScheduler::new(class, stable_diffusion())
    }
}

#[test]
fn model_schedulers_are_those_of_diffusers() {
    for case in results("diffusers_schedulers") {
        let scheduler = scheduler(&case);
        let schedule = scheduler.schedule(whole(&case["n"])).unwrap();
        let levels = schedule.sigmas();
        // diffusers' Heun and PNDM list a level or timestep as often as they use it
        let repeats = ["Heun", "PNDM"].iter().any(|class| case["class"].as_str().unwrap().starts_with(class));
        let once = |mut list: Vec<f64>| {
            if repeats {
                list.dedup();
            }
            list
        };
        let mut sigmas = once(numbers(&case["sigmas"]));
        if let Some(kept) = case["final_alpha_cumprod"].as_f64() {
            sigmas.push(((1.0 - kept) / kept).sqrt());
        }
        let timesteps = levels[..levels.len() - 1].iter().map(|s| schedule.timestep(*s, &scheduler.noise_schedule));
        assert_close(levels, &sigmas, &case);
        assert_close(&timesteps.collect::<Vec<_>>(), &once(numbers(&case["timesteps"])), &case);
        // where diffusers keeps unit variance, its factor is 1
        if let Some(factor) = case["init_noise_sigma"].as_f64() {
            let keeps = case["class"].as_str().unwrap().starts_with("DPM");
            let initial = if keeps { factor * schedule.start().hypot(1.0) } else { factor };
            assert_close(&[schedule.initial_scale()], &[initial], &case);
        }
    }
}

fn ramp(f: impl Fn(f64) -> f64) -> Latents {
    Latents::new([2, 4, 3, 3], (0..72).map(|i| f(f64::from(i)) as f32).collect()).unwrap()
}

/// Estimates the mean of data ~ N(cos(0.37 i), 0.25), and adds `bend` of a sine.
fn denoise(x: &Latents, sigma: f64, bend: f64) -> Result<Latents> {
    let (variance, scale) = (0.25 + sigma * sigma, (1.0 + sigma * sigma).sqrt());
    let sines = x.values().iter().map(|x| (3.0 * f64::from(*x) / scale).sin() as f32).collect();
    let (mean, sines) = (ramp(|i| (0.37 * i).cos()), Latents::new(x.shape(), sines)?);
    Ok(combine(&[(0.25 / variance, x), (sigma * sigma / variance, &mean), (bend, &sines)]))
}

/// The largest error in the first numbers of a run, measured against the largest of `want`.
fn error_of(sampler: &Sampler, schedule: &Schedule, bend: f64, want: &[f64]) -> f64 {
    let mut count = 0.0;
    let mut noise = |_: f64, _: f64| {
        count += 1.0;
        ramp(|i| (1.0 + 7.13 * (count - 1.0) + 0.61 * i).sin())
    };
    let x = ramp(|i| (0.5 + 1.7 * i).sin() * schedule.initial_scale());
    let mut model = |x: &Latents, sigma: f64| denoise(x, sigma, bend);
    let drawn =
        (sampler.run)(&mut Run { model: &mut model, schedule, noise: &mut noise, strength: Strength::default() }, x)
            .unwrap();
    let got = drawn.values().iter().take(want.len()).map(|x| f64::from(*x) * schedule.final_scale());
    let largest = want.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    worst(&got.collect::<Vec<_>>(), want, |_| largest)
}

#[test]
fn every_sampler_is_that_of_its_origin() {
    let mut seen = BTreeSet::new();
    let file = golden("samplers");
    for case in results("samplers") {
        let sampler = find_sampler(case["sampler"].as_str().unwrap()).unwrap();
        let grid = case["schedule"].as_str().unwrap();
        let mut sigmas = numbers(&file["sigmas"][grid]);
        assert!(sigmas.pop().unwrap().abs() < f64::EPSILON);
        let schedule = Schedule::new(Process::VarianceExploding, sigmas);
        let error = error_of(sampler, &schedule, 0.0, &numbers(&case["final"]));
        assert!(error < 1e-5, "{error:.1e} with {}, {grid}", sampler.name);
        seen.insert(sampler.name);
    }
    let bend = golden("diffusers_runs")["bend"].as_f64().unwrap();
    for case in results("diffusers_runs") {
        let scheduler = ModelScheduler {
            spacing: Spacing::Leading,
            steps_offset: 1,
            skip_prk_steps: true,
            set_alpha_to_one: false,
            final_sigma: FinalSigma::SigmaMin,
            ..ModelScheduler::new(SchedulerClass::parse(case["class"].as_str().unwrap()).unwrap(), stable_diffusion())
        };
        let schedule = scheduler.schedule(whole(&case["steps"])).unwrap();
        let error = error_of(scheduler.sampler(), &schedule, bend, &numbers(&case["final"]));
        assert!(error < 1e-5, "{error:.1e} with {case}");
        seen.insert(scheduler.sampler().name);
    }
    assert_eq!(seen.len(), SAMPLERS.len(), "a sampler without a golden run; there are {seen:?}");
}
