//! How does an autoencoder work on a large picture in little memory?
use super::{
    in_tiles::in_tiles,
    planes::Plane,
    stages::{Stage, stages},
};
use crate::{
    Error, Result,
    runtime::{Dissected, Graph, Tensor},
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
    pub(super) output: &'static str,
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
    for (number, stage) in stages.iter().enumerate() {
        let later: Vec<&String> = stages[number + 1..].iter().flat_map(|stage| &stage.reads).collect();
        run_stage(dissected, stage, &mut planes, tile, |name| later.contains(&name))?;
        planes.retain(|name, _| name == output || later.contains(&name));
    }
    planes.get(output).map(|plane| plane.strip(0..plane.height)).ok_or_else(|| odd("no plane for its output"))
}

/// Runs one stage over all strips; rows of planes that no stage reads `again` are given up as soon as they are read.
fn run_stage(
    dissected: &Dissected,
    stage: &Stage,
    planes: &mut HashMap<String, Plane>,
    tile: usize,
    again: impl Fn(&String) -> bool,
) -> Result<()> {
    let mut graph = dissected.load(&stage.piece)?;
    let sizes: Vec<_> = stage.reads.iter().filter_map(|name| planes.get(name)).map(|p| (p.height, p.width)).collect();
    let (height, width) = sizes.first().copied().unwrap_or_default();
    if sizes.iter().any(|size| *size != (height, width)) {
        return Err(odd("planes of several sizes in one stage"));
    }
    if let Some(norm) = &stage.norm {
        let plane = planes.get(&norm.plane).ok_or_else(|| odd("a norm without its plane"))?;
        if norm.groups == 0 || !plane.channels.is_multiple_of(norm.groups) {
            return Err(odd("a norm whose groups do not divide its channels"));
        }
        let (mean, rate) = plane.statistics(norm.groups, norm.epsilon);
        graph.bind(&norm.mean, Tensor::floats([1, norm.groups, 1], mean))?;
        graph.bind(&norm.rate, Tensor::floats([1, norm.groups, 1], rate))?;
    }
    let rows = if stage.attends { height } else { rows_of_strip(stage, width, tile) };
    for start in (0..height).step_by(rows.max(1)) {
        let end = (start + rows).min(height);
        let (first, last) = (start.saturating_sub(stage.halo), (end + stage.halo).min(height));
        for name in &stage.reads {
            if let Some(plane) = planes.get_mut(name) {
                graph.bind(name, plane.strip(first..last))?;
                if !again(name) {
                    plane.release(end.saturating_sub(stage.halo));
                }
            }
        }
        for (name, tensor) in graph.run_all()? {
            let [1, channels, given, width] = tensor.shape[..] else { return Err(odd(&tensor.shape_text())) };
            // rows of the output for those of the input: the same, twice or half as many
            let place = |row: usize| (row - first) * given / (last - first);
            let grown = planes.entry(name).or_insert_with(|| Plane::new(channels, width));
            grown.push(&tensor.into_floats(), given, place(start)..place(end));
        }
    }
    Ok(())
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
