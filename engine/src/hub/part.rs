//! A file on its way: how much of it is there, of what it is a part, and whether it is what it should be once it is whole.
use super::client::Answer;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

/// What a file is called until it is whole and proven.
pub(super) const PART: &str = ".petal-part";
/// What the file beside it is called, that says of what it is a part.
pub(super) const NOTE: &str = ".petal-part.json";
/// What a file is called that comes from another cache, until it is proven. It may share its bytes with that cache, so
/// nothing is ever written into it.
pub(super) const LINK: &str = ".petal-link";

/// What is known of a file in advance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Its SHA-256, from the catalogue.
    pub(super) sha256: Option<String>,
    /// Its hash as the hub says: SHA-256, or git's of a blob.
    pub(super) said: Option<String>,
    /// Its bytes.
    pub(super) size: Option<u64>,
}

/// Of what a part is a part.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    /// What tells this content from another.
    tag: Option<String>,
    /// The hash that the hub said.
    pub(super) hash: Option<String>,
    /// The bytes of the whole file.
    pub(super) size: Option<u64>,
}

impl Note {
    pub(super) fn of(answer: &Answer) -> Self {
        let size = match answer.status {
            200 => answer.length,
            _ => answer.range.and_then(|(_, whole)| whole),
        };
        Self { tag: answer.tag.clone(), hash: answer.hash.clone(), size: answer.size.or(size) }
    }

    /// Whether it is safe to go on with a part of this by one of `other`.
    fn agrees(&self, other: &Self, proven: bool) -> bool {
        let same_tag = if self.tag.is_some() && other.tag.is_some() { self.tag == other.tag } else { proven };
        same_tag && (self.size.is_none() || other.size.is_none() || self.size == other.size)
    }
}

/// A file on its way.
pub(super) struct Part {
    /// Where it will be.
    target: PathBuf,
    path: PathBuf,
    note_path: PathBuf,
    pub(super) note: Note,
    /// How many bytes are there.
    pub(super) length: u64,
}

impl Part {
    /// The part of the file `target` that an earlier run left, or an empty one.
    pub(super) fn open(target: &Path) -> Result<Self> {
        let folder = target.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let (path, note_path) = (with_suffix(target, PART), with_suffix(target, NOTE));
        let note: Option<Note> = fs::read(&note_path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let length = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file).map(|data| data.len());
        let mut part = Self { target: target.into(), path, note_path, note: Note::default(), length: 0 };
        match (note, length) {
            (Some(note), Some(length)) if note.size.is_none_or(|size| length <= size) => {
                (part.note, part.length) = (note, length);
            }
            _ => part.clear()?,
        }
        Ok(part)
    }

    /// Whether all of it is there, as far as anybody said how much that is.
    pub(super) fn is_whole(&self) -> bool {
        self.note.size == Some(self.length) && (self.length > 0 || self.note.tag.is_some())
    }

