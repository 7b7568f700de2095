//! DEIS (Zhang & Chen 2023): past noise estimates, interpolated in log sigma and integrated.
use super::{
    Latents, Run,
    estimates::{Form, Fresh, Past, Start, adams_weights, lambda, numbered},
};
use crate::Result;

/// The options of `DEISMultistepScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sampling) struct Deis {
    /// `solver_order`: 1, 2 or 3.
    pub(in crate::sampling) order: usize,
    /// `lower_order_final`, as it is in the configuration.
    pub(in crate::sampling) lower_order_final: bool,
    /// How many steps of the whole run were left out at its start, as in image to image; else 0.
    pub(in crate::sampling) skipped: usize,
}

/// `DEISMultistepScheduler` of diffusers, with its defaults.
pub(super) fn deis(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    deis_with(run, x, &Deis { order: 2, lower_order_final: true, skipped: 0 })
}

/// `DEISMultistepScheduler` of diffusers (`logrho`).
pub(in crate::sampling) fn deis_with(run: &mut Run<'_>, mut x: Latents, options: &Deis) -> Result<Latents> {
    let (schedule, mut past) = (run.schedule, Past::default());
    let process = schedule.process();
    let short = options.lower_order_final && schedule.len() + options.skipped < 15;
    for (i, from, to) in numbered(schedule) {
        let start = Start { denoised: run.model.denoise(&x, from)?, x, sigma: from };
        let most = match schedule.len() - i {
            _ if to == 0.0 => 1,
            left @ (1 | 2) if short => options.order.min(left),
            _ => options.order,
        };
        let end = lambda(process, to);
        let levels = std::iter::once(from).chain(past.sigmas()).take(most);
        let nodes: Vec<f64> = levels.map(|sigma| lambda(process, sigma) - end).collect();
        let weights = adams_weights(-1.0, -nodes[0], &nodes);
        x = Form::Noise.step(process, &start, &past.weighted(&weights[1..]), to, &Fresh::NONE);
        past.push(from, Form::Noise.estimate(process, &start), options.order - 1);
    }
    Ok(x)
}
