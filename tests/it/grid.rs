//! `petal grid`, as users see it.
use super::support::{library, model, petal, read_png, transcript};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Pixels between pictures, as engine/src/image/sheet.rs has them.
const GAP: usize = 6;

/// Runs petal in `folder`; the whole transcript.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = petal(folder).args(arguments).output().unwrap();
    let text = transcript(&output, folder).replace(&library().display().to_string(), "[LIBRARY]");
    text.replace(&model("sd1"), "[TINY]")
}

/// Runs `petal grid` with the tiny model; its standard output.
fn grid(folder: &Path, arguments: &[&str]) -> String {
    let tiny = model("sd1");
    let output = petal(folder).args(["grid", "-m", &tiny]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output, folder));
    String::from_utf8(output.stdout).unwrap()
}

/// The single picture that `arguments` draw: width, height, pixels.
fn single(folder: &Path, arguments: &[&str]) -> (u32, u32, Vec<u8>) {
    let common = ["-m", &model("sd1"), "-q", "-o", "single.png"];
    let text = run(folder, &[arguments, &common].concat());
    assert!(text.starts_with("exit code 0"), "{text}");
    read_png(&folder.join("single.png"))
}

/// Where `picture` lies in `sheet`: the only place, by left and upper edge.
fn find(sheet: &(u32, u32, Vec<u8>), picture: &(u32, u32, Vec<u8>)) -> (usize, usize) {
    let (width, height) = (sheet.0 as usize, sheet.1 as usize);
    let (w, h) = (picture.0 as usize, picture.1 as usize);
    let same = |x: usize, y: usize| {
        (0..h).all(|row| sheet.2[((y + row) * width + x) * 3..][..w * 3] == picture.2[row * w * 3..][..w * 3])
    };
    let places = (0..=height - h).flat_map(|y| (0..=width - w).map(move |x| (x, y)));
    let found: Vec<_> = places.filter(|(x, y)| same(*x, *y)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn cells(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_right_pictures_are_at_the_right_places() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["a dog", "-s", "7", "-W", "48", "--scheduler", "karras"];
    let axes = ["--x", "sampler=euler,euler_a", "--y", "steps=2,3"];
    let told = grid(folder.path(), &[&axes[..], &common].concat());
    assert_eq!(told, "grid.png\n");
    let sheet = read_png(&folder.path().join("grid.png"));
    let place = |sampler: &str, steps: &str| {
        let picture = single(folder.path(), &[&common[..], &["--sampler", sampler, "--steps", steps]].concat());
        assert_eq!((picture.0, picture.1), (48, 64));
        find(&sheet, &picture)
    };
    let (left, top) = place("euler", "2");
    let (right, bottom) = place("euler_a", "3");
    assert_eq!(place("euler", "3"), (left, bottom));
    assert_eq!(place("euler_a", "2"), (right, top));
    assert!(right >= left + 48 + GAP);
    assert_eq!(bottom, top + 64 + GAP);
    assert!(!folder.path().join("grid.cells").exists());
}

#[test]
fn pictures_of_other_sizes_stand_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    grid(
        folder.path(),
        &["--y", "prompt=a dog, here|a [cat|bird]", "--x", "width=64,128", "--steps", "1", "-o", "g.png"],
    );
    let sheet = read_png(&folder.path().join("g.png"));
    let place =
        |prompt: &str, width: &str| find(&sheet, &single(folder.path(), &[prompt, "-W", width, "--steps", "1"]));
    let (dog, cat) = (place("a dog, here", "64"), place("a [cat|bird]", "64"));
    assert_eq!((cat.0, cat.1), (dog.0, dog.1 + 64 + GAP));
    assert_eq!(place("a dog, here", "128").1, dog.1);
    let folder = tempfile::tempdir().unwrap();
    grid(folder.path(), &["--y", "width=64,128", "x", "--steps", "1", "-o", "g.png"]);
    let sheet = read_png(&folder.path().join("g.png"));
    let left = |width: &str| find(&sheet, &single(folder.path(), &["x", "-W", width, "--steps", "1"])).0;
    assert_eq!(left("64"), left("128") + 32);
}

#[test]
fn what_is_there_is_not_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--x", "seed=1-3", "a dog", "--steps", "2", "--json", "--keep-cells"];
    let lines = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    let first = lines(&grid(folder.path(), &arguments));
    assert_eq!((first.len(), &first[3]["drawn"], &first[3]["cells"]), (4, &3.into(), &3.into()));
    let whole = fs::read(folder.path().join("grid.png")).unwrap();

    let files = cells(&folder.path().join("grid.cells"));
    assert_eq!(files.len(), 3);
    let path = |cell: &Value| folder.path().join(cell["path"].as_str().unwrap());
    fs::remove_file(path(&first[0])).unwrap();
    fs::write(path(&first[1]), &fs::read(path(&first[1])).unwrap()[..200]).unwrap(); // cut short by a full disk
    fs::remove_file(folder.path().join("grid.png")).unwrap();
    let again = lines(&grid(folder.path(), &arguments));
    let drawn: Vec<_> = again.iter().map(|line| line["drawn"].clone()).collect();
    assert_eq!(drawn, [true.into(), true.into(), false.into(), Value::from(2)]);
    assert!(fs::read(folder.path().join("grid.png")).unwrap() == whole);

    // another request has cells of its own, and only those are removed at the end
    let other = lines(&grid(folder.path(), &["--x", "seed=1-3", "a cat", "--steps", "2", "--json"]));
    assert_eq!((&other[3]["drawn"], &other[0]["path"]), (&3.into(), &Value::Null));
    assert_eq!(cells(&folder.path().join("grid.cells")), files);
}

