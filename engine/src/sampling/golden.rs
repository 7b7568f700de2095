//! Comparison with the numbers of torch, diffusers and k-diffusion in `tests/golden`, which `scripts/golden.py` made.
use super::{BetaSchedule, Latents, NoiseSchedule, Process, SCHEDULES, TerminalSignal, find_schedule, schedules};
use serde_json::Value;
use std::collections::BTreeSet;

/// A golden file.
pub(super) fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The results of a golden file.
pub(super) fn results(name: &str) -> Vec<Value> {
    golden(name)["results"].as_array().unwrap().clone()
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

pub(super) fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

pub(super) fn worst(got: &[f64], want: &[f64], scale: impl Fn(f64) -> f64) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs() / scale(b.abs())).fold(0.0, f64::max)
}

#[test]
fn noise_schedules_are_those_of_diffusers() {
    let indices = numbers(&golden("betas")["indices"]);
    for case in results("betas") {
        let ends = ["beta_start", "beta_end"].map(|name| case[name].as_f64().unwrap_or(0.0));
        let kind = case["beta_schedule"].as_str().unwrap();
        let growth = match kind {
            "linear" => BetaSchedule::Linear,
            "scaled_linear" => BetaSchedule::ScaledLinear,
            "squaredcos_cap_v2" => BetaSchedule::Cosine,
            other => panic!("{other}"),
        };
        let betas = growth.betas(ends[0], ends[1], 1000).unwrap();
        let schedule = NoiseSchedule::trained(&betas, TerminalSignal::Kept).unwrap();
        let kept: Vec<f64> = indices.iter().map(|t| 1.0 / (schedule.sigma(*t).powi(2) + 1.0)).collect();
        let error = worst(&kept, &numbers(&case["alphas_cumprod"]), |size| size);
        assert!(error < 1e-6, "{error:.1e} in {kind}");
    }
}

/// Stable Diffusion's levels in 64 bits, as the file's `about` says.
pub(super) fn precise_stable_diffusion() -> NoiseSchedule {
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
    let noise = precise_stable_diffusion();
    let named = |case: &Value| {
        let kind = find_schedule(case["schedule"].as_str().unwrap()).unwrap();
        let schedule = kind.schedule(Process::VarianceExploding, &noise, whole(&case["n"]), case["rho"].as_f64());
        (kind.name, schedule.unwrap())
    };
    for case in results("schedules") {
        let (name, schedule) = named(&case);
        let error = worst(schedule.sigmas(), &numbers(&case["sigmas"]), |size| size.max(1e-3));
        println!("fidelity: named {name} {} {error:.1e}", case["n"]);
        assert!(error < 1e-9, "{error:.1e} in {case}");
        seen.insert(name);
    }
    for case in golden("schedules")["lengths"].as_array().unwrap() {
        assert_eq!(named(case).1.sigmas().len(), whole(&case["levels"]), "{case}");
    }
    for case in golden("schedules")["lu"].as_array().unwrap() {
        let (min, max) = noise.range();
        let levels = schedules::exponential_between(max, min, whole(&case["n"]));
        assert!(worst(&levels, &numbers(&case["sigmas"]), |size| size) < 1e-9, "{case}");
    }
    assert_eq!(seen.len(), SCHEDULES.len(), "a schedule without golden numbers; there are {seen:?}");
}

#[test]
fn quantiles_of_beta_distributions_are_those_of_scipy() {
    for case in golden("schedules")["quantiles"].as_array().unwrap() {
        let [alpha, beta] = ["alpha", "beta"].map(|name| case[name].as_f64().unwrap());
        let levels = schedules::beta_between(1.0, 0.0, whole(&case["n"]), alpha, beta);
        let error = worst(&levels, &numbers(&case["levels"]), |_| 1.0);
        assert!(error < 1e-11, "{error:.1e} in {case}");
    }
}

pub(super) fn ramp(f: impl Fn(f64) -> f64) -> Latents {
    Latents::new([2, 4, 3, 3], (0..72).map(|i| f(f64::from(i)) as f32).collect()).unwrap()
}
