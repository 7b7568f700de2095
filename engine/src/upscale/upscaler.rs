//! How is a picture of any size made larger in little memory?
use super::{graph::Enlarger, plane::Side};
use crate::{
    Bitmap, Cancel, Error, Filter, LoadOptions, Notice, Result,
    models::{Catalogue, GraphFile, ModelName},
    pipeline::{find_library, first_that_starts, start_runtime},
    runtime::{Assigned, Graph, GraphSource, ProviderChoice, Settings, Stage, Wishes},
    tiles::Blend,
};
use std::ops::ControlFlow;

/// The most that a picture is enlarged, along each side.
pub const MOST_TIMES: f64 = 16.0;
/// The longest side of a result, which is PNG's.
const LONGEST_SIDE: u64 = (1 << 31) - 1;

/// Into which tiles a picture is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Their side in pixels of the source, 16 or more; a graph of a fixed size has its own. By default 256, for which the
    /// larger Real-ESRGAN model takes about a gigabyte.
    pub side: u32,
    /// How many pixels of the source neighbours share, up to a third of the side; a quarter of these is mixed. By default 48:
    /// 18 pixels of context, which is all that a pixel of `realesr-animevideov3` depends on.
    pub overlap: u32,
}

impl Default for Tiles {
    fn default() -> Self {
        Self { side: 256, overlap: 48 }
    }
}

impl Tiles {
    /// Fails for tiles that cover nothing.
    pub fn check(self) -> Result<()> {
        if !(16..=8192).contains(&self.side) {
            return Err(Error::request(format!("the side of a tile is {}", self.side), "use a number from 16 to 8192"));
        }
        if self.overlap > self.side / 3 {
            let what = format!("tiles of {} overlap by {}", self.side, self.overlap);
            return Err(Error::request(what, format!("let them overlap by {} or less", self.side / 3)));
        }
        Ok(())
    }
}

/// How far enlarging is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileDone {
    /// Tiles that are done.
    pub done: usize,
    /// Tiles in all.
    pub tiles: usize,
}

/// Hears of every tile; an error ends the work.
pub(crate) type TileObserver<'a> = dyn FnMut(TileDone) -> Result<()> + 'a;

/// A loaded network that makes pictures larger.
pub struct Upscaler {
    name: ModelName,
    provider: Option<ProviderChoice>,
    /// The version of ONNX Runtime.
    runtime: String,
    graph: Enlarger,
    cancel: Cancel,
    /// Into which tiles pictures are cut.
    pub tiles: Tiles,
}

impl Upscaler {
    /// Finds the network that `options` name, by default the catalogue's first upscaler, and loads it.
    ///
    /// A model is a name of the catalogue, a folder with a `model.onnx`, or an ONNX file. Its graph takes one image
    /// `[1, 3, height, width]`, RGB from 0 to 1 in 32 or 16 bits, and gives one that is larger by a whole number; names,
    /// fixed sizes and sizes that must be multiples are learnt from the graph.
    ///
    /// # Errors
    /// [`Error::Request`] for a model that draws; [`Error::Model`] if it is no upscaler; otherwise as
    /// [`Pipeline::load`](crate::Pipeline::load).
    pub fn load(options: &LoadOptions, mut notice: impl FnMut(Notice<'_>)) -> Result<Self> {
        let wishes = Wishes::parse(&options.provider, options.allow_fallback)?.only(Stage::Upscaler);
        let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
        let (name, file) = catalogue.open_upscaler(options.model.as_deref())?;
        let (library, _) = find_library(options, &catalogue, |what| notice(Notice::Installing(what)))?;
        let (runtime, cancel) = (start_runtime(&library, options)?, Cancel::new()?);
        let source = match file {
            GraphFile::Path(path) => GraphSource::File(path),
            GraphFile::Bytes(bytes) => GraphSource::Memory(bytes),
        };
        let load = |assigned: &Assigned| {
            let provider = assigned.of(Stage::Upscaler);
            let settings = Settings { provider, threads: options.threads };
            let graph = Graph::load(&runtime, &name.name, &source, &settings, &cancel)?;
            Ok(Self { provider: Some(provider), ..Self::new(name.clone(), graph, &cancel)? })
        };
        let upscaler = first_that_starts(&runtime, wishes, load, |error| notice(Notice::Skipped(error)))?;
        Ok(Self { runtime: runtime.version(), ..upscaler })
    }

    /// The network in `graph`, which belongs to `cancel`.
    pub(crate) fn new(name: ModelName, graph: Graph, cancel: &Cancel) -> Result<Self> {
        let graph = Enlarger::new(&name.name, graph)?;
        Ok(Self {
            name,
            provider: None,
            runtime: String::new(),
            graph,
            cancel: cancel.clone(),
            tiles: Tiles::default(),
        })
    }

    /// The model's name: as the catalogue, its folder or its file calls it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.name.name
    }

