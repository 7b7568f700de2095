//! `petal upscale`: larger pictures from pictures.
use crate::{
    args::Files,
    draw, input,
    load::Load,
    output::{Output, free_names},
    report::{self, Failure, Progress},
};
use clap::Args;
use petal_engine::{
    Bitmap, FileFormat, FileText, PngRows, Tiles, Upscaler, encode_bitmap, enlarged_texts, read_texts,
    write_atomically, write_atomically_with,
};
use serde_json::json;
use std::{
    ffi::OsString,
    fs,
    io::BufReader,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

#[derive(Args, Debug)]
pub(crate) struct Upscale {
    /// The pictures; `-` reads one from standard input
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// How much larger, 1 to 16 [default: what the network does at once]
    #[arg(short = 'x', long = "scale", value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) scale: Option<f64>,
    /// The .png, .jpg or .webp file to write, a folder, or `-` for standard output [default: NAME-x4.png and the like]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<OsString>,
    #[command(flatten)]
    pub(crate) files: Files,
    /// The side of the tiles into which a picture is cut, in its own pixels; larger ones take more memory
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    pub(crate) tile: u32,
    /// How many of its own pixels neighbouring tiles share, up to a third; networks that see far need more
    #[arg(long, value_name = "PIXELS", default_value_t = 48)]
    pub(crate) tile_overlap: u32,
    /// Do not write what made the picture into the result
    #[arg(long)]
    pub(crate) no_metadata: bool,
    /// Print one JSON object for each picture
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing but paths and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// A picture and what its file says.
struct Source {
    pixels: Bitmap,
    texts: Vec<FileText>,
}

pub(crate) fn run(arguments: &Upscale) -> Result<(), Failure> {
    let tiles = Tiles { side: arguments.tile, overlap: arguments.tile_overlap };
    tiles.check()?;
    let output = output(arguments)?;
    draw::stop_on_signals();
    let mut upscaler =
        Upscaler::load(&arguments.load.options(), |notice| draw::tell_loading(&notice, arguments.quiet))?;
    draw::runs(upscaler.cancel_handle());
    upscaler.tiles = tiles;
    if !arguments.quiet {
        report::note(&format!("{} on {}", upscaler.model(), upscaler.provider()));
    }
    arguments.images.iter().try_for_each(|image| upscale(&mut upscaler, image, &output, arguments))
}

/// Where the pictures go; fails before any work is done if nothing can be written there.
fn output(arguments: &Upscale) -> Result<Output, Failure> {
    let Upscale { images, output, files, .. } = arguments;
    let output = Output::new(output.as_deref(), images.len() as u32, files.format.map(Into::into))?;
    draw::check_quality(files.quality, output.format())?;
    match &output {
        Output::Stdout(_) if arguments.json => {
            Err(Failure::usage("`--json` and the picture cannot both go to standard output", "name a file with `-o`"))
        }
        Output::Numbered(path) => {
            let what = format!("`{}` is one file for several pictures", path.display());
            Err(Failure::usage(what, "name a folder with a slash at its end"))
        }
        Output::File(path) if images.iter().any(|image| is_same_file(image, path)) => {
            let what = format!("`{}` is the picture that is to be enlarged", path.display());
            Err(Failure::usage(what, "name another file; petal does not overwrite what it reads"))
        }
        _ => Ok(output),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

/// Reads a picture, makes it larger, writes it and says where it is.
fn upscale(upscaler: &mut Upscaler, image: &Path, output: &Output, arguments: &Upscale) -> Result<(), Failure> {
    let begun = Instant::now();
    let Source { pixels, texts } = read(image)?;
    let scale = arguments.scale.unwrap_or(f64::from(upscaler.scale()));
    let texts = if arguments.no_metadata { Vec::new() } else { enlarged_texts(texts, scale, upscaler.model()) };
    let stem = image.file_stem().filter(|_| image != Path::new("-")).map(|stem| stem.to_string_lossy().into_owned());
    let name = format!("{}-x{scale}", stem.unwrap_or_else(|| "picture".into()));
    let format = output.format();
    let path = match output {
        Output::Stdout(_) => None,
        Output::File(path) | Output::Numbered(path) => Some(path.clone()),
        Output::Folder(folder, _) => free_names(folder, &name, format.suffix()).find(|path| !path.exists()),
    };
    let progress = if arguments.quiet { Progress::hidden() } else { Progress::new(&name) };
    let (width, height) = upscaler.result_size(pixels.size(), scale)?;
    format.check_size((width, height))?;
    write(upscaler, &Source { pixels, texts }, scale, path.as_deref(), (format, arguments.files.quality), progress)?;
    let Some(path) = path else { return Ok(()) };
    if !arguments.json {
        return report::path(&path);
    }
    let told = json!({
        "path": path.to_string_lossy(),
        "source": image.to_string_lossy(),
        "width": width,
        "height": height,
        "scale": scale,
        "model": upscaler.model(),
        "provider": upscaler.provider(),
        "onnxruntime": upscaler.runtime_version(),
        "seconds": begun.elapsed().as_secs_f64(),
    });
    report::line(&told.to_string())
}

/// Writes a picture that is `scale` times larger to `path`, or to standard output.
fn write(
    upscaler: &mut Upscaler,
    Source { pixels, texts }: &Source,
    scale: f64,
    path: Option<&Path>,
    (format, quality): (FileFormat, Option<u8>),
    mut progress: Progress,
) -> Result<(), Failure> {
    let observe = |done| {
        progress.tell_tiles(done);
        ControlFlow::Continue(())
    };
    let at_once = (scale - f64::from(upscaler.scale())).abs() < f64::EPSILON;
    if let Some(path) = path.filter(|_| at_once && format == FileFormat::Png) {
        // row by row: the result is never in memory as a whole
        let size = upscaler.result_size(pixels.size(), scale)?;
        write_atomically_with(path, |file| {
            let mut rows = PngRows::new(file, path, size, pixels.alpha.is_some(), texts)?;
            upscaler.upscale_rows(pixels, observe, |row| rows.row(row))?;
            rows.finish()
        })?;
        return Ok(());
    }
    let larger = upscaler.upscale(pixels, Some(scale), observe)?;
    let bytes = encode_bitmap(&larger, format, quality, texts)?;
    match path {
        Some(path) => Ok(write_atomically(path, &bytes)?),
        None => report::bytes(&bytes),
    }
}

/// The picture in a file, or in standard input for `-`, and its texts, if its format has any.
fn read(image: &Path) -> Result<Source, Failure> {
    if image != Path::new("-") {
        let pixels = Bitmap::read(image)?;
        return Ok(Source { pixels, texts: read_texts(image).unwrap_or_default() });
    }
    let file = input::standard_input()?;
    let pixels = Bitmap::decode(BufReader::new(file.as_file()))?;
    Ok(Source { pixels, texts: read_texts(file.path()).unwrap_or_default() })
}
