//! How does a kind of network take latents, and by which names?
use crate::{
    Error, Result,
    runtime::{Port, Tensor},
    sampling::Latents,
};

/// Latents to a token of a transformer, along each side.
const SIDE: usize = 2;

/// How a kind of network takes what it is given. Exporters choose different names; a graph has one of each list.
#[derive(Debug)]
pub(crate) struct Form {
    /// The input for latents.
    pub(crate) latents: &'static [&'static str],
    /// The output.
    pub(crate) output: &'static [&'static str],
    /// Whether two by two latents travel as one token: `[batch, tokens, 4 * channels]` in place of
    /// `[batch, channels, height, width]`.
    pub(crate) packed: bool,
    /// Whether each picture of a batch has its own timestep, where the graph leaves their number open.
    pub(crate) timestep_each: bool,
    /// What timesteps, 0 to 1000, are multiplied by.
    pub(crate) time_scale: f64,
    /// The inputs of this kind beside latents and timestep; which of them a graph must have.
    pub(crate) required: &'static [&'static str],
    /// Those that it may have.
    pub(crate) optional: &'static [&'static str],
    /// How long the last axis of an input may be, where not any length will do.
    pub(crate) widths: &'static [(&'static str, &'static [usize])],
}

/// The input for the place of each token of the picture.
pub(super) const PICTURE_PLACES: &str = "img_ids";
/// The input for the place of each token of the text.
pub(super) const TEXT_PLACES: &str = "txt_ids";

impl Form {
    /// The axis of latents that says how many channels they have, or how wide a token is.
    pub(super) fn channel_axis(&self) -> usize {
        if self.packed { 2 } else { 1 }
    }

    /// Channels of latents whose axis of channels has this length; none if their port is of another form.
    pub(super) fn channels(&self, port: &Port, length: usize) -> Option<usize> {
        match (self.packed, port.axes.len()) {
            (false, 4) => Some(length),
            (true, 3) if length.is_multiple_of(SIDE * SIDE) => Some(length / (SIDE * SIDE)),
            _ => None,
        }
    }

    /// Channels of the output, where they are fixed.
    pub(super) fn channels_given(&self, port: &Port) -> Result<Option<usize>> {
        match (self.packed, &port.axes[..]) {
            (_, []) => Ok(None), // the graph does not say its shape
            (false, [_, channels, _, _]) => Ok(*channels),
            (true, [_, _, width]) => Ok(width.map(|width| width / (SIDE * SIDE))),
            _ => Err(odd_port(port, self.packed)),
        }
    }

    /// The shape in which latents of `[batch, channels, height, width]` travel.
    pub(super) fn shape(&self, [batch, channels, height, width]: [usize; 4]) -> Vec<usize> {
        if self.packed {
            vec![batch, height.div_ceil(SIDE) * width.div_ceil(SIDE), SIDE * SIDE * channels]
        } else {
            vec![batch, channels, height, width]
        }
    }

    /// The values of one picture's latents, `[channels, height, width]`, in the order in which they travel
    /// (`_pack_latents` of diffusers' `FluxPipeline`).
    pub(super) fn pack(&self, values: Vec<f32>, [channels, height, width]: [usize; 3]) -> Vec<f32> {
        if !self.packed {
            return values;
        }
        places(channels, height, width).map(|place| values[place]).collect()
    }

    /// What [`pack`](Self::pack) made, in the order of latents again.
    pub(super) fn unpack(&self, values: Vec<f32>, [channels, height, width]: [usize; 3]) -> Vec<f32> {
        if !self.packed {
            return values;
        }
        let mut latents = vec![0.0; values.len()];
        places(channels, height, width).zip(values).for_each(|(place, value)| latents[place] = value);
        latents
    }

    /// The places of the tokens of a picture and of a text of `text` tokens: a row, a column, and nothing before them.
    pub(super) fn places(latents: &Latents, text: usize) -> [(&'static str, Vec<i64>); 2] {
        let [_, _, height, width] = latents.shape();
        let tokens = (0..height / SIDE).flat_map(|row| (0..width / SIDE).map(move |column| [0, row, column]));
        let picture = tokens.flatten().map(|place| place as i64).collect();
        [(PICTURE_PLACES, picture), (TEXT_PLACES, vec![0; 3 * text])]
    }
}

/// The places of a picture's tokens as `port` takes them, with the batch before them in older exports.
pub(super) fn places_for(port: &Port, places: &[i64], batch: usize) -> Tensor {
    let tokens = places.len() / 3;
    if port.axes.len() == 3 {
        return Tensor::ints([batch, tokens, 3], places.repeat(batch));
    }
    Tensor::ints([tokens, 3], places.to_vec())
}

/// Where the values of each token lie in latents: row by row of tokens, in each channel by channel its two rows of two.
fn places(channels: usize, height: usize, width: usize) -> impl Iterator<Item = usize> {
    let tokens = (0..height / SIDE).flat_map(move |row| (0..width / SIDE).map(move |column| (row, column)));
    tokens.flat_map(move |(row, column)| {
        (0..channels * SIDE * SIDE).map(move |value| {
            let (channel, down, across) = (value / (SIDE * SIDE), value / SIDE % SIDE, value % SIDE);
            (channel * height + row * SIDE + down) * width + column * SIDE + across
        })
    })
}

fn shape_wanted(packed: bool) -> &'static str {
    if packed { "[batch, tokens, 64]" } else { "[batch, 4, height, width]" }
}

pub(super) fn odd_input(port: &Port, packed: bool) -> Error {
    Error::model(
        format!(
            "the network's input `{}` has the shape {}, which does not say how many channels it has",
            port.name,
            port.shape_text()
        ),
        format!("export the network with a fixed number of channels, as in {}", shape_wanted(packed)),
    )
}

fn odd_port(port: &Port, packed: bool) -> Error {
    Error::model(
        format!("the network's output `{}` has the shape {}", port.name, port.shape_text()),
        format!("use an export whose output has the form of its input, as in {}", shape_wanted(packed)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKED: Form = Form {
        latents: &["hidden_states"],
        output: &["out"],
        packed: true,
        timestep_each: true,
        time_scale: 1.0,
        required: &[],
        optional: &[],
        widths: &[],
    };

    /// By hand, from `view(b, c, h / 2, 2, w / 2, 2).permute(0, 2, 4, 1, 3, 5)`.
    #[test]
    fn two_by_two_latents_are_a_token() {
        let values: Vec<f32> = (0..16).map(|value| value as f32).collect(); // two channels of 2 by 4
        let packed = PACKED.pack(values.clone(), [2, 2, 4]);
        assert_eq!(packed, [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15].map(|value| value as f32));
        assert_eq!(PACKED.unpack(packed, [2, 2, 4]), values);
        assert_eq!(PACKED.shape([3, 2, 2, 4]), [3, 2, 8]);
    }

    #[test]
    fn tokens_know_their_row_and_column() {
        let [(_, picture), (_, text)] = Form::places(&Latents::zeros([1, 16, 4, 2]), 2);
        assert_eq!((&picture[..], &text[..]), (&[0, 0, 0, 0, 1, 0][..], &[0; 6][..]));
    }
}