    /// The provider that runs the graph, as `cuda:1`; empty within a pipeline, which has its own.
    #[must_use]
    pub fn provider(&self) -> String {
        self.provider.map(|provider| provider.to_string()).unwrap_or_default()
    }

    /// The version of ONNX Runtime, as `1.31.1`; empty within a pipeline, which knows it.
    #[must_use]
    pub fn runtime_version(&self) -> &str {
        &self.runtime
    }

    /// How much larger the network makes a picture at once, along each side.
    #[must_use]
    pub fn scale(&self) -> u32 {
        self.graph.scale as u32
    }

    /// A handle with which another thread stops the work, inside a tile if need be.
    #[must_use]
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The picture, `scale` times larger along each side (without one, as much as the network does at once).
    ///
    /// For another scale than the network's it is applied until the picture is large enough, at least once, and the result is
    /// made smaller by Lanczos' filter. Transparency is enlarged by the same network, as a grey picture; where all
    /// of a tile is equally opaque it stays so. The picture's edges are mirrored, 10 pixels deep.
    ///
    /// # Errors
    /// [`Error::Request`] for a scale below 1 or above [`MOST_TIMES`] and for sides that no file holds; [`Error::Memory`]
    /// if the result does not fit; [`Error::NotFinite`] if the network gave numbers that are no picture;
    /// [`Error::Cancelled`] if `observe` or a [`Cancel`] handle stopped it.
    pub fn upscale(
        &mut self,
        picture: &Bitmap,
        scale: Option<f64>,
        mut observe: impl FnMut(TileDone) -> ControlFlow<()>,
    ) -> Result<Bitmap> {
        let result = self.enlarge(picture, scale, &mut heard(&mut observe));
        self.settle(result)
    }

    /// The picture, as much larger as the network makes it at once, row by row: `take` is called with each row of the result
    /// from the top on, RGB or RGBA (if the picture has alpha) of 8 bits. So the result is never in memory as a whole.
    ///
    /// # Errors
    /// Those of [`upscale`](Self::upscale), and what `take` fails with.
    pub fn upscale_rows(
        &mut self,
        picture: &Bitmap,
        mut observe: impl FnMut(TileDone) -> ControlFlow<()>,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut observe = heard(&mut observe);
        let result = self.rows(picture, (0, self.tiles_of(picture.size())), &mut observe, &mut take);
        self.settle(result)
    }

    /// The result, unless somebody asked to stop; lets later pictures run.
    fn settle<T>(&self, result: Result<T>) -> Result<T> {
        if self.cancel.is_cancelled() {
            self.cancel.reset();
            return Err(Error::Cancelled);
        }
        result
    }

    /// [`upscale`](Self::upscale) within a longer work, which a [`Cancel`] handle ends as a whole.
    pub(crate) fn enlarge(
        &mut self,
        picture: &Bitmap,
        scale: Option<f64>,
        observe: &mut TileObserver<'_>,
    ) -> Result<Bitmap> {
        let wanted = scale.unwrap_or(self.graph.scale as f64);
        let target = self.result_size(picture.size(), wanted)?;
        let passes = self.passes(wanted);
        let sizes: Vec<_> = (0..passes).map(|pass| self.size_after(picture.size(), pass)).collect::<Result<_>>()?;
        let tiles = sizes.iter().map(|size| self.tiles_of(*size)).sum();
        let (mut result, mut done) = (None, 0);
        for size in sizes {
            result = Some(self.pass(result.as_ref().unwrap_or(picture), (done, tiles), observe)?);
            done += self.tiles_of(size);
        }
        let result = result.unwrap_or_else(|| picture.clone());
        Ok(if result.size() == target { result } else { result.resized(target.0, target.1, Filter::Lanczos) })
    }

