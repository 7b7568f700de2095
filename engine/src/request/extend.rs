//! How far does a picture grow on each side?
use super::{LARGEST_SIDE, check::check_range};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Margins that are added to a picture, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extend {
    /// On its left.
    pub left: u32,
    /// Above it.
    pub top: u32,
    /// On its right.
    pub right: u32,
    /// Below it.
    pub bottom: u32,
}

impl Extend {
    /// Fails if a margin is out of its range, or all are 0.
    pub(super) fn check(&self) -> Result<()> {
        for (name, margin) in [("left", self.left), ("top", self.top), ("right", self.right), ("bottom", self.bottom)] {
            check_range(&format!("the extension `{name}`"), Some(margin), 0, LARGEST_SIDE)?;
        }
        if *self == Self::default() {
            return Err(Error::request("the extension is of no pixel", "write it as in `--extend left=128,top=64`"));
        }
        Ok(())
    }
}

impl std::str::FromStr for Extend {
    type Err = Error;

    /// Reads `left=128,top=64`.
    fn from_str(text: &str) -> Result<Self> {
        let hint = "write it as in `left=128,top=64`, of left, top, right and bottom";
        let fault = |what: String| Error::request(what, hint);
        let mut extend = Self::default();
        for part in text.split(',') {
            let (side, pixels) = part.split_once('=').ok_or_else(|| fault(format!("`{part}` names no side")))?;
            let margin = match side.trim() {
                "left" => &mut extend.left,
                "top" => &mut extend.top,
                "right" => &mut extend.right,
                "bottom" => &mut extend.bottom,
                other => return Err(fault(format!("there is no side `{other}`"))),
            };
            *margin = pixels.trim().parse().map_err(|_| fault(format!("`{pixels}` is no number of pixels")))?;
        }
        Ok(extend)
    }
}
