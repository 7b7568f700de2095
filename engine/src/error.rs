//! What can go wrong, and what to do about it.
use std::{
    io,
    path::{Path, PathBuf},
};

/// `Result` with the engine's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by who can act on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value of the request or of an option is wrong; whoever wrote it can correct it.
    #[error("{what}")]
    Request {
        /// Which value, what it was.
        what: String,
        /// What is allowed.
        hint: String,
    },
    /// A model's files are missing, differ from the catalogue, or are not what they should be.
    #[error("{what}")]
    Model {
        /// Which file or tensor, and what is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// ONNX Runtime's library is missing or cannot be used.
    #[error("{what}")]
    Library {
        /// Which library, and what is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// An execution provider cannot start.
    #[error("provider `{provider}` cannot start")]
    Provider {
        /// The provider's name.
        provider: String,
        /// What to do.
        hint: String,
        /// What ONNX Runtime said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is not enough memory.
    #[error("not enough memory for {what}")]
    Memory {
        /// What needed it.
        what: String,
    },
    /// ONNX Runtime reported a failure.
    #[error("ONNX Runtime failed while {doing}")]
    Runtime {
        /// What the engine was doing, as a present participle.
        doing: String,
        /// What ONNX Runtime said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The network gave numbers that are not finite.
    #[error("{stage} gave numbers that are not finite")]
    NotFinite {
        /// Which stage, and at which step.
        stage: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried, as an infinitive.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// A wrong value: `what` is wrong and `hint` says what is allowed.
    pub(crate) fn request(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Request { what: what.into(), hint: hint.into() }
    }

    /// A fault of a model: `what` is wrong and `hint` says what to do.
    pub(crate) fn model(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Model { what: what.into(), hint: hint.into() }
    }

    /// A fault of ONNX Runtime's library: `what` is wrong and `hint` says what to do.
    pub(crate) fn library(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Library { what: what.into(), hint: hint.into() }
    }

    /// Turns an I/O error into ours: `.map_err(Error::io("write", path))`.
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.as_ref().to_path_buf(), source }
    }

    /// What went wrong, and after colons what caused it, on one line.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// One sentence that starts with a verb and says what to do, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Request { hint, .. }
            | Self::Model { hint, .. }
            | Self::Library { hint, .. }
            | Self::Provider { hint, .. } => hint.clone(),
            Self::Memory { .. } => "choose a smaller picture, or close other programs".into(),
            Self::Runtime { .. } => "run `petal doctor` to see which library and providers are used".into(),
            Self::NotFinite { .. } => {
                "use a 32-bit export of the model, a lower `--cfg-scale` or another `--sampler`".into()
            }
            Self::Io { source, .. } => io_hint(source.kind())?.into(),
            Self::Cancelled => return None,
        };
        Some(hint)
    }
}

/// What to do about an I/O error of `kind`.
fn io_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => Some("check the path; folders are not created for you"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("choose a place that you may write to, or change its permissions")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some space, or choose another disk"),
        _ => None,
    }
}

/// Names `wrong` as an unknown `kind`, the nearest of `names`, and all of them.
pub(crate) fn unknown<'a>(kind: &str, wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.into_iter().collect();
    let lower = wrong.to_lowercase();
    let score = |name: &str| strsim::jaro_winkler(&lower, &name.to_lowercase());
    let nearest = names.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
    let list = names.join(", ");
    let hint = match nearest {
        Some(name) if score(name) > 0.7 => format!("use `{name}`, or another of: {list}"),
        _ => format!("use one of: {list}"),
    };
    Error::request(format!("unknown {kind} `{wrong}`"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_behind_colons() {
        let error = Error::io("write", "x.png")(io::ErrorKind::StorageFull.into());
        assert_eq!(error.with_causes(), "cannot write `x.png`: no storage space");
        assert_eq!(Error::Cancelled.with_causes(), "cancelled");
    }

    #[test]
    fn an_unknown_name_brings_the_nearest_and_all() {
        let error = unknown("sampler", "eulr", ["heun", "euler", "lms"]);
        assert_eq!(error.to_string(), "unknown sampler `eulr`");
        assert_eq!(error.hint().as_deref(), Some("use `euler`, or another of: heun, euler, lms"));
        let error = unknown("sampler", "zzz", ["heun"]);
        assert_eq!(error.hint().as_deref(), Some("use one of: heun"));
    }
}
