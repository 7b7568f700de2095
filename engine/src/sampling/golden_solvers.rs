//! Comparison with what diffusers' solvers make of a bent Gaussian: `scripts/golden_solvers.py`.
use super::{
    Latents, NoiseSchedule, Process, Run, Schedule, Strength,
    clip::Clip,
    latents::combine,
    samplers::{
        consistency,
        ddim::{self, Ddim, Variance},
        deis::{self, Deis},
        dpm_solver::{self, Algorithm, DpmSolver},
        find_sampler,
        pndm::{self, Pndm},
        sa_solver::{self, SaSolver},
        unipc::{self, UniPc},
    },
    schedules::Scaling,
};
use crate::Result;
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/diffusers_solvers.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|all| all.iter().map(|number| number.as_f64().unwrap()).collect()).unwrap_or_default()
}

fn ramp(f: impl Fn(f64) -> f64) -> Latents {
    Latents::new([2, 4, 3, 3], (0..72).map(|i| f(f64::from(i)) as f32).collect()).unwrap()
}

/// Estimates the mean of data ~ N(cos(0.37 i), 0.25), and adds a tenth of a sine.
fn denoise(x: &Latents, sigma: f64) -> Latents {
    let (variance, scale) = (0.25 + sigma * sigma, (1.0 + sigma * sigma).sqrt());
    let sines = x.values().iter().map(|x| (3.0 * f64::from(*x) / scale).sin() as f32).collect();
    let (mean, sines) = (ramp(|i| (0.37 * i).cos()), Latents::new(x.shape(), sines).unwrap());
    combine(&[(0.25 / variance, x), (sigma * sigma / variance, &mean), (0.1, &sines)])
}

/// One case of the golden file: a class, its options and its levels.
struct Case<'a> {
    value: &'a Value,
    grid: &'a Value,
}

