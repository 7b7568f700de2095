//! How do pictures become larger, by a network made for it?
mod graph;
mod plane;
mod upscaler;

pub use upscaler::{MOST_TIMES, TileDone, Tiles, Upscaler};
