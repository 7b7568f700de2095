//! Convergence of the solvers with options, on a Gaussian whose ODE has a closed form: halving the step divides the
//! error by 2^order.
use super::{
    Denoiser, Latents, Process, Run, Schedule, Strength,
    samplers::{
        deis::{Deis, deis_with},
        dpm_solver::{Algorithm, DpmSolver, dpm_solver_multistep, dpm_solver_singlestep},
        find_sampler,
        pndm::{Pndm, pndm},
        sa_solver::{SaSolver, sa_solver_with},
        unipc::{UniPc, uni_pc},
    },
    schedules::{self, Scaling},
};
use crate::Result;

const HIGH: f64 = 10.0;
const LOW: f64 = 0.1;

fn ramp(f: impl Fn(f64) -> f64) -> Latents {
    Latents::new([1, 1, 4, 4], (0..16).map(|i| f(f64::from(i)) as f32).collect()).unwrap()
}

/// The variance of the data at each place, so that errors do not cross 0 together.
fn variance(i: usize) -> f64 {
    0.2 * 1.25_f64.powi(i as i32)
}

/// The mean error of a run through `levels` from `HIGH`, on data ~ N(cos(0.37 i), variance(i)).
fn error(levels: Vec<f64>, solve: impl Fn(&mut Run<'_>, Latents) -> Result<Latents>) -> f64 {
    let (mean, start) = (ramp(|i| (0.37 * i).cos()), ramp(|i| (0.5 + 1.7 * i).sin() * HIGH));
    let each = |x: &Latents, kept: &dyn Fn(f64) -> f64| {
        let pairs = x.values().iter().zip(mean.values()).enumerate();
        let values = pairs.map(|(i, (x, m))| (f64::from(*m) + kept(variance(i)) * f64::from(x - m)) as f32).collect();
        Latents::new(x.shape(), values).unwrap()
    };
    let low = levels[levels.len() - 1];
    let exact = each(&start, &|v| ((v + low * low) / (v + HIGH * HIGH)).sqrt());
    let mut model = |x: &Latents, sigma: f64| Ok(each(x, &|v| v / (v + sigma * sigma)));
    let schedule = Schedule::with_timesteps(Process::VarianceExploding, levels, None, Scaling::Sigma);
    let mut noise = |_: f64, _: f64| Latents::zeros([1, 1, 4, 4]);
    let strength = Strength::default();
    let x = start.clone();
    let drawn = solve(&mut Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength }, x).unwrap();
    drawn.values().iter().zip(exact.values()).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / 16.0
}

/// Levels even in log sigma, whose first step is broken into shorter ones so that starting at order 1 costs nothing.
fn even(steps: usize) -> Vec<f64> {
    let levels = schedules::exponential_between(HIGH, LOW, steps + 1);
    let ratio: f64 = levels[1] / levels[0];
    let parts = (1..=8).rev().map(|part| HIGH * ratio.powf(0.5_f64.powi(part)));
    std::iter::once(HIGH).chain(parts).chain(levels[1..].iter().copied()).collect()
}

fn order_of(name: &str, theory: f64, coarse: f64, fine: f64) -> f64 {
    let order = (coarse / fine).log2();
    println!("fidelity: order {name} {order:.2} of {theory}: {coarse:.1e}, {fine:.1e}");
    order
}

fn assert_order(name: &str, theory: f64, coarse: f64, fine: f64) {
    let order = order_of(name, theory, coarse, fine);
    assert!((order - theory).abs() < 0.2, "{name} is of order {order:.2}, not {theory}: {coarse:.1e}, {fine:.1e}");
}

/// The multistep class of order 3 takes half of the second derivative, and so is of order 2 with a small error.
#[test]
fn dpm_solver_is_of_its_order() {
    for algorithm in [Algorithm::DpmSolver, Algorithm::DpmSolverPlusPlus] {
        for (order, heun) in [(1, false), (2, false), (2, true), (3, true)] {
            let options =
                DpmSolver { order, algorithm, heun, lower_order_final: false, euler_at_final: false, skipped: 0 };
            let run = |steps| error(even(steps), |run, x| dpm_solver_multistep(run, x, &options));
            assert_order(&format!("{algorithm:?} multistep {order} {heun}"), order.min(2) as f64, run(24), run(48));
            let even = |steps: usize| schedules::exponential_between(HIGH, LOW, steps + 1);
            let run = |steps| error(even(steps), |run, x| dpm_solver_singlestep(run, x, &options));
            assert_order(&format!("{algorithm:?} singlestep {order} {heun}"), order as f64, run(24), run(48));
        }
    }
}

#[test]
fn deis_is_of_its_order() {
    for (order, steps) in [(1, 24), (2, 24), (3, 12)] {
        let options = Deis { order, lower_order_final: false, skipped: 0 };
        let run = |steps| error(even(steps), |run, x| deis_with(run, x, &options));
        assert_order(&format!("Deis {order}"), order as f64, run(steps), run(2 * steps));
    }
}

