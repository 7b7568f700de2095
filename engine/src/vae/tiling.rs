//! How does an autoencoder work on a large picture in little memory?
use super::{
    in_tiles::in_tiles,
    planes::Plane,
    stages::{Norm, Stage, stages},
};
use crate::{
    Error, Result,
    runtime::{Dissected, Feed, Graph, Tensor},
};
use std::collections::HashMap;

/// Rows of a strip, at least: below that the context outweighs them.
const FEWEST_ROWS: usize = 8;
/// Values to a pixel of the tile that a strip may have in its widest layer: what SD's autoencoder has at full size.
const VALUES: f64 = 128.0;

/// How large the pieces are in which an autoencoder works, in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    /// The side of a tile; a strip has about its area.
    pub(crate) size: usize,
    /// How far tiles overlap. Strips need none: what is above and below of them is known.
    pub(crate) overlap: usize,
}

impl Default for Tiles {
    fn default() -> Self {
        Self { size: 384, overlap: 96 }
    }
}

/// One half of an autoencoder: its graph, names, and pixels or latents to a latent on both sides.
pub(super) struct Half<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) input: &'static str,
    pub(super) output: &'a str,
    pub(super) input_scale: usize,
    pub(super) output_scale: usize,
}

/// What the graph makes of the plane `given`: whole, or in `tiles`.
pub(super) fn run(half: Half<'_>, given: Tensor, tiles: Option<Tiles>) -> Result<Tensor> {
    let Half { input, output, .. } = half;
    let Some(tiles) = tiles else {
        half.graph.bind(input, given)?;
        return half.graph.run(output);
    };
    let dissected = half.graph.dissected()?;
    if let Some(stages) = stages(dissected.structure(), input, output) {
        return in_strips(&dissected, &stages, (input, given), output, tiles.size);
    }
    drop(dissected);
    in_tiles(half, given, tiles)
}

/// What the stages make of the plane `given`, each in strips of about the memory that a tile of `tile` by `tile` pixels
/// takes.
fn in_strips(
    dissected: &Dissected,
    stages: &[Stage],
    (input, given): (&str, Tensor),
    output: &str,
    tile: usize,
) -> Result<Tensor> {
    let given = Plane::of(given).ok_or_else(|| odd("no plane for its input"))?;
    let mut planes = HashMap::from([(input.to_owned(), given)]);
    let inputs = stages.iter().map(|stage| stage.planes().count()).max().unwrap_or_default();
    let mut feeds: Vec<_> = (0..inputs).map(|_| Feed::default()).collect();
    for (number, stage) in stages.iter().enumerate() {
        let later: Vec<&String> = stages[number + 1..].iter().flat_map(Stage::planes).collect();
        run_stage(dissected, stage, &mut planes, &mut feeds, tile, |name| later.contains(&name))?;
        planes.retain(|name, _| name == output || later.contains(&name));
    }
    planes.get(output).map(Plane::whole).ok_or_else(|| odd("no plane for its output"))
}

/// Runs one stage over all strips; rows of planes that no stage reads `again` are given up as soon as they are read.
fn run_stage(
    dissected: &Dissected,
    stage: &Stage,
    planes: &mut HashMap<String, Plane>,
    feeds: &mut [Feed],
    tile: usize,
    again: impl Fn(&String) -> bool,
) -> Result<()> {
    let mut graph = dissected.load(&stage.piece)?;
    let (height, width) = stage.size(planes)?;
    let lines = stage.norm.as_ref().map(|norm| norm.lines(planes.get(&norm.plane))).transpose()?;
    let rows = if stage.attends { height } else { rows_of_strip(stage, width, tile) };
    let mut before = 0; // rows of the last strip
    for start in (0..height).step_by(rows.max(1)) {
        let end = (start + rows).min(height);
        let (first, last) = (start.saturating_sub(stage.halo), (end + stage.halo).min(height));
        let raw = stage.reads.iter().map(|name| (name, name, None));
        let normed = stage.norm.iter().map(|norm| (&norm.plane, &norm.normed, lines.as_deref()));
        for ((name, input, lines), feed) in raw.chain(normed).zip(&mut *feeds) {
            if let Some(plane) = planes.get(name) {
                let shape = [1, plane.channels, last - first, width];
                let fill = |values: &mut [f32]| plane.strip(first..last, lines.unwrap_or_default(), values);
                graph.bind_filled(input, shape, feed, fill)?;
            }
        }
        for name in stage.planes().filter(|name| !again(name)) {
            if let Some(plane) = planes.get_mut(name) {
                plane.release(end.saturating_sub(stage.halo));
            }
        }
        graph.run_each(last - first == before, |name, shape, values| {
            let [1, channels, given, width] = shape[..] else {
                return Err(odd(&format!("a tensor of shape {shape:?}")));
            };
            // rows of the output for those of the input: the same, twice or half as many
            let place = |row: usize| (row - first) * given / (last - first);
            let grown = planes.entry(name.to_owned()).or_insert_with(|| Plane::new(channels, width));
            grown.push(values, given, place(start)..place(end));
            Ok(())
        })?;
        before = last - first;
    }
    Ok(())
}

impl Stage {
    /// The planes that it is made of.
    fn planes(&self) -> impl Iterator<Item = &String> {
        self.reads.iter().chain(self.norm.iter().map(|norm| &norm.plane))
    }

    /// Height and width of the planes.
    fn size(&self, planes: &HashMap<String, Plane>) -> Result<(usize, usize)> {
        let mut sizes = self.planes().filter_map(|name| planes.get(name)).map(|plane| (plane.height, plane.width));
        let first = sizes.next().unwrap_or_default();
        if sizes.all(|size| size == first) { Ok(first) } else { Err(odd("planes of several sizes in one stage")) }
    }
}

impl Norm {
    /// What norms each channel of `plane`: it is multiplied by the first number, and the second is added.
    fn lines(&self, plane: Option<&Plane>) -> Result<Vec<(f32, f32)>> {
        let plane = plane.ok_or_else(|| odd("a norm without its plane"))?;
        if self.groups == 0 || !plane.channels.is_multiple_of(self.groups) {
            return Err(odd("a norm whose groups do not divide its channels"));
        }
        let statistics = plane.statistics(self.groups, self.epsilon);
        let of_channel = |numbers: &[f32], channel: usize, usual: f32| match numbers.len() {
            0 => Ok(usual),
            length if plane.channels.is_multiple_of(length) => Ok(numbers[channel * length / plane.channels]),
            _ => Err(odd("a norm for another number of channels")),
        };
        let line = |channel: usize| {
            let (mean, rate) = statistics[channel * self.groups / plane.channels];
            let gain = rate * of_channel(&self.gains, channel, 1.0)?;
            Ok((gain, of_channel(&self.offsets, channel, 0.0)? - mean * gain))
        };
        (0..plane.channels).map(line).collect()
    }
}

/// How many rows of a stage's input take about the memory of a tile.
fn rows_of_strip(stage: &Stage, width: usize, tile: usize) -> usize {
    let values = (tile * tile) as f64 * VALUES;
    let rows = (values / (stage.widest * width.max(1) as f64)) as usize;
    (rows / stage.step * stage.step).max(FEWEST_ROWS.next_multiple_of(stage.step))
}

fn odd(what: &str) -> Error {
    Error::model(format!("the autoencoder cannot work in tiles: it has {what}"), "use `--vae-tiling off`")
}
