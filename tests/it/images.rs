//! Odd and hostile image files, which `scripts/odd_images.py` makes: each gives its picture or an error, in little memory.
use super::support::{model, petal, root};
use flate2::read::GzDecoder;
use petal_engine::{Bitmap, Error, picture_size};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{self, BufReader, Cursor},
    path::{Path, PathBuf},
    process::Stdio,
};

const FOLDER: &str = "tests/images/odd";

/// The entries of the index.
fn entries() -> Vec<Value> {
    let index = fs::read_to_string(root().join(FOLDER).join("index.json")).unwrap();
    serde_json::from_str(&index).unwrap()
}

/// The file of an entry, unpacked into `folder` if it is packed.
fn unpacked(entry: &Value, folder: &Path) -> PathBuf {
    let name = entry["file"].as_str().unwrap();
    let path = root().join(FOLDER).join(name);
    let Some(plain) = name.strip_suffix(".gz") else { return path };
    let target = folder.join(plain);
    io::copy(&mut GzDecoder::new(File::open(path).unwrap()), &mut File::create(&target).unwrap()).unwrap();
    target
}

/// The picture that an entry asks for.
fn expected(entry: &Value) -> Bitmap {
    let [width, height] = [0, 1].map(|side| entry["size"][side].as_u64().unwrap() as u32);
    if let Some(plain) = entry["picture"]["plain"].as_array() {
        let colour: Vec<u8> = plain.iter().map(|value| value.as_u64().unwrap() as u8).collect();
        return Bitmap::opaque(width, height, colour.repeat(width as usize * height as usize));
    }
    let file = File::open(root().join(FOLDER).join(entry["picture"].as_str().unwrap())).unwrap();
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (width, height), "{entry}");
    match info.color_type {
        png::ColorType::Rgb => Bitmap::opaque(width, height, pixels),
        png::ColorType::Rgba => {
            let rgb = pixels.chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
            let alpha = Some(pixels.chunks(4).map(|pixel| pixel[3]).collect());
            Bitmap { alpha, ..Bitmap::opaque(width, height, rgb) }
        }
        other => panic!("{entry}: {other:?}"),
    }
}

/// What is wrong with what reading the file of `entry` gave.
fn fault(entry: &Value, read: Result<Bitmap, Error>) -> Option<String> {
    let picture = match (read, entry["error"].as_str()) {
        (Ok(_), Some(words)) => return Some(format!("was read, not refused: {words}")),
        (Err(error), None) => return Some(format!("was refused: {error}")),
        (Err(error), Some(words)) => {
            let said = error.to_string();
            let told = words.split('|').any(|words| said.contains(words)) && error.hint().is_some();
            return (!told).then(|| format!("was refused: {said}, not: {words}"));
        }
        (Ok(picture), None) => picture,
    };
    let expected = expected(entry);
    if picture.size() != expected.size() || picture.alpha.is_some() != expected.alpha.is_some() {
        return Some(format!("is {:?}, not {:?}, or lacks opacity", picture.size(), expected.size()));
    }
    let away = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    let opacity = away(picture.alpha.as_deref().unwrap_or_default(), expected.alpha.as_deref().unwrap_or_default());
    let most = away(&picture.rgb, &expected.rgb);
    let drawable = picture.check_drawable().err().map(|error| error.to_string()).unwrap_or_default();
    if u64::from(most) > entry["tolerance"].as_u64().unwrap() || opacity > 0 {
        return Some(format!("has colours {most} and opacities {opacity} away"));
    }
    let refused = entry["undrawable"].as_str();
    let told = refused.map_or(drawable.is_empty(), |size| drawable.contains(size));
    (!told).then(|| format!("says of drawing over it: {drawable}"))
}

#[test]
fn every_file_gives_its_picture_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut faults = Vec::new();
    let entries = entries();
    assert!(entries.len() >= 60, "{}", entries.len());
    for entry in &entries {
        let path = unpacked(entry, folder.path());
        if let Some(fault) = fault(entry, Bitmap::read(&path)) {
            faults.push(format!("{} ({}): {fault}", entry["file"], entry["what"]));
        } else if entry["error"].is_null() {
            let size = picture_size(&path).unwrap();
            assert_eq!(serde_json::json!([size.0, size.1]), entry["size"], "{entry}");
        }
    }
    assert!(faults.is_empty(), "{} files\n{}", faults.len(), faults.join("\n"));
}

