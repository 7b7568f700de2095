//! Which part of a picture is drawn when only what is around the mask is?

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Region {
    /// A whole picture.
    pub(super) fn whole((width, height): (u32, u32)) -> Self {
        Self { left: 0, top: 0, width, height }
    }

    /// The rectangle `[left, top, right, bottom]` with `padding` around it, grown to the shape of `wanted` as far as the
    /// picture reaches; diffusers' `VaeImageProcessor.get_crop_region`.
    pub(super) fn around(bounds: [u32; 4], padding: u32, wanted: (u32, u32), picture: (u32, u32)) -> Self {
        let [left, top, right, bottom] = bounds.map(i64::from);
        let (padding, width, height) = (i64::from(padding), i64::from(picture.0), i64::from(picture.1));
        let across = ((left - padding).max(0), (right + padding).min(width));
        let down = ((top - padding).max(0), (bottom + padding).min(height));
        let shape = f64::from(wanted.0) / f64::from(wanted.1);
        let (long, high) = ((across.1 - across.0) as f64, (down.1 - down.0) as f64);
        let (across, down) = if long / high > shape {
            (across, grown(down, (long / shape - high) as i64, height))
        } else {
            (grown(across, (high * shape - long) as i64, width), down)
        };
        Self {
            left: across.0 as u32,
            top: down.0 as u32,
            width: (across.1 - across.0) as u32,
            height: (down.1 - down.0) as u32,
        }
    }
}

/// A stretch of a line, longer by `more`, moved so that it stays between 0 and `limit`.
fn grown((mut start, mut end): (i64, i64), more: i64, limit: i64) -> (i64, i64) {
    start -= more.div_euclid(2);
    end += more - more.div_euclid(2);
    if end >= limit {
        start -= end - limit;
        end = limit;
    }
    if start < 0 {
        end -= start;
        start = 0;
    }
    (start, end.min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Against diffusers, for random rectangles.
    #[test]
    fn regions_are_those_of_diffusers() {
        let golden = include_str!("../../../tests/golden/crop_regions.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 300);
        for case in cases {
            let number = |name: &str, at: usize| case[name][at].as_u64().unwrap() as u32;
            let bounds = [0, 1, 2, 3].map(|at| number("bounds", at));
            let padding = case["padding"].as_u64().unwrap() as u32;
            let pair = |name: &str| (number(name, 0), number(name, 1));
            let region = Region::around(bounds, padding, pair("wanted"), pair("picture"));
            let [left, top, right, bottom] = [0, 1, 2, 3].map(|at| number("region", at));
            assert_eq!(region, Region { left, top, width: right - left, height: bottom - top }, "{case}");
        }
    }
}