/// Cells of another grid that was broken off stay, and so do people's files.
#[test]
fn only_the_cells_of_this_grid_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cells_folder = folder.path().join("grid.cells");
    grid(folder.path(), &["--x", "seed=1-2", "a dog", "--steps", "1", "--keep-cells"]);
    let others = cells(&cells_folder);
    fs::write(cells_folder.join("mine.txt"), "kept").unwrap();
    fs::write(cells_folder.join(".petal-abc.tmp"), "what a kill leaves").unwrap();
    grid(folder.path(), &["--x", "seed=3-4", "a dog", "--steps", "1"]);
    assert_eq!(cells(&cells_folder), [others, vec![cells_folder.join("mine.txt")]].concat());
    fs::remove_file(cells_folder.join("mine.txt")).unwrap();
    grid(folder.path(), &["--x", "seed=1-2", "a dog", "--steps", "1"]);
    assert!(!cells_folder.exists());
}

/// Noise levels and schedules take each other's place, as their flags do.
#[test]
fn axes_of_noise_levels_and_of_schedules_replace_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = |arguments: &[&str]| {
        grid(folder.path(), arguments);
        read_png(&folder.path().join("grid.png"))
    };
    let levels = sheet(&["--x", "sigmas=9,5,1|14,3", "a dog", "--scheduler", "karras", "--rho", "5", "--steps", "9"]);
    find(&levels, &single(folder.path(), &["a dog", "--sigmas", "9,5,1"]));
    find(&levels, &single(folder.path(), &["a dog", "--sigmas", "14,3"]));
    let schedules = sheet(&["--x", "scheduler=karras,exponential", "a dog", "--sigmas", "9,5,1"]);
    find(&schedules, &single(folder.path(), &["a dog", "--scheduler", "karras"]));
}

/// A killed command leaves its cells, and no grid; the next one takes them.
#[test]
fn a_killed_grid_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    let arguments = ["grid", "-m", &tiny, "--x", "seed=1-40", "a dog", "--steps", "40", "--json"];
    let (out, quiet) = (std::process::Stdio::piped(), std::process::Stdio::null());
    let mut child = petal(folder.path()).args(arguments).stdout(out).stderr(quiet).spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.contains("\"drawn\":true"), "{first}");
    assert!(!folder.path().join("grid.png").exists());
    let there =
        cells(&folder.path().join("grid.cells")).iter().filter(|path| path.extension().unwrap() == "png").count();
    fs::write(folder.path().join("grid.cells/.petal-abc.tmp"), "a cell that was being written").unwrap();
    let told = grid(folder.path(), &arguments[3..]);
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert!((1..40).contains(&there), "{there}");
    assert_eq!(last["drawn"], 40 - there);
    assert!(!folder.path().join("grid.cells").exists());
}

