//! Where pictures go.
use crate::{
    args::Results,
    report::{self, Failure},
};
use petal_engine::{Error, FileFormat, Request, check_writable, write_atomically, write_new_atomically};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The longest part of a prompt in a file's name, in bytes; file systems take 255 for the whole name.
const LONGEST_NAME: usize = 120;

/// Where the pictures of one command go.
#[derive(Debug)]
pub(crate) enum Output {
    /// To standard output, in a format.
    Stdout(FileFormat),
    /// To one file.
    File(PathBuf),
    /// To numbered files: `dog.png` becomes `dog-1.png`, `dog-2.png`.
    Numbered(PathBuf),
    /// Into a folder, in a format, named after prompt and seed; nothing is overwritten.
    Folder(PathBuf, FileFormat),
}

impl Output {
    /// Reads `--output` and `--format`, and fails before any work is done if nothing can be written there.
    pub(crate) fn new(named: Option<&OsStr>, pictures: u32, chosen: Option<FileFormat>) -> Result<Self, Failure> {
        let format = chosen.unwrap_or_default();
        let Some(name) = named else { return Self::folder(PathBuf::new(), format) };
        if name == "-" {
            return match pictures {
                1 => Ok(Self::Stdout(format)),
                _ => Err(Failure::usage("standard output takes one picture", "draw one at a time, or name a folder")),
            };
        }
        let path = PathBuf::from(name);
        let is_folder = path.is_dir() || name.to_string_lossy().ends_with(std::path::is_separator);
        if is_folder {
            return Self::folder(path, format);
        }
        let Some(own) = FileFormat::of(&path) else {
            return Err(Failure::usage(
                format!("`{}` does not end in .png, .jpg or .webp", path.display()),
                "name such a file, or a folder with a slash at its end",
            ));
        };
        if chosen.is_some_and(|chosen| chosen != own) {
            let what = format!("`{}` is no file of the format `{}`", path.display(), format.suffix());
            return Err(Failure::usage(
                what,
                format!("leave out `--format`, or let the name end in .{}", format.suffix()),
            ));
        }
        check_writable(path.parent().unwrap_or(Path::new("")))?;
        Ok(if pictures == 1 { Self::File(path) } else { Self::Numbered(path) })
    }

    fn folder(path: PathBuf, format: FileFormat) -> Result<Self, Failure> {
        check_writable(&path)?;
        Ok(Self::Folder(path, format))
    }

    /// The format of the files.
    pub(crate) fn format(&self) -> FileFormat {
        match self {
            Self::File(path) | Self::Numbered(path) => FileFormat::of(path).unwrap_or_default(),
            Self::Stdout(format) | Self::Folder(_, format) => *format,
        }
    }

    /// Fails, before anything is drawn, if such a file cannot hold a picture of the complete `request`, or what it says.
    pub(crate) fn check(&self, request: &Request, results: &Results) -> Result<(), Error> {
        self.format().check_pixels(request)?;
        if !results.no_metadata {
            self.format().check_metadata(request)?;
        }
        Ok(())
    }

    /// Writes the picture `number`, from 1, a file of the format; where, unless to standard output.
    pub(crate) fn write(&self, number: u32, request: &Request, bytes: &[u8]) -> Result<Option<PathBuf>, Failure> {
        let path = match self {
            Self::Stdout(_) => {
                report::bytes(bytes)?;
                return Ok(None);
            }
            Self::File(path) => path.clone(),
            Self::Numbered(path) => numbered(path, number.into()),
            Self::Folder(folder, format) => {
                return write_into(folder, (&file_stem(request), format.suffix()), bytes).map(Some);
            }
        };
        write_atomically(&path, bytes)?;
        Ok(Some(path))
    }

    /// Where the picture `number`, from 1, of a queue goes: always the same place for what `hash` says its file is made
    /// of, so that it is found again. `None` for standard output.
    pub(crate) fn place(&self, number: u64, request: &Request, hash: &str) -> Option<PathBuf> {
        match self {
            Self::Stdout(_) => None,
            Self::File(path) | Self::Numbered(path) => Some(numbered(path, number)),
            Self::Folder(folder, format) => {
                Some(folder.join(format!("{}-{}.{}", file_stem(request), &hash[..12], format.suffix())))
            }
        }
    }
}

/// `dog-2.png` for `dog.png` and 2.
pub(crate) fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}."));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

/// `folder/stem.png`, then `folder/stem-2.png` and so on, for where there is one already.
pub(crate) fn free_names(folder: &Path, stem: &str, suffix: &str) -> impl Iterator<Item = PathBuf> {
    let plain = folder.join(format!("{stem}.{suffix}"));
    std::iter::once(plain).chain((2_u64..).map(move |number| folder.join(format!("{stem}-{number}.{suffix}"))))
}

