//! Pictures from standard input.
use crate::report::Failure;
use petal_engine::{Bitmap, ImageSource, Request};
use std::{
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};
use tempfile::NamedTempFile;

/// The longest file that is read from standard input, in bytes.
const LONGEST: u64 = 512 << 20;

/// Reads the picture that `request` names `-`, if it names one. `other` is what else standard input is for.
pub(crate) fn read_pictures(request: &mut Request, other: Option<&str>) -> Result<(), Failure> {
    let named =
        |source: &Option<ImageSource>| matches!(source, Some(ImageSource::File(path)) if path == Path::new("-"));
    let users =
        [other, named(&request.init_image).then_some("`--init-img`"), named(&request.mask).then_some("`--mask`")];
    let users: Vec<_> = users.into_iter().flatten().collect();
    if let [first, second, ..] = users[..] {
        let what = format!("{first} and {second} cannot both come from standard input");
        return Err(Failure::usage(what, "name a file for one of them"));
    }
    for source in [&mut request.init_image, &mut request.mask] {
        if named(source) {
            *source = Some(Bitmap::decode(BufReader::new(standard_input()?))?.into());
        }
    }
    Ok(())
}

/// Standard input as a file, at its start, which is gone with the value.
pub(crate) fn standard_input() -> Result<NamedTempFile, Failure> {
    copy(io::stdin().lock(), LONGEST)
}

fn copy(from: impl Read, longest: u64) -> Result<NamedTempFile, Failure> {
    let unreadable = |error: io::Error| {
        Failure::usage(format!("cannot read standard input: {error}"), "give a PNG, JPEG or WebP file")
    };
    let mut file = NamedTempFile::new().map_err(unreadable)?;
    let length = io::copy(&mut from.take(longest + 1), &mut file).map_err(unreadable)?;
    if length > longest {
        let what = format!("standard input brings more than {} MiB", longest >> 20);
        return Err(Failure::usage(what, "make the picture smaller"));
    }
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_refused() {
        let mut text = String::new();
        copy(&b"four"[..], 4).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "four");
        assert!(matches!(copy(&b"five!"[..], 4), Err(Failure::Usage(..))));
    }

    #[test]
    fn standard_input_is_for_one_thing() {
        let stdin = || Some(ImageSource::File("-".into()));
        let refused = |init_image, mask, other| {
            let mut request = Request { init_image, mask, ..Request::default() };
            matches!(read_pictures(&mut request, other), Err(Failure::Usage(..)))
        };
        assert!(refused(stdin(), stdin(), None));
        assert!(refused(stdin(), None, Some("the prompt")) && refused(None, stdin(), Some("`--prompt-file`")));
        assert!(!refused(None, Some(ImageSource::File("a.png".into())), Some("the prompt")));
    }
}