#[test]
fn a_cell_says_what_made_it_and_the_grid_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    grid(
        folder.path(),
        &[
            "--x",
            "cfg-scale=1,7.5",
            "--y",
            "cfg_schedule=9,1|3,3",
            "a dog",
            "--steps",
            "2",
            "--sampler",
            "euler",
            "--keep-cells",
        ],
    );
    insta::assert_snapshot!("grid_inspect", run(folder.path(), &["inspect", "grid.png"]));
    insta::assert_snapshot!("grid_redraw", run(folder.path(), &["redraw", "grid.png"]));
    let text = run(folder.path(), &["inspect", "grid.png", "--json"]);
    let json: Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
    assert_eq!(json["y"]["values"], serde_json::json!([[9.0, 1.0], [3.0, 3.0]]));
    let cell = cells(&folder.path().join("grid.cells"))[0].display().to_string();
    let text = run(folder.path(), &["verify", &cell, "-m", &model("sd1"), "-q"]);
    assert_eq!(text, "exit code 0\n--- stdout\nidentical\n--- stderr\n");
}

#[test]
fn progress_is_told_cell_by_cell() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    let arguments = ["grid", "-m", &tiny, "--x", "steps=1,2", "--y", "negative_prompt=|blur", "a dog"];
    insta::assert_snapshot!("grid_progress", run(folder.path(), &arguments));
    let quiet = run(folder.path(), &[&arguments[..], &["-q"]].concat());
    assert_eq!(quiet, "exit code 0\n--- stdout\ngrid.png\n--- stderr\n");
}

/// Whatever is wrong with a cell is said before the first is drawn, and leaves nothing behind.
#[test]
fn what_cannot_be_drawn_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    fs::create_dir(folder.path().join("folder.png")).unwrap();
    for (name, arguments) in [
        ("grid_wrong_value", &["--x", "steps=10,ten", "a"][..]),
        ("grid_without_values", &["--x", "steps", "a"]),
        ("grid_wrong_cell", &["--x", "cfg_scale=7,-1", "--y", "steps=1,2", "a"]),
        ("grid_out_of_range", &["--x", "width=64,65", "a"]),
        ("grid_same_axes", &["--x", "steps=1", "--y", "steps=2", "a"]),
        ("grid_same_pictures", &["--x", "sampler=euler,Euler", "--y", "steps=1,2", "a"]),
        ("grid_same_columns", &["--x", "steps=1,2", "--y", "sigmas=9,5|3", "a"]),
        ("grid_batch", &["--x", "steps=1", "a", "-b", "2"]),
        ("grid_batch_axis", &["--x", "batch_count=1,2", "a"]),
        ("grid_without_prompt", &["--x", "steps=1"]),
        ("grid_two_prompts", &["--x", "prompt=a|b", "c"]),
        ("grid_without_axes", &["a"]),
        ("grid_other_format", &["--x", "steps=1", "a", "-o", "grid.jpg"]),
        ("grid_no_folder", &["--x", "steps=1", "a", "-o", "no/grid.png"]),
        ("grid_is_a_folder", &["--x", "steps=1", "a", "-o", "folder.png"]),
    ] {
        let text = run(folder.path(), &[&["grid", "-m", &tiny][..], arguments].concat());
        insta::assert_snapshot!(name, text);
    }
    let text = run(folder.path(), &["grid", "-m", &tiny, "--x", "samplr=euler", "a"]);
    let wanted = "error: unknown field `samplr`\n\nhint: use `sampler`, or another of: prompt, negative_prompt, width,";
    assert!(text.contains(wanted), "{text}");
    assert_eq!(cells(folder.path()), [folder.path().join("folder.png")]);
}