/// Writes the first of [`free_names`] that is free.
fn write_into(folder: &Path, (stem, suffix): (&str, &str), bytes: &[u8]) -> Result<PathBuf, Failure> {
    for path in free_names(folder, stem, suffix) {
        if write_new_atomically(&path, bytes)? {
            return Ok(path);
        }
    }
    Err(Failure::usage("every name in the folder is taken", "name another folder")) // after 2^64 pictures
}

/// `a-dog-in-space-7` for the prompt "A dog, in space!" and seed 7.
fn file_stem(request: &Request) -> String {
    let words = request.prompt.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.map(str::to_lowercase).collect::<Vec<_>>().join("-");
    let longest = (0..=LONGEST_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.truncate(longest.unwrap_or(0));
    let name = if name.is_empty() { "petal" } else { name.trim_end_matches('-') };
    format!("{name}-{}", request.seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prompt: &str) -> Request {
        Request { prompt: prompt.into(), seed: 7, ..Request::default() }
    }

    #[test]
    fn files_are_named_after_prompt_and_seed() {
        assert_eq!(file_stem(&request("A dog, in space!")), "a-dog-in-space-7");
        assert_eq!(file_stem(&request("../../etc/passwd\0")), "etc-passwd-7");
        assert_eq!(file_stem(&request("太空中的狗")), "太空中的狗-7");
        assert_eq!(file_stem(&request("")), "petal-7");
        assert!(file_stem(&request(&"𝔸".repeat(500))).len() < 200);
    }

    #[test]
    fn nothing_is_overwritten_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(Some(folder.path().as_os_str()), 2, None).unwrap();
        for (number, name) in (1..).zip(["a-7.png", "a-7-2.png", "a-7-3.png"]) {
            assert_eq!(output.write(number, &request("a"), b"x").unwrap(), Some(folder.path().join(name)));
        }
    }

    #[test]
    fn a_queue_finds_its_files_again() {
        let folder = tempfile::tempdir().unwrap();
        let hash = "0123456789abcdef";
        let place = |output: &Output, number| output.place(number, &request("A dog"), hash).unwrap();
        let output = Output::new(Some(folder.path().as_os_str()), 2, None).unwrap();
        let first = place(&output, 1);
        assert_eq!((&first, &place(&output, 2)), (&folder.path().join("a-dog-7-0123456789ab.png"), &first));
        let output = Output::new(Some(folder.path().join("x.jpg").as_os_str()), 2, None).unwrap();
        assert_eq!(place(&output, 3), folder.path().join("x-3.jpg"));
    }

    #[test]
    fn suffixes_choose_the_format() {
        let format = |name: &str| Output::new(Some(OsStr::new(name)), 1, None).map(|output| output.format()).ok();
        assert_eq!([format("x.PNG"), format("x.webp")], [Some(FileFormat::Png), Some(FileFormat::WebP)]);
        assert_eq!([format("x.jpg"), format("x.JPEG")], [Some(FileFormat::Jpeg); 2]);
        assert_eq!([format("-"), format("x.gif"), format("png")], [Some(FileFormat::Png), None, None]);
    }

    #[test]
    fn a_format_is_for_what_has_no_suffix() {
        let folder = tempfile::tempdir().unwrap();
        for (format, suffix) in [(FileFormat::Jpeg, "jpg"), (FileFormat::WebP, "webp"), (FileFormat::Png, "png")] {
            let output = |name: &OsStr| Output::new(Some(name), 1, Some(format));
            assert_eq!(output(OsStr::new("-")).unwrap().format(), format);
            let into = output(folder.path().as_os_str()).unwrap();
            let path = folder.path().join(format!("a-7.{suffix}"));
            assert_eq!((into.format(), into.write(1, &request("a"), b"x").unwrap()), (format, Some(path)));
            let queued = into.place(1, &request("a"), "0123456789abcdef").unwrap();
            assert_eq!(queued, folder.path().join(format!("a-7-0123456789ab.{suffix}")));
            let named = output(OsStr::new("x.JPEG"));
            assert_eq!(named.is_ok(), format == FileFormat::Jpeg);
        }
    }

    #[test]
    fn several_pictures_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(Some(folder.path().join("x.png").as_os_str()), 2, None).unwrap();
        for (number, name) in (1..).zip(["x-1.png", "x-2.png"]) {
            assert_eq!(output.write(number, &request("a"), b"x").unwrap(), Some(folder.path().join(name)));
        }
        assert!(Output::new(Some(OsStr::new("-")), 2, None).is_err());
        assert!(Output::new(Some(OsStr::new("x.bmp")), 1, None).is_err());
    }
}