impl Case<'_> {
    fn class(&self) -> &str {
        self.value["class"].as_str().unwrap()
    }

    fn option(&self, name: &str) -> &Value {
        &self.value["options"][name]
    }

    fn text(&self, name: &str, default: &'static str) -> &str {
        self.option(name).as_str().unwrap_or(default)
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.option(name).as_bool().unwrap_or(default)
    }

    fn whole(&self, name: &str, default: usize) -> usize {
        self.option(name).as_u64().map_or(default, |number| number as usize)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.option(name).as_f64().unwrap_or(default)
    }

    fn flow(&self) -> bool {
        self.class().starts_with("FlowMatch") || self.flag("use_flow_sigmas", false)
    }

    fn schedule(&self) -> Schedule {
        let exploding = ["Heun", "KDPM2", "LMS", "EDM", "DPMSolverSDE"];
        let (process, scaling) = match self.class() {
            _ if self.flow() => (Process::RectifiedFlow, Scaling::Sigma),
            class if exploding.iter().any(|start| class.starts_with(start)) => {
                (Process::VarianceExploding, Scaling::UnitStart)
            }
            _ => (Process::VarianceExploding, Scaling::UnitVariance),
        };
        let (mut sigmas, mut timesteps) = (numbers(&self.grid["sigmas"]), numbers(&self.grid["timesteps"]));
        sigmas.drain(..self.skipped());
        timesteps.drain(..self.skipped());
        Schedule::with_timesteps(process, sigmas, Some(timesteps), scaling)
    }

    /// How many steps are left out at the start.
    fn skipped(&self) -> usize {
        self.value["skipped"].as_u64().unwrap_or(0) as usize
    }

    fn clip(&self) -> Clip {
        if self.flag("thresholding", false) {
            let ratio = self.number("dynamic_thresholding_ratio", 0.995);
            Clip::Dynamic { ratio, max: self.number("sample_max_value", 1.0) }
        } else if self.flag("clip_sample", false) {
            Clip::Range(self.number("clip_sample_range", 1.0))
        } else {
            Clip::None
        }
    }

    fn dpm_solver(&self) -> DpmSolver {
        DpmSolver {
            order: self.whole("solver_order", 2),
            algorithm: match self.text("algorithm_type", "dpmsolver++") {
                "dpmsolver" => Algorithm::DpmSolver,
                "dpmsolver++" => Algorithm::DpmSolverPlusPlus,
                "sde-dpmsolver" => Algorithm::SdeDpmSolver,
                _ => Algorithm::SdeDpmSolverPlusPlus,
            },
            heun: self.text("solver_type", "midpoint") == "heun",
            lower_order_final: self.flag("lower_order_final", self.class() != "DPMSolverSinglestep"),
            euler_at_final: self.flag("euler_at_final", false),
            skipped: self.skipped(),
        }
    }

    fn uni_pc(&self) -> UniPc {
        UniPc {
            order: self.whole("solver_order", 2),
            bh1: self.text("solver_type", "bh2") == "bh1",
            predict_x0: self.flag("predict_x0", true),
            lower_order_final: self.flag("lower_order_final", true),
            disable_corrector: numbers(self.option("disable_corrector")).iter().map(|step| *step as usize).collect(),
            skipped: self.skipped(),
        }
    }

    fn sa_solver(&self) -> SaSolver {
        let tau = |timestep: &f64| f64::from(u8::from((200.0..=800.0).contains(timestep)));
        let given = self.value["tau"].as_f64();
        SaSolver {
            predictor_order: self.whole("predictor_order", 2),
            corrector_order: self.whole("corrector_order", 2),
            data_prediction: self.text("algorithm_type", "data_prediction") == "data_prediction",
            lower_order_final: self.flag("lower_order_final", true),
            tau: numbers(&self.grid["timesteps"]).iter().map(|t| given.unwrap_or_else(|| tau(t))).collect(),
        }
    }

    fn pndm(&self) -> Pndm {
        let stages = self.value["runge_kutta"].as_array().cloned().unwrap_or_default();
        Pndm {
            velocity: self.text("prediction_type", "epsilon") == "v_prediction",
            runge_kutta: stages.iter().map(|levels| numbers(levels).try_into().unwrap()).collect(),
            ends: numbers(&self.value["ends"]),
            restart: self.value["restart"].as_f64(),
            ..Pndm::default()
        }
    }

    /// The call that stands for the class.
    fn solve(&self, run: &mut Run<'_>, x: Latents) -> Result<Latents> {
        let deis = Deis {
            order: self.whole("solver_order", 2),
            lower_order_final: self.flag("lower_order_final", true),
            skipped: self.skipped(),
        };
        let levels = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000)?;
        let large = self.text("variance_type", "fixed_small").starts_with("fixed_large");
        match self.class() {
            "DPMSolverMultistep" | "EDMDPMSolverMultistep" => {
                dpm_solver::dpm_solver_multistep(run, x, &self.dpm_solver())
            }
            "DPMSolverSinglestep" => dpm_solver::dpm_solver_singlestep(run, x, &self.dpm_solver()),
            "UniPCMultistep" => unipc::uni_pc(run, x, &self.uni_pc()),
            "DEISMultistep" => deis::deis_with(run, x, &deis),
            "SASolver" => sa_solver::sa_solver_with(run, x, &self.sa_solver()),
            "DDIM" => ddim::ddim_with(run, x, &Ddim { clip: self.clip(), ends: numbers(&self.value["ends"]) }),
            "DDPM" => ddim::ddpm_with(run, x, if large { Variance::Large } else { Variance::Small }),
            "PNDM" => pndm::pndm(run, x, &self.pndm()),
            "IPNDM" => pndm::ipndm(run, x),
            "LCM" => consistency::lcm_with(run, x, self.number("timestep_scaling", 10.0)),
            "TCD" => consistency::tcd_with(run, x, &levels),
            class => (find_sampler(self.same_as(class)).unwrap().run)(run, x),
        }
    }

    /// The sampler of k-diffusion that does what a class does.
    fn same_as(&self, class: &str) -> &'static str {
        match class {
            "HeunDiscrete" | "FlowMatchHeunDiscrete" => "heun",
            "KDPM2Discrete" => "dpm_2",
            "KDPM2AncestralDiscrete" => "dpm_2_ancestral",
            "LMSDiscrete" => "lms",
            "DPMSolverSDE" => "dpmpp_sde",
            "FlowMatchEulerDiscrete" if self.flag("stochastic_sampling", false) => "lcm",
            "FlowMatchEulerDiscrete" | "EDMEuler" => "euler",
            _ => panic!("{class} is not known"),
        }
    }

    /// The largest error in what is shown of the final latents of `solve`, measured against the largest of them.
    fn error(
        &self,
        shown: &[f64],
        strength: Strength,
        solve: impl FnOnce(&mut Run<'_>, Latents) -> Result<Latents>,
    ) -> f64 {
        let schedule = self.schedule();
        let mut count = 0.0;
        let mut noise = |_: f64, _: f64| {
            count += 1.0;
            ramp(|i| (1.0 + 7.13 * (count - 1.0) + 0.61 * i).sin())
        };
        let flow = self.flow();
        let mut model = |x: &Latents, sigma: f64| {
            let kept = if flow { (1.0 - sigma).max(1e-9) } else { 1.0 };
            Ok(denoise(&x.scaled(1.0 / kept), sigma / kept))
        };
        let mut run = Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength };
        let x = ramp(|i| (0.5 + 1.7 * i).sin() * schedule.initial_scale());
        let clip = if self.class() == "DDIM" { Clip::None } else { self.clip() };
        let drawn = run.clipped(clip, x, solve).unwrap().scaled(schedule.final_scale());
        let want = numbers(&self.value["final"]);
        let largest = want.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let got = shown.iter().map(|place| f64::from(drawn.values()[*place as usize]));
        got.zip(&want).map(|(got, want)| (got - want).abs() / largest).fold(0.0, f64::max)
    }
}

