//! Pictures as files: pixels, and what they say of themselves.
mod metadata;
mod picture;

pub use metadata::{Infotext, read_infotext};
pub use picture::{Picture, Seconds, Thumbnail};
