//! How far does a picture grow on each side?
use super::{LARGEST_SIDE, check::check_range};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The sides, by the names that a user writes.
const SIDES: [&str; 4] = ["left", "top", "right", "bottom"];

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
        for (name, margin) in SIDES.iter().zip([self.left, self.top, self.right, self.bottom]) {
            check_range(&format!("the extension `{name}`"), Some(margin), 0, LARGEST_SIDE)?;
        }
        if *self == Self::default() {
            return Err(Error::request("the extension is of no pixel", "write it as in `--extend left=128,top=64`"));
        }
        Ok(())
    }
}

impl Extend {
    /// The size of a picture of this size with the margins.
    pub(crate) fn around(self, (width, height): (u32, u32)) -> (u32, u32) {
        let sum = |a: u32, b: u32, c: u32| a.saturating_add(b).saturating_add(c);
        (sum(width, self.left, self.right), sum(height, self.top, self.bottom))
    }
}

impl std::str::FromStr for Extend {
    type Err = Error;

    /// Reads `left=128,top=64`; `all=64` is all four. Each side is named once.
    fn from_str(text: &str) -> Result<Self> {
        let hint = "write it as in `left=128,top=64`, of left, top, right and bottom, or `all=64`";
        let fault = |what: String| Error::request(what, hint);
        let mut margins = [None; SIDES.len()];
        for part in text.split(',') {
            let (side, pixels) = part.split_once('=').ok_or_else(|| fault(format!("`{part}` names no side")))?;
            let (side, pixels) = (side.trim(), pixels.trim());
            let margin = pixels.parse().map_err(|_| fault(format!("`{pixels}` is no number of pixels")))?;
            let named = |(_, name): &(usize, &&str)| side == **name || side == "all";
            let places: Vec<usize> = SIDES.iter().enumerate().filter(named).map(|(place, _)| place).collect();
            if places.is_empty() {
                return Err(fault(format!("there is no side `{side}`")));
            }
            for place in places {
                if margins[place].replace(margin).is_some() {
                    return Err(fault(format!("the side `{}` is given twice", SIDES[place])));
                }
            }
        }
        let [left, top, right, bottom] = margins.map(Option::unwrap_or_default);
        Ok(Self { left, top, right, bottom })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_read_by_their_sides() {
        let read = |text: &str| text.parse::<Extend>();
        assert_eq!(read("left=128, top=64").unwrap(), Extend { left: 128, top: 64, ..Extend::default() });
        assert_eq!(read("all=8").unwrap(), Extend { left: 8, top: 8, right: 8, bottom: 8 });
        for (text, words) in [
            ("", "`` names no side"),
            ("left", "`left` names no side"),
            ("up=3", "there is no side `up`"),
            ("left=-1", "`-1` is no number of pixels"),
            ("left=1,left=2", "the side `left` is given twice"),
            ("top=1,all=2", "the side `top` is given twice"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), words);
        }
    }
}