    /// The size of a picture `scale` times larger.
    ///
    /// # Errors
    /// [`Error::Request`] for a scale that is none, and for sides that no file holds.
    pub fn result_size(&self, (width, height): (u32, u32), scale: f64) -> Result<(u32, u32)> {
        if !(1.0..=MOST_TIMES).contains(&scale) {
            let hint = format!("use a number from 1 to {MOST_TIMES}");
            return Err(Error::request(format!("the picture is to become {scale} times larger"), hint));
        }
        self.size_after((width, height), self.passes(scale))?;
        let times = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        Ok((times(width), times(height)))
    }

    /// How often the network is applied so that a picture becomes `wanted` times larger or more.
    fn passes(&self, wanted: f64) -> u32 {
        let scale = self.graph.scale as f64;
        if scale < 2.0 {
            1
        } else {
            (1..8).find(|passes| scale.powi(*passes) >= wanted).map_or(8, |passes| passes as u32)
        }
    }

    /// The size of a picture after some passes.
    fn size_after(&self, (width, height): (u32, u32), passes: u32) -> Result<(u32, u32)> {
        let times = |length: u32| {
            let length = (self.graph.scale as u64).saturating_pow(passes).saturating_mul(length.into());
            u32::try_from(length).ok().filter(|length| u64::from(*length) <= LONGEST_SIDE)
        };
        let sides = times(width).zip(times(height)).filter(|_| width > 0 && height > 0);
        sides.ok_or_else(|| {
            Error::request(
                format!("a picture of {width}x{height} pixels cannot become so much larger"),
                "use a smaller scale, or cut the picture into pieces",
            )
        })
    }

    /// How many tiles a picture is cut into.
    fn tiles_of(&self, (width, height): (u32, u32)) -> usize {
        let [rows, columns] = self.sides((width, height));
        rows.tiling.spans().len() * columns.tiling.spans().len()
    }

    fn sides(&self, (width, height): (u32, u32)) -> [Side; 2] {
        let (tile, overlap) = (self.tiles.side as usize, self.tiles.overlap as usize);
        let [down, across] = self.graph.wanted;
        [Side::new(height as usize, down, tile, overlap), Side::new(width as usize, across, tile, overlap)]
    }

    /// The whole picture after the network was applied once.
    fn pass(&mut self, picture: &Bitmap, at: (usize, usize), observe: &mut TileObserver<'_>) -> Result<Bitmap> {
        let (width, height) = self.size_after(picture.size(), 1)?;
        let pixels = (width as usize).checked_mul(height as usize).and_then(|pixels| pixels.checked_mul(3));
        let too_large = || Error::Memory { what: format!("a picture of {width}x{height} pixels") };
        let mut rgb: Vec<u8> = Vec::new();
        let pixels = pixels.ok_or_else(too_large)?;
        rgb.try_reserve_exact(pixels).map_err(|_| too_large())?;
        let mut alpha = picture.alpha.is_some().then(Vec::new);
        alpha.as_mut().map_or(Ok(()), |alpha| alpha.try_reserve_exact(pixels / 3)).map_err(|_| too_large())?;
        self.rows(picture, at, observe, &mut |row| {
            match &mut alpha {
                None => rgb.extend_from_slice(row),
                Some(alpha) => row.chunks_exact(4).for_each(|pixel| {
                    rgb.extend_from_slice(&pixel[..3]);
                    alpha.push(pixel[3]);
                }),
            }
            Ok(())
        })?;
        Ok(Bitmap { alpha, ..Bitmap::opaque(width, height, rgb) })
    }

