//! `UniPC` (Zhao et al. 2023): a multistep predictor, corrected by the estimate that the next step needs anyway.
use super::{
    Latents, Run,
    estimates::{Form, Fresh, Past, Start, lagrange, lambda},
};
use crate::{Result, sampling::Process};

/// The options of `UniPCMultistepScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sampling) struct UniPc {
    /// `solver_order`: 1 or more.
    pub(in crate::sampling) order: usize,
    /// Whether `solver_type` is `bh1` and not `bh2`.
    pub(in crate::sampling) bh1: bool,
    /// `predict_x0`: whether clean estimates are combined, not noise estimates.
    pub(in crate::sampling) predict_x0: bool,
    /// `lower_order_final`.
    pub(in crate::sampling) lower_order_final: bool,
    /// `disable_corrector`: steps of the whole run that are not corrected, counted from 0.
    pub(in crate::sampling) disable_corrector: Vec<usize>,
    /// How many steps of the whole run were left out at its start, as in image to image; else 0.
    pub(in crate::sampling) skipped: usize,
}

impl UniPc {
    /// The weights of estimates at `nodes`, against that of the step's start: positions in lambda, from the start in
    /// steps, 1 being the step's end. Equation 8 of the paper, divided by the weight that all estimates have together.
    fn weights(&self, h: f64, nodes: &[f64]) -> Vec<f64> {
        let h = if self.predict_x0 { -h } else { h };
        let all = h.exp_m1();
        let scale = if self.bh1 { h } else { all };
        let rho = if let [_] = nodes { vec![0.5] } else { moments_matched(nodes, h, scale) };
        rho.iter().zip(nodes).map(|(rho, node)| scale / all * rho / node).collect()
    }
}

/// The weights at `nodes` of a sum that integrates polynomials exactly under the exponential.
fn moments_matched(nodes: &[f64], h: f64, scale: f64) -> Vec<f64> {
    let (mut phi, mut factorial) = (h.exp_m1() / h - 1.0, 1.0);
    let moments: Vec<f64> = (2..nodes.len() + 2)
        .map(|i| {
            let moment = phi * factorial / scale;
            factorial *= i as f64;
            phi = phi / h - 1.0 / factorial;
            moment
        })
        .collect();
    (0..nodes.len()).map(|j| lagrange(nodes, j).iter().zip(&moments).map(|(c, m)| c * m).sum()).collect()
}

/// The step before the one that is taken.
struct Last {
    start: Start,
    past: Past, // what was known before it
    order: usize,
}

impl Last {
    /// `start`, which this step led to, with this step taken again by what the network said of it.
    fn corrected(&self, process: Process, options: &UniPc, form: Form, start: Start) -> Start {
        let estimate = form.estimate(process, &start);
        let (h, mut nodes) = nodes(process, self.start.sigma, start.sigma, &self.past, self.order);
        nodes.push(1.0);
        let weights = options.weights(h, &nodes);
        let mut others = self.past.weighted(&weights[..self.order - 1]);
        others.push((weights[self.order - 1], &estimate));
        let x = form.step(process, &self.start, &others, start.sigma, &Fresh::NONE);
        form.restarted(process, start, x)
    }
}

/// `UniPC` of stable-diffusion-webui and `uni_pc` of `ComfyUI`: order 3, `bh1`.
pub(super) fn bh1(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    uni_pc(run, x, &UniPc { bh1: true, ..THIRD_ORDER })
}

/// `uni_pc_bh2` of `ComfyUI`: order 3, `bh2`.
pub(super) fn bh2(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    uni_pc(run, x, &THIRD_ORDER)
}

const THIRD_ORDER: UniPc =
    UniPc { order: 3, bh1: false, predict_x0: true, lower_order_final: true, disable_corrector: vec![], skipped: 0 };

/// `UniPCMultistepScheduler` of diffusers.
pub(in crate::sampling) fn uni_pc(run: &mut Run<'_>, mut x: Latents, options: &UniPc) -> Result<Latents> {
    let (schedule, form) = (run.schedule, if options.predict_x0 { Form::Clean } else { Form::Noise });
    let process = schedule.process();
    let mut last: Option<Last> = None;
    for (i, (from, to)) in schedule.sigmas().windows(2).map(|levels| (levels[0], levels[1])).enumerate() {
        let mut start = Start { denoised: run.model.denoise(&x, from)?, x, sigma: from };
        let mut past = Past::default();
        if let Some(last) = last.take() {
            if !options.disable_corrector.contains(&(i + options.skipped - 1)) {
                start = last.corrected(process, options, form, start);
            }
            past = last.past;
            past.push(last.start.sigma, form.estimate(process, &last.start), options.order);
        }
        if to >= from {
            x = start.x; // a step of no length still corrects
            continue;
        }
        let most = if to == 0.0 { 1 } else { options.order };
        let most = if options.lower_order_final { most.min(schedule.len() - i) } else { most };
        let order = most.min(past.len() + 1);
        let (h, nodes) = nodes(process, from, to, &past, order);
        let others = past.weighted(&options.weights(h, &nodes));
        x = form.step(process, &start, &others, to, &Fresh::NONE);
        last = Some(Last { start, past, order });
    }
    Ok(x)
}

/// The length in lambda of a step of `order`, and where the past levels that it uses lie.
fn nodes(process: Process, from: f64, to: f64, past: &Past, order: usize) -> (f64, Vec<f64>) {
    let begin = lambda(process, from);
    let h = lambda(process, to) - begin;
    (h, past.sigmas().take(order - 1).map(|sigma| (lambda(process, sigma) - begin) / h).collect())
}
