//! Do the shapes that a network declares suit each other, and what petal gives it?
use super::{Form, TIMESTEP};
use crate::{
    Error, Result,
    runtime::{Graph, Port},
};

/// More pictures at a time than any network is made for.
const MOST_PICTURES: usize = 64;

/// Fails for shapes with which no picture can be drawn.
pub(super) fn shapes(graph: &Graph, form: &Form, (input, output): (&str, &str)) -> Result<()> {
    let (latents, answer, timestep) = (graph.input(input)?, graph.output(output)?, graph.input(TIMESTEP)?);
    let lengths = latents.axes.iter().zip(&answer.axes).enumerate();
    let mut fixed = lengths.filter(|(axis, _)| *axis != form.channel_axis()).map(|(_, pair)| pair);
    if fixed.any(|(taken, given)| taken.zip(*given).is_some_and(|(taken, given)| taken != given)) {
        let hint = "use an export whose output has the shape of its latents";
        return Err(odd(answer, &format!("`{input}` has {}", latents.shape_text()), hint));
    }
    let batch = latents.axes.first().copied().flatten();
    if batch.is_some_and(|batch| !(1..=MOST_PICTURES).contains(&batch)) {
        return Err(odd(latents, "no run has so many pictures", "export it with a free batch"));
    }
    let suits = |length: &Option<usize>| length.is_none_or(|length| length == 1 || Some(length) == batch);
    if timestep.axes.len() > 1 || !timestep.axes.iter().all(suits) {
        return Err(odd(timestep, "it is one number, or one for each picture", "export it as a scalar or of rank 1"));
    }
    for (name, lengths) in form.widths {
        let Some(port) = graph.wanted(name) else { continue };
        if port.axes.last().copied().flatten().is_some_and(|length| !lengths.contains(&length)) {
            let lengths: Vec<_> = lengths.iter().map(ToString::to_string).collect();
            let what = format!("it holds {} numbers", lengths.join(" or "));
            return Err(odd(port, &what, "use an export of a network that petal knows"));
        }
    }
    Ok(())
}

fn odd(port: &Port, but: &str, hint: &str) -> Error {
    Error::model(format!("the network's `{}` has the shape {}, but {but}", port.name, port.shape_text()), hint)
}