    /// Gives the rows of the picture after the network was applied once; `done` of `tiles` were done before.
    fn rows(
        &mut self,
        picture: &Bitmap,
        (mut done, tiles): (usize, usize),
        observe: &mut TileObserver<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let scale = self.graph.scale;
        self.size_after(picture.size(), 1)?;
        let [rows, columns] = self.sides(picture.size());
        let (kept_rows, kept) = (rows.kept(scale), columns.kept(scale));
        let channels = if picture.alpha.is_some() { 4 } else { 3 };
        let mut blend = Blend::new(channels, rows.tiling.scaled(scale), columns.tiling.scaled(scale));
        let mut bytes = vec![0; channels * kept.len()];
        for (row, down) in rows.tiling.spans().iter().enumerate() {
            for (column, across) in columns.tiling.spans().iter().enumerate() {
                let tile =
                    Tile { picture, down: rows.pixels(down).collect(), across: columns.pixels(across).collect() };
                blend.add(row, column, &self.tile(&tile)?);
                done += 1;
                observe(TileDone { done, tiles })?;
            }
            blend.finish(row, |y, values| {
                if !kept_rows.contains(&y) {
                    return Ok(());
                }
                for (channel, plane) in values.chunks_exact(values.len() / channels).enumerate() {
                    let pixels = bytes[channel..].iter_mut().step_by(channels);
                    pixels.zip(&plane[kept.clone()]).for_each(|(byte, value)| *byte = to_byte(*value));
                }
                take(&bytes)
            })?;
        }
        Ok(())
    }

    /// A tile, enlarged: `[3, height, width]`, or 4 with alpha.
    fn tile(&mut self, tile: &Tile<'_>) -> Result<Vec<f32>> {
        let size = [tile.down.len(), tile.across.len()];
        let mut values = self.graph.run(size, tile.colours())?.into_floats();
        if let Some(alpha) = tile.alpha() {
            let pixels = values.len() / 3;
            if alpha.iter().all(|value| value.to_bits() == alpha[0].to_bits()) {
                values.resize(4 * pixels, alpha[0]);
            } else {
                let grey = self.graph.run(size, alpha.repeat(3))?.into_floats();
                let (red, rest) = grey.split_at(pixels);
                let (green, blue) = rest.split_at(pixels);
                values.extend(red.iter().zip(green).zip(blue).map(|((r, g), b)| (r + g + b) / 3.0));
            }
        }
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(Error::NotFinite { stage: format!("the upscaler `{}`", self.name.name) })
    }
}

impl std::fmt::Debug for Upscaler {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("Upscaler");
        out.field("name", &self.name).field("scale", &self.graph.scale).finish_non_exhaustive()
    }
}

/// The pixels of a picture that a tile takes in, row and column of each.
struct Tile<'a> {
    picture: &'a Bitmap,
    down: Vec<usize>,
    across: Vec<usize>,
}

impl Tile<'_> {
    /// Red, green and blue from 0 to 1: `[3, height, width]`.
    fn colours(&self) -> Vec<f32> {
        (0..3).flat_map(|channel| self.plane(&self.picture.rgb, 3, channel)).collect()
    }

    /// Alpha from 0 to 1: `[height, width]`.
    fn alpha(&self) -> Option<Vec<f32>> {
        self.picture.alpha.as_ref().map(|alpha| self.plane(alpha, 1, 0))
    }

    fn plane(&self, bytes: &[u8], depth: usize, channel: usize) -> Vec<f32> {
        let width = self.picture.width as usize;
        let pixel = |y: usize, x: usize| f32::from(bytes[(y * width + x) * depth + channel]) / 255.0;
        self.down.iter().flat_map(|y| self.across.iter().map(move |x| pixel(*y, *x))).collect()
    }
}

/// From 0..1 to 0..255.
fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// What a caller hears and answers, as this crate's results.
fn heard(observe: &mut impl FnMut(TileDone) -> ControlFlow<()>) -> impl FnMut(TileDone) -> Result<()> {
    |done| match observe(done) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    }
}
