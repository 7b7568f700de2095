//! Which options does a class not take, alone or together? Where diffusers fails or computes numbers that are not
//! finite, this says so before the first step.
use super::{Algorithm, Prediction, SchedulerClass, SchedulerOptions, VarianceType};
use crate::{Error, Result};
use SchedulerClass::{Ddpm, Deis, DpmSolverMultistep, DpmSolverSinglestep, Lcm, SaSolver, Tcd, UniPc};

/// Something that is asked for, what is wrong with it, and what to do.
type Fault = (bool, &'static str, &'static str);

/// What to do where nothing is better.
const CHOOSE: &str = "choose a sampler and a schedule yourself";

/// Fails if `class` cannot do what `options` say.
pub(super) fn check(class: SchedulerClass, options: &SchedulerOptions) -> Result<()> {
    let row = class.row();
    if !row.predictions.contains(&options.prediction) {
        return Err(Error::model(
            format!("the model's {} does not take the `prediction_type` `{}`", row.name, options.prediction.name()),
            CHOOSE,
        ));
    }
    let faults = numbers(class, options).into_iter().chain(curves(class, options)).chain(ends(class, options));
    match faults.chain(flows(class, options)).find(|(is_fault, ..)| *is_fault) {
        Some((_, what, hint)) => Err(Error::model(format!("the model's {} {what}", row.name), hint)),
        None => Ok(()),
    }
}

/// Numbers out of range.
fn numbers(class: SchedulerClass, o: &SchedulerOptions) -> [Fault; 8] {
    let orders = match class {
        DpmSolverMultistep | DpmSolverSinglestep | Deis => 1..=3,
        UniPc => 1..=6,
        _ => 0..=usize::MAX,
    };
    let stochastic = |order: usize| class == SaSolver && !(1..=4).contains(&order);
    let known = o.num_train_timesteps;
    let unit = 0.0..=1.0;
    [
        (!orders.contains(&o.solver_order), "has no such `solver_order`", "use 1, 2 or 3"),
        (stochastic(o.predictor_order), "has no such `predictor_order`", "use 1 to 4"),
        (stochastic(o.corrector_order), "has no such `corrector_order`", "use 1 to 4"),
        (o.steps_offset >= known, "has a `steps_offset` beyond the last timestep", "use 0 or 1"),
        (
            matches!(class, Lcm | Tcd) && o.original_inference_steps.is_some_and(|n| !(1..=known).contains(&n)),
            "has `original_inference_steps` that are not 1 to `num_train_timesteps`",
            "use the number that the network was distilled for, mostly 50",
        ),
        (
            class == Lcm && o.original_inference_steps.is_none(),
            "has no `original_inference_steps`",
            "use the number that the network was distilled for, mostly 50",
        ),
        (
            o.thresholding && !(unit.contains(&o.dynamic_thresholding_ratio) && o.sample_max_value >= 1.0),
            "has a `dynamic_thresholding_ratio` that is not 0 to 1, or a `sample_max_value` below 1",
            "use 0.995 and 1",
        ),
        (
            o.use_dynamic_shifting && o.base_image_seq_len == o.max_image_seq_len,
            "has a `base_image_seq_len` equal to its `max_image_seq_len`",
            "use 256 and 4096",
        ),
    ]
}

/// Curves of noise levels that exclude each other.
fn curves(class: SchedulerClass, o: &SchedulerOptions) -> [Fault; 3] {
    let count = [o.use_karras_sigmas, o.use_exponential_sigmas, o.use_beta_sigmas].into_iter().filter(|on| *on).count();
    let other_than_karras = o.use_exponential_sigmas || o.use_beta_sigmas || o.use_lu_lambdas;
    let folds = class == UniPc && !other_than_karras;
    [
        (
            count > 1,
            "sets more than one of `use_karras_sigmas`, `use_exponential_sigmas` and `use_beta_sigmas`",
            "leave one of them on",
        ),
        (
            o.use_flow_sigmas && (o.use_karras_sigmas || other_than_karras) && !folds,
            "sets `use_flow_sigmas` beside levels that a flow does not have",
            "turn off `use_karras_sigmas`, `use_exponential_sigmas`, `use_beta_sigmas` and `use_lu_lambdas`",
        ),
        (
            class == UniPc && o.shift_terminal.is_some() && !o.use_flow_sigmas,
            "sets `shift_terminal` without `use_flow_sigmas`",
            "set `use_flow_sigmas`, or leave out `shift_terminal`",
        ),
    ]
}

