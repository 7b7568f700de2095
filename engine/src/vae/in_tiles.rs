//! How does an autoencoder work on a large picture whose graph cannot be cut into stages?
//!
//! In overlapping tiles that know nothing of each other, mixed where they overlap (as diffusers' `tiled_decode` does).
//! Norms and attention see one tile only, so that its colours may differ a little from its neighbours'.
use super::tiling::{Half, Tiles};
use crate::{
    Error, Result,
    runtime::Tensor,
    tiles::{Blend, Tiling},
};

/// What the graph makes of the plane `given`, tile by tile.
pub(super) fn in_tiles(half: Half<'_>, given: Tensor, tiles: Tiles) -> Result<Tensor> {
    let Half { graph, input, output, input_scale, output_scale } = half;
    let [1, channels, height, width] = given.shape[..] else { return Err(odd(&given.shape_text())) };
    let latents = |pixels: usize| pixels / input_scale.max(output_scale);
    let cover = |length: usize| {
        let overlap = latents(tiles.overlap);
        Tiling::new(length / input_scale, latents(tiles.size), overlap, overlap / 2)
    };
    let (rows, columns) = (cover(height), cover(width));
    let (from_rows, from_columns) = (rows.scaled(input_scale), columns.scaled(input_scale));
    let (to_rows, to_columns) = (rows.scaled(output_scale), columns.scaled(output_scale));
    let shape = [1, 0, to_rows.length(), to_columns.length()];
    let (values, mut whole, mut blend) = (given.into_floats(), Tensor::floats(shape, Vec::new()), None);
    for (row, down) in from_rows.spans().iter().enumerate() {
        for (column, across) in from_columns.spans().iter().enumerate() {
            let mut tile = Vec::with_capacity(channels * down.len() * across.len());
            for line in (0..channels).flat_map(|channel| (down.start..down.end).map(move |y| channel * height + y)) {
                tile.extend(&values[line * width + across.start..line * width + across.end]);
            }
            graph.bind(input, Tensor::floats([1, channels, down.len(), across.len()], tile))?;
            let made = graph.run(output)?;
            let [1, given, rows, columns] = made.shape[..] else { return Err(odd(&made.shape_text())) };
            if (rows, columns) != (to_rows.spans()[row].len(), to_columns.spans()[column].len()) {
                return Err(odd(&made.shape_text()));
            }
            whole.shape[1] = given;
            let blend = blend.get_or_insert_with(|| Blend::new(given, to_rows.clone(), to_columns.clone()));
            blend.add(row, column, &made.into_floats());
        }
        if let Some(blend) = &mut blend {
            take_rows(blend, row, &mut whole)?;
        }
    }
    Ok(whole)
}

/// Puts the rows that are ready after the row of tiles `row` into their places.
fn take_rows(blend: &mut Blend, row: usize, whole: &mut Tensor) -> Result<()> {
    let [_, channels, height, width] = whole.shape[..] else { return Err(odd(&whole.shape_text())) };
    let crate::runtime::Values::Float(values) = &mut whole.values else { return Ok(()) };
    values.resize(channels * height * width, 0.0);
    blend.finish(row, |y, line| {
        for (channel, line) in line.chunks_exact(width).enumerate() {
            values[(channel * height + y) * width..][..width].copy_from_slice(line);
        }
        Ok(())
    })
}

fn odd(shape: &str) -> Error {
    Error::model(format!("the autoencoder has a tile of shape {shape}"), "use `--vae-tiling off`")
}