/// Samplers by name: the class and options of the cases that each must agree with.
pub(super) const NAMED: &[(&str, &str, &str)] = &[
    ("tcd", "TCD", "{}"),
    ("dpmpp_2s", "DPMSolverSinglestep", r#"{"solver_order": 2, "solver_type": "midpoint"}"#),
    ("uni_pc", "UniPCMultistep", r#"{"solver_type": "bh1", "final_sigmas_type": "sigma_min", "solver_order": 3}"#),
    ("uni_pc_bh2", "UniPCMultistep", r#"{"solver_order": 3}"#),
    ("deis", "DEISMultistep", r#"{"solver_order": 2}"#),
    ("sa_solver", "SASolver", r#"{"predictor_order": 2, "corrector_order": 2}"#),
    ("ddim", "DDIM", r#"{"steps_offset": 1, "clip_sample": false}"#),
    ("ddpm", "DDPM", r#"{"clip_sample": false, "variance_type": "fixed_small"}"#),
    ("plms", "PNDM", r#"{"skip_prk_steps": true, "steps_offset": 1, "prediction_type": "epsilon"}"#),
];

fn eta(eta: f64) -> Strength {
    Strength { eta, ..Strength::default() }
}

fn check(case: &Case<'_>, name: &str, error: f64, faults: &mut Vec<String>) {
    let Case { value, .. } = case;
    let (steps, options) = (case.schedule().len(), &value["options"]);
    let line = format!("{name} {steps} {options} eta {} tau {}: {error:.1e}", value["eta"], value["tau"]);
    println!("fidelity: solvers {line}");
    if error.is_nan() || error > 1e-5 {
        faults.push(line);
    }
}

#[test]
fn solvers_are_those_of_diffusers() {
    let file = golden();
    let shown = numbers(&file["about"]["shown"]);
    let mut faults = Vec::new();
    for value in file["results"].as_array().unwrap() {
        let case = Case { value, grid: &file["grids"][value["grid"].as_u64().unwrap() as usize] };
        let strength = eta(value["eta"].as_f64().unwrap_or(if case.class() == "DDIM" { 0.0 } else { 1.0 }));
        let error = case.error(&shown, strength, |run, x| case.solve(run, x));
        check(&case, case.class(), error, &mut faults);
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn samplers_by_name_are_those_of_diffusers() {
    let file = golden();
    let shown = numbers(&file["about"]["shown"]);
    let mut faults = Vec::new();
    for (name, class, options) in NAMED {
        let sampler = find_sampler(name).unwrap();
        assert_eq!(sampler.class, Some(&*format!("{class}Scheduler")));
        let options: Value = serde_json::from_str(options).unwrap();
        let mut count = 0;
        for value in file["results"].as_array().unwrap() {
            let case = Case { value, grid: &file["grids"][value["grid"].as_u64().unwrap() as usize] };
            let strength = eta(sampler.eta.unwrap_or(1.0));
            let same_eta = value["eta"].as_f64().is_none_or(|eta| (eta - strength.eta).abs() < 1e-9);
            if case.class() == *class && value["options"] == options && same_eta && value["tau"].is_null() {
                check(&case, name, case.error(&shown, strength, sampler.run), &mut faults);
                count += 1;
            }
        }
        assert!(count > 1, "{name} has {count} cases");
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