/// The corrector adds one. With order 3 the errors are too near to those of 32 bits to tell.
#[test]
fn uni_pc_is_of_its_order_and_one_more() {
    for (order, bh1, predict_x0) in [(1, false, true), (2, true, true), (2, false, true), (2, false, false)] {
        let plain = UniPc { order, bh1, predict_x0, lower_order_final: false, disable_corrector: vec![], skipped: 0 };
        let bare = UniPc { disable_corrector: (0..200).collect(), ..plain.clone() };
        let run = |options: &UniPc, steps| error(even(steps), |run, x| uni_pc(run, x, options));
        let name = format!("UniPc {order} bh1 {bh1} x0 {predict_x0}");
        assert_order(&format!("{name} predictor"), order as f64, run(&bare, 24), run(&bare, 48));
        assert_order(&name, order as f64 + 1.0, run(&plain, 24), run(&plain, 48));
    }
}

/// Its corrector's error is so small that terms of the next order still show: the order is no less than it should be.
#[test]
fn sa_solver_is_of_its_order_without_noise() {
    for data_prediction in [false, true] {
        for (order, steps) in [(1, 48), (2, 48), (3, 12)] {
            let options = |steps: usize| SaSolver {
                predictor_order: order,
                corrector_order: order,
                data_prediction,
                lower_order_final: false,
                tau: vec![0.0; steps + 8],
            };
            let run = |steps| error(even(steps), |run, x| sa_solver_with(run, x, &options(steps)));
            let name = format!("SaSolver {order} data {data_prediction}");
            let measured = order_of(&name, order as f64, run(steps), run(2 * steps));
            assert!(measured > order as f64 - 0.2, "{name} is of order {measured:.2}");
        }
    }
}

/// Where steps are even in sigma, and on a slope of degree 4, the first that it does not follow exactly.
#[test]
fn pndm_is_of_order_4_where_steps_are_even() {
    let slope = |sigma: f64| 10.0 * (sigma / HIGH).powi(4);
    let run = |steps: usize| {
        let levels: Vec<f64> = schedules::linspace(HIGH, LOW, steps + 1).collect();
        let middle = |i: usize| f64::midpoint(levels[i], levels[i + 1]);
        let runge_kutta = (0..3).map(|i| [middle(i), middle(i), levels[i + 1]]).collect();
        let options = Pndm { runge_kutta, ..Pndm::default() };
        let mut model = |x: &Latents, sigma: f64| {
            let values = x.values().iter().map(|x| x - (sigma * slope(sigma)) as f32);
            Latents::new(x.shape(), values.collect())
        };
        let schedule = Schedule::with_timesteps(Process::VarianceExploding, levels.clone(), None, Scaling::Sigma);
        let mut noise = |_: f64, _: f64| unreachable!("it adds none");
        let strength = Strength::default();
        let mut run = Run { model: &mut model, schedule: &schedule, noise: &mut noise, strength };
        let drawn = pndm(&mut run, Latents::zeros([1, 1, 1, 1]), &options).unwrap();
        let exact = (LOW * slope(LOW) - HIGH * slope(HIGH)) / 5.0;
        (f64::from(drawn.values()[0]) - exact).abs()
    };
    assert_order("Pndm", 4.0, run(24), run(48));
}

/// Rectified flow is the same ODE in other coordinates: `x_flow = x_ve / (1 + sigma_ve)`.
#[test]
fn flow_and_variance_exploding_agree() {
    let exploding = |x: &Latents, sigma: f64| Ok(x.scaled(0.25 / (0.25 + sigma * sigma)));
    let flow = |x: &Latents, s: f64| exploding(&x.scaled(1.0 / (1.0 - s).max(1e-9)), s / (1.0 - s).max(1e-9));
    let sigmas = schedules::exponential_between(HIGH, LOW, 12);
    let levels: Vec<f64> = sigmas.iter().map(|sigma| sigma / (1.0 + sigma)).collect();
    let noise_only: Vec<f64> = std::iter::once(1.0).chain(levels.iter().copied()).collect();
    for name in ["uni_pc", "uni_pc_bh2", "deis", "sa_solver", "ddim", "ddpm", "tcd"] {
        let draw = |process, model: &mut dyn Denoiser, sigmas: &[f64], x: Latents| {
            let schedule = Schedule::new(process, sigmas.to_vec());
            let mut noise = |_: f64, _: f64| ramp(|i| (0.61 * i).sin());
            let strength = Strength { eta: 0.0, ..Strength::default() };
            let mut run = Run { model, schedule: &schedule, noise: &mut noise, strength };
            (find_sampler(name).unwrap().run)(&mut run, x).unwrap()
        };
        let start = ramp(|i| (0.5 + 1.7 * i).sin());
        let a = draw(Process::VarianceExploding, &mut { exploding }, &sigmas, start.scaled(HIGH));
        let b = draw(Process::RectifiedFlow, &mut { flow }, &levels, start.scaled(HIGH / (1.0 + HIGH)));
        let pairs = a.values().iter().zip(b.values());
        let worst = pairs.fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-5, "{name}: {worst:.1e}");
        assert!(draw(Process::RectifiedFlow, &mut { flow }, &noise_only, start).is_finite(), "{name} from noise alone");
    }
}
