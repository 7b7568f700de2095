//! Comparison with the scheduler classes of diffusers: `scripts/golden_schedulers.py` for timesteps and noise levels,
//! `scripts/golden_solvers.py` for whole runs.
use super::{scheduler_config::SchedulerFile, scheduler_fields::read};
use crate::{
    Result,
    sampling::{CLASSES, Latents, ModelScheduler, Process, Run, Schedule, SchedulerClass, Strength},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Options that are refused by name, whatever their value, and the class where that depends on it.
const REFUSED: &[(&str, &str)] = &[
    ("", "tau_func"),
    ("", "solver_p"),
    ("", "invert_sigmas"),
    ("IPNDM", "trained_betas"),
    ("DPMSolverMultistep", "variance_type"), // of any but `learned`, it has no effect
    ("DPMSolverSinglestep", "variance_type"),
    ("SASolver", "variance_type"),
];

/// What goes wrong in diffusers by rounding alone, and not here.
const BETTER: &[(&str, &str)] = &[("KDPM2AncestralDiscrete", "beta_schedule")];

fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(|number| number.as_f64().unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// The scheduler of a file with these options.
fn scheduler(class: &str, options: &[&Map<String, Value>]) -> Result<ModelScheduler> {
    let mut fields: Map<String, Value> = options.iter().flat_map(|options| (*options).clone()).collect();
    fields.insert("_class_name".into(), format!("{class}Scheduler").into());
    SchedulerFile::new(fields, None).own()
}

fn latents(value: f32) -> Latents {
    Latents::new([1, 1, 1, 1], vec![value]).unwrap()
}

/// The timesteps that the network is asked with, in order; `count` are expected.
fn asked(scheduler: &ModelScheduler, schedule: &Schedule, count: usize) -> Vec<f64> {
    let mut seen = Vec::new();
    let mut model = |x: &Latents, sigma: f64| {
        seen.push(schedule.timestep(sigma, scheduler.noise_schedule()));
        Ok(latents(0.5 * x.values()[0]))
    };
    let mut noise = |_: f64, _: f64| latents(0.25);
    let strength = Strength { eta: scheduler.eta(), ..Strength::default() };
    let mut run = Run { model: &mut model, schedule, noise: &mut noise, strength };
    scheduler.run(&mut run, latents(0.5), 0).unwrap();
    let levels = schedule.sigmas();
    if schedule.steps().count() < schedule.len() && seen.len() < count {
        // at the start of a step of no length diffusers asks, though nothing comes of it
        seen.push(schedule.timestep(levels[levels.len() - 2], scheduler.noise_schedule()));
    }
    seen
}

/// The largest error of `got`, of each number or of `least` where it is smaller, against a list of the file.
fn error(got: &[f64], list: &Value, least: f64) -> f64 {
    let relative = |got: f64, want: f64| (got - want).abs() / want.abs().max(least);
    if list["whole"].is_array() {
        let want = numbers(&list["whole"]);
        if got.len() != want.len() {
            return f64::INFINITY;
        }
        return got.iter().zip(want).map(|(got, want)| relative(*got, want)).fold(0.0, f64::max);
    }
    let want = numbers(&list["sampled"]);
    if got.len() != want[0] as usize {
        return f64::INFINITY;
    }
    let places = (0..5).map(|i| (f64::from(i) * (got.len() - 1) as f64 / 4.0).round_ties_even() as usize);
    let sampled = places.zip(&want[2..]).map(|(place, want)| relative(got[place], *want));
    sampled.chain([relative(got.iter().sum(), want[1])]).fold(0.0, f64::max)
}

/// The error of one run; what went wrong there goes wrong here, and nothing else.
fn compare(
    file: &Value,
    class: &str,
    made: &Result<ModelScheduler>,
    found: &Value,
) -> std::result::Result<f64, String> {
    let steps = whole(&found[0]);
    let tokens = Some(whole(&file["about"]["tokens"]));
    let schedule = made.as_ref().map_err(ToString::to_string).and_then(|scheduler| {
        scheduler.schedule(steps, tokens).map(|schedule| (scheduler, schedule)).map_err(|error| error.to_string())
    });
    let (scheduler, schedule) = match (schedule, found[1].as_str()) {
        (Err(_), Some(_)) => return Ok(0.0),
        (Ok((scheduler, schedule)), None) => (scheduler, schedule),
        (Ok(_), Some(fault)) => return Err(format!("diffusers ends in {fault}")),
        (Err(fault), None) => return Err(fault),
    };
    let list = |place: usize| &file["lists"][found[place].to_string()];
    let levels = error(schedule.sigmas(), list(1), 1e-3);
    let unit = class != "IPNDM"; // its timesteps are 0 to 1
    let count = list(2)["sampled"][0].as_u64().map_or_else(|| numbers(&list(2)["whole"]).len(), |count| count as usize);
    let timesteps = error(&asked(scheduler, &schedule, count), list(2), if unit { 1.0 } else { 1e-3 });
    let own = match (scheduler.process(), scheduler.class().keeps_variance()) {
        (Process::VarianceExploding, true) => schedule.start().hypot(1.0),
        _ => 1.0,
    };
    let start = (schedule.initial_scale() / own / found[3].as_f64().unwrap() - 1.0).abs();
    Ok(levels.max(timesteps).max(start))
}

#[test]
fn timesteps_and_levels_are_those_of_diffusers() {
    let file = golden("diffusers_schedulers");
    let mut faults = Vec::new();
    let mut worst = BTreeMap::new();
    for case in file["results"].as_array().unwrap() {
        let (class, varied) = (text(&case["class"]), text(&case["varied"]));
        let mut options = case["options"].as_object().unwrap().clone();
        if options.contains_key("trained_betas") {
            options.insert("trained_betas".into(), file["about"]["trained_betas"].clone());
        }
        let (betas, none) = (file["about"]["betas"].as_object().unwrap(), Map::new());
        let made = scheduler(class, &[if varied == "betas" { &none } else { betas }, &options]);
        for found in case["runs"].as_array().unwrap() {
            let compared = compare(&file, class, &made, found);
            let better = found[1].is_string() && BETTER.contains(&(class, varied));
            let fault = compared.as_ref().err().cloned().unwrap_or_default();
            let error = compared.unwrap_or(if better { 0.0 } else { f64::INFINITY });
            println!("fidelity: schedulers {class} {} {} {error:.1e}", found[0], case["options"]);
            let worst: &mut f64 = worst.entry(class.to_owned()).or_default();
            *worst = worst.max(error);
            if error > 1e-6 {
                faults.push(format!("{class} {} {}: {error:.1e} {fault}", found[0], case["options"]));
            }
        }
    }
    for (class, error) in worst {
        println!("fidelity: schedulers, worst of {class}: {error:.1e}");
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What `pipe.scheduler = Class.from_config(pipe.scheduler.config)` means.
#[test]
fn a_models_configuration_moves_to_other_classes_as_in_diffusers() {
    let file = golden("diffusers_schedulers");
    let mut faults = Vec::new();
    for case in file["moved"].as_array().unwrap() {
        let (model, class) = (text(&case["config"]), text(&case["class"]));
        let config = file["configs"].as_array().unwrap().iter().find(|config| config["name"] == model).unwrap();
        let fields = config["file"].as_object().unwrap().clone();
        let read = SchedulerFile::new(fields, Some("StableDiffusionPipeline"));
        let made = if case["own"] == true {
            read.own()
        } else {
            read.moved_to(SchedulerClass::named(&format!("{class}Scheduler")).unwrap(), &[])
        };
        for found in case["runs"].as_array().unwrap() {
            let compared = compare(&file, class, &made, found);
            let fault = compared.as_ref().err().cloned().unwrap_or_default();
            let error = compared.unwrap_or(f64::INFINITY);
            println!("fidelity: schedulers from_config, {model}, {class} {}: {error:.1e}", found[0]);
            if error > 1e-6 {
                faults.push(format!("{model}, {class} {}: {error:.1e} {fault}", found[0]));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_option_of_every_class_is_known_has_its_default_and_golden_numbers() {
    let file = golden("diffusers_schedulers");
    let classes = file["classes"].as_array().unwrap();
    assert_eq!(classes.len(), CLASSES.len());
    for entry in classes {
        let (name, fields) = (text(&entry["class"]), entry["fields"].as_object().unwrap());
        let class = SchedulerClass::named(&format!("{name}Scheduler")).unwrap();
        let row = class.row();
        let known: usize = row.fields.iter().map(|group| group.len()).sum();
        assert_eq!(known, fields.len(), "{name}");
        for (field, default) in fields {
            assert!(row.has(field), "{name} has no {field}");
            let one = Map::from_iter([(field.clone(), default.clone())]);
            assert_eq!(read(class, &one).unwrap(), row.usual, "{name}: {field} is {default} by default");
            let varied = file["results"]
                .as_array()
                .unwrap()
                .iter()
                .any(|case| text(&case["class"]) == name && text(&case["varied"]) == field);
            let refused =
                REFUSED.iter().any(|(class, refused)| refused == field && (class.is_empty() || *class == name));
            assert!(varied != refused || (varied && field == "variance_type"), "{name}: {field} has no golden numbers");
        }
    }
}

fn ramp(f: impl Fn(f64) -> f64) -> Latents {
    Latents::new([2, 4, 3, 3], (0..72).map(|i| f(f64::from(i)) as f32).collect()).unwrap()
}

fn mapped(x: &Latents, f: impl Fn(usize, f64) -> f64) -> Latents {
    let values = x.values().iter().enumerate().map(|(i, x)| f(i, f64::from(*x)) as f32).collect();
    Latents::new(x.shape(), values).unwrap()
}

/// The denoiser of data ~ N(cos(0.37 i), 0.25), and a tenth of a sine.
fn denoise(x: &Latents, sigma: f64) -> Latents {
    let variance = 0.25 + sigma * sigma;
    mapped(x, |i, x| {
        let mean = (0.37 * i as f64).cos();
        (0.25 * x + sigma * sigma * mean) / variance + 0.1 * (3.0 * x / (1.0 + sigma * sigma).sqrt()).sin()
    })
}

/// The final latents of a run of `scheduler` on a denoiser that can be written down.
fn drawn(scheduler: &ModelScheduler, schedule: &Schedule, eta: f64, skipped: usize) -> Latents {
    let mut count = 0.0;
    let mut noise = |_: f64, _: f64| {
        count += 1.0;
        ramp(|i| (1.0 + 7.13 * (count - 1.0) + 0.61 * i).sin())
    };
    let flow = schedule.process() == Process::RectifiedFlow;
    let mut model = |x: &Latents, sigma: f64| {
        let kept = if flow { (1.0 - sigma).max(1e-9) } else { 1.0 };
        Ok(denoise(&mapped(x, |_, x| x / kept), sigma / kept))
    };
    let strength = Strength { eta, ..Strength::default() };
    let mut run = Run { model: &mut model, schedule, noise: &mut noise, strength };
    // the file begins all runs of variance-exploding levels alike, whatever `init_noise_sigma` says
    let scale = if flow { schedule.start() } else { schedule.start().hypot(1.0) };
    let start = ramp(|i| (0.5 + 1.7 * i).sin() * scale);
    let end = scheduler.run(&mut run, start, skipped).unwrap();
    mapped(&end, |_, x| x * schedule.final_scale())
}

#[test]
fn runs_are_those_of_diffusers() {
    let file = golden("diffusers_solvers");
    let (shown, mut faults) = (numbers(&file["about"]["shown"]), Vec::new());
    for case in file["results"].as_array().unwrap() {
        let class = text(&case["class"]);
        if class.starts_with("EDM") || case["tau"].is_number() {
            continue; // refused
        }
        let betas = file["about"]["defaults"].as_object().unwrap();
        let steps = file["grids"][whole(&case["grid"])]["sigmas"].as_array().unwrap().len() - 1;
        let what = format!("{class} {steps} {} eta {}", case["options"], case["eta"]);
        let made = scheduler(class, &[betas, case["options"].as_object().unwrap()]);
        let made = made.and_then(|scheduler| scheduler.schedule(steps, None).map(|schedule| (scheduler, schedule)));
        let error = match made {
            Ok((scheduler, schedule)) => {
                let eta = case["eta"].as_f64().unwrap_or_else(|| scheduler.eta());
                let skipped = case["skipped"].as_u64().unwrap_or(0) as usize;
                let got = drawn(&scheduler, &schedule.after(skipped), eta, skipped);
                let want = numbers(&case["final"]);
                let largest = want.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
                let got = shown.iter().map(|place| f64::from(got.values()[*place as usize]));
                got.zip(&want).map(|(got, want)| (got - want).abs() / largest).fold(0.0, f64::max)
            }
            Err(fault) => {
                faults.push(format!("{what}: {fault}"));
                continue;
            }
        };
        println!("fidelity: schedulers, run of {what}: {error:.1e}");
        if error.is_nan() || error > 1e-5 {
            faults.push(format!("{what}: {error:.1e}"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
