//! `petal upscale`: larger pictures from pictures.
use crate::{
    args::Upscale,
    draw, input,
    report::{self, Failure, Progress},
};
use petal_engine::{
    Bitmap, FileFormat, FileText, PngRows, Tiles, USUAL_QUALITY, Upscaler, check_writable, encode_bitmap,
    enlarged_texts, read_texts, write_atomically, write_atomically_with,
};
use serde_json::json;
use std::{
    fs,
    io::BufReader,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

/// Where the larger pictures go.
enum Target {
    Stdout,
    File(PathBuf),
    /// Into a folder, named after their sources; nothing is overwritten.
    Folder(PathBuf),
}

/// A picture and what its file says.
struct Source {
    pixels: Bitmap,
    texts: Vec<FileText>,
}

pub(crate) fn run(arguments: &Upscale) -> Result<(), Failure> {
    let tiles = Tiles { side: arguments.tile, overlap: arguments.tile_overlap };
    tiles.check()?;
    let target = target(arguments)?;
    draw::stop_on_signals();
    let mut upscaler =
        Upscaler::load(&arguments.load.options(), |notice| draw::tell_loading(&notice, arguments.quiet))?;
    draw::runs(upscaler.cancel_handle());
    upscaler.tiles = tiles;
    if !arguments.quiet {
        report::note(&format!("{} on {}", upscaler.model(), upscaler.provider()));
    }
    arguments.images.iter().try_for_each(|image| upscale(&mut upscaler, image, &target, arguments))
}

/// Where the pictures go; fails before any work is done if nothing can be written there.
fn target(arguments: &Upscale) -> Result<Target, Failure> {
    let folder = |path: PathBuf| -> Result<Target, Failure> {
        check_writable(&path)?;
        Ok(Target::Folder(path))
    };
    let needs_jpeg = |format: Option<FileFormat>| match arguments.quality {
        Some(_) if format != Some(FileFormat::Jpeg) => {
            Err(Failure::usage("`--quality` is for JPEG; other formats lose nothing", "name a .jpg file with `-o`"))
        }
        _ => Ok(()),
    };
    let Some(name) = arguments.output.as_deref() else {
        needs_jpeg(None)?;
        return folder(PathBuf::new());
    };
    let path = PathBuf::from(name);
    if path.is_dir() || name.to_string_lossy().ends_with(std::path::is_separator) {
        needs_jpeg(None)?;
        return folder(path);
    }
    if arguments.images.len() > 1 {
        let what = format!("`{}` is one file for several pictures", path.display());
        return Err(Failure::usage(what, "name a folder with a slash at its end"));
    }
    if name == "-" {
        needs_jpeg(None)?;
        let hint = "name a file with `-o`";
        if arguments.json {
            return Err(Failure::usage("`--json` and the picture cannot both go to standard output", hint));
        }
        return Ok(Target::Stdout);
    }
    needs_jpeg(FileFormat::of(&path))?;
    file(path, &arguments.images)
}

/// One file, which can be written and is none of `images`.
fn file(path: PathBuf, images: &[PathBuf]) -> Result<Target, Failure> {
    if FileFormat::of(&path).is_none() {
        let what = format!("`{}` does not end in .png, .jpg or .webp", path.display());
        return Err(Failure::usage(what, "name such a file, or a folder with a slash at its end"));
    }
    check_writable(path.parent().unwrap_or(Path::new("")))?;
    let same =
        |image: &PathBuf| fs::canonicalize(image).ok().is_some_and(|image| fs::canonicalize(&path).ok() == Some(image));
    if images.iter().any(same) {
        let what = format!("`{}` is the picture that is to be enlarged", path.display());
        return Err(Failure::usage(what, "name another file; petal does not overwrite what it reads"));
    }
    Ok(Target::File(path))
}

/// Reads a picture, makes it larger, writes it and says where it is.
fn upscale(upscaler: &mut Upscaler, image: &Path, target: &Target, arguments: &Upscale) -> Result<(), Failure> {
    let begun = Instant::now();
    let Source { pixels, texts } = read(image)?;
    let scale = arguments.scale.unwrap_or(f64::from(upscaler.scale()));
    let texts = if arguments.no_metadata { Vec::new() } else { enlarged_texts(texts, scale, upscaler.model()) };
    let stem = image.file_stem().filter(|_| image != Path::new("-")).map(|stem| stem.to_string_lossy().into_owned());
    let name = format!("{}-x{scale}", stem.unwrap_or_else(|| "picture".into()));
    let path = match target {
        Target::Stdout => None,
        Target::File(path) => Some(path.clone()),
        Target::Folder(folder) => Some(free_name(folder, &name)),
    };
    let progress = if arguments.quiet { Progress::hidden() } else { Progress::new(&name) };
    let (width, height) = upscaler.result_size(pixels.size(), scale)?;
    path.as_deref().and_then(FileFormat::of).unwrap_or_default().check_size((width, height))?;
    write(upscaler, &Source { pixels, texts }, scale, path.as_deref(), (arguments.quality, progress))?;
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
    (quality, mut progress): (Option<u8>, Progress),
) -> Result<(), Failure> {
    let observe = |done| {
        progress.tell_tiles(done);
        ControlFlow::Continue(())
    };
    let at_once = (scale - f64::from(upscaler.scale())).abs() < f64::EPSILON;
    let format = path.and_then(FileFormat::of).unwrap_or_default();
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
    let bytes = encode_bitmap(&larger, format, quality.unwrap_or(USUAL_QUALITY), texts)?;
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

/// `folder/name.png`, or `folder/name-2.png` and so on where there is one already.
fn free_name(folder: &Path, name: &str) -> PathBuf {
    let others = (2_u64..).map(|number| folder.join(format!("{name}-{number}.png")));
    let mut names = std::iter::once(folder.join(format!("{name}.png"))).chain(others);
    names.find(|path| !path.exists()).unwrap_or_else(|| folder.join(format!("{name}.png")))
}