/// Each file is read by a process of its own, this test again, which tells the most memory that it had.
#[cfg(target_os = "linux")]
#[test]
fn reading_takes_little_memory() {
    use std::{env, process::Command};
    const VARIABLE: &str = "PETAL_TEST_READS";
    const ROOM: u64 = 64 << 20;
    if let Some(path) = env::var_os(VARIABLE) {
        let read = Bitmap::read(path);
        let decoded = read.map_or(0, |picture| picture.rgb.len() + picture.alpha.map_or(0, |alpha| alpha.len()));
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        println!("\nmemory {decoded} {}", peak.strip_suffix(" kB").unwrap());
        return;
    }
    let measure = |path: &Path| -> (u64, u64) {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["images::reading_takes_little_memory", "--exact", "--nocapture"]).env(VARIABLE, path);
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        let told = output.lines().find_map(|line| line.strip_prefix("memory ")).unwrap_or_else(|| panic!("{output}"));
        let (decoded, peak) = told.split_once(' ').unwrap();
        (decoded.parse().unwrap(), peak.parse::<u64>().unwrap() * 1024)
    };
    let folder = tempfile::tempdir().unwrap();
    let (_, least) = measure(&root().join(FOLDER).join("rgb.png"));
    let mut used: Vec<_> = Vec::new();
    for entry in entries() {
        let (decoded, peak) = measure(&unpacked(&entry, folder.path()));
        used.push((peak.saturating_sub(least) as f64 / (2 * decoded + ROOM) as f64, entry["file"].to_string()));
    }
    used.sort_by(|a, b| b.0.total_cmp(&a.0));
    let most: Vec<_> = used.iter().take(5).map(|(part, file)| format!("{file} {:.0} %", part * 100.0)).collect();
    println!("{} files; the most of twice the picture and 64 MiB: {}", used.len(), most.join(", "));
    assert!(used[0].0 <= 1.0, "{most:?}");
}

/// The program draws over a picture from standard input as over that of a file, and writes what `--format` says.
#[test]
fn pictures_come_from_and_go_to_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let odd = root().join(FOLDER);
    let (picture, mask) = (odd.join("rgba.png"), odd.join("bits.bmp"));
    let draw = |from: Option<&Path>, more: &[&str]| {
        let mut command = petal(folder.path());
        command.args(["draw", "a dog", "-m", &model("sd1"), "--steps", "2", "-W", "32", "-H", "32", "-q", "-o", "-"]);
        command.args(more).stdin(from.map_or_else(Stdio::null, |path| File::open(path).unwrap().into()));
        command.output().unwrap()
    };
    let named = picture.to_str().unwrap();
    let from_file = draw(None, &["-i", named]);
    assert!(from_file.status.success(), "{}", String::from_utf8_lossy(&from_file.stderr));
    assert_eq!(draw(Some(&picture), &["-i", "-"]).stdout, from_file.stdout);
    let from_file = draw(None, &["-i", named, "--mask", mask.to_str().unwrap()]);
    assert!(from_file.status.success(), "{}", String::from_utf8_lossy(&from_file.stderr));
    assert_eq!(draw(Some(&mask), &["-i", named, "--mask", "-"]).stdout, from_file.stdout);
    for (format, start) in [("png", &b"\x89PNG"[..]), ("jpg", b"\xFF\xD8"), ("webp", b"RIFF")] {
        let written = draw(Some(&picture), &["-i", "-", "--format", format]).stdout;
        assert!(written.starts_with(start), "{format}");
        let alpha = Bitmap::decode(Cursor::new(written)).unwrap().alpha;
        assert_eq!(alpha.is_some(), format != "jpg", "{format}");
    }
    let refused = draw(Some(&picture), &["-i", "-", "--mask", "-"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("cannot both come from standard input"), "{said}");
}
