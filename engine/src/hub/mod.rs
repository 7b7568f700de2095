//! How does a model get here from a model hub?
mod address;
mod cache;
mod client;
mod listing;
mod part;
mod pull;
mod remove;
mod transfer;

pub use client::Token;
pub use pull::{Pulled, PulledFile, PulledFrom, pull};
pub use remove::remove;

use crate::{Error, Result};
use std::{env, path::PathBuf, time::Duration};

/// The hub that is asked unless `HF_ENDPOINT` names another.
const USUAL_ENDPOINT: &str = "https://huggingface.co";

/// The most bytes of a file whose length nobody says: more than one of the usual models, less than most disks.
const MOST_UNTOLD: u64 = 8 << 30;

/// From where a model is pulled, and how.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// The address of the hub.
    pub endpoint: String,
    /// What proves to the hub who asks; it goes to no other host.
    pub token: Option<Token>,
    /// Never touch the network.
    pub offline: bool,
    /// Pull models that nobody vetted, too.
    pub allow_unvetted: bool,
    /// The cache of the hub's own tools.
    pub cache: Option<PathBuf>,
    /// How many bytes a file may have at most whose length neither the hub nor its list says; by default 8 GiB.
    pub most_untold: u64,
    /// How long to bear a bad line.
    pub patience: Patience,
}

/// How long to bear a bad line.
#[derive(Clone, Debug)]
pub struct Patience {
    /// How often a file is asked for again without a new byte.
    pub tries: u32,
    /// How long to wait before the second try; twice as long before each further one.
    pub wait: Duration,
    /// How long a connection may be silent.
    pub idle: Duration,
}

impl Default for Patience {
    /// Six tries wait for half a minute together: as long as a hub that restarts needs.
    fn default() -> Self {
        Self { tries: 6, wait: Duration::from_millis(500), idle: Duration::from_secs(30) }
    }
}

impl Patience {
    /// How long to wait after so many failures.
    fn wait_after(&self, failures: u32) -> Duration {
        self.wait * 2_u32.saturating_pow(failures.saturating_sub(1).min(6))
    }
}

impl PullOptions {
    /// What the variables `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and those of the hub's cache say.
    ///
    /// # Errors
    /// [`Error::Request`] for a token that cannot be one.
    pub fn from_environment() -> Result<Self> {
        let variable = |name| env::var(name).ok().filter(|text| !text.trim().is_empty());
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_lowercase();
        let token = variable("HF_TOKEN").map(|text| {
            let odd = || Error::request("`HF_TOKEN` is not a token", "set it to one word, or take it away");
            Token::new(&text).ok_or_else(odd)
        });
        Ok(Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| USUAL_ENDPOINT.into()),
            token: token.transpose()?,
            offline: ["1", "on", "true", "yes"].contains(&offline.trim()),
            allow_unvetted: false,
            cache: cache::HubCache::usual_folder(),
            most_untold: MOST_UNTOLD,
            patience: Patience::default(),
        })
    }
}

/// What a pull tells of itself, from several threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum PullEvent<'a> {
    /// Another process pulls the same model; this one waits.
    Waiting,
    /// So many files are to come, of so many bytes, if all of them are known.
    Begin {
        /// Files.
        files: usize,
        /// Bytes.
        bytes: Option<u64>,
    },
    /// So much of a file is here.
    Progress {
        /// Its name.
        file: &'a str,
        /// Bytes that are here; fewer than before if it begins again.
        done: u64,
        /// Bytes that there are.
        total: Option<u64>,
    },
    /// A file is asked for again.
    Retry {
        /// Its name.
        file: &'a str,
        /// What went wrong.
        what: &'a str,
        /// After so long.
        wait: Duration,
    },
    /// A file is here and proven.
    Done {
        /// Its name.
        file: &'a str,
    },
}

/// Whether a revision is a commit, which never changes.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_hash(revision)
}

/// Whether a text is a hash as hubs have them: SHA-1 or SHA-256, in hexadecimal. Such a text is no path.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_but_not_for_ever() {
        let patience = Patience { wait: Duration::from_millis(500), ..Patience::default() };
        let waits: Vec<_> = (1..=4).map(|failures| patience.wait_after(failures).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000]);
        assert_eq!(patience.wait_after(1000), Duration::from_secs(32));
    }

    #[test]
    fn commits_are_told_from_branches() {
        assert!(is_commit(&"0a".repeat(20)));
        assert!(!is_commit("main") && !is_commit(&"0g".repeat(20)) && !is_commit(&"0a".repeat(32)));
        assert!(is_hash(&"0a".repeat(32)) && !is_hash(&"0a".repeat(30)) && !is_hash(&"/a".repeat(20)));
    }
}
