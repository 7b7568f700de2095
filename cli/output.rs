//! Where pictures go.
use crate::report::{self, Failure};
use petal_engine::{FileFormat, Request, check_writable, write_atomically, write_new_atomically};
use std::{
    cell::Cell,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The longest part of a prompt in a file's name, in bytes; file systems take 255 for the whole name.
const LONGEST_NAME: usize = 120;

/// Where the pictures of one command go.
#[derive(Debug)]
pub(crate) enum Output {
    /// To standard output.
    Stdout,
    /// To one file.
    File(PathBuf),
    /// To numbered files: `dog.png` becomes `dog-1.png`, `dog-2.png`.
    Numbered(PathBuf, Cell<u32>),
    /// Into a folder, named after prompt and seed; nothing is overwritten.
    Folder(PathBuf),
}

impl Output {
    /// Reads `--output`, and fails before any work is done if nothing can be written there.
    pub(crate) fn new(named: Option<&OsStr>, pictures: u32) -> Result<Self, Failure> {
        let Some(name) = named else { return Self::folder(PathBuf::new()) };
        if name == "-" {
            return match pictures {
                1 => Ok(Self::Stdout),
                _ => Err(Failure::usage("standard output takes one picture", "draw one at a time, or name a folder")),
            };
        }
        let path = PathBuf::from(name);
        let is_folder = path.is_dir() || name.to_string_lossy().ends_with(std::path::is_separator);
        if is_folder {
            return Self::folder(path);
        }
        if FileFormat::of(&path).is_none() {
            return Err(Failure::usage(
                format!("`{}` does not end in .png, .jpg or .webp", path.display()),
                "name such a file, or a folder with a slash at its end",
            ));
        }
        check_writable(path.parent().unwrap_or(Path::new("")))?;
        Ok(if pictures == 1 { Self::File(path) } else { Self::Numbered(path, Cell::new(0)) })
    }

    fn folder(path: PathBuf) -> Result<Self, Failure> {
        check_writable(&path)?;
        Ok(Self::Folder(path))
    }

    /// The format of the files: that of the suffix, or PNG.
    pub(crate) fn format(&self) -> FileFormat {
        match self {
            Self::File(path) | Self::Numbered(path, _) => FileFormat::of(path).unwrap_or_default(),
            Self::Stdout | Self::Folder(_) => FileFormat::default(),
        }
    }

    /// Writes the next picture, a file of the format; where, unless to standard output.
    pub(crate) fn write(&self, request: &Request, bytes: &[u8]) -> Result<Option<PathBuf>, Failure> {
        let path = match self {
            Self::Stdout => {
                report::bytes(bytes)?;
                return Ok(None);
            }
            Self::File(path) => path.clone(),
            Self::Numbered(path, count) => {
                count.set(count.get() + 1);
                numbered(path, count.get())
            }
            Self::Folder(folder) => return write_into(folder, &file_stem(request), bytes).map(Some),
        };
        write_atomically(&path, bytes)?;
        Ok(Some(path))
    }
}

/// `dog-2.png` for `dog.png` and 2.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}."));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

/// Writes `folder/stem.png`, or `folder/stem-2.png` and so on when there is one already.
fn write_into(folder: &Path, stem: &str, png: &[u8]) -> Result<PathBuf, Failure> {
    let plain = folder.join(format!("{stem}.png"));
    let others = (2_u64..).map(|number| folder.join(format!("{stem}-{number}.png")));
    for path in std::iter::once(plain).chain(others) {
        if write_new_atomically(&path, png)? {
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
        let output = Output::new(Some(folder.path().as_os_str()), 2).unwrap();
        for name in ["a-7.png", "a-7-2.png", "a-7-3.png"] {
            assert_eq!(output.write(&request("a"), b"x").unwrap(), Some(folder.path().join(name)));
        }
    }

    #[test]
    fn suffixes_choose_the_format() {
        let format = |name: &str| Output::new(Some(OsStr::new(name)), 1).map(|output| output.format()).ok();
        assert_eq!([format("x.PNG"), format("x.webp")], [Some(FileFormat::Png), Some(FileFormat::WebP)]);
        assert_eq!([format("x.jpg"), format("x.JPEG")], [Some(FileFormat::Jpeg); 2]);
        assert_eq!([format("-"), format("x.gif"), format("png")], [Some(FileFormat::Png), None, None]);
    }

    #[test]
    fn several_pictures_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(Some(folder.path().join("x.png").as_os_str()), 2).unwrap();
        for name in ["x-1.png", "x-2.png"] {
            assert_eq!(output.write(&request("a"), b"x").unwrap(), Some(folder.path().join(name)));
        }
        assert!(Output::new(Some(OsStr::new("-")), 2).is_err());
        assert!(Output::new(Some(OsStr::new("x.bmp")), 1).is_err());
    }
}
