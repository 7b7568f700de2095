//! `petal grid`: many pictures on one, drawn cell by cell.
use crate::{
    args::Grid as Arguments,
    draw, input,
    report::{self, Failure, Progress},
};
use petal_engine::{Axis, Grid, GridCell, Picture, Pipeline, Request, check_writable, write_atomically};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of the file that becomes the grid, in the folder of the cells.
const DRAFT: &str = "grid.draft";

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let grid = read(arguments)?;
    let folder = prepare(&arguments.output)?;
    let mut pipeline = draw::load(&arguments.changes.options(arguments.load.options()), arguments.quiet)?;
    let cells = grid.cells(&pipeline)?;
    make_folder(&folder)?;
    let result = draw_cells(&grid, &cells, &mut pipeline, &folder, arguments);
    if result.is_err() && !arguments.quiet {
        let there = cells.iter().filter(|cell| file(&folder, cell, &pipeline).exists()).count();
        let hint = "the same command goes on from there";
        report::note(&format!("{there} of {} cells are in {}; {hint}", cells.len(), folder.display()));
    }
    let drawn = result?;
    let sheet = grid.sheet(&pipeline, &cells, |cell| file(&folder, cell, &pipeline));
    let (width, height) = sheet.save(&arguments.output, &folder.join(DRAFT))?;
    if !arguments.keep_cells {
        remove(&folder, &cells, &pipeline);
    }
    if !arguments.json {
        return report::path(&arguments.output);
    }
    let mut told = grid.describe(&pipeline, &cells);
    told["path"] = arguments.output.to_string_lossy().into();
    told["width"] = width.into();
    told["height"] = height.into();
    told["cells"] = cells.len().into();
    told["drawn"] = drawn.into();
    report::line(&told.to_string())
}

/// The grid that was asked for.
fn read(arguments: &Arguments) -> Result<Grid, Failure> {
    let axis = |text: &Option<String>| text.as_deref().map(str::parse::<Axis>).transpose();
    let (x, y) = (axis(&arguments.x)?, axis(&arguments.y)?);
    let varied = [&x, &y].into_iter().flatten().any(|axis| axis.field() == "prompt");
    let mut request = Request::default();
    arguments.changes.apply(&mut request);
    input::read_pictures(&mut request, (arguments.prompt() == Some("-")).then_some("the prompt"))?;
    request.prompt = match (arguments.prompt(), varied) {
        (Some(typed), false) => draw::read_prompt(typed)?,
        (None, true) => String::new(),
        (Some(_), true) => {
            let what = "a prompt is given, and an axis of prompts as well";
            return Err(Failure::usage(what, "give one of the two"));
        }
        (None, false) => {
            let hint = "give one, or an axis of several, as in `--x \"prompt=a dog|a cat\"`";
            return Err(Failure::usage("there is no prompt", hint));
        }
    };
    Ok(Grid { request, x, y })
}

/// The folder of the cells; fails before any work is done if the grid cannot be written.
fn prepare(output: &Path) -> Result<PathBuf, Failure> {
    if !output.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("png")) {
        return Err(Failure::usage(format!("`{}` does not end in .png", output.display()), "name a .png file"));
    }
    if output.exists() && !output.is_file() {
        return Err(Failure::usage(format!("`{}` is not a regular file", output.display()), "name another file"));
    }
    check_writable(output.parent().unwrap_or(Path::new("")))?;
    Ok(output.with_extension("cells"))
}

/// Makes the folder, unless it is there.
fn make_folder(folder: &Path) -> Result<(), Failure> {
    match fs::create_dir(folder) {
        Err(_) if folder.is_dir() => Ok(check_writable(folder)?),
        Err(source) => Err(petal_engine::Error::Io { doing: "make the folder", path: folder.into(), source }.into()),
        Ok(()) => Ok(()),
    }
}

/// Draws the cells that are not in the folder yet; how many those were.
fn draw_cells(
    grid: &Grid,
    cells: &[GridCell],
    pipeline: &mut Pipeline,
    folder: &Path,
    arguments: &Arguments,
) -> Result<usize, Failure> {
    let mut drawn = 0;
    for (number, cell) in cells.iter().enumerate() {
        let path = file(folder, cell, pipeline);
        let title = format!("cell {} of {}", number + 1, cells.len());
        let label = grid.label(cell.column, cell.row);
        let picture = if cell.is_in(&path, pipeline) {
            tell(arguments, &format!("{title} is there: {label}"));
            None
        } else {
            tell(arguments, &format!("{title}: {label}"));
            let progress = if arguments.quiet { Progress::hidden() } else { Progress::new(&title) };
            let picture = draw::draw_one(pipeline, &cell.request, (progress, None), |_| {})?;
            write_atomically(&path, &picture.to_png(true)?)?;
            drawn += 1;
            Some(picture)
        };
        if arguments.json {
            let path = arguments.keep_cells.then_some(path.as_path());
            report::line(&describe(cell, picture.as_ref(), path).to_string())?;
        }
    }
    Ok(drawn)
}

fn tell(arguments: &Arguments, text: &str) {
    if !arguments.quiet {
        report::note(text);
    }
}

/// The file of a cell.
fn file(folder: &Path, cell: &GridCell, pipeline: &Pipeline) -> PathBuf {
    folder.join(cell.name(pipeline)).with_extension("png")
}

/// What `--json` says of a cell; its path only if it is kept.
fn describe(cell: &GridCell, drawn: Option<&Picture>, path: Option<&Path>) -> Value {
    json!({
        "column": cell.column,
        "row": cell.row,
        "path": path.map(Path::to_string_lossy),
        "drawn": drawn.is_some(),
        "seconds": drawn.map(|picture| &picture.seconds),
        "request": cell.request.to_json(),
    })
}

/// Removes the files of `cells`, what a kill may have left unfinished, and the folder if nothing else is in it. That the
/// grid is whole counts; files that stay do not.
fn remove(folder: &Path, cells: &[GridCell], pipeline: &Pipeline) {
    for cell in cells {
        let _ = fs::remove_file(file(folder, cell, pipeline));
    }
    let is_unfinished = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(".petal-").is_some_and(|rest| rest.strip_suffix(".tmp").is_some())
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_unfinished(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