    /// Throws away what is there.
    pub(super) fn clear(&mut self) -> Result<()> {
        for path in [&self.note_path, &self.path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", path)(error)),
                _ => {}
            }
        }
        (self.length, self.note) = (0, Note::default());
        Ok(())
    }

    /// Whether `answer` goes on where this part ends.
    pub(super) fn is_continued_by(&self, answer: &Answer, proven: bool) -> bool {
        let first = answer.range.and_then(|(first, _)| first);
        first == Some(self.length) && self.note.agrees(&Note::of(answer), proven)
    }

    /// A file for what comes next: at the end of the part if it is `continued`, or else from the first byte.
    pub(super) fn file(&mut self, continued: bool, note: Note) -> Result<File> {
        if !continued {
            self.clear()?;
            // written first: a part whose note is not there, or not whole, is thrown away
            let text = serde_json::to_vec(&note).unwrap_or_default();
            fs::write(&self.note_path, text).map_err(Error::io("write", &self.note_path))?;
            self.note = note;
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.map_err(Error::io("write", &self.path))
    }

    /// Writes bytes to a file of this part.
    pub(super) fn write(&mut self, file: &mut File, bytes: &[u8]) -> Result<()> {
        file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// The SHA-256 of the whole file, once it is on the disk, and whether it is the right one.
    pub(super) fn verify(&self, expected: &Expected) -> Result<(String, bool)> {
        // some systems bring only files to the disk that are open for writing
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let mut file = file.map_err(Error::io("read", &self.path))?;
        file.sync_all().map_err(Error::io("write", &self.path))?;
        let said = expected.said.as_ref().or(self.note.hash.as_ref());
        check(&mut file, self.length, expected.sha256.as_ref(), said).map_err(Error::io("read", &self.path))
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> Result<()> {
        take_name(&self.path, &self.target)?;
        let _ = fs::remove_file(&self.note_path); // what stays is found by the next pull
        Ok(())
    }
}

/// `path` with more behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Gives the proven file `from` the name `to`, for good.
pub(super) fn take_name(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("write", to))?;
    #[cfg(unix)]
    if let Some(folder) = to.parent() {
        let sync = File::open(folder).and_then(|folder| folder.sync_all());
        sync.map_err(Error::io("write", folder))?;
    }
    Ok(())
}

/// The SHA-256 of `length` bytes, and whether it is `sha256`, or without that what the hub `said`.
pub(super) fn check(
    file: &mut impl Read,
    length: u64,
    sha256: Option<&String>,
    said: Option<&String>,
) -> io::Result<(String, bool)> {
    let by_git = said.filter(|hash| sha256.is_none() && hash.len() == 40);
    let (mut sha, mut git, mut piece) = (Sha256::new(), Sha1::new(), vec![0; 1 << 20]);
    git.update(format!("blob {length}\0"));
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => {
                sha.update(&piece[..read]);
                if by_git.is_some() {
                    git.update(&piece[..read]);
                }
            }
        }
    }
    let got = hexadecimal(&sha.finalize());
    let right = match (by_git, sha256.or(said)) {
        (Some(wanted), _) => *wanted == hexadecimal(&git.finalize()),
        (None, wanted) => wanted.is_none_or(|wanted| *wanted == got),
    };
    Ok((got, right))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing into a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The git hash is what `printf 'hello\n' | git hash-object --stdin` prints.
    #[test]
    fn hashes_of_the_hub_are_those_of_git_or_sha_256() {
        let git = "ce013625030ba8dba906f756967f9e9ca394464a".to_owned();
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".to_owned();
        let right = |sha256, said| check(&mut b"hello\n".as_slice(), 6, sha256, said).unwrap();
        assert_eq!(right(None, Some(&git)), (sha.clone(), true));
        assert_eq!(right(None, Some(&sha)), (sha.clone(), true));
        assert_eq!(right(Some(&sha), Some(&git)), (sha.clone(), true));
        assert_eq!(right(None, None), (sha.clone(), true));
        let (other_git, other_sha) = ("0".repeat(40), "0".repeat(64));
        assert!(!right(None, Some(&other_git)).1 && !right(None, Some(&other_sha)).1);
        assert!(!right(Some(&other_sha), Some(&sha)).1);
    }

    #[test]
    fn a_part_without_its_note_or_longer_than_its_file_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("unet/model.onnx");
        let mut part = Part::open(&target).unwrap();
        let note = Note { tag: Some("a".into()), hash: None, size: Some(4) };
        let mut file = part.file(false, note.clone()).unwrap();
        part.write(&mut file, b"abc").unwrap();
        let again = Part::open(&target).unwrap();
        assert_eq!((again.length, again.note.clone(), again.is_whole()), (3, note.clone(), false));
        part.write(&mut file, b"de").unwrap();
        assert_eq!(Part::open(&target).unwrap().length, 0);
        let mut file = part.file(false, note).unwrap();
        part.write(&mut file, b"abcd").unwrap();
        assert!(Part::open(&target).unwrap().is_whole());
        fs::remove_file(with_suffix(&target, NOTE)).unwrap();
        assert_eq!(Part::open(&target).unwrap().length, 0);
        assert_eq!(fs::read_dir(folder.path().join("unet")).unwrap().count(), 0);
    }

    #[test]
    fn parts_of_different_contents_do_not_meet() {
        let note = |tag: Option<&str>, size| Note { tag: tag.map(str::to_owned), hash: None, size };
        let one = note(Some("a"), Some(4));
        assert!(one.agrees(&note(Some("a"), Some(4)), false) && one.agrees(&note(Some("a"), None), false));
        assert!(!one.agrees(&note(Some("b"), Some(4)), true) && !one.agrees(&note(Some("a"), Some(5)), true));
        assert!(!one.agrees(&note(None, Some(4)), false) && one.agrees(&note(None, Some(4)), true));
    }
}