/// Solvers that do not reach the level where a run ends.
fn ends(class: SchedulerClass, o: &SchedulerOptions) -> [Fault; 7] {
    let of_noise = matches!(o.algorithm, Algorithm::DpmSolver | Algorithm::SdeDpmSolver);
    let (zero, uni_pc) = (o.ends_at_zero, class == UniPc && o.ends_at_zero);
    let curved = o.use_karras_sigmas || o.use_exponential_sigmas || o.use_beta_sigmas || o.use_flow_sigmas;
    let to_sigma_min = "set `final_sigmas_type` to `sigma_min`";
    [
        (
            of_noise && zero,
            "has an `algorithm_type` that cannot end at no noise (`final_sigmas_type` `zero`)",
            to_sigma_min,
        ),
        (
            o.algorithm == Algorithm::SdeDpmSolver && o.solver_order > 2,
            "has no `sde-dpmsolver` of order 3",
            "set `solver_order` to 2, or `algorithm_type` to `sde-dpmsolver++`",
        ),
        (uni_pc && o.bh1, "gives no finite numbers with `bh1` at no noise (`final_sigmas_type` `zero`)", to_sigma_min),
        (
            uni_pc && !o.predict_x0,
            "gives no finite numbers without `predict_x0` at no noise (`final_sigmas_type` `zero`)",
            to_sigma_min,
        ),
        (
            uni_pc && !o.lower_order_final && o.solver_order > 1,
            "gives no finite numbers without `lower_order_final` at no noise (`final_sigmas_type` `zero`)",
            to_sigma_min,
        ),
        (
            class == UniPc && !zero && !o.lower_order_final && o.solver_order > 2 && curved,
            "gives no finite numbers of order 3 without `lower_order_final` in its last step, which has no length",
            "set `lower_order_final`",
        ),
        (
            class == Ddpm && o.variance == VarianceType::LargeLog,
            "gives no finite numbers with the `variance_type` `fixed_large_log`",
            "set `variance_type` to `fixed_large`",
        ),
    ]
}

/// Flows that are said by half.
fn flows(class: SchedulerClass, o: &SchedulerOptions) -> [Fault; 5] {
    let flow = o.prediction == Prediction::Flow;
    let of_noise = matches!(o.algorithm, Algorithm::DpmSolver | Algorithm::SdeDpmSolver);
    let only_exponential = matches!(class, DpmSolverMultistep | DpmSolverSinglestep | Deis);
    [
        (
            o.use_flow_sigmas != flow && !class.is_flow(),
            "sets one of `use_flow_sigmas` and the `prediction_type` `flow_prediction` without the other",
            "set both for a rectified flow, and none for other networks",
        ),
        (
            flow && (of_noise || !o.predict_x0 || !o.data_prediction),
            "combines noise estimates (`algorithm_type`, `predict_x0`), which a `flow_prediction` does not give",
            "use `dpmsolver++`, `predict_x0` or `data_prediction`",
        ),
        (
            !(o.flow_shift > 0.0 && o.flow_shift.is_finite() && o.shift > 0.0 && o.shift.is_finite()),
            "has a `shift` or `flow_shift` that is not above 0",
            "use 1 for none",
        ),
        (
            o.linear_shift && o.use_dynamic_shifting && only_exponential,
            "has no `linear` `time_shift_type`",
            "set `time_shift_type` to `exponential`",
        ),
        (
            o.linear_shift && o.use_dynamic_shifting && (o.base_shift <= 0.0 || o.max_shift <= 0.0),
            "has a `base_shift` or `max_shift` that is not above 0, with a `linear` `time_shift_type`",
            "set `time_shift_type` to `exponential`",
        ),
    ]
}
